"""A detector's file: an ONNX network that says in its metadata what its numbers mean, checked before anything runs it.

The metadata is read from the file's bytes (a protobuf), so that a file is refused with the reason before a runtime sees
it, whichever runtime that is.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vlajs_perception.numbering import NUMBERINGS

FORMAT = 1
"""Of the metadata; a detector of another one is refused."""
METADATA_KEY = "vlajs_detector"
STRIDE_PX = 32
"""Sides of the network's input are multiples of it."""

_GRAPH, _METADATA = 7, 14
"""Fields of ONNX's ModelProto."""


class ModelFileError(ValueError):
    """The file is no detector that can be used; the message names it, what is wrong and the remedy."""


@dataclass(frozen=True, kw_only=True)
class DetectorCard:
    """What a detector's numbers mean and where it comes from.

    Attributes:
        classes: name of each class, in the network's order.
        keypoint_counts: of each class, how many keypoints of a numbering it has: 8 corners, or 1 for a middle.
        slots: keypoints of a numbering that the network gives, the largest of ``keypoint_counts`` or more.
        image_size_px: longer side of the pictures it was trained on; larger ones are made smaller.
        recipe: data and settings that it follows from.
        figures: of the validation pictures.
        licence: of the weights.
    """

    classes: tuple[str, ...]
    keypoint_counts: tuple[int, ...]
    slots: int
    image_size_px: int
    recipe: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    licence: str = ""

    def __post_init__(self) -> None:
        counts = self.keypoint_counts
        if not self.classes or len(set(self.classes)) != len(self.classes) or not all(self.classes):
            raise ModelFileError(f"classes {list(self.classes)} must be names, each once")
        if len(counts) != len(self.classes) or not all(1 <= count <= self.slots for count in counts):
            raise ModelFileError(f"keypoint counts {list(counts)} must be one a class, in [1, {self.slots}]")
        if not STRIDE_PX <= self.image_size_px <= 4096 or self.image_size_px % STRIDE_PX:
            raise ModelFileError(
                f"image size {self.image_size_px} px must be a multiple of {STRIDE_PX} in [{STRIDE_PX}, 4096]"
            )

    @property
    def channels(self) -> int:
        """Numbers the network gives of each place: box, scores, and (u, v, confidence) of each keypoint."""
        return 4 + len(self.classes) + NUMBERINGS * self.slots * 3


def metadata_of(card: DetectorCard, graph: bytes) -> str:
    """The text to store in the file beside this graph."""
    return json.dumps({"format": FORMAT, "graph_sha256": hashlib.sha256(graph).hexdigest(), **asdict(card)})


def read_model(file: Path) -> tuple[DetectorCard, bytes]:
    """A detector's card and its whole file.

    Raises:
        ModelFileError: not there, not ONNX, cut off, damaged, or no detector of this version.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise ModelFileError(
            f"{file} cannot be read ({error.strerror}): give the .onnx that vlajs perception train made"
        ) from error
    try:
        graph, metadata = graph_and_metadata(data)
    except ModelFileError as error:
        raise ModelFileError(f"{file}: {error}") from error
    if METADATA_KEY not in metadata:
        raise ModelFileError(
            f"{file} has no metadata {METADATA_KEY!r} (it has {sorted(metadata)}): a network of another origin; its "
            "numbers could mean anything; give one that vlajs perception train made"
        )
    try:
        return _card_from(metadata[METADATA_KEY], graph), data
    except ModelFileError as error:
        raise ModelFileError(f"{file}: {error}") from error


def graph_and_metadata(data: bytes) -> tuple[bytes, dict[str, str]]:
    """An ONNX file's graph and its metadata.

    Raises:
        ModelFileError: no ONNX, or cut off.
    """
    graph, metadata = b"", {}
    for number, value in _fields(data):
        if number == _GRAPH:
            graph = value
        elif number == _METADATA:
            entry = dict(_fields(value))
            metadata[_text(entry.get(1, b""))] = _text(entry.get(2, b""))
    if not graph:
        raise ModelFileError(
            f"holds no network ({len(data)} bytes): not an ONNX file, or cut off; copy or train it again"
        )
    return graph, metadata


def _card_from(text: str, graph: bytes) -> DetectorCard:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        raise ModelFileError(f"its metadata is no JSON ({error}): damaged; copy or train it again") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        found = values.get("format") if isinstance(values, dict) else values
        raise ModelFileError(
            f"its metadata has format {found!r}, this version reads {FORMAT}: train it again, or install the vlajs it "
            "was trained with"
        )
    if values.get("graph_sha256") != hashlib.sha256(graph).hexdigest():
        raise ModelFileError("the network is not the one its metadata was written for: damaged; copy or train it again")
    if not isinstance(values.get("classes", []), list):
        raise ModelFileError(f"its classes are {values['classes']!r}, not a list of names: damaged; train it again")
    try:
        return DetectorCard(
            classes=tuple(map(str, values["classes"])),
            keypoint_counts=tuple(map(int, values["keypoint_counts"])),
            slots=int(values["slots"]),
            image_size_px=int(values["image_size_px"]),
            recipe=dict(values["recipe"]),
            figures={str(name): float(value) for name, value in values["figures"].items()},
            licence=str(values["licence"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelFileError(f"its metadata cannot be used ({error!r}): damaged; copy or train it again") from error


# -- protobuf, as much of it as a file of messages needs ------------------------------------------------------------


def _fields(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of every field of a message; what is not of variable length comes without its bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            _, end = _varint(data, at)
            start = end
        elif kind == 2:
            size, start = _varint(data, at)
            end = start + size
        elif kind in (1, 5):
            start = end = at + (8 if kind == 1 else 4)
        else:
            raise ModelFileError(f"no ONNX file (at byte {at}): give the .onnx that vlajs perception train made")
        if number == 0 or end > len(data):
            raise ModelFileError(
                f"ends at byte {len(data)} inside a field that goes on to {end}: cut off, or no ONNX; copy it again"
            )
        yield number, data[start:end]
        at = end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise ModelFileError(f"ends at byte {len(data)} inside a number: cut off, or no ONNX file; copy it again")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value, at
    raise ModelFileError(f"no ONNX file (at byte {at}): give the .onnx that vlajs perception train made")


def _text(data: bytes) -> str:
    return data.decode("utf-8", errors="replace")
