"""From a training run's checkpoint to one ONNX file that says what it is, and a card to read."""

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from vlajs_perception.detection.engine import LICENCE
from vlajs_perception.detection.inference import installed_runtime, open_network
from vlajs_perception.detection.letterbox import Letterbox
from vlajs_perception.detection.model_file import (
    METADATA_KEY,
    DetectorCard,
    graph_and_metadata,
    metadata_of,
    read_model,
)
from vlajs_perception.files import write_whole
from vlajs_perception.rendering.dataset import DatasetError
from vlajs_perception.rendering.labels import CORNERS
from vlajs_perception.rendering.scene import CLASS_NAMES, GOAL

_SAME_PX, _SAME_SHARE = 0.3, 0.03
"""Boxes and keypoints that move by less, in pixels of the input, and scores and confidences, are the same."""
_COMPARED_PICTURES, _COMPARED_PLACES = 4, 20
_MIN_HALVED = 64
"""Constants of fewer numbers stay as they are: they weigh nothing, and some are sizes and offsets."""


def export_detector(
    checkpoint: Path,
    run: Path,
    recipe: dict[str, Any],
    figures: dict[str, float],
    image_size_px: int,
    output: Path,
    pictures: list[Path],
) -> DetectorCard:
    """Write the detector and its card.

    Weights are stored in half precision if that moves nothing on these pictures, else in single precision.

    Args:
        checkpoint: of Ultralytics, of this run.
        run: folder for what arises on the way.
        recipe: what the detector follows from.
        figures: of the validation pictures.
        image_size_px: longer side of its input.
        output: the ``.onnx`` file; its card goes beside it, with suffix ``.md``.
        pictures: on which to look for what half precision changes.

    Raises:
        RuntimeMissingError: nothing to run a network is installed.
        OSError: the disk is full, or the like.
    """
    card = DetectorCard(
        classes=CLASS_NAMES,
        keypoint_counts=tuple(1 if kind == GOAL else CORNERS for kind in range(len(CLASS_NAMES))),
        slots=CORNERS,
        image_size_px=image_size_px,
        recipe=recipe,
        figures=figures,
        licence=LICENCE,
    )
    copy = run / "export" / "detector.pt"
    copy.parent.mkdir(exist_ok=True)
    shutil.copyfile(checkpoint, copy)
    yolo = importlib.import_module("ultralytics").YOLO(str(copy), task="pose")
    exported = yolo.export(
        format="onnx", dynamic=True, simplify=False, imgsz=image_size_px, device="cpu", verbose=False
    )
    single, half = (packed(Path(exported).read_bytes(), card, halve=halve) for halve in (False, True))
    halved = _same(single, half, image_size_px, pictures, card)
    write_whole(output, half if halved else single)
    card, data = read_model(output)
    text = card_text(card, output.name, len(data), "half" if halved else "single")
    write_whole(output.with_suffix(".md"), text.encode())
    return card


def _same(single: bytes, half: bytes, image_size_px: int, pictures: list[Path], card: DetectorCard) -> bool:
    """Whether two files say the same of the places in pictures where an object is most likely."""
    classes = len(card.classes)
    for picture in pictures[:_COMPARED_PICTURES]:
        image = cv2.imread(str(picture))
        if image is None:
            raise DatasetError(f"{picture} cannot be read: damaged; render it again")
        letterbox = Letterbox.fit(image.shape[:2], image_size_px)
        batch = letterbox.batch_of(np.ascontiguousarray(image[..., ::-1], dtype=np.uint8))
        runs = [open_network(model, letterbox.input_shape, 1, installed_runtime()) for model in (single, half)]
        outputs = [run(batch)[0] for run in runs]
        scores = outputs[0][4 : 4 + classes]
        places = np.argsort(-scores.max(axis=0))[:_COMPARED_PLACES]
        change = np.abs(outputs[0] - outputs[1])[:, places]
        shares = np.concatenate([change[4 : 4 + classes], change[4 + classes + 2 :: 3]])
        change[4 : 4 + classes] = change[4 + classes + 2 :: 3] = 0.0
        if not (change.max() <= _SAME_PX and shares.max() <= _SAME_SHARE):
            return False
    return True


def packed(model: bytes, card: DetectorCard, *, halve: bool) -> bytes:
    """An ONNX file with this card as its only metadata.

    Args:
        model: an ONNX file.
        card: of it.
        halve: store weights in half precision. They are widened again when they are loaded, and it is computed in
            single precision. Checkpoints hold half precision already: what is lost is the rounding of weights that were
            fused with their normalisation.
    """
    onnx: Any = importlib.import_module("onnx")
    network = onnx.load_model_from_string(model)
    if halve:
        _halve_weights(onnx, network.graph)
    del network.metadata_props[:]
    network.doc_string, network.producer_name, network.producer_version = "", "vlajs", ""
    graph, _ = graph_and_metadata(network.SerializeToString())
    entry = network.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, metadata_of(card, graph)
    onnx.checker.check_model(network)
    return network.SerializeToString()


def _halve_weights(onnx: Any, graph: Any) -> None:
    widen = []
    for weights in graph.initializer:
        if weights.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(weights)
        if values.size < _MIN_HALVED or abs(values).max() > 6e4:  # half precision ends at 65504
            continue
        name, half = weights.name, f"{weights.name}_half"
        weights.CopyFrom(onnx.numpy_helper.from_array(values.astype("float16"), half))
        widen.append(onnx.helper.make_node("Cast", [half], [name], f"{name}_widen", to=onnx.TensorProto.FLOAT))
    nodes = list(graph.node)
    del graph.node[:]
    graph.node.extend(widen + nodes)


def card_text(card: DetectorCard, name: str, size_bytes: int, precision: str) -> str:
    """What to know of a detector, as Markdown."""
    recipe = card.recipe
    counts = ", ".join(f"{kind} ({count})" for kind, count in zip(card.classes, card.keypoint_counts, strict=True))
    folders = [
        f"| {role} | {folder['folder']} | {folder['images']} | {folder['settings'].get('seed')} |"
        for role in ("data", "validation")
        for folder in recipe[role]
    ]
    figures = [f"| {figure} | {value:.3f} |" for figure, value in card.figures.items()]
    return "\n".join(
        [
            f"# {name}",
            "",
            f"Finds and counts the keypoints of {counts}, each by two rules, in pictures scaled to",
            f"{card.image_size_px} px on the longer side. {size_bytes / 1e6:.1f} MB, weights in {precision} precision.",
            "Made by `vlajs perception train`.",
            "",
            f"Licence of the weights: {card.licence}.",
            "",
            "| role | folder | images | seed |",
            "| --- | --- | --- | --- |",
            *folders,
            "",
            "| figure, validation pictures, last epoch | |",
            "| --- | --- |",
            *figures,
            "",
            "## Recipe",
            "```json",
            json.dumps(recipe, indent=1),
            "```",
            "",
        ]
    )
