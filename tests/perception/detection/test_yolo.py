"""The detector against Ultralytics on the same weights, and every file and picture it refuses."""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.perception.detection.conftest import Trained
from vlajs_perception.detection import inference
from vlajs_perception.detection.export import export_detector
from vlajs_perception.detection.inference import RUNTIMES, Runtime, RuntimeMissingError, installed_runtime
from vlajs_perception.detection.letterbox import Letterbox
from vlajs_perception.detection.model_file import METADATA_KEY, ModelFileError, read_model
from vlajs_perception.detection.yolo import YoloDetector

MIN_SCORE = 0.3
ALL_BUT_ONE = 0.9999


@dataclass(frozen=True, kw_only=True)
class Opinionated:
    """A detector and the weights it was exported from."""

    weights: Path
    file: Path


@pytest.fixture(scope="module")
def opinionated(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Opinionated:
    """The tiny network, which is sure of nothing, with normalisation that fits and the end of its head blown up.

    Scores, boxes and keypoints then differ from place to place, and no two scores tie.
    """
    import torch
    from ultralytics import YOLO

    folder = tmp_path_factory.mktemp("opinionated")
    yolo = YOLO(str(trained.file.with_suffix(".run") / "checkpoint.pt"))
    head = yolo.model.model[-1]
    norms = [layer for layer in yolo.model.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    momentum = norms[0].momentum
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # type: ignore[assignment]
    files = sorted((trained.validation / "images").glob("*.jpg"))
    pictures = np.stack([Letterbox.fit((120, 160), 160).batch_of(read_rgb(file))[0] for file in files])
    with torch.no_grad():
        yolo.model.train()
        yolo.model(torch.from_numpy(pictures))
        yolo.model.eval()
        spread = float(torch.logit(yolo.model(torch.from_numpy(pictures))[0][:, 4:8]).std(dim=(0, 2)).mean())
    for norm in norms:
        norm.momentum = momentum
    for branch, factor in ((head.cv2, 5.0), (head.cv3, 1.5 / spread), (head.cv4, 5.0)):
        for layers in branch:
            layers[-1].weight.data *= factor
            layers[-1].bias.data *= 0.3
    yolo.save(folder / "weights.pt")
    recipe = read_model(trained.file)[0].recipe
    export_detector(folder / "weights.pt", folder, recipe, {}, 160, folder / "opinionated.onnx", files)
    return Opinionated(weights=folder / "export/detector.pt", file=folder / "opinionated.onnx")


def read_rgb(file: Path) -> np.ndarray:
    image = cv2.imread(str(file))
    assert image is not None
    return np.ascontiguousarray(image[..., ::-1])


def picture(trained: Trained, width: int, height: int) -> np.ndarray:
    return cv2.resize(read_rgb(trained.validation / "images/000000.jpg"), (width, height))


@pytest.mark.parametrize("runtime", RUNTIMES)
@pytest.mark.parametrize("width, height", [(160, 120), (213, 131)])
def test_it_says_what_ultralytics_says(
    trained: Trained, opinionated: Opinionated, runtime: Runtime, width: int, height: int
) -> None:
    from ultralytics import YOLO

    image = picture(trained, width, height)
    (theirs,) = YOLO(str(opinionated.weights)).predict(
        image[..., ::-1], imgsz=160, conf=MIN_SCORE, iou=0.5, max_det=1000, device="cpu", verbose=False
    )
    ours = YoloDetector(opinionated.file, threads=1, min_score=MIN_SCORE, runtime=runtime, exact=True).detect(image)
    assert len(ours) == len(theirs.boxes) > 3
    compared = 0
    left = list(ours)  # two scores that are all but one may come in either order
    for box, score, kind, points in zip(
        theirs.boxes.xyxy.numpy(),
        theirs.boxes.conf.numpy(),
        theirs.boxes.cls.numpy(),
        theirs.keypoints.data.numpy(),
        strict=True,
    ):
        name = theirs.names[int(kind)]
        alike = [found for found in left if found.name == name and abs(found.score - score) < 1e-4]
        assert alike, f"{name} of score {score} was not found"
        count = 1 if name == "goal" else 8
        expected = points.reshape(2, 8, 3)[:, :count]
        found = min(alike, key=lambda found: abs(found.score - score))
        left = [other for other in left if other is not found]
        np.testing.assert_allclose(found.box_px + 0.5, box, atol=0.05)  # theirs counts from the edge
        if score > ALL_BUT_ONE:
            continue  # of two places with this score either may have been kept, and their keypoints differ
        compared += 1
        for numbering, by_rule in zip(found.numberings, expected, strict=True):
            np.testing.assert_allclose(numbering.confidence, by_rule[:, 2], atol=1e-3)
            clipped = np.clip(numbering.pixels + 0.5, 0, [width, height])  # theirs moves points into the picture
            np.testing.assert_allclose(clipped, by_rule[:, :2], atol=0.05)
    assert compared > 3


def test_weights_are_halved_only_where_that_changes_nothing(trained: Trained, opinionated: Opinionated) -> None:
    """The tiny network says the same either way; the blown-up one moves its boxes by pixels."""
    assert trained.file.stat().st_size < 7e6 < 11e6 < opinionated.file.stat().st_size
    for file, precision in ((trained.file, "half"), (opinionated.file, "single")):
        assert f"weights in {precision} precision" in file.with_suffix(".md").read_text()


def test_scores_are_best_first_and_obey_the_limit(trained: Trained, opinionated: Opinionated) -> None:
    image = picture(trained, 160, 120)
    every = YoloDetector(opinionated.file, threads=1, min_score=MIN_SCORE).detect(image)
    scores = [found.score for found in every]
    assert scores == sorted(scores, reverse=True)
    limit = scores[1]
    some = YoloDetector(opinionated.file, threads=1, min_score=limit).detect(image)
    assert [found.score for found in some] == [score for score in scores if score >= limit]


@pytest.mark.parametrize(
    "image, complaint",
    [
        (np.zeros((120, 160), np.uint8), r"shape \(120, 160\) and type uint8: expected \(height, width, 3\)"),
        (np.zeros((120, 160, 4), np.uint8), r"shape \(120, 160, 4\)"),
        (np.zeros((120, 160, 3), np.float32), "type float32"),
        (np.zeros((8, 160, 3), np.uint8), r"160 x 8 px: its sides must be in \[32, 8192\]"),
    ],
)
def test_what_is_no_picture_is_refused(trained: Trained, image: np.ndarray, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        YoloDetector(trained.file).detect(image)


def test_parameters_out_of_range_are_refused(trained: Trained) -> None:
    with pytest.raises(ValueError, match="threads = 0: at least 1"):
        YoloDetector(trained.file, threads=0)
    with pytest.raises(ValueError, match=r"min_score = 1.5"):
        YoloDetector(trained.file, min_score=1.5)
    with pytest.raises(ValueError, match="image_size_px = 7 is outside"):
        YoloDetector(trained.file, image_size_px=7)


def rewritten(trained: Trained, to: Path, **changes: object) -> Path:
    """The detector with other metadata; a change to None leaves the entry out."""
    import onnx

    network = onnx.load(str(trained.file))
    (entry,) = network.metadata_props
    values = json.loads(entry.value) | changes
    entry.value = json.dumps({name: value for name, value in values.items() if value is not None})
    to.write_bytes(network.SerializeToString())
    return to


def test_files_that_are_no_detector_are_refused(trained: Trained, tmp_path: Path) -> None:
    import onnx

    whole, bad = trained.file.read_bytes(), tmp_path / "bad.onnx"
    with pytest.raises(ModelFileError, match=r"cannot be read \(No such file.*vlajs perception train"):
        read_model(tmp_path / "none.onnx")
    for data, complaint in [
        (b"", r"holds no network \(0 bytes\)"),
        (b"hello, I am a text file\n", "no ONNX"),
        (whole[: len(whole) // 2], "cut off"),
        (whole[:-1], "cut off"),
    ]:
        bad.write_bytes(data)
        with pytest.raises(ModelFileError, match=complaint):
            read_model(bad)
    at = len(whole) // 2
    bad.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
    with pytest.raises(ModelFileError, match="damaged"):
        read_model(bad)
    network = onnx.load(str(trained.file))
    network.metadata_props[0].key = "other"
    bad.write_bytes(network.SerializeToString())
    with pytest.raises(ModelFileError, match=f"no metadata '{METADATA_KEY}'.*other"):
        read_model(bad)


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"format": 2}, "has format 2, this version reads 1"),
        ({"format": None}, "has format None"),
        ({"classes": ["a", "a", "b", "c"]}, "must be names, each once"),
        ({"classes": None}, r"cannot be used \(KeyError\('classes'\)\)"),
        ({"classes": "cube"}, "classes are 'cube', not a list of names"),
        ({"keypoint_counts": [8, 8, 8, 9]}, r"keypoint counts \[8, 8, 8, 9\] must be one a class, in \[1, 8\]"),
        ({"image_size_px": 100}, "image size 100 px must be a multiple of 32"),
        ({"graph_sha256": "0"}, "damaged"),
    ],
)
def test_metadata_that_cannot_be_used_is_refused(
    trained: Trained, tmp_path: Path, changes: dict[str, object], complaint: str
) -> None:
    with pytest.raises(ModelFileError, match=complaint):
        read_model(rewritten(trained, tmp_path / "bad.onnx", **changes))


def test_a_network_of_other_shape_than_its_metadata_says_is_refused(trained: Trained, tmp_path: Path) -> None:
    # 3 classes and 2 x 8 keypoints are 4 + 3 + 48 = 55 numbers; the network gives 56, at 20^2 + 10^2 + 5^2 places
    file = rewritten(trained, tmp_path / "bad.onnx", classes=["a", "b", "c"], keypoint_counts=[8, 8, 1])
    with pytest.raises(ModelFileError, match=r"shape \(1, 56, 525\).*3 classes.*\(1, 55, 525\)"):
        YoloDetector(file, threads=1).prepare(160, 160)


def test_the_card_says_what_was_trained(trained: Trained) -> None:
    card, data = read_model(trained.file)
    assert card.classes == ("cube", "peg", "box", "goal")
    assert card.keypoint_counts == (8, 8, 8, 1)
    assert card.image_size_px == 160
    assert [folder["settings"]["seed"] for folder in card.recipe["data"] + card.recipe["validation"]] == [1, 2]
    assert card.recipe["settings"]["epochs"] == 1
    assert card.licence.startswith("AGPL-3.0")
    assert set(card.figures) == {
        f"{kind}_{figure}" for kind in ("box", "pose") for figure in ("precision", "recall", "map50", "map50_95")
    }
    # 2.9 million weights of two bytes
    assert 5e6 < len(data) < 7e6
    text = trained.file.with_suffix(".md").read_text()
    assert "AGPL-3.0" in text
    assert "| data | data | 8 | 1 |" in text


def test_a_machine_without_a_runtime_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert installed_runtime() == "openvino"
    monkeypatch.setattr(inference, "RUNTIMES", ("not_installed_here",))
    with pytest.raises(RuntimeMissingError, match=r"pip install 'vlajs-perception\[run\]'"):
        installed_runtime()
