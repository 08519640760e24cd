"""From images to poses as a camera delivers them: guard, rectification, detector, estimator, and when to say nothing.

Threads: images are processed on one thread, which may take its time; everything else may be called from any other.
"""

import threading
from collections import Counter, deque
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from vlajs_perception.calibration.calibration_file import Calibration
from vlajs_perception.camera_watch import CameraWatch, Fix
from vlajs_perception.detection.detection import Detector
from vlajs_perception.estimator import PoseEstimator, Report
from vlajs_perception.estimator_settings import View
from vlajs_perception.image_guard import ImageGuard, ImageRefusedError
from vlajs_perception.optics import CameraFacts, Optics, OpticsError
from vlajs_perception.rigid import FloatArray
from vlajs_perception.table_tags import TableTags
from vlajs_perception.tool_history import Gripper, ToolHistory

NS_PER_S = 1_000_000_000
BACKWARD_JUMP_S = 0.5
"""A clock that falls back this far was restarted: what was tracked before is forgotten."""

RATE_WINDOW = 30
"""Images over which the rate and the latency are measured."""


@dataclass(frozen=True, kw_only=True)
class Health:
    """How it goes.

    Attributes:
        refusal: why the newest image was refused, or why there is none; empty if it was measured in.
        refusals: how many images, and detections in them, were refused since the start, by kind of reason.
        images: how many were measured in since the start.
        rate_hz: of those, lately; 0 before the second.
        latency_s: median time from an image's stamp to its poses lately; NaN before the first.
        image_ns: stamp of the last one; None before the first.
        camera: where the table's tags had the camera last; None before that, and without tags.
    """

    refusal: str
    refusals: Counter[str]
    images: int
    rate_hz: float
    latency_s: float
    image_ns: int | None
    camera: Fix | None = None


