"""Launch descriptions as data: what may be set, what is refused, what each node gets."""

import importlib.util
import socket
from pathlib import Path

import pytest

from vlajs.bringup import (
    DESCRIPTIONS,
    LIBFRANKA_PORT,
    OPENVLA_BASELINE,
    OPENVLA_BASELINE_TWIN,
    REAL_ROBOT,
    TWIN,
    TWIN_CAMERA_POSE,
    TWIN_TABLE_TAGS,
    description_named,
    free_twin_address,
)
from vlajs.geometry import quat_multiply
from vlajs.launch_description import (
    AnyOf,
    Argument,
    Description,
    Use,
    as_texts,
    given_from,
    parameters_of,
    show_arguments,
)
from vlajs.policy.runner import AgeLimits
from vlajs.tasks import get_task
from vlajs.twin.config import TwinConfig
from vlajs.twin.scene import SceneConfig, require_objects
from vlajs.vla.backend import VlaConfig
from vlajs.vla.baseline import BaselineConfig
from vlajs.vla.client import BACKENDS
from vlajs_perception.camera_watch import WatchSettings
from vlajs_perception.table_tags import TableTags

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("description", DESCRIPTIONS.values(), ids=list(DESCRIPTIONS))
def test_a_description_refers_to_what_exists(description: Description) -> None:
    names = {argument.name: argument.kind for argument in description.arguments}
    assert len(names) == len(description.arguments)
    for node in description.nodes:
        assert importlib.util.find_spec(f"vlajs.nodes.{node.module}"), node.module
        conditions = node.condition.conditions if isinstance(node.condition, AnyOf) else (node.condition,)
        assert all(condition is None or condition.argument in names for condition in conditions)
        assert node.forced is None or node.forced[0].argument in names
        for value in node.parameters.values():
            assert not isinstance(value, Use) or value.argument in names
    assert len({node.name for node in description.nodes}) == len(description.nodes)
    assert (ROOT / "launch" / f"{description.name}.launch.py").is_file()


@pytest.mark.parametrize("description", DESCRIPTIONS.values(), ids=list(DESCRIPTIONS))
def test_what_commands_the_arm_stops_before_what_moves_it(description: Description) -> None:
    """Nodes stop in the reverse of their order."""
    order = [node.module for node in description.nodes]
    assert order.index("bridge_node") < order.index("policy_node")
    assert "twin_node" not in order or order.index("twin_node") < order.index("bridge_node")


@pytest.mark.parametrize("description", DESCRIPTIONS.values(), ids=list(DESCRIPTIONS))
def test_every_node_is_an_executable_of_the_package(description: Description) -> None:
    scripts = (ROOT / "ros2_ws/src/vlajs/pyproject.toml").read_text()
    for node in description.nodes:
        assert f'{node.module} = "vlajs.nodes.{node.module}:main"' in scripts


def test_the_twin_runs_on_robot_time_and_an_arm_does_not() -> None:
    for description, sim_time in ((TWIN, True), (REAL_ROBOT, False)):
        values = description.resolve({"robot_ip": "127.1.2.3"})
        given = {node.name: parameters_of(node, values) for node in description.nodes}
        assert given["policy"]["use_sim_time"] is sim_time
        assert given["franka_bridge"]["use_sim_time"] is sim_time
        assert given["franka_bridge"]["robot_ip"] == "127.1.2.3"
    assert parameters_of(TWIN.nodes[0], TWIN.resolve({"robot_ip": "127.1.2.3"}))["address"] == "127.1.2.3"


def test_the_twins_cube_has_the_size_a_task_needs() -> None:
    # the remedy that a twin with another cube names
    with pytest.raises(ValueError, match=r"start the twin with cube_half_size_m:=0\.025"):
        require_objects(get_task("push_cube_v2"), SceneConfig())
    values = TWIN.resolve({"robot_ip": "127.1.2.3", "cube_half_size_m": "0.025"})
    given = parameters_of(TWIN.nodes[0], values)["cube_half_size_m"]
    require_objects(get_task("push_cube_v2"), SceneConfig(cube_half_size_m=given))  # type: ignore[arg-type]


