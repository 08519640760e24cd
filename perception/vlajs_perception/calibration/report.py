"""What a calibration says of itself: a few lines of text, a line for scripts, and a picture to look at."""

import cv2
import numpy as np
from numpy.typing import NDArray

from vlajs_perception.calibration.board import Image, png_of
from vlajs_perception.calibration.calibrate import Calibrated
from vlajs_perception.calibration.calibration_file import Calibration
from vlajs_perception.calibration.problem import Problem, Unknowns
from vlajs_perception.calibration.views import Kind, View

FloatArray = NDArray[np.float64]

MIN_WIDTH_PX = 1280
"""Small images are enlarged to at least this, so that a pixel can be seen."""
DETECTED_BGR = (80, 220, 80)
EXPECTED_BGR = (60, 60, 255)


def summary(calibration: Calibration, calibrated: Calibrated) -> str:
    """Text for people: where the camera is, how well that is known, and how far each view held out is off."""
    errors, position = calibration.errors, calibration.camera_pose[:3, 3]
    parent = calibration.base_frame if calibration.kind == "eye_to_hand" else calibration.tool_frame
    sigmas_mm = 1e3 * np.sqrt(np.diag(calibration.covariance)[:3])
    lines = [
        f"{calibration.camera_frame} in {parent}: x {position[0]:.4f}, y {position[1]:.4f}, z {position[2]:.4f} m "
        f"(+- {sigmas_mm[0]:.1f}, {sigmas_mm[1]:.1f}, {sigmas_mm[2]:.1f} mm)",
        f"uncertainty: +- {errors.sigma_mm:.2f} mm, +- {errors.sigma_deg:.3f} degrees (one standard deviation, whole)",
        f"points are off by {errors.pixel_px:.2f} px, tool poses by {errors.tool_mm:.2f} mm and {errors.tool_deg:.3f} "
        "degrees (each axis)",
        f"fitted to {errors.views} views: {', '.join(map(str, calibrated.used))}; held out {errors.views_held_out}:",
    ]
    lines += [
        f"  view {number}: {1e3 * off.distance_m:.2f} mm, {np.degrees(off.angle_rad):.2f} degrees, {off.rms_px:.2f} px"
        for number, off in calibrated.held_out.items()
    ]
    return "\n".join(lines)


def result_line(calibration: Calibration) -> str:
    """The line a calibration ends with, for scripts."""
    errors = calibration.errors
    return (
        f"RESULT kind={calibration.kind} views={errors.views} held_out={errors.views_held_out} "
        f"sigma_mm={errors.sigma_mm:.3f} sigma_deg={errors.sigma_deg:.4f} held_out_mm={errors.held_out_mm:.3f} "
        f"held_out_deg={errors.held_out_deg:.4f} pixel_px={errors.pixel_px:.3f} tool_mm={errors.tool_mm:.3f}"
    )


def overlay_png(image: Image, kind: Kind, unknowns: Unknowns, view: View) -> bytes:
    """A view with a green circle where each point was found and a red cross where it is expected.

    Args:
        image: the view's image as taken, shape (H, W) or (H, W, 3).
        kind: what the two poses are.
        unknowns: the calibration.
        view: what was found in the image.
    """
    found = view.detection.pixels
    expected = found + Problem(kind, [view]).residual_px(unknowns)
    factor = max(1, int(np.ceil(MIN_WIDTH_PX / image.shape[1])))
    canvas = image if image.ndim == 3 else np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    canvas = np.asarray(cv2.resize(canvas, None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST), dtype=np.uint8)
    for at in _enlarged(found, factor):
        cv2.circle(canvas, at, 4 * factor, DETECTED_BGR, 1, cv2.LINE_AA)
    for at in _enlarged(expected, factor):
        cv2.drawMarker(canvas, at, EXPECTED_BGR, cv2.MARKER_CROSS, 5 * factor, 1)
    rms = float(np.sqrt(np.mean(np.sum((expected - found) ** 2, axis=-1))))
    text = f"view {view.number}: circles found, crosses expected, {rms:.2f} px apart"
    height, width = canvas.shape[:2]
    cv2.rectangle(canvas, (0, height - 44), (width, height), (0, 0, 0), cv2.FILLED)
    cv2.putText(canvas, text, (12, height - 14), cv2.FONT_HERSHEY_SIMPLEX, 0.8, (255, 255, 255), 1, cv2.LINE_AA)
    return png_of(canvas)


def _enlarged(pixels: FloatArray, factor: int) -> list[tuple[int, int]]:
    """Pixels (N, 2) of the enlarged image; those far outside are drawn at its edge's far side."""
    moved = np.clip(np.round((pixels + 0.5) * factor - 0.5), -(10**5), 10**5).astype(int)
    return [(int(u), int(v)) for u, v in moved]
