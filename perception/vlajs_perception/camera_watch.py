"""Where a camera that stands really is: its calibrated pose, corrected or refused by tags on the table.

Somebody runs into the tripod, a clamp gives way: a policy would then act on poses that are all off alike, and nothing
in them tells. With tags in view the camera's pose is measured anew in every picture.
"""

import contextlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vlajs_perception.camera import Camera, CameraError
from vlajs_perception.optics import OpticsError
from vlajs_perception.rigid import FloatArray, exp, inverse, log, transform
from vlajs_perception.table_tags import TableTags, TagFinder

NS_PER_S = 1_000_000_000

Seen = dict[int, FloatArray]
"""Pixels (4, 2) of the corners by id."""


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """What is believed.

    Attributes:
        max_moved_m: a camera that stands further from its calibrated place is refused; it may look past the table.
        max_turned_deg: the same for its orientation.
        agree_px: root mean square distance of the corners seen from those expected; beyond it, tags contradict each
            other, or the last pose.
        min_tags: so many say where the camera is, fewer only that it still is where it was: of two, one that strayed
            looks like a camera that moved.
        max_unseen_s: so long a pose is believed that no picture has confirmed.
    """

    max_moved_m: float = 0.1
    max_turned_deg: float = 10.0
    agree_px: float = 0.7
    min_tags: int = 3
    max_unseen_s: float = 2.0


class CameraMovedError(OpticsError):
    """Where the camera is cannot be told, or it is too far from where it was calibrated.

    Attributes:
        kind: what refusals are counted as.
    """

    kind = "camera pose"


@dataclass(frozen=True, kw_only=True)
class Fix:
    """The camera's pose as the tags of one picture tell it.

    Attributes:
        camera: there.
        stamp_ns: of the last picture that said so, or confirmed it.
        moved_m: distance from the calibrated place.
        turned_deg: angle from the calibrated orientation.
        tags: ids that it rests on.
        strayed: ids of tags that are seen, and not where the file has them.
    """

    camera: Camera
    stamp_ns: int
    moved_m: float
    turned_deg: float
    tags: tuple[int, ...]
    strayed: tuple[int, ...] = ()


