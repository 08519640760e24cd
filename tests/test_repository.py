"""Small promises of the repository itself: documented commands exist, every version is pinned once, no stray hosts."""

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from tests.conftest import REAL_TIME, lies_in

ROOT = Path(__file__).parents[1]
PACKAGES = [ROOT / "ros2_ws/src/vlajs", ROOT / "training", ROOT / "perception"]
OURS = {"vlajs", "vlajs-msgs", "vlajs-perception", "vlajs-training"}
# A CUDA build of torch brings these, and pins them itself; pip is the environment's own.
PINNED_ELSEWHERE = re.compile(r"nvidia-(?!ml-py)|cuda-|triton$|pip$")
# Spelled in pieces: this file is searched too.
REGISTRY_HOSTS = ["pypi" + ".org", "pythonhosted" + ".org", "download.pytorch" + ".org", "registry.npmjs" + ".org"]


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


CONSTRAINTS = ["constraints.txt", "constraints-openvla.txt"]


def pins(name: str = "constraints.txt") -> dict[str, str]:
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def requirement_name(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return normalised(match.group())


def tracked_files() -> list[Path]:
    names = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in names.split("\0") if name and (ROOT / name).is_file()]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def test_every_declared_dependency_is_pinned() -> None:
    wanted = set()
    for folder in PACKAGES:
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        for group in [project["dependencies"], *project.get("optional-dependencies", {}).values()]:
            wanted |= {requirement_name(item) for item in group}
    for file in sorted((ROOT / "requirements").glob("*.txt")):
        if file.name in CONSTRAINTS:
            continue
        lines = [line for line in file.read_text().splitlines() if line and not line.startswith("#")]
        wanted |= {requirement_name(line) for line in lines}
    assert wanted - OURS - set(pins()) - set(pins("constraints-openvla.txt")) == set()


def test_pins_are_exact_and_stated_once() -> None:
    for file in CONSTRAINTS:
        names = [line.split("==")[0] for line in (ROOT / "requirements" / file).read_text().splitlines()]
        names = [name for name in names if name and not name.startswith("#")]
        assert names == sorted(set(names))
        assert names == [normalised(name) for name in names]
    assert set(pins().items()) & set(pins("constraints-openvla.txt").items()) == set()
    elsewhere = [
        f"{path.relative_to(ROOT)}: {line}"
        for path in [*(ROOT / "requirements").glob("*.txt"), *ROOT.glob("docker/**/Dockerfile"), ROOT / "Makefile"]
        if path.name not in CONSTRAINTS
        for line in path.read_text().splitlines()
        if re.search(r"[a-z]==\d", line)
    ]
    assert elsewhere == []


@pytest.mark.skipif("CI" not in os.environ, reason="an environment of one's own may hold more; CI's is fresh")
def test_what_is_installed_is_what_is_pinned() -> None:
    pinned = pins()
    unpinned, other = [], []
    for distribution in importlib.metadata.distributions(path=[sysconfig.get_path("purelib")]):
        name = normalised(distribution.metadata["Name"])
        if distribution.read_text("RECORD") is None or name in OURS or PINNED_ELSEWHERE.match(name):
            continue  # no RECORD: a message package inside a ROS wheel, which the wheel's own pin covers
        version = distribution.version.split("+")[0]
        if name not in pinned:
            unpinned.append(f"{name}=={version}")
        elif pinned[name] != version:
            other.append(f"{name} is {version}, pinned {pinned[name]}")
    assert unpinned == [], "add these lines to requirements/constraints.txt"
    assert other == [], "run make setup"


def test_documented_make_targets_exist() -> None:
    documented = set()
    for path in [path for path in tracked_files() if path.suffix == ".md"]:
        documented |= {(path.name, target) for target in re.findall(r"(?:`|^)make ([a-z]+)", path.read_text(), re.M)}
    missing = {(name, target) for name, target in documented if target not in make_targets()}
    assert documented
    assert missing == set()


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for path in [path for path in tracked_files() if path.suffix == ".md"]:
        for link in re.findall(r"\]\(([^)#\s]+)", path.read_text()):
            if "://" not in link and not (path.parent / link).exists():
                broken.append(f"{path.relative_to(ROOT)}: {link}")
    assert broken == []


