"""Boxes out of numbers, and one box an object."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vlajs_perception.detection.decode import decode, suppressed

TWO_CLASSES = 2


def output(*places: list[float]) -> np.ndarray:
    """Numbers of a network with two classes and one keypoint."""
    return np.array(places, dtype=np.float32).T


def test_a_place_becomes_a_box_with_its_keypoints() -> None:
    # middle (50, 40), 20 wide and 10 high: from (40, 35) to (60, 45); the second class is the likelier
    (found,) = decode(output([50, 40, 20, 10, 0.2, 0.75, 48, 39, 0.5], [10, 10, 4, 4, 0.1, 0.2, 0, 0, 0]), 2, 0.5, 0.5)
    assert found.kind == 1
    assert found.score == 0.75
    np.testing.assert_allclose(found.box, [40, 35, 60, 45])
    np.testing.assert_allclose(found.keypoints, [[48, 39, 0.5]])


def test_the_better_of_two_that_overlap_stays_and_other_classes_do_too() -> None:
    keypoint = [0.0, 0.0, 0.0]
    # 10 x 10 boxes 2 apart share 8 x 10 = 80 of 120: 0.667
    places = [
        [50, 50, 10, 10, 0.6, 0, *keypoint],
        [52, 50, 10, 10, 0.8, 0, *keypoint],
        [51, 50, 10, 10, 0, 0.7, *keypoint],
    ]
    kept = decode(output(*places), TWO_CLASSES, 0.5, 0.6)
    assert [(found.kind, round(found.score, 3)) for found in kept] == [(0, 0.8), (1, 0.7)]
    assert len(decode(output(*places), TWO_CLASSES, 0.5, 0.67)) == 3
    assert decode(output(*places), TWO_CLASSES, 0.9, 0.5) == []


boxes = st.lists(
    st.tuples(*[st.floats(0, 90)] * 2, *[st.floats(1, 40)] * 2, st.integers(0, 1)), min_size=1, max_size=12
)


@settings(max_examples=50, deadline=None)
@given(boxes, st.floats(0.1, 0.9))
def test_what_is_kept_overlaps_little_and_what_is_not_overlaps_something_better(
    drawn: list[tuple[float, float, float, float, int]], limit: float
) -> None:
    corners = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in drawn])
    kinds = np.array([kind for *_, kind in drawn])

    def overlap(one: int, other: int) -> float:
        low, high = np.maximum(corners[one, :2], corners[other, :2]), np.minimum(corners[one, 2:], corners[other, 2:])
        shared = float(np.prod(np.maximum(high - low, 0)))
        return shared / (
            np.prod(corners[one, 2:] - corners[one, :2]) + np.prod(corners[other, 2:] - corners[other, :2]) - shared
        )

    kept = suppressed(corners, kinds, limit)
    assert kept[0] == 0
    for index in range(len(drawn)):
        rivals = [other for other in kept if other < index and kinds[other] == kinds[index]]
        worst = max((overlap(index, other) for other in rivals), default=0.0)
        assert (worst <= limit + 1e-9) if index in kept else (worst > limit - 1e-9)
