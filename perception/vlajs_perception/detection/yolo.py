"""A trained YOLO pose network as a :class:`Detector`: needs a runtime, neither torch nor Ultralytics."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlajs_perception.detection.decode import Candidate, decode
from vlajs_perception.detection.detection import Detection
from vlajs_perception.detection.inference import Run, Runtime, installed_runtime, open_network
from vlajs_perception.detection.letterbox import Letterbox
from vlajs_perception.detection.model_file import ModelFileError, read_model
from vlajs_perception.estimate import Keypoints
from vlajs_perception.numbering import NUMBERINGS

MIN_SIDE_PX, MAX_SIDE_PX = 32, 8192
"""Of a picture."""


class YoloDetector:
    """Finds the objects of a trained network's classes in pictures.

    The network is made ready for one size of pictures; the first picture of another size takes longer, see
    :meth:`prepare`. One object serves one thread.

    Attributes:
        card: what the file says of itself.
        runtime: what runs it.
    """

    def __init__(
        self,
        file: Path,
        *,
        threads: int = 2,
        min_score: float = 0.5,
        max_overlap: float = 0.5,
        image_size_px: int | None = None,
        runtime: Runtime | None = None,
        exact: bool = False,
    ) -> None:
        """Check the file.

        Args:
            file: that ``vlajs perception train`` made.
            threads: of the processor that a picture may use.
            min_score: of what counts as seen, in (0, 1].
            max_overlap: intersection over union up to which two boxes of a class are two objects, in [0, 1].
            image_size_px: longer side of the network's input, if not the one it was trained with.
            runtime: what runs it; the first installed of ``inference.RUNTIMES`` if not given.
            exact: whether to compute in single precision throughout, see :func:`inference.open_network`.

        Raises:
            ModelFileError: the file cannot be used.
            RuntimeMissingError: nothing to run it is installed.
            ValueError: a parameter out of range.
        """
        if threads < 1:
            raise ValueError(f"threads = {threads}: at least 1")
        if not 0.0 < min_score <= 1.0 or not 0.0 <= max_overlap <= 1.0:
            raise ValueError(f"min_score = {min_score}, max_overlap = {max_overlap}: they lie in (0, 1] and [0, 1]")
        if image_size_px is not None and not MIN_SIDE_PX <= image_size_px <= MAX_SIDE_PX:
            raise ValueError(f"image_size_px = {image_size_px} is outside [{MIN_SIDE_PX}, {MAX_SIDE_PX}]")
        self.card, self._model = read_model(file)
        self.runtime: Runtime = runtime or installed_runtime()
        self._file, self._threads, self._min_score, self._max_overlap = file, threads, min_score, max_overlap
        self._exact = exact
        self._image_size_px = image_size_px or self.card.image_size_px
        self._ready: tuple[Letterbox, Run] | None = None

    def prepare(self, height: int, width: int) -> None:
        """Make ready for pictures of a size, so that the first one is no slower than the others.

        Raises:
            ValueError: a size that no picture has.
            ModelFileError: the network does not do what its metadata says.
        """
        if not (min(height, width) >= MIN_SIDE_PX and max(height, width) <= MAX_SIDE_PX):
            raise ValueError(
                f"a picture of {width} x {height} px: its sides must be in [{MIN_SIDE_PX}, {MAX_SIDE_PX}] px"
            )
        if self._ready is not None and self._ready[0].picture_shape == (height, width):
            return
        letterbox = Letterbox.fit((height, width), self._image_size_px)
        try:
            run = open_network(self._model, letterbox.input_shape, self._threads, self.runtime, exact=self._exact)
        except ModelFileError as error:
            raise ModelFileError(f"{self._file}: {error}") from error
        rows, columns = letterbox.input_shape
        places = sum((rows // stride) * (columns // stride) for stride in (8, 16, 32))
        shape = run(np.zeros((1, 3, rows, columns), dtype=np.float32)).shape
        if shape != (1, self.card.channels, places):
            raise ModelFileError(
                f"{self._file}: the network gives numbers of shape {shape}, its metadata ({len(self.card.classes)} "
                f"classes, {NUMBERINGS} x {self.card.slots} keypoints) means {(1, self.card.channels, places)}: train "
                "it again"
            )
        self._ready = letterbox, run

    def detect(self, image_rgb: NDArray[np.uint8]) -> list[Detection]:
        """The objects in a rectified picture (H, W, 3), best first.

        Keypoints may lie outside the picture; those the network is unsure of have a low confidence.

        Raises:
            ValueError: not an image of 8-bit RGB, or of a size no picture has.
            ModelFileError: the network does not do what its metadata says.
        """
        image = np.asarray(image_rgb)
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
            raise ValueError(
                f"an image of shape {image.shape} and type {image.dtype}: expected (height, width, 3) of uint8, RGB; "
                "convert it first"
            )
        self.prepare(image.shape[0], image.shape[1])
        assert self._ready is not None
        letterbox, run = self._ready
        output = run(letterbox.batch_of(image))[0]
        if not np.isfinite(output).all():
            raise ModelFileError(f"{self._file}: the network gave numbers that are not finite: damaged; train it again")
        found = decode(output, len(self.card.classes), self._min_score, self._max_overlap)
        return [self._detection(candidate, letterbox) for candidate in found]

    def _detection(self, candidate: Candidate, letterbox: Letterbox) -> Detection:
        limits = np.array(letterbox.picture_shape[::-1], dtype=np.float64) - 0.5
        box = np.clip(letterbox.to_picture(candidate.box.reshape(2, 2)), -0.5, limits)
        count = self.card.keypoint_counts[candidate.kind]
        numberings = candidate.keypoints.reshape(NUMBERINGS, self.card.slots, 3)[:, :count]
        return Detection(
            name=self.card.classes[candidate.kind],
            score=candidate.score,
            box_px=box.ravel(),
            numberings=tuple(
                Keypoints(pixels=letterbox.to_picture(points[:, :2]), confidence=np.clip(points[:, 2], 0.0, 1.0))
                for points in numberings
            ),
        )
