"""Time a picture of the detector's run time: OpenVINO against ONNX Runtime, letterbox, network and decoding included.

    .venv/bin/python tests/benchmarks/bench_detector.py --pictures 50 --threads 2
    .venv/bin/python tests/benchmarks/bench_detector.py --detector detector.onnx

Without a detector an untrained network of the same shape is used, which takes as long. Pictures are 640 x 480 px noise;
the two take turns picture by picture, so that a busy machine slows both. The ratio is the result.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml

from vlajs_perception.detection.engine import load_engine
from vlajs_perception.detection.export import packed
from vlajs_perception.detection.inference import RUNTIMES
from vlajs_perception.detection.model_file import DetectorCard
from vlajs_perception.detection.training import NETWORK
from vlajs_perception.detection.yolo import YoloDetector
from vlajs_perception.rendering.labels import CORNERS, KEYPOINT_COUNT
from vlajs_perception.rendering.scene import CLASS_NAMES

SIZES_PX = (320, 480, 640)


def untrained(folder: Path) -> Path:
    """A detector that learnt nothing."""
    engine = load_engine(folder / "settings")
    layers = yaml.safe_load((Path(engine.__file__).parent / "cfg/models/11/yolo11-pose.yaml").read_text())
    described = folder / NETWORK
    described.write_text(yaml.safe_dump(layers | {"nc": len(CLASS_NAMES), "kpt_shape": [KEYPOINT_COUNT, 3]}))
    engine.YOLO(str(described), task="pose").save(folder / "untrained.pt")
    yolo = engine.YOLO(str(folder / "untrained.pt"), task="pose")
    exported = yolo.export(format="onnx", dynamic=True, simplify=False, imgsz=320, device="cpu", verbose=False)
    card = DetectorCard(classes=CLASS_NAMES, keypoint_counts=(8, 8, 8, 1), slots=CORNERS, image_size_px=320)
    file = folder / "untrained.onnx"
    file.write_bytes(packed(Path(exported).read_bytes(), card, halve=True))
    return file


def times_ms(detectors: list[YoloDetector], pictures: int) -> np.ndarray:
    """Milliseconds a picture, (pictures, detectors)."""
    rng = np.random.default_rng(1)
    found = np.zeros((pictures, len(detectors)))
    for detector in detectors:
        detector.detect(np.zeros((480, 640, 3), np.uint8))
    for row in found:
        image = rng.integers(0, 255, (480, 640, 3), dtype=np.uint8)
        for column, detector in enumerate(detectors):
            started = time.perf_counter()
            detector.detect(image)
            row[column] = 1e3 * (time.perf_counter() - started)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", type=Path, help="a detector's file")
    parser.add_argument("--pictures", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = given.detector or untrained(Path(folder))
        print(f"{'input':12}" + "".join(f"{name:>14}" for name in RUNTIMES) + f"{'ratio':>8}")
        for size_px in SIZES_PX:
            detectors = [
                YoloDetector(file, threads=given.threads, image_size_px=size_px, runtime=runtime)
                for runtime in RUNTIMES
            ]
            first, second = np.median(times_ms(detectors, given.pictures), axis=0)
            print(f"{size_px:4} px     {first:11.1f} ms{second:11.1f} ms{second / first:7.2f}x")


if __name__ == "__main__":
    main()
