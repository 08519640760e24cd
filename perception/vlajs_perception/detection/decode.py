"""From a network's numbers to boxes, scores and keypoints."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

MAX_CANDIDATES = 1000
"""More places than this are never looked at, best first: a scene holds a handful of objects."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An object as the network sees it, in pixels of its input counted from the edge.

    Attributes:
        kind: number of its class.
        score: in (0, 1].
        box: (4,), left, top, right, bottom.
        keypoints: (K, 3), u, v and confidence.
    """

    kind: int
    score: float
    box: FloatArray
    keypoints: FloatArray


def decode(output: NDArray[np.float32], classes: int, min_score: float, max_overlap: float) -> list[Candidate]:
    """The objects in an output, best first; of those of a class that overlap the best alone.

    Args:
        output: (channels, places): middle and size of the box, a score a class, then (u, v, confidence) a keypoint.
        classes: how many scores there are.
        min_score: of what counts as seen.
        max_overlap: intersection over union up to which two boxes of a class are two objects.
    """
    kinds = output[4 : 4 + classes].argmax(axis=0)
    scores = output[4 : 4 + classes].max(axis=0)
    places = np.flatnonzero(scores >= min_score)
    places = places[np.argsort(-scores[places], kind="stable")][:MAX_CANDIDATES]
    chosen = output[:, places].T.astype(np.float64)
    middle, size = chosen[:, :2], chosen[:, 2:4]
    boxes = np.concatenate([middle - size / 2, middle + size / 2], axis=1)
    return [
        Candidate(
            kind=int(kinds[places[index]]),
            score=float(min(scores[places[index]], 1.0)),
            box=boxes[index],
            keypoints=chosen[index, 4 + classes :].reshape(-1, 3),
        )
        for index in suppressed(boxes, kinds[places], max_overlap)
    ]


def suppressed(boxes: FloatArray, kinds: NDArray[np.integer], max_overlap: float) -> list[int]:
    """Indices of the boxes (N, 4), given best first, that no better one of their class overlaps by more."""
    areas = np.prod(np.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), axis=1)
    left = np.arange(len(boxes))
    kept: list[int] = []
    while len(left):
        best, others = left[0], left[1:]
        kept.append(int(best))
        low = np.maximum(boxes[best, :2], boxes[others, :2])
        high = np.minimum(boxes[best, 2:], boxes[others, 2:])
        shared = np.prod(np.maximum(high - low, 0.0), axis=1)
        union = np.maximum(areas[best] + areas[others] - shared, 1e-12)
        left = others[(shared / union <= max_overlap) | (kinds[others] != kinds[best])]
    return kept
