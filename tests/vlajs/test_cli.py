"""The real ``vlajs`` command: what it prints, its exit codes, and what it does not import."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.bundles import make_bundle
from tests.support.session_graph import make_header
from vlajs import cli
from vlajs.policy.bundle import save_bundle
from vlajs.session.journal import SessionFolder

VLAJS = str(Path(sys.executable).parent / "vlajs")


def vlajs(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([VLAJS, *words], capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundles") / "push.safetensors"
    save_bundle(make_bundle(), path)
    return path


def assert_one_line(done: subprocess.CompletedProcess[str], message: str) -> None:
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_show_prints_the_contract(bundle: Path) -> None:
    done = vlajs("bundle", "show", str(bundle))
    assert (done.returncode, done.stderr) == (0, "")
    assert make_bundle().contract.contract_id in done.stdout
    assert "tcp_position" in done.stdout


def test_verify_judges_every_file(bundle: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(bundle.read_bytes()[:-8])
    done = vlajs("bundle", "verify", str(broken), str(bundle))
    assert f"{bundle}: good, push_cube-" in done.stdout
    assert_one_line(done, f"{broken} is truncated")
    assert vlajs("bundle", "verify", str(bundle)).returncode == 0


def test_errors_of_the_user_are_one_line() -> None:
    assert_one_line(vlajs("bundle", "show", "/nowhere.safetensors"), "/nowhere.safetensors does not exist")
    assert_one_line(vlajs("juggle"), "unknown command 'juggle': known are bundle, up, session")
    assert_one_line(vlajs("up", "moon"), "unknown launch 'moon': known are real_robot, twin")
    assert_one_line(vlajs("up", "twin", "speed=2"), "'speed=2' is not of the form key:=value")
    assert_one_line(vlajs("up", "real_robot"), "real_robot needs robot_ip:=...")


def test_a_folder_that_cannot_hold_a_session_is_one_line(bundle: Path) -> None:
    words = ["session", "run", "--task", "push_cube", "--checkpoint", str(bundle), "--folder", "/proc/xx"]
    done = vlajs(*words)
    assert done.returncode == 1
    assert done.stderr == (
        "error: /proc/xx cannot hold a session (No such file or directory): "
        "give a folder that you may write (--folder)\n"
    )


def test_up_shows_its_arguments() -> None:
    done = vlajs("up", "twin", "--show-args")
    assert done.returncode == 0
    assert "checkpoint:=<path>" in done.stdout


# -- in this process ---------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["vlajs", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    captured = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, captured.out, captured.err


@pytest.mark.parametrize(("words", "code"), [([], 2), (["--help"], 0), (["bundle"], 2), (["session", "--help"], 0)])
def test_usage_lists_the_commands(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], code: int
) -> None:
    ended, out, _ = run(capsys, monkeypatch, *words)
    assert ended == code
    assert out.startswith("usage: vlajs")


@pytest.mark.parametrize("words", [["bundle", "paint"], ["session", "sing"]])
def test_an_unknown_subcommand_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    code, _, err = run(capsys, monkeypatch, *words)
    assert code == 2
    assert f"unknown command '{' '.join(words)}': known are" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--launch-args", "url:=x"], "--launch-args are for --launch twin"),
        (["--launch", "twin", "--baseline"], "openvla_baseline_twin needs backend:=...: what the VLA server speaks"),
        (["--launch", "twin", "--launch-args", "url:=x"], "twin has no argument 'url'"),
        (["--launch", "twin", "--baseline", "--launch-args", "policy:=false"], "policy: the session itself says so"),
        (["--launch", "twin", "--baseline", "--launch-args", "backend"], "'backend' is not of the form key:=value"),
    ],
)
def test_a_session_whose_nodes_cannot_be_started_makes_no_folder(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    bundle: Path,
    tmp_path: Path,
    words: list[str],
    message: str,
) -> None:
    folder = tmp_path / "session"
    given = ["--task", "push_cube", "--checkpoint", str(bundle), "--folder", str(folder)]
    code, _, err = run(capsys, monkeypatch, "session", "run", *given, *words)
    assert code == 2
    assert message in err
    assert not folder.exists()


def test_a_table_of_sessions_is_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    SessionFolder.create(tmp_path, make_header(compare=True)).close()
    code, out, _ = run(capsys, monkeypatch, "session", "table", str(tmp_path))
    assert (code, out.splitlines()[0]) == (0, "|  | push_cube |")
    code, _, err = run(capsys, monkeypatch, "session", "table")
    assert code == 2
    assert "no folder given" in err


@pytest.mark.parametrize("word", ["train", "evaluate"])
def test_commands_of_training_say_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.setitem(sys.modules, "vlajs_training", None)
    monkeypatch.setitem(sys.modules, f"vlajs_training.{word}", None)  # other tests may have imported it
    code, _, err = run(capsys, monkeypatch, word)
    assert (code, err) == (2, "error: this command is part of vlajs-training, which is not installed here\n")


def test_an_unexpected_error_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def slip(_words: list[str]) -> int:
        return int("seven")

    monkeypatch.setitem(cli.COMMANDS, "slip", (slip, ""))
    monkeypatch.setattr(sys, "argv", ["vlajs", "slip"])
    with pytest.raises(ValueError, match="invalid literal"):
        cli.main()


def test_what_fails_on_the_way_is_one_line_and_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vlajs.bringup import free_twin_address

    monkeypatch.setattr("vlajs.bringup._ADDRESS_ATTEMPTS", 0)
    monkeypatch.setitem(cli.COMMANDS, "fail", (lambda _words: len(free_twin_address()), ""))
    code, _, err = run(capsys, monkeypatch, "fail")
    assert code == 1
    assert err.startswith("error: none of 0 loopback addresses")


def test_the_command_line_needs_neither_torch_nor_rclpy_to_show_a_bundle(bundle: Path) -> None:
    script = (
        "import sys; from vlajs.cli import dispatch; dispatch(['bundle', 'show', sys.argv[1]]);"
        "print([m for m in ('torch', 'mani_skill', 'rclpy', 'franky', 'mujoco') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(bundle)], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
