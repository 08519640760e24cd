"""A camera's messages as arrays, and the other way: refused with the reason where they are not what they should be."""

import array

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from vlajs_perception.optics import CameraFacts

COLOUR_ENCODINGS = ("rgb8", "bgr8")
DEPTH_ENCODINGS = {"16UC1": np.dtype("<u2"), "32FC1": np.dtype("<f4")}
MM = 1e-3


class MessageRefusedError(ValueError):
    """A message that cannot be used.

    Attributes:
        kind: one or two words to count it under.
    """

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


def facts_from(message: CameraInfo) -> CameraFacts:
    """What a camera says of itself: perhaps not finite, perhaps nothing.

    Raises:
        MessageRefusedError: no image size.
    """
    if message.width < 1 or message.height < 1:
        raise MessageRefusedError(
            "camera_info", f"camera_info says {message.width} x {message.height} px: its driver is not set up"
        )
    return CameraFacts(
        size_px=(int(message.width), int(message.height)),
        matrix=np.array(message.k, dtype=np.float64).reshape(3, 3),
        distortion=np.array(message.d, dtype=np.float64),
    )


def image_from(message: Image, size_px: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture of a message, (H, W, 3) RGB.

    Raises:
        MessageRefusedError: another encoding than rgb8 and bgr8, another size than camera_info's, or data that is too
            short.
    """
    if message.encoding not in COLOUR_ENCODINGS:
        raise MessageRefusedError(
            "encoding",
            f"the image's encoding is {message.encoding!r}, expected {' or '.join(COLOUR_ENCODINGS)}: set the driver's "
            "colour format, or convert it (image_proc)",
        )
    pixels = _rows(message, size_px, np.dtype(np.uint8), 3).reshape(size_px[1], size_px[0], 3)
    return pixels if message.encoding == "rgb8" else np.ascontiguousarray(pixels[..., ::-1])


def depth_from(message: Image, size_px: tuple[int, int]) -> NDArray[np.float32]:
    """Depth in metres, (H, W), of a message registered to the colour image; 0 where there is none.

    Raises:
        MessageRefusedError: another encoding than 16UC1 (mm) and 32FC1 (m), or another size than the colour image's.
    """
    if message.encoding not in DEPTH_ENCODINGS:
        raise MessageRefusedError(
            "depth encoding",
            f"the depth image's encoding is {message.encoding!r}, expected {' or '.join(DEPTH_ENCODINGS)}: subscribe "
            "to the driver's raw depth, registered to the colour image",
        )
    kind = DEPTH_ENCODINGS[message.encoding]
    kind = kind.newbyteorder(">") if message.is_bigendian else kind
    depth = _rows(message, size_px, kind, 1).astype(np.float32)
    return depth * np.float32(MM) if message.encoding == "16UC1" else np.nan_to_num(depth, nan=0.0, posinf=0.0)


def image_message(image_rgb: NDArray[np.uint8], header: Header) -> Image:
    """A picture (H, W, 3) RGB as a message."""
    message = Image(header=header, encoding="rgb8", height=image_rgb.shape[0], width=image_rgb.shape[1])
    message.step = 3 * image_rgb.shape[1]
    message.data = array.array("B", image_rgb.tobytes())
    return message


def _rows(message: Image, size_px: tuple[int, int], kind: np.dtype, channels: int) -> NDArray:
    """The message's rows without what pads them, (H, W * channels)."""
    width, height = size_px
    if (message.width, message.height) != size_px:
        raise MessageRefusedError(
            "size",
            f"the image has {message.width} x {message.height} px, camera_info says {width} x {height} px: driver and "
            "camera_info disagree, restart the camera",
        )
    least = width * channels * kind.itemsize
    if message.step < least or len(message.data) < message.step * height:
        raise MessageRefusedError(
            "size",
            f"the image has {len(message.data)} bytes in rows of {message.step}, {height} rows of at least {least} are "
            "needed: a driver that fills in its messages wrongly",
        )
    rows = np.frombuffer(message.data, dtype=np.uint8, count=message.step * height).reshape(height, message.step)
    return np.ascontiguousarray(rows[:, :least]).view(kind)