class CameraWatch:
    """Follows one camera by the tags of one table. One thread at a time."""

    def __init__(self, tags: TableTags, settings: WatchSettings | None = None) -> None:
        """Nothing has been seen."""
        self._corners = tags.corners_in_base_m
        self._settings = settings or WatchSettings()
        self._finder = TagFinder(self._corners)
        self.fix: Fix | None = None

    def camera(self, rectified: NDArray[np.uint8], calibrated: Camera, stamp_ns: int) -> Camera:
        """The camera as it really stood when a picture was taken.

        Args:
            rectified: (H, W, 3) RGB.
            calibrated: where it was when it was calibrated.
            stamp_ns: when the picture was taken; before the last one's, all begins anew: the clock was set back.

        Raises:
            CameraMovedError: tags contradict each other, are not seen for too long, or the camera stands too far from
                where it was calibrated.
        """
        if self.fix is not None and stamp_ns < self.fix.stamp_ns:
            self.fix = None
        grey = np.asarray(cv2.cvtColor(rectified, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        believed = calibrated if self.fix is None else self.fix.camera
        seen = self._finder.find_near(grey, self._expected(believed))
        fix = self._told_by(seen, calibrated, believed, stamp_ns)
        if fix is None:
            seen = self._finder.find(grey)
            fix = self._told_by(seen, calibrated, believed, stamp_ns)
        if fix is None and not seen and self._age_s(stamp_ns) <= self._settings.max_unseen_s:
            fix = self.fix
        if fix is None:
            raise CameraMovedError(self._why_none(seen, stamp_ns))
        self.fix = fix
        self._require_near(fix)
        return fix.camera

    # -- what tags say ------------------------------------------------------------------------------------------

    def _expected(self, camera: Camera) -> dict[int, FloatArray]:
        """Corners of the tags before the camera."""
        expected = {}
        for tag, corners in self._corners.items():
            with contextlib.suppress(CameraError):  # it is behind the camera
                expected[tag] = camera.project(corners)
        return expected

    def _told_by(self, seen: Seen, calibrated: Camera, believed: Camera, stamp_ns: int) -> Fix | None:
        """The pose that the tags seen give, else the one believed so far if they agree with it."""
        camera, by = self._measured(seen, calibrated) or self._confirmed(seen, believed) or (None, {})
        if camera is None:
            return None
        away = inverse(calibrated.camera_in_base) @ camera.camera_in_base
        return Fix(
            camera=camera,
            stamp_ns=stamp_ns,
            moved_m=float(np.linalg.norm(away[:3, 3])),
            turned_deg=float(np.degrees(np.linalg.norm(log(away[:3, :3])))),
            tags=tuple(sorted(by)),
            strayed=tuple(sorted(set(seen) - set(by))),
        )

    def _measured(self, seen: Seen, calibrated: Camera) -> tuple[Camera, Seen] | None:
        """From all the tags seen, else from all but the one without which the others agree best."""
        least, agree_px = self._settings.min_tags, self._settings.agree_px
        if len(seen) < least:
            return None
        camera, off_px = self._located(seen, calibrated)
        if off_px > agree_px and len(seen) > least:
            fewer = [{tag: seen[tag] for tag in seen if tag != left_out} for left_out in seen]
            fits = [(*self._located(some, calibrated), some) for some in fewer]
            camera, off_px, seen = min(fits, key=lambda fit: fit[1])
        return (camera, seen) if off_px <= agree_px else None

    def _confirmed(self, seen: Seen, believed: Camera) -> tuple[Camera, Seen] | None:
        """The pose believed so far if the tags seen are where it has them."""
        off_px = [_off_px(believed, self._corners[tag], pixels) for tag, pixels in seen.items()]
        return (believed, seen) if off_px and max(off_px) <= self._settings.agree_px else None

    def _located(self, seen: Seen, start: Camera) -> tuple[Camera, float]:
        """Where the camera is by these tags, and how far they are from where they are seen then."""
        points, pixels = np.concatenate([self._corners[tag] for tag in seen]), np.concatenate(list(seen.values()))
        try:
            camera = located(start, points, pixels)
        except CameraError:  # the fit ran away: no camera sees them so
            return start, float("inf")
        return camera, _off_px(camera, points, pixels)

    # -- why not ------------------------------------------------------------------------------------------------

    def _age_s(self, stamp_ns: int) -> float:
        return float("inf") if self.fix is None else (stamp_ns - self.fix.stamp_ns) / NS_PER_S

    def _require_near(self, fix: Fix) -> None:
        settings = self._settings
        if fix.moved_m > settings.max_moved_m or fix.turned_deg > settings.max_turned_deg:
            raise CameraMovedError(
                f"the table's tags say that the camera is {100 * fix.moved_m:.1f} cm and {fix.turned_deg:.1f} degrees "
                f"from where it was calibrated (limits {100 * settings.max_moved_m:g} cm, {settings.max_turned_deg:g} "
                "degrees): put it back, or calibrate it where it is (vlajs calibrate)"
            )

    def _why_none(self, seen: dict[int, FloatArray], stamp_ns: int) -> str:
        wanted = ", ".join(map(str, sorted(self._corners)))
        if not seen:
            since = "yet" if self.fix is None else f"for {self._age_s(stamp_ns):.1f} s"
            return (
                f"none of the table's tags ({wanted}) is seen {since} (limit {self._settings.max_unseen_s:g} s), so "
                "that nothing says where the camera is: is it turned away, are they covered, is it too dark?"
            )
        return (
            f"of the table's tags ({wanted}) the picture shows {', '.join(map(str, sorted(seen)))}: these do not fix "
            f"the camera's pose (too few, or they contradict each other by more than {self._settings.agree_px:g} px) "
            "and are not where its last pose has them: the camera was moved while the others were hidden, or tags were "
            "(measure them again: vlajs calibrate tags)"
        )


def located(start: Camera, points_in_base_m: FloatArray, pixels: FloatArray) -> Camera:
    """The camera with the intrinsics of ``start``, near it, that sees points (N, 3) at pixels (N, 2), N at least 4.

    Raises:
        CameraError: the fit ended at no pose.
    """
    back = inverse(start.camera_in_base)
    rotvec, position = cv2.solvePnPRefineLM(
        points_in_base_m, pixels, start.matrix, None, log(back[:3, :3])[:, None], back[:3, 3:].copy()
    )
    found = transform(np.asarray(position).ravel(), exp(np.asarray(rotvec).ravel()))
    return Camera(matrix=start.matrix, camera_in_base=inverse(found))


def _off_px(camera: Camera, points_in_base_m: FloatArray, pixels: FloatArray) -> float:
    """Root mean square distance; infinite where a point is behind the camera."""
    try:
        apart = camera.project(points_in_base_m) - pixels
    except CameraError:
        return float("inf")
    return float(np.sqrt(np.mean(np.sum(apart**2, axis=-1))))
