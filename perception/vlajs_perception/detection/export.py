"""From a training run's checkpoint to one ONNX file that says what it is, and a card to read."""

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

from vlajs_perception.detection.engine import LICENCE
from vlajs_perception.detection.model_file import (
    METADATA_KEY,
    DetectorCard,
    graph_and_metadata,
    metadata_of,
    read_model,
)
from vlajs_perception.files import write_whole
from vlajs_perception.rendering.labels import CORNERS
from vlajs_perception.rendering.scene import CLASS_NAMES, GOAL

_MIN_HALVED = 64
"""Constants of fewer numbers stay as they are: they weigh nothing, and some are sizes and offsets."""


def export_detector(
    checkpoint: Path, run: Path, recipe: dict[str, Any], figures: dict[str, float], image_size_px: int, output: Path
) -> DetectorCard:
    """Write the detector and its card.

    Args:
        checkpoint: of Ultralytics, of this run.
        run: folder for what arises on the way.
        recipe: what the detector follows from.
        figures: of the validation pictures.
        image_size_px: longer side of its input.
        output: the ``.onnx`` file; its card goes beside it, with suffix ``.md``.

    Raises:
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
    write_whole(output, packed(Path(exported).read_bytes(), card))
    card, data = read_model(output)
    write_whole(output.with_suffix(".md"), card_text(card, output.name, len(data)).encode())
    return card


def packed(model: bytes, card: DetectorCard) -> bytes:
    """An ONNX file with its weights in half precision and this card as its only metadata.

    Checkpoints hold half precision already, so that what is lost is the rounding of weights fused with their
    normalisation. Weights are widened again when they are loaded; it is computed in single precision.
    """
    onnx: Any = importlib.import_module("onnx")
    network = onnx.load_model_from_string(model)
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


def card_text(card: DetectorCard, name: str, size_bytes: int) -> str:
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
            f"{card.image_size_px} px on the longer side. {size_bytes / 1e6:.1f} MB, weights in half precision.",
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