def test_values_are_typed(tmp_path: Path) -> None:
    bundle = tmp_path / "push.safetensors"
    bundle.touch()
    values = TWIN.resolve({"checkpoint": str(bundle), "state_age_limit_s": "1", "policy": "False"})
    assert values["checkpoint"] == str(bundle)
    assert values["state_age_limit_s"] == 1.0
    assert isinstance(values["state_age_limit_s"], float)
    assert values["policy"] is False


def test_only_what_was_given_counts_more_than_a_sites_file() -> None:
    """What is written into the nodes' own parameter files comes after the site's, and the last value counts."""
    policy = TWIN.nodes[-1]
    values = TWIN.resolve({"robot_ip": "127.1.2.3", "state_age_limit_s": "0.08"})
    assert parameters_of(policy, values) == {"use_sim_time": True, "state_age_limit_s": 0.08}
    assert parameters_of(TWIN.nodes[0], values) == {"address": "127.1.2.3"}


def test_the_defaults_shown_are_those_of_the_nodes() -> None:
    """They are not passed on, so nothing else would notice."""
    shown = {argument.name: argument.default for argument in TWIN.arguments if argument.nodes_own}
    limits = AgeLimits()
    assert shown == {
        "annotated": "false",
        "detector": "",
        "task": "",
        "checkpoint": "",
        "cube_half_size_m": str(SceneConfig.cube_half_size_m),
        "camera_board": "false",
        "publish_objects": "true",
        "speed": str(TwinConfig.speed),
        "state_age_limit_s": str(limits.state_s),
        "objects_age_limit_s": str(limits.objects_s),
        "stride": "1.0",
    }


def test_poses_come_from_the_twin_or_from_its_camera_never_from_both() -> None:
    def publishes(**given: str) -> tuple[list[str], object]:
        values = TWIN.resolve({"robot_ip": "127.1.2.3", **given})
        started = [node.name for node in TWIN.selected(values)]
        return started, parameters_of(TWIN.nodes[0], values).get("publish_objects")

    assert publishes() == (["twin", "franka_bridge", "policy"], None)
    camera = ["twin", "twin_camera", "franka_bridge", "pose_estimator", "policy"]
    assert publishes(pose_source="camera") == (camera, False)
    assert publishes(pose_source="camera", publish_objects="true") == (camera, False)
    assert publishes(publish_objects="false") == (["twin", "franka_bridge", "policy"], False)
    with pytest.raises(ValueError, match="pose_source:=camra: expected truth or camera"):
        TWIN.resolve({"pose_source": "camra"})


def test_the_pose_estimator_knows_where_the_twins_camera_is() -> None:
    camera = SceneConfig().front_camera
    # MuJoCo's camera looks along -z with y up; the optical frame is turned by half a turn about x
    turned = quat_multiply(camera.quat_wxyz, [0.0, 1.0, 0.0, 0.0])
    assert TWIN_CAMERA_POSE[:3] == pytest.approx(camera.position_m, abs=1e-9)
    assert TWIN_CAMERA_POSE[3:] == pytest.approx(turned.tolist(), abs=1e-3)


