"""Which package may import which: read from the sources, so that a forbidden import fails even where it would work."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VLAJS = ROOT / "ros2_ws/src/vlajs/vlajs"
TRAINING = ROOT / "training/vlajs_training"
PERCEPTION = ROOT / "perception/vlajs_perception"

# A package or module inside vlajs -> what of vlajs it may import besides itself. No arrows back, none between siblings.
BASE = {"episode", "files", "geometry", "states", "tasks"}
LOGIC = {"control", "policy", "robot", "session", "twin", "vla"}
ALLOWED = {
    "episode": {"geometry", "states"},
    "files": set[str](),
    "geometry": set[str](),
    "states": set[str](),
    "tasks": {"geometry"},
    **dict.fromkeys(LOGIC, BASE),
    "launch_description": set[str](),
    "bringup": {"launch_description"},
    "launching": {"launch_description"},
    "processes": {"bringup", "launch_description"},
    "nodes": BASE | LOGIC | {"bringup", "launch_description", "processes"},
    "cli": BASE | LOGIC | {"bringup", "launch_description", "nodes", "processes"},
}
# What of vlajs may look through cameras: nodes, and the twin, whose camera is rendered as training pictures are.
PERCEPTION_USERS = {"nodes", "twin"}
HEAVY = {"mani_skill", "sapien", "torch", "torchvision", "ultralytics"}
# What the training may know of the robot's side: the contract, the geometry and the tasks, not how an arm is moved.
TRAINING_MAY_IMPORT = {"control.target", "files", "geometry", "policy", "tasks", "vla"}


def imports_of(path: Path, package: str) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything a file imports, relative imports resolved, also inside functions."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*parents, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def imports_in(folder: Path) -> Iterator[tuple[Path, int, str]]:
    """File (relative to ``folder``), line and name of every import below ``folder``."""
    for path in sorted(folder.rglob("*.py")):
        relative = path.relative_to(folder)
        package = ".".join([folder.name, *relative.parts[:-1]])
        for line, name in imports_of(path, package):
            yield relative, line, name


def within(name: str, prefixes: set[str]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def violations_of(folder: Path, forbidden: set[str]) -> list[str]:
    return [f"{path}:{line} imports {name}" for path, line, name in imports_in(folder) if within(name, forbidden)]


def arrows_back(folder: Path) -> list[str]:
    """Imports inside ``vlajs`` that :data:`ALLOWED` does not permit."""
    found = []
    for path, line, name in imports_in(folder):
        source = path.parts[0].removesuffix(".py")
        target = name.split(".")[1] if name.startswith("vlajs.") else None
        if source == "__init__" or target is None or target == source or target == "__version__":
            continue
        if source not in ALLOWED:
            found.append(f"{path}: vlajs.{source} has no place in tests/test_layers.py; say which layer it is")
        elif target not in ALLOWED[source]:
            found.append(f"{path}:{line} vlajs.{source} imports {name}")
    return found


def test_the_robot_side_needs_neither_torch_nor_a_training_simulator() -> None:
    assert violations_of(VLAJS, HEAVY | {"vlajs_training"}) == []


def test_only_nodes_and_the_twin_use_perception() -> None:
    found = [
        f"{path}:{line} imports {name}"
        for path, line, name in imports_in(VLAJS)
        if within(name, {"vlajs_perception"}) and path.parts[0] not in PERCEPTION_USERS
    ]
    assert found == []


def test_perception_stands_alone() -> None:
    assert violations_of(PERCEPTION, {"vlajs", "vlajs_training", "vlajs_msgs", "rclpy", "mani_skill"}) == []


def test_training_knows_only_the_contract() -> None:
    permitted = {f"vlajs.{name}" for name in TRAINING_MAY_IMPORT}
    found = [
        f"{path}:{line} imports {name}"
        for path, line, name in imports_in(TRAINING)
        if within(name, {"vlajs"}) and not within(name, permitted)
    ]
    assert found == []
    assert violations_of(TRAINING, {"vlajs_perception", "vlajs_msgs", "rclpy", "franky", "franky_sim"}) == []


def test_no_arrows_back_inside_vlajs() -> None:
    assert arrows_back(VLAJS) == []


def test_logic_is_free_of_ros() -> None:
    ros = {"rclpy", "vlajs_msgs", "sensor_msgs", "geometry_msgs", "std_msgs", "std_srvs", "lifecycle_msgs"}
    found = [
        item for name in sorted(LOGIC | BASE) if (VLAJS / name).is_dir() for item in violations_of(VLAJS / name, ros)
    ]
    assert found == []


@pytest.mark.parametrize(
    "path, source, complaint",
    [
        ("control/a.py", "from vlajs.robot import arm", "vlajs.control imports vlajs.robot.arm"),
        ("geometry.py", "def f():\n    import vlajs.tasks", "geometry.py:2 vlajs.geometry imports vlajs.tasks"),
        ("policy/a.py", "from ..session import plan", "vlajs.policy imports vlajs.session.plan"),
        ("robot/a.py", "from vlajs.nodes.b import c", "vlajs.robot imports vlajs.nodes.b.c"),
        ("bringup.py", "from vlajs import nodes", "vlajs.bringup imports vlajs.nodes"),
        ("novel/a.py", "from vlajs.geometry import Pose", "no place"),
    ],
)
def test_the_check_finds_what_it_looks_for(tmp_path: Path, path: str, source: str, complaint: str) -> None:
    file = tmp_path / "vlajs" / path
    file.parent.mkdir(parents=True)
    file.write_text(source)
    (found,) = arrows_back(tmp_path / "vlajs")
    assert complaint in found


def test_the_check_lets_the_layers_be(tmp_path: Path) -> None:
    folder = tmp_path / "vlajs"
    (folder / "nodes").mkdir(parents=True)
    (folder / "nodes/a.py").write_text("import torch\nfrom vlajs.robot import arm\nfrom . import b")
    assert arrows_back(folder) == []
    assert violations_of(folder, HEAVY) == ["nodes/a.py:1 imports torch"]
