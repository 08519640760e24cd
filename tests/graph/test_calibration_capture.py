"""Views captured from the running twin calibrate its camera and find its tags, where both truly are is known."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.processes import environment, node_words, own_domain, python, wait_for
from vlajs.bringup import TWIN_TABLE_TAGS
from vlajs.cli import dispatch
from vlajs.twin.camera import TwinCameraConfig
from vlajs_perception.calibration.calibrate import calibrate
from vlajs_perception.calibration.folder import ViewFolder
from vlajs_perception.calibration.se3 import step_between
from vlajs_perception.table_tags import TableTags

pytestmark = [pytest.mark.graph, pytest.mark.timeout(900)]

DOMAIN_ID = own_domain()
VIEWS = 12
CAPTURE = ["-m", "vlajs.cli", "calibrate", "capture"]
MOVES = ["--auto", "--twin", "--limits.max-image-age-s", "5"]
MOVES += ["--moves.step-m", "0.0045", "--moves.step-rad", "0.018"]  # half as fast again: nobody stands beside this arm


def capture(folder: Path, count: int, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *CAPTURE, str(folder), "--count", str(count), *words],
        env=environment(DOMAIN_ID),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=800,
        check=False,
    )


@pytest.mark.beside
def test_without_camera_and_bridge_it_says_what_to_start(tmp_path: Path) -> None:
    done = capture(tmp_path / "views", VIEWS, "--twin", "--patience-s", "1")
    assert done.returncode == 1
    assert "nothing on /camera/image_raw" in done.stdout
    assert "vlajs up twin policy:=false camera:=true" in done.stdout
    assert not (tmp_path / "views").exists()


def test_the_camera_is_found_from_views_captured_by_moving_the_arm(tmp_path: Path) -> None:
    address = f"127.77.{DOMAIN_ID}.9"
    # the twin waits for its client: a busy machine makes it slow, and loses no packet
    twin = node_words("twin_node", address=address, command_patience_s=0.5)
    camera = node_words("twin_camera_node", board="true", table_tags=TWIN_TABLE_TAGS)
    bridge = node_words("bridge_node", robot_ip=address, use_sim_time="true", connect_timeout_s=60.0)
    folder = tmp_path / "views"
    with (
        python(DOMAIN_ID, *twin, log=tmp_path / "twin.log"),
        python(DOMAIN_ID, *camera, log=tmp_path / "camera.log"),
        python(DOMAIN_ID, *bridge, log=tmp_path / "bridge.log"),
    ):
        wait_for(lambda: "connected to the arm" in (tmp_path / "bridge.log").read_text(), "the bridge")
        # interrupted after four views, taken up again
        first = capture(folder, 4, *MOVES, "--patience-s", "60")
        assert first.returncode == 0, first.stdout
        done = capture(folder, VIEWS, *MOVES, "--patience-s", "60")
        assert done.returncode == 0, done.stdout
        assert f"{folder}: 4 views, {VIEWS} wanted" in done.stdout
    views = ViewFolder.open(folder)
    found = calibrate(views.info, views.views()).solution.unknowns.camera
    step = step_between(TwinCameraConfig().camera.camera_in_base, found)
    moved_mm, turned_deg = 1e3 * np.linalg.norm(step[:3]), np.degrees(np.linalg.norm(step[3:]))
    print(f"the camera is {moved_mm:.2f} mm and {turned_deg:.3f} degrees off")
    assert moved_mm <= 2.0
    assert turned_deg <= 0.3

    calibration, tags = tmp_path / "camera.yaml", tmp_path / "tags.yaml"
    assert dispatch(["calibrate", "solve", str(folder), "--out", str(calibration)]) == 0
    assert dispatch(["calibrate", "tags", str(folder), "--calibration", str(calibration), "--out", str(tags)]) == 0
    surveyed, true = (TableTags.read(file).corners_in_base_m for file in (tags, TWIN_TABLE_TAGS))
    assert surveyed.keys() == true.keys()
    for tag_id, corners in surveyed.items():
        np.testing.assert_allclose(corners, true[tag_id], atol=3e-3)  # a millimetre of it: they lie over the table