def test_every_package_has_a_readme() -> None:
    folders = [ROOT / "perception", ROOT / "training", ROOT / "docker", ROOT / "ros2_ws/src/vlajs_msgs"]
    folders += [path.parent for path in (ROOT / "ros2_ws/src/vlajs/vlajs").glob("*/__init__.py")]
    assert [str(folder.relative_to(ROOT)) for folder in folders if not (folder / "README.md").is_file()] == []


def test_no_registry_hosts() -> None:
    found = []
    for path in tracked_files():
        text = path.read_bytes().decode("utf-8", errors="ignore")
        found += [f"{path.relative_to(ROOT)}: {host}" for host in REGISTRY_HOSTS if host in text]
    assert found == []


def test_no_pickle_and_no_unsafe_yaml() -> None:
    unsafe = re.compile(r"\bimport pickle|pickle\.loads?\(|yaml\.(?:load|unsafe_load|full_load)\(|allow_pickle=True")
    sources = [path for path in tracked_files() if path.suffix == ".py" and path != Path(__file__)]
    assert [str(path.relative_to(ROOT)) for path in sources if unsafe.search(path.read_text())] == []


def test_whatever_starts_an_arm_has_the_machine_to_itself() -> None:
    starts = re.compile(r"TwinServer\(|node(?:_words)?\(\"twin_node\"|\"--launch\", \"twin\", \"--folder\"")
    starting = [
        path for path in (ROOT / "tests").rglob("*.py") if starts.search(path.read_text()) and path != Path(__file__)
    ]
    assert len(starting) > 5
    for path in starting:
        assert lies_in(path, REAL_TIME), (
            f"add {path} to REAL_TIME in tests/conftest.py: make test would run it beside others"
        )
        assert not re.search(r"^pytestmark = .*beside", path.read_text(), re.M), path


@pytest.fixture
def repair():
    spec = importlib.util.spec_from_file_location("repair_wheel_paths", ROOT / "scripts/repair_wheel_paths.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CMAKE = """set_target_properties(a INTERFACE_INCLUDE_DIRECTORIES
 "${_IMPORT_PREFIX}/include/a;/opt/python/cp311-cp311/include/python3.11;\
/opt/python/cp311-cp311/lib/python3.11/site-packages/numpy/_core/include")"""


def test_repair_points_wheels_at_this_python_and_can_run_again(repair, tmp_path: Path) -> None:
    file = tmp_path / "a/cmake/export.cmake"
    file.parent.mkdir(parents=True)
    file.write_text(CMAKE)
    assert repair.repair_tree(tmp_path, "/usr/include/python3.11", "/venv/numpy/include") == 1
    assert '"${_IMPORT_PREFIX}/include/a;/usr/include/python3.11;/venv/numpy/include")' in file.read_text()
    assert repair.repair_tree(tmp_path, "/usr/include/python3.11", "/venv/numpy/include") == 0


def test_repair_refuses_a_path_it_does_not_know(repair, tmp_path: Path) -> None:
    (tmp_path / "a.cmake").write_text('set(X "/opt/python/cp311-cp311/lib/libother.so")')
    with pytest.raises(ValueError, match=r"a\.cmake.*libother\.so"):
        repair.repair_tree(tmp_path, "/include", "/numpy")


def test_setup_refuses_what_it_does_not_know() -> None:
    for arguments, message in ([["--profile", "none"], "known: dev"], [["--fast"], "unknown argument '--fast'"]):
        command = ["bash", str(ROOT / "scripts/setup.sh"), *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 1
        assert message in result.stderr


def test_colcon_can_read_the_ament_python_package() -> None:
    # colcon evaluates setup.py's metadata as a literal; requires-python is an object there and breaks the build.
    assert "requires-python" not in tomllib.loads((PACKAGES[0] / "pyproject.toml").read_text())["project"]


def test_the_interpreter_is_a_supported_one() -> None:
    assert sys.version_info[:2] in ((3, 11), (3, 12))
