"""The camera behind a stream of images: what it says of itself against what is known of it, rectified where needed."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vlajs_perception.calibration.calibration_file import Calibration
from vlajs_perception.camera import Camera
from vlajs_perception.rigid import FloatArray, checked_transform

MATRIX_TOLERANCE = 0.02
"""Share of the focal length by which a stream's intrinsics may differ from the calibration's."""


class OpticsError(ValueError):
    """A camera that cannot be measured with; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class CameraFacts:
    """What a camera driver says of its images.

    Attributes:
        size_px: width and height.
        matrix: shape (3, 3), all zero where the driver has no calibration.
        distortion: any number of coefficients; all zero or none: there is no distortion.
    """

    size_px: tuple[int, int]
    matrix: FloatArray
    distortion: FloatArray

    @property
    def calibrated(self) -> bool:
        """Whether the driver states intrinsics at all."""
        return bool(np.any(self.matrix != 0.0))

    @property
    def distorted(self) -> bool:
        """Whether the images still have to be rectified."""
        return bool(np.any(self.distortion != 0.0))


class Optics:
    """Cameras and rectified images of one stream."""

    def __init__(
        self,
        facts: CameraFacts,
        *,
        calibration: Calibration | None = None,
        camera_in_base: FloatArray | None = None,
    ) -> None:
        """A camera whose statements fit what is known of it.

        Args:
            facts: what its driver says.
            calibration: its calibration; then the driver's intrinsics are only compared with it.
            camera_in_base: shape (4, 4), pose of its optical frame where there is no calibration; the driver's
                intrinsics are then used.

        Raises:
            OpticsError: numbers that are not finite, another image size or other intrinsics than the calibration's,
                distortion that nothing rectifies, or neither or both of calibration and pose.
            TransformError: a pose that is none.
        """
        if (calibration is None) == (camera_in_base is None):
            raise OpticsError("missing calibration: give a calibration file, or a camera's known pose, and not both")
        if not (np.all(np.isfinite(facts.matrix)) and np.all(np.isfinite(facts.distortion))):
            raise OpticsError(
                f"camera_info holds numbers that are not finite: k {facts.matrix.ravel().tolist()}, d "
                f"{facts.distortion.tolist()}: the driver has no calibration or a broken one"
            )
        self.size_px = facts.size_px
        self._calibration = calibration
        self._maps: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
        if calibration is not None:
            _check_against(calibration, facts)
            if np.any(calibration.lens.distortion != 0.0):
                self._maps = _rectifying_maps(calibration)
        else:
            _check_alone(facts)
            assert camera_in_base is not None, "checked above"
            pose = checked_transform(camera_in_base, "camera_in_base")
            self._camera = Camera(matrix=facts.matrix, camera_in_base=pose)

    @property
    def rides_on_tool(self) -> bool:
        """Whether the camera's pose needs the tool's."""
        return self._calibration is not None and self._calibration.kind == "eye_in_hand"

    def camera(self, tool_in_base: FloatArray | None) -> Camera:
        """The rectified camera at the time of an image, the tool's pose (4, 4) being that of then.

        Raises:
            OpticsError: the camera rides on the tool, whose pose is not known.
        """
        if self._calibration is None:
            return self._camera
        if not self.rides_on_tool:
            return self._calibration.camera()
        if tool_in_base is None:
            raise OpticsError(
                "the camera rides on the tool, whose pose at the time of the image is not known: is the bridge "
                "running, and do its clock and the camera's agree?"
            )
        return self._calibration.camera(tool_in_base)

    def rectify(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """An image (H, W, 3) without distortion; the same one where there is none."""
        if self._maps is None:
            return image
        return np.asarray(cv2.remap(image, *self._maps, cv2.INTER_LINEAR), dtype=np.uint8)

    def rectify_depth(self, depth_m: NDArray[np.float32]) -> NDArray[np.float32]:
        """A depth image (H, W) without distortion; depths are never mixed."""
        if self._maps is None:
            return depth_m
        return np.asarray(cv2.remap(depth_m, *self._maps, cv2.INTER_NEAREST), dtype=np.float32)


def _check_against(calibration: Calibration, facts: CameraFacts) -> None:
    lens = calibration.lens
    if lens.image_size != facts.size_px:
        raise OpticsError(
            f"camera_info says {facts.size_px[0]} x {facts.size_px[1]} px, the calibration of "
            f"{calibration.measured_on} is for {lens.image_size[0]} x {lens.image_size[1]} px: set the camera to that, "
            "or calibrate at this size"
        )
    if facts.calibrated:
        off = float(np.abs(facts.matrix - lens.matrix).max() / lens.matrix[0, 0])
        if off > MATRIX_TOLERANCE:
            raise OpticsError(
                f"camera_info's intrinsics {facts.matrix.tolist()} differ from the calibration's "
                f"{lens.matrix.tolist()} by {100 * off:.1f} % of the focal length (limit {100 * MATRIX_TOLERANCE:g} "
                "%): another camera, crop or zoom; calibrate this one"
            )
    if facts.distorted and not np.any(lens.distortion != 0.0):
        raise OpticsError(
            f"camera_info says the images are distorted ({facts.distortion.tolist()}), the calibration knows no "
            "distortion: subscribe to the rectified images, or calibrate with --refine-lens"
        )


def _check_alone(facts: CameraFacts) -> None:
    if not facts.calibrated:
        raise OpticsError("missing calibration: camera_info has no intrinsics (k is all zero); calibrate the camera")
    if facts.distorted:
        raise OpticsError(
            f"the images are distorted ({facts.distortion.tolist()}) and nothing rectifies them: subscribe to the "
            "rectified images, or give a calibration file"
        )


def _rectifying_maps(calibration: Calibration) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    lens = calibration.lens
    one, other = cv2.initUndistortRectifyMap(
        lens.matrix, lens.distortion, np.eye(3), lens.matrix, lens.image_size, cv2.CV_32FC1
    )
    return np.asarray(one, dtype=np.float32), np.asarray(other, dtype=np.float32)
