"""Which tasks the twin's world can be set up for."""

import pytest

from vlajs.tasks import TASKS, get_task
from vlajs.twin.scene import MARKER_NAMES, MARKER_OF_TASK, OBJECT_NAMES, SceneConfig, require_objects


@pytest.mark.parametrize("name", ["push_cube", "pick_cube", "pick_place_cube", "lift_peg_upright", "poke_cube"])
def test_a_task_with_cube_or_peg_is_taken(name: str) -> None:
    require_objects(get_task(name), SceneConfig())


def test_a_task_with_other_objects_is_refused() -> None:
    wanted = r"the twin has no hole, which peg_insertion_side needs: it has cube, peg; .*vlajs evaluate"
    with pytest.raises(ValueError, match=wanted):
        require_objects(get_task("peg_insertion_side"), SceneConfig())


def test_a_cube_of_another_size_is_refused_with_the_remedy() -> None:
    task = get_task("push_cube_v2")
    with pytest.raises(ValueError, match=r"0\.02 m, push_cube_v2 needs 0\.025: start the twin with cube_half_size_m"):
        require_objects(task, SceneConfig())
    require_objects(task, SceneConfig(cube_half_size_m=0.025))


def test_every_task_that_is_taken_has_a_marker_or_says_that_it_needs_none() -> None:
    taken = {name for name, task in TASKS.items() if set(task.objects) <= set(OBJECT_NAMES)}
    assert taken == set(MARKER_OF_TASK)
    assert set(MARKER_OF_TASK.values()) <= {*MARKER_NAMES, None}
