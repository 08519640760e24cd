"""Images and cameras as messages, checked when they come in: a wrong one must not become a wrong pose."""

import array

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image

from vlajs.geometry import FloatArray
from vlajs.nodes.messages import stamp_of
from vlajs_perception.calibration.lens import Lens

Picture = NDArray[np.uint8]

_CHANNELS = {"rgb8": 3, "bgr8": 3, "mono8": 1}
_DISTORTION_MODEL = "plumb_bob"


def image_message(rgb: Picture, stamp_ns: int, frame: str) -> Image:
    """An ``rgb8`` image of shape (H, W, 3)."""
    height, width, channels = rgb.shape
    message = Image(height=height, width=width, encoding="rgb8", is_bigendian=0, step=width * channels)
    message.header.stamp, message.header.frame_id = stamp_of(stamp_ns), frame
    # an array of bytes is taken over as it is; anything else is checked number by number
    message.data = array.array("B", rgb.tobytes())
    return message


def bgr_from(message: Image) -> Picture:
    """The image as OpenCV has it, shape (H, W, 3).

    Raises:
        ValueError: an encoding that is none of rgb8, bgr8 and mono8, or data that do not fit the size.
    """
    channels = _CHANNELS.get(message.encoding)
    if channels is None:
        raise ValueError(
            f"the image is {message.encoding!r}, readable are {', '.join(_CHANNELS)}: set the camera driver's encoding"
        )
    row_bytes = message.width * channels
    if not (message.width and message.height and message.step >= row_bytes):
        raise ValueError(
            f"the image is {message.width} x {message.height} px with {message.step} bytes a row, {row_bytes} are "
            "needed: the driver's message is damaged"
        )
    if len(message.data) != message.step * message.height:
        raise ValueError(
            f"the image has {len(message.data)} bytes, {message.step} x {message.height} are needed: the driver's "
            "message is damaged"
        )
    rows = np.frombuffer(message.data, dtype=np.uint8).reshape(message.height, message.step)[:, :row_bytes]
    pixels = rows.reshape(message.height, message.width, channels)
    if message.encoding == "rgb8":
        pixels = pixels[..., ::-1]
    return np.ascontiguousarray(np.broadcast_to(pixels, (*pixels.shape[:2], 3)))


def camera_info_message(matrix: FloatArray, image_size: tuple[int, int], stamp_ns: int, frame: str) -> CameraInfo:
    """Of a rectified camera: no distortion, ``matrix`` (3, 3) in pixels, size as (width, height)."""
    message = CameraInfo(width=image_size[0], height=image_size[1], distortion_model=_DISTORTION_MODEL)
    message.header.stamp, message.header.frame_id = stamp_of(stamp_ns), frame
    message.d = [0.0] * 5
    message.k = matrix.ravel().tolist()
    message.r = np.eye(3).ravel().tolist()
    message.p = np.hstack([matrix, np.zeros((3, 1))]).ravel().tolist()
    return message


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
