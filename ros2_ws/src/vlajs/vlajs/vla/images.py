"""Camera images on their way to a model: checked, and as JPEG where the network is the bottleneck."""

import io
from collections.abc import Sequence

import numpy as np

from vlajs.vla.convention import MAX_IMAGE_SIDE
from vlajs.vla.errors import VlaConfigError, WireError

RAW, JPEG = "raw", "jpeg"
ENCODINGS = (RAW, JPEG)


def check_images(images: object, count: int, size: tuple[int, int] | None) -> np.ndarray:
    """The images, if they can be asked about.

    Args:
        images: (B, H, W, 3) uint8, RGB.
        count: how many instructions there are.
        size: height and width the model wants, or None.

    Raises:
        ValueError: another shape, dtype, number or size; the message says which and what to do.
    """
    array = np.asarray(images)
    if array.dtype != np.uint8:
        raise ValueError(f"images of dtype {array.dtype}, expected uint8 in [0, 255]: convert them")
    if array.ndim != 4 or array.shape[3] != 3:
        raise ValueError(f"images of shape {array.shape}, expected (B, H, W, 3), RGB")
    if len(array) != count:
        raise ValueError(f"{len(array)} images and {count} instructions: there must be one for each")
    if len(array) and not all(1 <= side <= MAX_IMAGE_SIDE for side in array.shape[1:3]):
        raise ValueError(
            f"images of {array.shape[1]} x {array.shape[2]} pixels: sides must be in [1, {MAX_IMAGE_SIDE}]"
        )
    if size is not None and len(array) and array.shape[1:3] != size:
        raise ValueError(
            f"images of {array.shape[1]} x {array.shape[2]} pixels, the model was trained on {size[0]} x {size[1]}: "
            "render or resize them to that"
        )
    return array


def fit_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A camera's image as a model wants it: the largest middle part of the wanted proportions, scaled.

    Args:
        image: (H, W, 3) uint8.
        size: height and width wanted, in pixels.

    Raises:
        VlaConfigError: Pillow is not installed, and the image has another size.
    """
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    scale = min(height / size[0], width / size[1])
    part_height, part_width = size[0] * scale, size[1] * scale
    top, left = (height - part_height) / 2, (width - part_width) / 2
    pillow = _pillow()
    scaled = pillow.fromarray(np.ascontiguousarray(image)).resize(
        (size[1], size[0]),
        # each pixel is the mean of those it covers, also where the scale is no whole number
        pillow.Resampling.BOX if scale >= 1 else pillow.Resampling.BILINEAR,
        box=(left, top, left + part_width, top + part_height),
    )
    return np.asarray(scaled)


def to_jpeg(image: np.ndarray, quality: int) -> bytes:
    """JPEG bytes of one image (H, W, 3) uint8; ``quality`` in [1, 95].

    Raises:
        VlaConfigError: Pillow is not installed.
    """
    buffer = io.BytesIO()
    _pillow().fromarray(image).save(buffer, format="JPEG", quality=quality)
    return buffer.getvalue()


def from_jpeg(frames: Sequence[object], *, max_pixels: int) -> np.ndarray:
    """Images (B, H, W, 3) uint8 of JPEG files of one size.

    Args:
        frames: the files' bytes.
        max_pixels: of all images together; the size is read before anything is decoded.

    Raises:
        WireError: no JPEG, more pixels, or different sizes.
        VlaConfigError: Pillow is not installed.
    """
    pillow, opened, pixels = _pillow(), [], 0
    for frame in frames:
        if not isinstance(frame, bytes):
            raise WireError(f"a JPEG image of type {type(frame).__name__}: it must be bytes")
        try:
            image = pillow.open(io.BytesIO(frame), formats=["JPEG"])
        except (OSError, ValueError, pillow.DecompressionBombError) as error:
            raise WireError(f"an image is no readable JPEG ({error})") from error
        pixels += image.width * image.height
        if pixels > max_pixels:
            raise WireError(f"JPEG images of more than {max_pixels} pixels together: send fewer or smaller ones")
        opened.append(image)
    if len({image.size for image in opened}) > 1:
        raise WireError("JPEG images of different sizes: all of a request must have the same")
    try:
        return np.stack([np.asarray(image.convert("RGB")) for image in opened])
    except (OSError, ValueError, SyntaxError) as error:  # Pillow's decoders raise any of these
        raise WireError(f"a JPEG image cannot be decoded ({error})") from error


def _pillow():
    try:
        from PIL import Image
    except ImportError as error:
        raise VlaConfigError("Pillow is not installed: pip install 'vlajs[vla]'") from error
    return Image