class Pipeline:
    """One camera, one detector, some objects."""

    def __init__(
        self,
        detector: Detector,
        estimator: PoseEstimator,
        guard: ImageGuard,
        *,
        calibration: Calibration | None = None,
        camera_in_base: FloatArray | None = None,
        table_tags: TableTags | None = None,
    ) -> None:
        """A pipeline that waits for the camera to say what it is.

        Args:
            detector: finds objects.
            estimator: tracks them.
            guard: refuses images that are no news.
            calibration: of the camera, or None.
            camera_in_base: shape (4, 4), its known pose where there is no calibration.
            table_tags: by which a camera that stands is followed; None: it is taken to be where it was calibrated.

        OpenCV is told to use one thread, for the whole process: the parts of pictures that are looked at are small, and
        threads that wait for a core which something else has take longer than the work.
        """
        cv2.setNumThreads(1)
        self._detector = detector
        self._estimator = estimator
        self._guard = guard
        self._calibration, self._camera_in_base = calibration, camera_in_base
        self._watch = None if table_tags is None else CameraWatch(table_tags)
        self._lock = threading.Lock()
        self._tools = ToolHistory()
        self._facts: tuple[object, ...] | None = None
        self._optics: Optics | None = None
        self._latest_ns = 0
        self._image_ns: int | None = None
        self._since_ns = 0
        self._refusal = "no camera_info yet: is the camera running?"
        self._refusals: Counter[str] = Counter()
        self._images = 0
        self._done: deque[tuple[int, float]] = deque(maxlen=RATE_WINDOW)

    @property
    def size_px(self) -> tuple[int, int] | None:
        """Width and height that images must have; None before the camera has said what it is, or if it is refused."""
        optics = self._optics
        return None if optics is None else optics.size_px

    def set_camera(self, facts: CameraFacts) -> None:
        """Take what the camera says of itself; the same again costs nothing.

        Raises:
            OpticsError: it does not fit the calibration, or cannot be; images are refused until it says otherwise.
        """
        key = (facts.size_px, facts.matrix.tobytes(), facts.distortion.tobytes())
        with self._lock:
            if key == self._facts and self._optics is not None:
                return
            self._facts, self._optics = key, None
            try:
                self._optics = Optics(facts, calibration=self._calibration, camera_in_base=self._camera_in_base)
            except OpticsError as error:
                self._note("camera_info", str(error))
                raise
            self._refusal = "no image yet: is the camera running?"

    def add_tool(self, tool_in_base: FloatArray, stamp_ns: int) -> None:
        """Where the tool was, shape (4, 4).

        Raises:
            TransformError: it is no rigid motion.
        """
        with self._lock:
            self._tools.add_pose(tool_in_base, stamp_ns)

    def add_gripper(self, gripper: Gripper, stamp_ns: int) -> None:
        """What the hand did from then on."""
        with self._lock:
            self._tools.add_gripper(gripper, stamp_ns)

    def refuse(self, kind: str, reason: str) -> None:
        """Count an image that could not even be read; no poses until a good one comes."""
        with self._lock:
            self._note(kind, reason)

    def forget(self, now_ns: int) -> None:
        """Know nothing of any object until images taken from now on show it: somebody has set the scene anew."""
        with self._lock:
            self._watch_clock(now_ns)
            self._estimator.reset()
            self._since_ns = now_ns

    def process(
        self, image: NDArray[np.uint8], stamp_ns: int, now_ns: int, depth_m: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.uint8], View]:
        """Measure in an image; blocks for as long as the detector takes.

        Args:
            image: (H, W, 3) RGB as it came, not written to afterwards.
            stamp_ns: when it was taken.
            now_ns: now, on the same clock.
            depth_m: shape (H, W), of the same moment, or None.

        Returns:
            The rectified image, and what was found in it.

        Raises:
            ImageRefusedError: no news, or too old.
            OpticsError: a camera that cannot be measured with, or that the table's tags do not find.
        """
        try:
            with self._lock:
                self._watch_clock(now_ns)
                optics = self._optics
                if optics is None:
                    raise OpticsError(self._refusal)
                self._guard.admit(image, stamp_ns, now_ns)
                tool, gripper = self._tools.tool_at(stamp_ns), self._tools.gripper_at(stamp_ns)
                camera = optics.camera(tool)
            rectified = optics.rectify(image)
            if self._watch is not None:
                camera = self._watch.camera(rectified, camera, stamp_ns)
        except (ImageRefusedError, OpticsError) as error:
            self.refuse(getattr(error, "kind", "calibration"), str(error))
            raise
        view = View(
            stamp_ns=stamp_ns,
            detections=self._detector.detect(rectified),
            camera=camera,
            image_size_px=optics.size_px,
            tool_in_base=tool,
            gripper=gripper,
            depth_m=None if depth_m is None else optics.rectify_depth(depth_m),
            image_rgb=rectified,
        )
        with self._lock:
            if stamp_ns >= self._since_ns:  # an image may have been under way when the scene was set anew
                self._estimator.observe(view, self._tools)
            self._image_ns, self._refusal = stamp_ns, ""
            self._images += 1
        return rectified, view

    def finished(self, now_ns: int) -> None:
        """Note when the poses of the last image were ready, for rate and latency."""
        with self._lock:
            if self._image_ns is not None:
                self._done.append((self._image_ns, (now_ns - self._image_ns) / NS_PER_S))

    def report(self, now_ns: int) -> tuple[int, list[Report]]:
        """Where the objects are now, and the time in ns that this holds for.

        Nothing is known of an object while the newest image is refused or too old, whatever was tracked before.
        """
        with self._lock:
            self._watch_clock(now_ns)
            stamp_ns = now_ns if self._image_ns is None else max(now_ns, self._image_ns)
            reports = self._estimator.at(stamp_ns, self._tools)
            blind = self._blind(stamp_ns)
        if blind:
            reports = [replace(report, pose=None, reason=blind) for report in reports]
        return stamp_ns, reports

    def health(self, now_ns: int) -> Health:
        """How it goes."""
        with self._lock:
            stamps = [stamp_ns for stamp_ns, _ in self._done]
            span_s = (stamps[-1] - stamps[0]) / NS_PER_S if len(stamps) > 1 else 0.0
            return Health(
                refusal=self._blind(now_ns),
                refusals=self._refusals + self._estimator.refusals,
                images=self._images,
                rate_hz=(len(stamps) - 1) / span_s if span_s > 0 else 0.0,
                latency_s=float(np.median([latency_s for _, latency_s in self._done])) if self._done else float("nan"),
                image_ns=self._image_ns,
                camera=None if self._watch is None else self._watch.fix,
            )

    def _blind(self, now_ns: int) -> str:
        """Why nothing is known just now; the lock is held."""
        if self._refusal or self._image_ns is None:
            return self._refusal
        age_s, limit_s = (now_ns - self._image_ns) / NS_PER_S, self._guard.settings.max_age_s
        if age_s > limit_s:
            return f"the last image is {age_s:.3f} s old (limit {limit_s} s): the camera, or the detector, is too slow"
        return ""

    def _note(self, kind: str, reason: str) -> None:
        self._refusals[kind] += 1
        self._refusal = reason

    def _watch_clock(self, now_ns: int) -> None:
        if now_ns < self._latest_ns - BACKWARD_JUMP_S * NS_PER_S:
            self._guard.reset()
            self._estimator.reset()
            self._tools.clear()
            self._done.clear()
            self._since_ns = 0
            self._image_ns, self._refusal = None, "the clock was set back: waiting for images of the new time"
            self._latest_ns = now_ns
        self._latest_ns = max(self._latest_ns, now_ns)
