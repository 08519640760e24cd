"""Whether an image is news: a camera that froze still delivers pictures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


class ImageRefusedError(ValueError):
    """An image that must not be measured in.

    Attributes:
        kind: one or two words to count it under.
    """

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        super().__init__(message)


@dataclass(frozen=True, kw_only=True)
class GuardSettings:
    """What an image must be to be news.

    Attributes:
        max_age_s: time from its stamp to now.
        max_ahead_s: by how much its stamp may lie in the future, for clocks that differ a little.
        refuse_repeats: whether the same bytes twice are refused; False for a renderer without noise, whose pictures of
            a scene at rest are all the same.

    Raises:
        ValueError: a time that is not positive.
    """

    max_age_s: float = 0.3
    max_ahead_s: float = 0.02
    refuse_repeats: bool = True

    def __post_init__(self) -> None:
        for name in ("max_age_s", "max_ahead_s"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ValueError(f"{name} is {value}, it must be positive and finite")


class ImageGuard:
    """Remembers the last image. One camera, one guard."""

    def __init__(self, settings: GuardSettings | None = None) -> None:
        """A guard that has seen nothing."""
        self.settings = settings or GuardSettings()
        self.reset()

    def reset(self) -> None:
        """Forget the last image: after a clock that jumped."""
        self._last: NDArray[np.uint8] | None = None
        self._newest_ns: int | None = None

    def admit(self, image: NDArray[np.uint8], stamp_ns: int, now_ns: int) -> None:
        """Let an image in that is news.

        Args:
            image: as it came, (H, W, 3); kept, so it must not be written to afterwards.
            stamp_ns: when it was taken.
            now_ns: now, on the same clock.

        Raises:
            ImageRefusedError: too old, from the future, a stamp that does not advance, or the same picture again.
        """
        settings, age_s = self.settings, (now_ns - stamp_ns) / 1e9
        if age_s > settings.max_age_s:
            raise ImageRefusedError(
                "too old",
                f"the image is {age_s:.3f} s old (limit {settings.max_age_s} s): the camera or the link to it is too "
                "slow, or its clock is behind",
            )
        if age_s < -settings.max_ahead_s:
            raise ImageRefusedError(
                "from the future",
                f"the image's stamp lies {-age_s:.3f} s ahead (limit {settings.max_ahead_s} s): the clocks of camera "
                "and this machine disagree, synchronise them",
            )
        if self._newest_ns is not None and stamp_ns <= self._newest_ns:
            raise ImageRefusedError(
                "stamp stands still",
                f"the image's stamp {stamp_ns} ns is not later than the one before, {self._newest_ns} ns: a frozen "
                "camera, or images out of order; restart its driver",
            )
        self._newest_ns = stamp_ns
        last, self._last = self._last, image
        if settings.refuse_repeats and last is not None and np.array_equal(last, image):
            raise ImageRefusedError(
                "same picture",
                "the image is the one before to the last bit although its stamp is later: a frozen camera, no sensor "
                "is without noise; restart its driver",
            )
