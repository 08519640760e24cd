import numpy as np
import pytest

from vlajs_perception.image_guard import GuardSettings, ImageGuard, ImageRefusedError

MS = 1_000_000
RNG = np.random.default_rng(0)


def image() -> np.ndarray:
    return RNG.integers(0, 255, (4, 5, 3), dtype=np.uint8)


def refusal(guard: ImageGuard, picture: np.ndarray, stamp_ms: int, now_ms: int) -> str:
    with pytest.raises(ImageRefusedError) as caught:
        guard.admit(picture, stamp_ms * MS, now_ms * MS)
    return caught.value.kind


def test_news_is_let_in() -> None:
    guard = ImageGuard()
    for stamp_ms in (100, 133, 166):
        guard.admit(image(), stamp_ms * MS, (stamp_ms + 50) * MS)


def test_what_is_no_news_is_refused() -> None:
    guard, first = ImageGuard(GuardSettings(max_age_s=0.3, max_ahead_s=0.02)), image()
    guard.admit(first, 1000 * MS, 1300 * MS)  # 0.3 s old: just so
    assert refusal(guard, image(), 1010, 1311) == "too old"
    assert refusal(guard, image(), 1400, 1379) == "from the future"
    assert refusal(guard, image(), 1000, 1100) == "stamp stands still"
    assert refusal(guard, image(), 990, 1100) == "stamp stands still"
    assert refusal(guard, first.copy(), 1033, 1100) == "same picture"
    assert refusal(guard, first.copy(), 1066, 1100) == "same picture"  # and goes on being
    one_bit = first.copy()
    one_bit[0, 0, 0] ^= 1
    guard.admit(one_bit, 1100 * MS, 1150 * MS)


def test_a_renderer_may_repeat_itself_and_a_new_time_begins_anew() -> None:
    guard, same = ImageGuard(GuardSettings(refuse_repeats=False)), image()
    guard.admit(same, 1000 * MS, 1000 * MS)
    guard.admit(same, 1033 * MS, 1033 * MS)
    guard.reset()
    guard.admit(same, 10 * MS, 10 * MS)
    with pytest.raises(ValueError, match="max_age_s is 0"):
        GuardSettings(max_age_s=0.0)