def test_the_twins_camera_shows_the_tags_that_its_pose_estimator_follows_it_by() -> None:
    def tags(launch: Description, **given: str) -> dict[str, object]:
        values = launch.resolve({"robot_ip": "127.1.2.3", **given})
        nodes = {node.name: parameters_of(node, values) for node in launch.selected(values)}
        return {name: nodes[name]["table_tags"] for name in ("twin_camera", "pose_estimator") if name in nodes}

    shipped = str(TWIN_TABLE_TAGS)
    assert len(TableTags.read(TWIN_TABLE_TAGS).tags) >= WatchSettings.min_tags + 1  # the arm may hide one
    assert tags(TWIN, pose_source="camera") == {"twin_camera": shipped, "pose_estimator": shipped}
    assert tags(TWIN, pose_source="camera", table_tags="") == {"twin_camera": "", "pose_estimator": ""}
    # the pictures of a VLA have none
    assert tags(OPENVLA_BASELINE_TWIN, backend="vlajs") == {"twin_camera": ""}
    with pytest.raises(ValueError, match=r"table_tags:=/none\.yaml: no such file"):
        REAL_ROBOT.resolve({"robot_ip": "1.2.3.4", "table_tags": "/none.yaml"})


def test_beside_a_baseline_a_policy_waits_and_on_the_twin_there_is_a_camera() -> None:
    for description, moved_by in (
        (OPENVLA_BASELINE, ["franka_bridge"]),
        (OPENVLA_BASELINE_TWIN, ["twin", "twin_camera", "franka_bridge"]),
    ):
        given = {"robot_ip": "127.1.2.3", "backend": "vlajs", "task": "push_cube", "horizon_s": "30"}
        values = description.resolve(given)
        assert [node.name for node in description.selected(values)] == [*moved_by, "vla_baseline"]
        both = description.resolve({**given, "policy": "true"})
        started = {node.name: parameters_of(node, both) for node in description.selected(both)}
        assert list(started) == [*moved_by, "policy", "vla_baseline"]
        assert started["policy"]["start_active"] is False
        on_twin = description is OPENVLA_BASELINE_TWIN
        expected = {"use_sim_time": on_twin, "backend": "vlajs", "task": "push_cube", "horizon_s": 30.0}
        assert started["vla_baseline"] == expected
    with pytest.raises(ValueError, match="backend:=openvla: expected openvla-rest or openpi or vlajs"):
        OPENVLA_BASELINE.resolve({"robot_ip": "1.2.3.4", "backend": "openvla"})
    with pytest.raises(ValueError, match=r"openvla_baseline needs backend:=\.\.\.: what the VLA server speaks"):
        OPENVLA_BASELINE.resolve({"robot_ip": "1.2.3.4"})


def test_the_defaults_shown_are_those_of_the_baseline_node() -> None:
    (baseline,) = [node for node in OPENVLA_BASELINE.nodes if node.name == "vla_baseline"]
    shown = {
        each.name: each for each in OPENVLA_BASELINE.arguments if each.nodes_own and each.name in baseline.parameters
    }
    config, ages = BaselineConfig(instruction="x"), AgeLimits()
    assert {name: each.parse(str(each.default)) for name, each in shown.items()} == {
        "url": VlaConfig(backend="vlajs").url,
        "convention": "",
        "token_file": "",
        "instruction": "",
        "task": "",
        "horizon_s": config.horizon_s,
        "image_age_limit_s": config.image_age_limit_s,
        "overlap": config.overlap,
        "state_age_limit_s": ages.state_s,
    }
    (backend,) = [each for each in OPENVLA_BASELINE.arguments if each.name == "backend"]
    assert set(backend.choices) == set(BACKENDS)


def test_a_camera_on_the_arm_starts_the_pose_estimator() -> None:
    values = REAL_ROBOT.resolve({"robot_ip": "1.2.3.4", "camera": "true"})
    assert [node.name for node in REAL_ROBOT.selected(values)] == ["franka_bridge", "pose_estimator", "policy"]


