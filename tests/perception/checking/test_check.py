"""``vlajs perception check`` on rendered pictures, with a detector that knows the truth and adds to it."""

import csv
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.seen_episode import detection_of
from vlajs_perception.checking.accuracy import LOOKED_FOR, Row, check
from vlajs_perception.checking.commands import ANYWHERE, CheckConfig, run
from vlajs_perception.checking.commands import check as command
from vlajs_perception.checking.pictures import Picture, PicturesError, names_in, pictures
from vlajs_perception.checking.report import worst
from vlajs_perception.detection.detection import Detection
from vlajs_perception.estimator_settings import EstimatorSettings
from vlajs_perception.rendering.dataset import DatasetSettings, render_dataset
from vlajs_perception.rendering.scene import Ranges
from vlajs_perception.rigid import transform

SETTINGS = EstimatorSettings(work_area=ANYWHERE)
COUNT = 8


class Knowing:
    """Answers from the truth, by the picture's bytes."""

    def __init__(
        self,
        known: list[Picture],
        *,
        noise_px: float = 0.5,
        ghost: bool = False,
        double: bool = False,
        blind: bool = False,
    ) -> None:
        self.known = {picture.image_rgb.tobytes(): picture for picture in known}
        self.noise_px, self.ghost, self.double, self.blind = noise_px, ghost, double, blind
        self.rng = np.random.default_rng(4)

    def detect(self, image_rgb: np.ndarray) -> list[Detection]:
        picture = self.known[image_rgb.tobytes()]
        found = [] if self.blind else [self.of(picture, item) for item in picture.objects if item.labelled]
        absent = {"cube", "peg"} - {item.name for item in picture.objects}
        if self.ghost and found:
            found += [
                Detection(name=name, score=0.6, box_px=found[0].box_px, numberings=found[0].numberings)
                for name in absent
            ]
        if self.double and "peg" in absent:  # one that lies where there is none
            height, width = image_rgb.shape[:2]
            middle_m = picture.camera.on_plane((width / 2, height / 2), float(LOOKED_FOR["peg"].half_size_m[2]))
            lies = transform(middle_m, np.eye(3))
            found.append(detection_of(LOOKED_FOR["peg"], lies, self.rng, noise_px=self.noise_px, camera=picture.camera))
        return found

    def of(self, picture: Picture, item: object) -> Detection:
        return detection_of(
            item.model,  # type: ignore[attr-defined]
            item.object_in_base,  # type: ignore[attr-defined]
            self.rng,
            noise_px=self.noise_px,
            camera=picture.camera,
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    ranges = Ranges(arm=0.0, clutter=0.0, present=(0.8, 0.5, 0.0, 0.3), lifted=0.4)
    render_dataset(folder, DatasetSettings(seed=3, width_px=640, height_px=480, ranges=ranges), COUNT)
    return folder


@pytest.fixture(scope="module")
def known(folder: Path) -> list[Picture]:
    return list(pictures(folder, names_in(folder)))


HIDDEN = "000003"
"""A cube floats before one end of its peg: edges there are the cube's, and worse than corners that are known."""


def test_a_detector_that_knows_is_found_good(known: list[Picture]) -> None:
    known = [picture for picture in known if picture.name != HIDDEN]
    rows, summaries = check(known, Knowing(known, noise_px=0.1), SETTINGS, table_only=True)
    seen = [item for picture in known for item in picture.objects if item.labelled and item.lies]
    assert len(rows) == len(seen) > 0
    assert {row.outcome for row in rows} == {"measured"}
    # 0.1 px is about 0.1 mm at a metre; the fit takes several corners together
    assert all(summary.median_mm < 1.0 and summary.median_deg < 1.5 for summary in summaries)
    assert {summary.name: summary.images for summary in summaries} == {
        name: sum(item.name == name for item in seen) for name in {item.name for item in seen}
    }


def test_what_is_checked_are_poses_that_edges_have_moved(known: list[Picture]) -> None:
    # corners off by 2 px: 1 to 3 mm at a metre, if nothing but them were looked at
    _, summaries = check(known, Knowing(known, noise_px=2.0), SETTINGS, table_only=True)
    assert next(summary for summary in summaries if summary.name == "cube").median_mm < 0.5


def test_a_camera_off_by_a_known_distance_gives_that_error(known: list[Picture]) -> None:
    # every picture's camera moved 10 mm along the base's x: so is everything it finds on the table
    known = [picture for picture in known if picture.name != HIDDEN]
    moved = []
    for picture in known:
        pose = picture.camera.camera_in_base.copy()
        pose[0, 3] += 0.01
        camera = type(picture.camera)(matrix=picture.camera.matrix, camera_in_base=pose)
        moved.append(Picture(name=picture.name, image_rgb=picture.image_rgb, camera=camera, objects=picture.objects))
    rows, summaries = check(moved, Knowing(known, noise_px=1e-3), SETTINGS, table_only=True)
    assert rows
    for summary in summaries:
        assert summary.median_mm == pytest.approx(10.0, abs=0.2)
        assert summary.p95_mm == pytest.approx(10.0, abs=0.4)
        assert summary.median_deg < 0.3


def test_what_is_missed_or_made_up_is_counted(known: list[Picture]) -> None:
    rows, _ = check(known, Knowing(known, blind=True), SETTINGS, table_only=False)
    assert {row.outcome for row in rows} == {"missed"}
    # another object's corners, called a peg, are detected and never a peg's
    rows, summaries = check(known, Knowing(known, ghost=True), SETTINGS, table_only=False)
    told = sum(
        any(item.labelled for item in p.objects) and all(item.name != "peg" for item in p.objects) for p in known
    )
    pegs = next(item for item in summaries if item.name == "peg")
    assert (pegs.false_detections, pegs.false_positives) == (told, 0)
    assert told > 0
    # a peg's corners where there is no peg are a false pose
    rows, summaries = check(known, Knowing(known, double=True), SETTINGS, table_only=False)
    without = sum(all(item.name != "peg" for item in p.objects) for p in known)
    assert next(item for item in summaries if item.name == "peg").false_positives == without > 0
    assert worst(rows)[0].outcome == "false positive"


def test_what_no_hand_holds_is_not_measured_in_the_air(known: list[Picture]) -> None:
    """The pictures have no arm: with the hand known, a free fit is refused; the one that lies is measured."""
    floating = [
        replace(p, objects=tuple(replace(item, lies=True) for item in p.objects))  # pretend that they were to lie
        for p in known
    ]
    lifted = {p.name for p in known if any(o.labelled and not o.lies and o.name == "cube" for o in p.objects)}
    rows, _ = check(floating, Knowing(known, noise_px=0.1), SETTINGS, table_only=True)
    outcomes = {row.picture: row.outcome for row in rows if row.name == "cube"}
    assert lifted
    assert {outcomes[name] for name in lifted} == {"no fit"}
    assert {outcome for name, outcome in outcomes.items() if name not in lifted} == {"measured"}
    unknown = [replace(p, tool_in_base=None) for p in floating]
    rows, _ = check(unknown, Knowing(known, noise_px=0.1), SETTINGS, table_only=True)
    assert {row.outcome for row in rows if row.name == "cube" and row.picture in lifted} == {"measured"}


def test_the_worst_come_first() -> None:
    rows = [Row(picture=str(mm), name="cube", outcome="measured", error_mm=float(mm)) for mm in range(30)]
    rows.append(Row(picture="m", name="cube", outcome="missed"))
    assert [row.picture for row in worst(rows)] == ["m", *map(str, range(29, 14, -1))]


def test_the_run_prints_results_and_writes_the_report(
    folder: Path, known: list[Picture], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = CheckConfig(data=folder, detector=Path("known"), report=tmp_path / "report", images=5)
    run(config, Knowing(known))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("RESULT ")]
    names = {item.name for picture in known[:5] for item in picture.objects if item.labelled}
    assert {line.split()[1] for line in lines} == {f"object={name}" for name in names}
    assert all(" median_mm=" in line and " p95_mm=" in line and " false_positives=0" in line for line in lines)
    with (tmp_path / "report/errors.csv").open() as file:
        table = list(csv.DictReader(file))
    assert {row["picture"] for row in table} <= {f"{index:06d}" for index in range(5)}
    assert all(float(row["error_mm"]) >= 0 for row in table if row["outcome"] == "measured")
    gallery = cv2.imread(str(tmp_path / "report/failures.png"))
    assert gallery is not None
    assert gallery.shape[1] == 4 * 400


def test_refusals(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(PicturesError, match="holds no pictures with truth: make some"):
        names_in(tmp_path)
    (tmp_path / "truth").mkdir()
    (tmp_path / "images").mkdir()
    (tmp_path / "truth/000000.json").write_text('{"matrix": []}')
    with pytest.raises(PicturesError, match="is missing or no picture"):
        next(pictures(tmp_path, ["000000"]))
    (tmp_path / "images/000000.jpg").write_bytes((folder / "images/000000.jpg").read_bytes())
    with pytest.raises(PicturesError, match=r"is damaged .*delete it and render"):
        next(pictures(tmp_path, ["000000"]))
    assert command([str(folder), "--detector", str(tmp_path / "none.onnx")]) == 2
    assert "none.onnx: no such file; train one" in capsys.readouterr().err
