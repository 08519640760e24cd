"""What camera and cable do to a rendered picture: exposure, colour, blur, noise, compression."""

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def through_the_lens(image: Image, seed: int) -> Image:
    """The picture (H, W, 3) uint8 as a real camera might deliver it; the same for the same seed."""
    rng = np.random.default_rng(seed)
    picture = image.astype(np.float32) / 255.0
    gain = rng.uniform(0.7, 1.3) * rng.uniform(0.93, 1.07, 3)
    picture = (picture ** rng.uniform(0.6, 1.2) * gain).astype(np.float32)
    if rng.random() < 0.4:
        picture = _motion_blur(picture, length_px=int(rng.integers(2, 8)), angle_rad=rng.uniform(0, np.pi))
    if rng.random() < 0.6:
        picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.4))
    # shot noise grows with the root of the light, read noise does not
    shot, read = rng.uniform(0.0, 0.03), rng.uniform(0.0, 0.02)
    deviation = np.sqrt(shot**2 * np.clip(picture, 0, 1) + read**2)
    picture = picture + deviation * rng.standard_normal(picture.shape, dtype=np.float32)
    result = (np.clip(picture, 0, 1) * 255).astype(np.uint8)
    if rng.random() < 0.5:
        _, encoded = cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 95))])
        result = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), dtype=np.uint8)
    return result


def _motion_blur(picture: NDArray[np.float32], length_px: int, angle_rad: float) -> NDArray[np.float32]:
    size = 2 * length_px + 1
    kernel = np.zeros((size, size), np.float32)
    reach = length_px * np.array([np.cos(angle_rad), np.sin(angle_rad)]) / 2
    start, end = (np.round(length_px + sign * reach).astype(int).tolist() for sign in (-1, 1))
    cv2.line(kernel, start, end, 1.0)
    return np.asarray(cv2.filter2D(picture, -1, kernel / kernel.sum()), dtype=np.float32)