def test_a_condition_selects_nodes() -> None:
    def names(policy: str) -> list[str]:
        return [node.name for node in TWIN.selected(TWIN.resolve({"policy": policy}))]

    assert names("true") == ["twin", "franka_bridge", "policy"]
    assert names("false") == ["twin", "franka_bridge"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"robot_ip": "1.2.3.4", "chekpoint": "x"},
            r"no argument 'chekpoint': known are robot_ip, params_file",
        ),
        ({}, r"real_robot needs robot_ip:=...: address of the arm's control interface"),
        ({"robot_ip": "1.2.3.4", "policy": "yes"}, r"policy:=yes: expected true or false"),
        (
            {"robot_ip": "1.2.3.4", "state_age_limit_s": "soon"},
            r"state_age_limit_s:=soon: expected a value of type float",
        ),
        ({"robot_ip": "1.2.3.4", "state_age_limit_s": "nan"}, r"state_age_limit_s:=nan: expected a finite number"),
        (
            {"robot_ip": "1.2.3.4", "checkpoint": "/nowhere.safetensors"},
            r"checkpoint:=/nowhere.safetensors: no such file",
        ),
    ],
)
def test_bad_arguments_are_refused(given: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        REAL_ROBOT.resolve(given)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("frank_bridge:\n  ros__parameters:\n    leash_m: 0.02\n", r"'frank_bridge', .*did you mean franka_bridge\?"),
        ("twin:\n  ros__parameters:\n    speed: 0.5\n", r"values for 'twin', which this launch does not start"),
        ("franka_bridge:\n  leash_m: 0.02\n", r"section 'franka_bridge' must hold ros__parameters"),
        ("leash_m: 0.02\n", r"values for 'leash_m', .*its nodes are franka_bridge, policy"),
        ("- leash_m\n", r"expected a section for each node: franka_bridge, policy"),
        ("franka_bridge: [\n", r"is not YAML"),
    ],
)
def test_a_parameter_file_with_values_for_nobody_is_refused(tmp_path: Path, text: str, message: str) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(text)
    with pytest.raises(ValueError, match=message):
        REAL_ROBOT.resolve({"robot_ip": "1.2.3.4", "params_file": str(site)})


def test_a_parameter_file_for_some_nodes_or_all_is_taken(tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(
        "/franka_bridge:\n  ros__parameters:\n    leash_m: 0.02\n/**:\n  ros__parameters:\n    use_sim_time: false\n"
    )
    given = {"robot_ip": "1.2.3.4", "params_file": str(site), "policy": "false"}
    assert REAL_ROBOT.resolve(given)["params_file"] == str(site)


def test_an_unknown_launch_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown launch 'robot': known are real_robot, twin, openvla"):
        description_named("robot")


def test_words_become_arguments() -> None:
    assert given_from(["a:=1", "b:=x:=y", "c:="]) == {"a": "1", "b": "x:=y", "c": ""}


@pytest.mark.parametrize(
    ("words", "message"),
    [(["a=1"], "not of the form"), ([":=1"], "not of the form"), (["a:=1", "a:=2"], "a is given twice")],
)
def test_words_of_another_form_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        given_from(words)


def test_python_values_become_what_one_would_type() -> None:
    assert as_texts({"a": True, "b": 0.5, "c": Path("/x"), "d": "y"}) == {"a": "true", "b": "0.5", "c": "/x", "d": "y"}


def test_a_relative_path_is_that_of_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "push.safetensors").touch()
    monkeypatch.chdir(tmp_path)
    argument = Argument(name="checkpoint", kind=Path, default="", description="")
    assert argument.parse("push.safetensors") == str(tmp_path / "push.safetensors")
    assert argument.parse("") == ""


def test_the_list_of_arguments_tells_what_is_needed() -> None:
    text = show_arguments(REAL_ROBOT)
    assert "robot_ip:=<str>  address of the arm's control interface (FCI) (required)" in text
    assert "policy:=<bool>  whether to start the policy node (default true)" in text
    assert "(chosen at start)" in show_arguments(TWIN)


def test_a_twins_address_is_loopback_and_free() -> None:
    address = free_twin_address()
    assert address.startswith("127.")
    with socket.socket() as server:
        server.bind((address, LIBFRANKA_PORT))
