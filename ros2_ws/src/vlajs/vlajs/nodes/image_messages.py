"""Images and cameras as messages, checked when they come in: a wrong one must not become a wrong pose."""

import array
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image

from vlajs.geometry import FloatArray
from vlajs.nodes.messages import stamp_of
from vlajs_perception.calibration.lens import Lens
from vlajs_perception.optics import CameraFacts

Picture = NDArray[np.uint8]

MM = 1e-3
_BYTE = np.dtype(np.uint8)
_COLOUR_CHANNELS = {"rgb8": 3, "bgr8": 3}
_CHANNELS = {**_COLOUR_CHANNELS, "mono8": 1}
_DEPTH_KINDS = {"16UC1": np.dtype("<u2"), "32FC1": np.dtype("<f4")}
_DISTORTION_MODEL = "plumb_bob"


class MessageRefusedError(ValueError):
    """A message that cannot be used.

    Attributes:
        kind: one or two words to count it under.
    """

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


def image_message(rgb: Picture, stamp_ns: int, frame: str) -> Image:
    """An ``rgb8`` image of shape (H, W, 3)."""
    height, width, channels = rgb.shape
    message = Image(height=height, width=width, encoding="rgb8", is_bigendian=0, step=width * channels)
    message.header.stamp, message.header.frame_id = stamp_of(stamp_ns), frame
    # an array of bytes is taken over as it is; anything else is checked number by number
    message.data = array.array("B", rgb.tobytes())
    return message


def bgr_from(message: Image) -> Picture:
    """The image as OpenCV has it, shape (H, W, 3); of a grey one all channels are equal.

    Raises:
        MessageRefusedError: an encoding that is none of rgb8, bgr8 and mono8, or data that do not fit the size.
    """
    _check_encoding(message, _CHANNELS, "set the camera driver's encoding")
    pixels = _pixels(message, _BYTE, _CHANNELS[message.encoding])
    if message.encoding == "rgb8":
        pixels = pixels[..., ::-1]
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def rgb_from(message: Image, size_px: tuple[int, int]) -> Picture:
    """The image of a camera that says how large its images are, shape (H, W, 3).

    Raises:
        MessageRefusedError: another encoding than rgb8 and bgr8, another size than ``size_px`` (width, height), or
            data that do not fit it.
    """
    _check_encoding(message, _COLOUR_CHANNELS, "set the driver's colour format, or convert it (image_proc)")
    _check_size(message, size_px)
    pixels = _pixels(message, _BYTE, _COLOUR_CHANNELS[message.encoding])
    return pixels if message.encoding == "rgb8" else np.ascontiguousarray(pixels[..., ::-1])


def depth_from(message: Image, size_px: tuple[int, int]) -> NDArray[np.float32]:
    """Depth in metres, (H, W), of a message registered to the colour image; 0 where there is none.

    Raises:
        MessageRefusedError: another encoding than 16UC1 (mm) and 32FC1 (m), another size than the colour image's
            (width, height), or data that do not fit it.
    """
    remedy = "subscribe to the driver's raw depth, registered to the colour image"
    _check_encoding(message, _DEPTH_KINDS, remedy, "depth ")
    _check_size(message, size_px)
    kind = _DEPTH_KINDS[message.encoding]
    kind = kind.newbyteorder(">") if message.is_bigendian else kind
    depth = _pixels(message, kind, 1)[..., 0].astype(np.float32)
    return depth * np.float32(MM) if message.encoding == "16UC1" else np.nan_to_num(depth, nan=0.0, posinf=0.0)


def _check_encoding(message: Image, readable: Iterable[str], remedy: str, which: str = "") -> None:
    if message.encoding not in readable:
        raise MessageRefusedError(
            f"{which}encoding",
            f"the {which}image's encoding is {message.encoding!r}, readable are {', '.join(readable)}: {remedy}",
        )


def _check_size(message: Image, size_px: tuple[int, int]) -> None:
    if (message.width, message.height) != size_px:
        raise MessageRefusedError(
            "size",
            f"the image has {message.width} x {message.height} px, camera_info says {size_px[0]} x {size_px[1]} px: "
            "driver and camera_info disagree, restart the camera",
        )


def _pixels(message: Image, kind: np.dtype, channels: int) -> NDArray:
    """The message's numbers without what pads its rows, (H, W, channels), perhaps a view of its data."""
    width, height = message.width, message.height
    row_bytes = width * channels * kind.itemsize
    if not (width and height and message.step >= row_bytes):
        raise MessageRefusedError(
            "size",
            f"the image is {width} x {height} px with {message.step} bytes a row, {row_bytes} are needed: the driver's "
            "message is damaged",
        )
    if len(message.data) < message.step * height:
        raise MessageRefusedError(
            "size",
            f"the image has {len(message.data)} bytes, {message.step} x {height} are needed: the driver's message is "
            "damaged",
        )
    rows = np.frombuffer(message.data, dtype=np.uint8, count=message.step * height).reshape(height, message.step)
    return np.ascontiguousarray(rows[:, :row_bytes]).view(kind).reshape(height, width, channels)


def camera_info_message(matrix: FloatArray, image_size: tuple[int, int], stamp_ns: int, frame: str) -> CameraInfo:
    """Of a rectified camera: no distortion, ``matrix`` (3, 3) in pixels, size as (width, height)."""
    message = CameraInfo(width=image_size[0], height=image_size[1], distortion_model=_DISTORTION_MODEL)
    message.header.stamp, message.header.frame_id = stamp_of(stamp_ns), frame
    message.d = [0.0] * 5
    message.k = matrix.ravel().tolist()
    message.r = np.eye(3).ravel().tolist()
    message.p = np.hstack([matrix, np.zeros((3, 1))]).ravel().tolist()
    return message


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


def lens_from(message: CameraInfo) -> Lens:
    """The lens of the images as taken (``image_raw``).

    Raises:
        ValueError: not calibrated, another distortion model, or numbers no lens has.
    """
    matrix, distortion = np.array(message.k).reshape(3, 3), np.array(message.d)
    if not matrix.any():
        raise ValueError(
            "camera_info has no intrinsics (K is zero): calibrate the lens with the driver's tool, or take 30 views "
            "and more without intrinsics (--estimate-lens)"
        )
    if message.distortion_model not in ("", _DISTORTION_MODEL) or len(distortion) > 5:
        raise ValueError(
            f"camera_info has distortion {message.distortion_model!r} with {len(distortion)} numbers, readable is "
            f"{_DISTORTION_MODEL} with up to 5: rectify the images first, or use --estimate-lens"
        )
    if message.binning_x > 1 or message.binning_y > 1 or message.roi.width or message.roi.height:
        raise ValueError("camera_info has binning or a region of interest: use the camera's full image")
    padded = np.zeros(5)
    padded[: len(distortion)] = distortion
    return Lens(matrix=matrix, distortion=padded, image_size=(message.width, message.height))
