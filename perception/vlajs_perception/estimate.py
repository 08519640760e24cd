"""What a fit takes in and gives out: keypoints in pixels, and a pose in the base with its covariance."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from vlajs_perception.rigid import matrix_of, transform

FloatArray = NDArray[np.float64]

UNOBSERVED_M = 1.0
UNOBSERVED_RAD = float(np.pi)
"""Standard deviations given to what the image says nothing about: as good as not knowing."""

Source = Literal["plane", "box", "free", "held"]


class PoseError(ValueError):
    """Keypoints, a box or a pose from which no estimate can be made."""


@dataclass(frozen=True, kw_only=True)
class Keypoints:
    """What a detector says of one object.

    Attributes:
        pixels: shape (K, 2), in the order of the model's keypoints; of the rectified image.
        confidence: shape (K,), in [0, 1]; the pixel of one with confidence 0 is not looked at and may be NaN. The
            variance of a pixel is taken to grow with 1 / confidence.

    Raises:
        PoseError: wrong shapes, confidence out of range, a pixel that is not finite and has confidence.
    """

    pixels: FloatArray
    confidence: FloatArray

    def __post_init__(self) -> None:
        pixels, confidence = (np.array(value, dtype=np.float64) for value in (self.pixels, self.confidence))
        if pixels.ndim != 2 or pixels.shape[1] != 2 or confidence.shape != pixels.shape[:1]:
            raise PoseError(
                f"pixels and confidence have shapes {pixels.shape} and {confidence.shape}, they must be (K, 2) and (K,)"
            )
        if not np.all((confidence >= 0.0) & (confidence <= 1.0)):
            raise PoseError(f"confidence is {confidence.tolist()}, all must lie in [0, 1]: scores, not logits")
        if not np.all(np.isfinite(pixels[confidence > 0])):
            raise PoseError(f"a keypoint with confidence has no pixel: {pixels.tolist()}: give it confidence 0")
        pixels.flags.writeable = confidence.flags.writeable = False
        object.__setattr__(self, "pixels", pixels)
        object.__setattr__(self, "confidence", confidence)


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Where an object is, in ``panda_link0``, and how well that is known.

    Attributes:
        position_m: shape (3,), of the object's origin.
        quat_wxyz: shape (4,), unit norm.
        covariance: shape (6, 6), of the error: position (m), then the rotation vector (rad) that takes the estimate to
            the truth, both in the base's axes. About ``UNOBSERVED_M`` and ``UNOBSERVED_RAD`` squared along what was
            not seen.
        source: ``plane``, ``box`` (its centre alone: no yaw), ``free`` or ``held``.
        residual_px: root mean square distance of the used keypoints from their projections; None without keypoints.
        keypoints_used: indices of the keypoints that the fit agrees with.

    Raises:
        PoseError: wrong shapes, numbers that are not finite, a quaternion that is no rotation, a covariance that is
            not symmetric and positive definite.
    """

    position_m: FloatArray
    quat_wxyz: FloatArray
    covariance: FloatArray
    source: Source
    residual_px: float | None = None
    keypoints_used: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, shape in (("position_m", (3,)), ("quat_wxyz", (4,)), ("covariance", (6, 6))):
            value = np.array(getattr(self, name), dtype=np.float64)
            if value.shape != shape or not np.all(np.isfinite(value)):
                raise PoseError(f"{name} must be {shape} finite numbers, not shape {value.shape}: {value.tolist()}")
            value.flags.writeable = False
            object.__setattr__(self, name, value)
        if abs(np.linalg.norm(self.quat_wxyz) - 1.0) > 1e-6:
            raise PoseError(f"quat_wxyz {self.quat_wxyz.tolist()} has norm {np.linalg.norm(self.quat_wxyz)}, must be 1")
        skewed = float(np.max(np.abs(self.covariance - self.covariance.T)))
        smallest = float(np.linalg.eigvalsh(self.covariance)[0])
        if skewed > 1e-9 * float(np.max(np.abs(self.covariance))) or smallest <= 0.0:
            raise PoseError(
                f"covariance is off symmetric by {skewed:.1e} and its smallest eigenvalue is {smallest:.1e}: it must "
                "be symmetric and positive definite; give what is known exactly a small variance, not none"
            )

    @property
    def object_in_base(self) -> FloatArray:
        """The pose as a (4, 4) transform."""
        return transform(self.position_m, matrix_of(self.quat_wxyz))

    @property
    def position_std_m(self) -> float:
        """Root of the summed variances of the position."""
        return float(np.sqrt(np.trace(self.covariance[:3, :3])))

    @property
    def rotation_std_rad(self) -> float:
        """Root of the summed variances of the rotation."""
        return float(np.sqrt(np.trace(self.covariance[3:, 3:])))
