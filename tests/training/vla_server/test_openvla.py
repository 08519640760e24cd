"""OpenVLA behind the server: the libraries it was written for, its interface, weights of a few thousand numbers."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.openvla_packages import environment, require_packages
from tests.support.processes import ROOT, wait_for
from tests.support.tiny_openvla import BLIND, BRIDGE, HEEDLESS, MANISKILL, statistics, write_tiny_openvla
from vlajs.vla.backend import VlaConfig
from vlajs.vla.client import VlaClient
from vlajs.vla.presets import OPENVLA_BRIDGE, OPENVLA_MANISKILL
from vlajs.vla.serving.model import ModelError
from vlajs.vla.transport import Limits
from vlajs_training.vla_server.commands import serve
from vlajs_training.vla_server.openvla import check_unnorm_key, load_openvla
from vlajs_training.vla_server.options import ModelOptions, convention_for

PATIENCE_S = 900.0
"""Importing torch and transformers takes seconds; minutes where everything else runs at the same time."""
pytestmark = pytest.mark.timeout(2 * PATIENCE_S)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("openvla")


@pytest.fixture(scope="module")
def outcomes(folder: Path) -> dict[str, dict]:
    """What loading these models led to, in one process with the right libraries."""
    require_packages()
    sighted = write_tiny_openvla(folder / "sighted")
    tuned = write_tiny_openvla(folder / "tuned")
    (tuned / "dataset_statistics.json").write_text(json.dumps({"our_cubes": statistics(translation_m=0.1)}))
    torn = write_tiny_openvla(folder / "torn")
    (torn / "model.safetensors").write_bytes((torn / "model.safetensors").read_bytes()[:999])
    pickled = write_tiny_openvla(folder / "pickled")
    (pickled / "model.safetensors").rename(pickled / "pytorch_model.bin")
    blind, heedless = (write_tiny_openvla(folder / sight, sight=sight) for sight in (BLIND, HEEDLESS))
    common = {"device": "cpu", "trust_remote_code": True}
    cases = {
        "sighted": {"weights": str(sighted), "unnorm_key": BRIDGE},
        "preset": {"weights": str(sighted), "convention": "openvla-maniskill"},
        "tuned": {"weights": str(tuned)},
        "blind": {"weights": str(blind), "unnorm_key": BRIDGE},
        "heedless": {"weights": str(heedless), "unnorm_key": BRIDGE},
        "no_key": {"weights": str(sighted)},
        "wrong_key": {"weights": str(sighted), "unnorm_key": "bridge"},
        "torn": {"weights": str(torn), "unnorm_key": BRIDGE},
        "pickled": {"weights": str(pickled), "unnorm_key": BRIDGE},
        "nowhere": {"weights": "nobody/nothing", "unnorm_key": BRIDGE},
    }
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/support/load_openvla.py")],
        input=json.dumps([{**common, **case} for case in cases.values()]),
        env=environment(folder / "cache"),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(cases, map(json.loads, done.stdout.splitlines()), strict=True))


def test_a_model_that_sees_is_loaded(outcomes: dict, folder: Path) -> None:
    outcome = outcomes["sighted"]
    assert outcome["name"] == str(folder / "sighted")
    assert outcome["convention"]["unnorm_key"] == BRIDGE
    assert outcome["convention"]["rate_hz"] == OPENVLA_BRIDGE.rate_hz
    actions = np.array(outcome["actions"])
    assert actions.shape == (2, 1, 7)
    assert (actions[0] != actions[1]).any()
    # 256 bins over [-1, 1], scaled to +- 0.02 m: multiples of 0.02 / 256 = 78.125 um, odd ones (the bins' centres).
    bins = actions[:, 0, :6] / (0.02 / 256)
    np.testing.assert_allclose(bins, np.round(bins), atol=1e-6)
    assert (np.round(bins) % 2 == 1).all()
    assert (np.abs(actions[:, 0, :6]) < 0.02).all()


def test_a_preset_brings_its_unnorm_key(outcomes: dict) -> None:
    assert outcomes["preset"]["convention"]["unnorm_key"] == MANISKILL
    assert outcomes["preset"]["convention"]["rotation_scale_rad"] == OPENVLA_MANISKILL.rotation_scale_rad


def test_statistics_of_fine_tuning_come_before_those_of_the_weights(outcomes: dict) -> None:
    assert outcomes["tuned"]["convention"] is None  # no preset has this key: clients have to say what it means
    ratio = np.array(outcomes["tuned"]["actions"])[..., :6] / np.array(outcomes["sighted"]["actions"])[..., :6]
    np.testing.assert_allclose(ratio, 5.0)  # the same weights and bins, +- 0.1 m instead of +- 0.02 m


def test_a_blind_model_is_refused(outcomes: dict) -> None:
    assert (
        "answers without calling its vision tower: it is blind with transformers 4.40.1" in outcomes["blind"]["error"]
    )


def test_a_model_that_looks_and_does_not_heed_is_refused(outcomes: dict) -> None:
    assert "same action for 4 entirely different images: it does not see" in outcomes["heedless"]["error"]


def test_unnorm_keys_are_checked_and_the_valid_ones_listed(outcomes: dict) -> None:
    valid = f"valid are {BRIDGE}, {MANISKILL}"
    assert "give one as --unnorm-key; " + valid in outcomes["no_key"]["error"]
    assert "unnorm key 'bridge' is not among those" in outcomes["wrong_key"]["error"]
    assert valid in outcomes["wrong_key"]["error"]


@pytest.mark.parametrize("case", ["torn", "pickled", "nowhere"])
def test_weights_that_cannot_be_loaded(outcomes: dict, case: str) -> None:
    assert "cannot be loaded" in outcomes[case]["error"]
    assert "is it a folder or hub name of OpenVLA weights" in outcomes[case]["error"]


def test_the_command_serves_it_and_ends_well_on_sigterm(folder: Path, outcomes: dict) -> None:
    log = folder / "log"
    words = ["-m", "vlajs.cli", "teacher", "serve", "--model", "openvla", "--weights", str(folder / "sighted")]
    words += ["--unnorm-key", MANISKILL, "--device", "cpu", "--trust-remote-code", "--port", "0"]
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *words], env=environment(folder / "cache"), stdout=output, stderr=subprocess.STDOUT
        )
    try:
        wait_for(
            lambda: "ready:" in log.read_text() or process.poll() is not None, "the server", PATIENCE_S, log.read_text
        )
        url = log.read_text().partition("listening on ")[2].split(",")[0]
        limits = Limits(read_timeout_s=60.0)
        with VlaClient(VlaConfig(backend="vlajs", url=url, image_encoding="jpeg", limits=limits)) as vla:
            assert vla.describe().spoken == OPENVLA_MANISKILL
            images = np.random.default_rng(0).integers(0, 256, (3, 256, 256, 3), dtype=np.uint8)
            actions = vla.query(images, ["pick up the cube"] * 3)
        assert actions.shape == (3, 7)
        # Scaled by 0.1 m on top of the statistics' 0.02: at most 2 mm along each axis, 3.5 mm in all.
        assert (np.linalg.norm(actions[:, :3], axis=1) < 0.002 * 3**0.5).all()
        assert len(np.unique(actions, axis=0)) > 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, log.read_text()
        assert log.read_text().rstrip().endswith("stopped")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


# -- without transformers ----------------------------------------------------------------------------------------


def options(**changes) -> ModelOptions:
    return ModelOptions(**{"weights": "openvla/openvla-7b", "device": "cpu", "trust_remote_code": True, **changes})


def test_code_of_others_runs_only_when_asked_for_by_name() -> None:
    with pytest.raises(ModelError, match=r"comes with openvla/openvla-7b: read it, then give --trust-remote-code"):
        load_openvla(options(trust_remote_code=False))


def test_without_the_right_libraries_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ModelError, match=r"not installed: install the pinned .*'vlajs-training\[openvla\]'"):
        load_openvla(options())


class Newer:
    """transformers 5 has no AutoModelForVision2Seq any more."""

    __version__ = "5.0.0"


def test_a_transformers_that_is_too_new_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", Newer)
    with pytest.raises(ModelError, match=r"transformers 5\.0\.0 cannot load OpenVLA, .* written for 4\.40\.1"):
        load_openvla(options())


def test_devices_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", type("Known", (Newer,), {"AutoModelForVision2Seq": None}))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ModelError, match=r"finds no CUDA GPU; a 7B model needs one .*int4 about 7 GB.*--device cpu"):
        load_openvla(options(device="cuda"))
    with pytest.raises(ModelError, match="--dtype int4 needs a GPU"):
        load_openvla(options(dtype="int4"))


def test_a_full_gpu_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from vlajs_training.vla_server.openvla import OpenVla

    class Full:
        def predict_action(self, **_: object) -> None:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")

    def processor(*_: object) -> object:
        return type("Inputs", (dict,), {"to": lambda self, *_args, **_kwargs: self})()

    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (1_500_000_000, 24_000_000_000))
    model = OpenVla(Full(), processor, name="full", device="cuda", unnorm_key=BRIDGE, convention=None)
    with pytest.raises(ModelError, match=r"memory is too small: 1\.5 of 24\.0 GB are free; .*bf16 17 GB"):
        model.act(np.zeros((1, 4, 4, 3), np.uint8), ["x"])


@pytest.mark.parametrize(
    "broken",
    [{}, {"action": {"q01": [0.0] * 7}}, {"action": {"q01": [0.0] * 8, "q99": [1.0] * 8}}, {"action": None}, 3]
    + [{"action": {"q01": [0.0] * 7, "q99": [*[1.0] * 6, value]}} for value in (float("nan"), "1", None)],
)
def test_statistics_that_are_not_of_seven_numbers(broken: object) -> None:
    assert check_unnorm_key(None, {BRIDGE: statistics()}, "w") == BRIDGE
    with pytest.raises(ModelError, match=r"action\.q\d\d must be 7 finite numbers"):
        check_unnorm_key(BRIDGE, {BRIDGE: broken}, "w")


def test_conventions_follow_the_unnorm_key() -> None:
    assert convention_for(BRIDGE, None) == OPENVLA_BRIDGE
    assert convention_for("our_cubes", None) is None
    named = convention_for("our_cubes", OPENVLA_BRIDGE)
    assert named is not None
    assert (named.unnorm_key, named.rotation) == ("our_cubes", OPENVLA_BRIDGE.rotation)


def test_the_command_refuses_what_is_not_safe_before_anything_is_loaded(capsys) -> None:
    with pytest.raises(SystemExit) as ended:
        serve(["--model", "openvla", "--weights", "w", "--host", "0.0.0.0"])
    assert ended.value.code == 2
    assert "host 0.0.0.0 can be reached from other machines" in capsys.readouterr().err
    with pytest.raises(ValueError, match="unknown convention 'mine': known are openvla-maniskill"):
        serve(["--model", "openvla", "--weights", "w", "--convention", "mine"])


def test_a_model_that_cannot_be_loaded_is_one_line_and_exit_code_1(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    from vlajs import cli

    monkeypatch.setattr(
        sys, "argv", ["vlajs", "teacher", "serve", "--model", "openvla", "--weights", "w", "--port", "0"]
    )
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("error: openvla runs the Python code that comes with w: read it")
    assert signal.getsignal(signal.SIGTERM) is before
