"""Fine-tuning a tiny OpenVLA with the libraries it was written for: it learns, is served, goes on after any end."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tyro

from tests.support.finetune_demos import CAMERA, FACTS, RGB, action_of, picture, write_moving_demos
from tests.support.openvla_packages import environment, require_packages
from tests.support.processes import ROOT
from vlajs.vla.convention import Convention
from vlajs.vla.errors import ConventionError
from vlajs.vla.presets import OPENVLA_BRIDGE
from vlajs.vla.serving.model import ModelError
from vlajs_training.mini_vla.demo_folder import Batch, DemoError, DemoFolder, encode_picture
from vlajs_training.vla_server import finetune
from vlajs_training.vla_server.finetune_config import FinetuneConfig, LoraSettings
from vlajs_training.vla_server.finetune_data import Demonstrations, load_demonstrations
from vlajs_training.vla_server.options import convention_for

PATIENCE_S = 900.0
pytestmark = pytest.mark.timeout(2 * PATIENCE_S)
OWN = Convention(rate_hz=5.0, image_size=(96, 128), unnorm_key="vlajs_demos")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("finetune")


@pytest.fixture(scope="module")
def outcomes(folder: Path) -> dict[str, Any]:
    """What came of these fine-tunings, in one process with the right libraries."""
    require_packages()
    done = subprocess.run(
        [sys.executable, str(ROOT / "tests/support/finetune_openvla.py"), str(folder)],
        env=environment(folder / "cache"),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_it_learns_and_says_how_well_on_episodes_held_out(outcomes: dict) -> None:
    first, last = outcomes["unbroken"]["rows"]
    assert (first["steps"], last["steps"]) == (40, 80)
    assert last["training/loss"] < 0.5 * first["training/loss"]
    # One of 512 tokens at random costs ln 512 = 6.2.
    assert last["validation/loss"] < 0.5
    assert last["validation/token_accuracy"] > 0.9
    assert last["validation/gripper_accuracy"] == 1.0
    assert last["validation/l1_rad"] < 0.01
    assert outcomes["unbroken"]["figures"] == {
        name: value for name, value in last.items() if name not in ("steps", "seconds")
    }


def test_what_is_served_does_what_was_demonstrated(outcomes: dict) -> None:
    # The widest number, the gripper, spans 2: a bin is 2 / 255, its centre 0.0039 off.
    served = outcomes["unbroken"]
    for task, answers in zip(("push_cube", "pick_cube"), served["answers"].values(), strict=True):
        wanted = [action_of(task, colour) for colour in RGB]
        np.testing.assert_allclose(answers, wanted, atol=0.004)
    assert Convention.from_dict(served["convention"]) == OWN


def test_the_folder_is_complete_and_says_what_it_is(outcomes: dict, folder: Path) -> None:
    model = folder / "unbroken/model"
    names = {str(path.relative_to(model)) for path in model.rglob("*") if path.is_file()}
    assert {"model.safetensors", "config.json", "modeling_tiny.py", "tokenizer.json", "README.md"} <= names
    assert {"adapter/adapter_model.safetensors", "adapter/adapter_config.json"} <= names
    statistics = json.loads((model / "dataset_statistics.json").read_text())
    assert list(statistics) == ["vlajs_demos"]
    # 10 episodes of 4 pictures a task, one of them held out: 2 x 9 episodes, 72 pictures
    assert (statistics["vlajs_demos"]["num_trajectories"], statistics["vlajs_demos"]["num_transitions"]) == (18, 72)
    stated = json.loads((model / "config.json").read_text())
    assert set(stated["norm_stats"]) == {"bridge_orig", "vlajs_demos"}  # other servers look there
    card = (model / "README.md").read_text()
    assert "| push_cube | 9 | 1 | 40 | push the cube away from the robot base |" in card
    assert "LoRA of rank 16" in card
    assert "80 steps of 1 x 8 pictures" in card
    assert f"| {outcomes['unbroken']['figures']['validation/loss']:.4f} |" in card
    assert all(path.stat().st_mode & 0o044 == 0o044 for path in model.rglob("*"))  # readable in a container too


def test_a_full_disk_leaves_the_last_checkpoint_and_the_rest_is_made_up_for(outcomes: dict, folder: Path) -> None:
    broken = outcomes["broken"]
    assert "cannot write" in broken["at_checkpoint"]
    assert "checkpoint.pt (No space left on device): free space" in broken["at_checkpoint"]
    assert broken["kept"] == 25
    assert "model" in broken["at_weights"]
    assert "File too large" in broken["at_weights"]
    assert broken["left"] == [".run.lock", "checkpoint.pt", "config.json", "progress.jsonl"]  # no half of a model
    weights = [folder / name / "model/model.safetensors" for name in ("unbroken", "broken")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


def test_a_run_is_gone_on_with_only_as_it_was_begun(outcomes: dict) -> None:
    assert "already holds a run: add --resume, or give another --output" in outcomes["broken"]["again"]
    assert "was started with other settings (learning_rate): use the same" in outcomes["broken"]["other"]


def test_only_action_and_end_are_learnt_behind_the_prompt_of_serving(outcomes: dict) -> None:
    shown = outcomes["inputs"]
    prompt, row, labels = shown["asked_in_serving"], shown["input_ids"][0], shown["labels"][0]
    # Statistics of -1 to 1; 512 tokens. -1: bin 1, token 511; 1: bin 256, token 256; 0 lies between the edges 127 and
    # 128 of 255 (2 * 127 / 255 - 1 < 0 < 2 * 128 / 255 - 1): bin 128, token 384. Token 3 is the empty word, 2 the end.
    said = [511, 384, 256, 384, 384, 384, 511, 2]
    assert row == [*prompt, 3, *said, 512, 512]  # padded to the longer sentence
    assert labels == [-100] * (len(prompt) + 1) + said + [-100] * 2
    assert shown["attention_mask"][0] == [1] * (len(row) - 2) + [0] * 2
    assert shown["labels"][1][-8:] == [384] * 6 + [256, 2]
    assert shown["same_pixels"]


def test_weights_of_the_hub_become_a_folder_that_needs_no_hub(outcomes: dict) -> None:
    assert outcomes["hub"]["had_code"]
    assert np.isfinite(outcomes["hub"]["answer"]).all()


def test_models_that_cannot_be_taught_are_refused(outcomes: dict) -> None:
    refused = outcomes["refusals"]
    assert "answers without calling its vision tower: it is blind" in refused["blind"]
    assert "counts 512 tokens and 128 bins, its tokenizer 512" in refused["bins"]
    assert "the loss is nan after 0 steps: lower --learning-rate" in refused["nan"]


def test_no_simulator_is_needed(outcomes: dict) -> None:
    assert not outcomes["simulator_imported"]  # docker/openvla has none


# -- without transformers ----------------------------------------------------------------------------------------


def config(tmp_path: Path, **changes: Any) -> FinetuneConfig:
    settings = {"demos": tmp_path / "demos", "weights": "w", "output": tmp_path / "out", "trust_remote_code": True}
    return FinetuneConfig(**{**settings, "device": "cpu", **changes})


def load(path: Path, **changes: Any) -> Demonstrations:
    settings: dict[str, Any] = {"tasks": (), "instructions": {}, "validation_share": 0.1, "seed": 1}
    return load_demonstrations(path, **{**settings, **changes})


class Known:
    """As much of transformers as is looked at before weights are loaded."""

    __version__ = "4.40.1"
    AutoModelForVision2Seq = None


def test_what_is_missing_is_said_before_anything_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="comes with w: read it, then give --trust-remote-code"):
        finetune.run(config(tmp_path, trust_remote_code=False))
    monkeypatch.setitem(sys.modules, "transformers", Known)
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ModelError, match=r"peft is not installed.*'vlajs-training\[openvla\]', or docker/openvla"):
        finetune.run(config(tmp_path))
    monkeypatch.setitem(sys.modules, "peft", Known)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ModelError, match=r"finds no CUDA GPU; a 7B model needs one \(bf16 about 27 GB\)"):
        finetune.run(config(tmp_path, device="cuda"))
    with pytest.raises(ModelError, match="--dtype int4 needs a GPU"):
        finetune.run(config(tmp_path, dtype="int4"))
    with pytest.raises(DemoError, match="is it a folder of `vlajs teacher demos`"):
        finetune.run(config(tmp_path))
    assert not (tmp_path / "out").exists()
    write_moving_demos(tmp_path / "demos")
    (tmp_path / "out/model").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"model exists, and is of no run .*: give another --output"):
        finetune.run(config(tmp_path))
    with pytest.raises(ValueError, match=r"holds no run to resume: leave --resume away, or check --output"):
        finetune.run(config(tmp_path, resume=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": float("nan")}, r"learning_rate = nan is outside"),
        ({"validation_share": 0.0}, r"validation_share = 0.0 is outside \[0.001, 0.5\]"),
        ({"lora": LoraSettings(rank=0)}, r"lora.rank = 0 is outside \[1, 1024\]"),
        ({"unnorm_key": "bridge_orig"}, "'bridge_orig' is empty, or that of public weights"),
    ],
)
def test_settings_out_of_range(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(tmp_path, **changes).check()


def test_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["d", "--weights", "w", "--output", "o", "--lora.rank", "8", "--instructions", "screw", "turn the screw"]
    parsed = tyro.cli(FinetuneConfig, args=words)
    assert (parsed.demos, parsed.lora.rank, parsed.lora.scale) == (Path("d"), 8, 8)
    assert LoraSettings().scale == 16
    assert parsed.instructions == {"screw": "turn the screw"}
    with pytest.raises(SystemExit):
        tyro.cli(FinetuneConfig, args=[*words, "--dtype", "fp16"])
    assert "bf16" in capsys.readouterr().err


def test_whole_episodes_are_held_out_of_every_task(tmp_path: Path) -> None:
    write_moving_demos(tmp_path, episodes=10, length=4)
    demos = load(tmp_path, validation_share=0.34)
    for task in range(2):
        numbers = range(10 * task, 10 * task + 10)
        held = [set(demos.validation[(demos.task == task) & (demos.episode == number)]) for number in numbers]
        assert all(len(kept) == 1 for kept in held)
        assert sum(kept == {True} for kept in held) == 3  # 0.34 of 10
    assert demos.digest() == load(tmp_path, validation_share=0.1).digest()
    assert demos.digest() != load(tmp_path, tasks=["push_cube"]).digest()
    assert demos.convention("vlajs_demos") == OWN
    # What is held out does not count in the statistics: 14 of 20 episodes.
    assert demos.statistics["num_trajectories"] == 14


def test_a_task_of_ones_own_is_asked_for_in_ones_own_words(tmp_path: Path) -> None:
    """What docs/vla.md says to write."""
    folder = DemoFolder(tmp_path)
    folder.begin(FACTS)
    jpeg = encode_picture(picture("red"))
    actions = np.tile([0.01, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0], (4, 1)).astype(np.float32)
    folder.write("screw", 0, Batch(pictures=(jpeg,) * 4, actions=actions, episode=np.array([0, 0, 1, 1], np.int32)))
    with pytest.raises(DemoError, match=r"holds screw, which .* does not know how to ask for: .*--instructions screw"):
        load(tmp_path)
    with pytest.raises(DemoError, match="instruction of screw is empty"):
        load(tmp_path, instructions={"screw": " "})
    with pytest.raises(DemoError, match="no demonstrations of bolt: it holds screw"):
        load(tmp_path, instructions={"screw": "turn it", "bolt": "turn it"})
    assert load(tmp_path, instructions={"screw": "turn the screw"}).phrases == {"screw": ("turn the screw",)}
    small = encode_picture(np.zeros((48, 64, 3), np.uint8))
    folder.write("screw", 1, Batch(pictures=(small,), actions=actions[:1], episode=np.array([0], np.int32)))
    with pytest.raises(
        DemoError, match=rf"picture 4 has 64 x 48 pixels, .* {CAMERA.width_px} x {CAMERA.height_px}: all"
    ):
        load(tmp_path, instructions={"screw": "turn the screw"})
    folder.write("screw", 1, Batch(pictures=(jpeg,), actions=100 * actions[:1] * 0.05, episode=np.zeros(1, np.int32)))
    with pytest.raises(DemoError, match=r"gripper action is outside \[-1, 1\]"):
        load(tmp_path, instructions={"screw": "turn the screw"})


def test_too_few_and_no_demonstrations(tmp_path: Path) -> None:
    folder = DemoFolder(tmp_path)
    folder.begin(FACTS)
    with pytest.raises(DemoError, match="holds no demonstrations: run `vlajs teacher demos` first"):
        load(tmp_path)
    batch = Batch(
        pictures=(encode_picture(picture("red")),), actions=np.zeros((1, 7), np.float32), episode=np.zeros(1, np.int32)
    )
    folder.write("push_cube", 0, batch)
    with pytest.raises(DemoError, match="1 episodes of push_cube, at least 2 are needed"):
        load(tmp_path)
    folder.write("push_cube", 1, replace(batch, actions=np.full((1, 7), np.nan, np.float32)))
    with pytest.raises(DemoError, match="an action is not finite"):
        load(tmp_path)


def test_a_convention_beside_the_statistics_is_believed_before_a_preset() -> None:
    stated = {"convention": OWN.to_dict()}
    assert convention_for("bridge_orig", None, stated) == replace(OWN, unnorm_key="bridge_orig")
    assert convention_for("vlajs_demos", OWN, stated) == OWN
    assert convention_for("bridge_orig", None, {"action": {}}) == OPENVLA_BRIDGE
    with pytest.raises(ConventionError, match="state another convention for 'vlajs_demos' than the one given"):
        convention_for("vlajs_demos", OPENVLA_BRIDGE, stated)
    with pytest.raises(ConventionError, match="unknown keys"):
        convention_for("vlajs_demos", None, {"convention": {"rate_hz": 5.0, "speed": 1}})
