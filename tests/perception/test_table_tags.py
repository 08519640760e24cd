"""Tags on the table: where their corners are, their file, and where a picture shows them."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.drawn_tags import TAGS, table_with
from tests.support.seen_episode import CAMERA, IMAGE_SIZE_PX
from vlajs_perception.calibration.errors import CalibrationError
from vlajs_perception.table_tags import TableTag, TableTags, TableTagsError, TagFinder

PICTURE = table_with(TAGS.tags, CAMERA, IMAGE_SIZE_PX)
GREY = cv2.cvtColor(PICTURE, cv2.COLOR_RGB2GRAY)


def test_corners_are_where_the_tag_lies() -> None:
    # not turned, its x is the base's and its y, down as printed, the base's -y: seen from above as it is printed
    tag = TableTag(tag_id=3, size_m=0.1, position_m=(0.5, 0.2, 0.01), yaw_rad=0.0)
    upright = [[0.45, 0.25, 0.01], [0.55, 0.25, 0.01], [0.55, 0.15, 0.01], [0.45, 0.15, 0.01]]
    np.testing.assert_allclose(tag.corners_in_base_m, upright, atol=1e-12)
    # a quarter turn counterclockwise: x as printed is the base's y; top left is at -x, -y of the centre
    quarter = TableTag(tag_id=3, size_m=0.1, position_m=(0.5, 0.2, 0.01), yaw_rad=np.pi / 2)
    np.testing.assert_allclose(quarter.corners_in_base_m[0], [0.45, 0.15, 0.01], atol=1e-12)
    np.testing.assert_allclose(quarter.corners_in_base_m[1], [0.45, 0.25, 0.01], atol=1e-12)


def test_tags_are_found_where_they_are_drawn() -> None:
    for found in (TagFinder().find(GREY), TagFinder().find_near(GREY, _moved(TAGS, 8.0))):
        assert sorted(found) == [0, 1, 2, 3]
        for tag_id, pixels in found.items():
            apart = pixels - CAMERA.project(TAGS.corners_in_base_m[tag_id])
            assert np.abs(apart).max() < 0.4


def test_a_tag_is_not_found_near_where_it_is_not() -> None:
    assert TagFinder().find_near(GREY, _moved(TAGS, 150.0)) == {}
    outside = {0: np.array([[-90.0, -90.0], [-50.0, -90.0], [-50.0, -50.0], [-90.0, -50.0]])}
    assert TagFinder().find_near(GREY, outside) == {}


def test_only_the_tags_asked_for_are_found() -> None:
    some, every = TagFinder([3, 1, 77]).find(GREY), TagFinder().find(GREY)
    assert sorted(some) == [1, 3]
    for tag_id, pixels in some.items():
        np.testing.assert_array_equal(pixels, every[tag_id])


def test_a_tag_that_is_there_twice_is_nowhere() -> None:
    copy = TableTag(tag_id=0, size_m=0.08, position_m=(0.6, 0.0, 0.0), yaw_rad=0.5)
    grey = cv2.cvtColor(table_with([*TAGS.tags, copy], CAMERA, IMAGE_SIZE_PX), cv2.COLOR_RGB2GRAY)
    assert sorted(TagFinder().find(grey)) == [1, 2, 3]


def _moved(tags: TableTags, by_px: float) -> dict[int, np.ndarray]:
    return {tag_id: CAMERA.project(corners) + by_px for tag_id, corners in tags.corners_in_base_m.items()}


def test_the_file_gives_back_what_was_written(tmp_path: Path) -> None:
    TAGS.write(tmp_path / "tags.yaml")
    assert TableTags.read(tmp_path / "tags.yaml") == TAGS


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("version: 1", "version: 2", "version is 2, this program reads 1"),
        ("DICT_APRILTAG_36h11", "DICT_4X4_50", "family is 'DICT_4X4_50'"),
        ("panda_link0", "world", "frame is 'world'"),
        ("size_m: 0.08", "size_m: 80.0", "is it in millimetres"),
        ("size_m: 0.08", "size_m: wide", "size_m of a tag is no number"),
        ("position_m: [0.4, 0.3, 0.0]", "position_m: [400, 300, 0]", "are they millimetres"),
        ("position_m: [0.4, 0.3, 0.0]", "position_m: [0.4, 0.3]", "not three"),
        ("yaw_rad: 1.6", "yaw_rad: .nan", "finite numbers are needed"),
        ("tag_id: 1", "tag_id: 0", "each once"),
        ("tag_id: 1", "tag_id: 999", "has 0 to 586"),
        ("tags:", "marks:", "it must have"),
        ("version: 1", "version: [1", "is not YAML"),
    ],
)
def test_a_file_that_cannot_be_is_refused(tmp_path: Path, old: str, new: str, reason: str) -> None:
    path = tmp_path / "tags.yaml"
    TAGS.write(path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(TableTagsError, match=reason) as refused:
        TableTags.read(path)
    assert str(path) in str(refused.value)
    assert "vlajs calibrate tags" in str(refused.value)


def test_tags_that_cannot_be_are_refused() -> None:
    with pytest.raises(TableTagsError, match="1 to 50 are needed"):
        TableTags(tags=())
    with pytest.raises(CalibrationError, match="tag_id is -1"):
        TableTag(tag_id=-1, size_m=0.08, position_m=(0.0, 0.0, 0.0), yaw_rad=0.0)
