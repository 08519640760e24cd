"""What a detector says of one picture, whoever made it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vlajs_perception.estimate import Keypoints, PoseError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Detection:
    """One object in one picture.

    A symmetric object's corners can be counted in several ways that look alike. Any rule that picks one jumps somewhere
    (a cube's at a quarter turn), and near its jump a network says something between the two. So corners are counted by
    two rules that jump at different orientations, and at least one of the two numberings can be trusted.

    Attributes:
        name: the object's class, ``cube``, ``peg``, ``box`` or ``goal``.
        score: in (0, 1].
        box_px: shape (4,), left, top, right, bottom; pixel (0, 0) is the middle of the first pixel.
        numberings: the object's keypoints by each rule, each in the order of ``vlajs_perception.objects`` up to a
            symmetry of the object.

    Raises:
        PoseError: a score out of range, a box that is none, no numbering.
    """

    name: str
    score: float
    box_px: FloatArray
    numberings: tuple[Keypoints, ...]

    def __post_init__(self) -> None:
        box_px = np.array(self.box_px, dtype=np.float64)
        if box_px.shape != (4,) or not np.all(np.isfinite(box_px)) or np.any(box_px[2:] < box_px[:2]):
            raise PoseError(f"{self.name}: box {box_px.tolist()} is not left, top, right, bottom in finite pixels")
        if not 0.0 < self.score <= 1.0:
            raise PoseError(f"{self.name}: score {self.score} is outside (0, 1]")
        if not self.numberings:
            raise PoseError(f"{self.name}: no keypoints")
        box_px.flags.writeable = False
        object.__setattr__(self, "box_px", box_px)


class Detector(Protocol):
    """Finds objects in a picture."""

    def detect(self, image_rgb: NDArray[np.uint8]) -> list[Detection]:
        """The objects in a rectified picture (H, W, 3), best first.

        Raises:
            ValueError: not an image of 8-bit RGB.
        """
        ...
