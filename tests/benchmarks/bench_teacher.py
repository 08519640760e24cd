"""What a call of a teacher costs: a scripted one, a mini-VLA in this process, and the same behind a server of ours.

    .venv/bin/python tests/benchmarks/bench_teacher.py --rounds 10
    .venv/bin/python tests/benchmarks/bench_teacher.py --weights runs/mini_vla/mini_vla.safetensors --task push_cube

A call is one environment asked once, 16 environments at a time, its picture rendered for it. Without weights an
untrained network of the same size is used, which takes as long; where nothing renders, pictures are grey and cost
nothing, and the table says so. Figures are CPU time of this process in milliseconds, the server's included. The ratio
is to what the simulation takes for one decision of the policy in one environment.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[2]))  # for tests.support, when run as a file

from tests.support.mini_vla import phrase_rows, tiny_config, write_demos
from tests.support.vla_models import serving
from vlajs.policy.response import ControllerResponse
from vlajs.vla.backend import VlaConfig
from vlajs.vla.client import VlaClient
from vlajs_training.environment import TaskEnvironment
from vlajs_training.mini_vla.dataset import load_demonstrations
from vlajs_training.mini_vla.model import MiniVla, load_mini_vla, load_model
from vlajs_training.mini_vla.network import NetworkConfig
from vlajs_training.mini_vla.train import Cloner
from vlajs_training.mini_vla.weights import convention_of, save_weights
from vlajs_training.randomisation import get_randomisation
from vlajs_training.rendered_view import CameraView, RenderedView, RenderError
from vlajs_training.responses import TWIN_RESPONSE
from vlajs_training.teachers.factory import make_teacher
from vlajs_training.teachers.seeing import BlankView, View
from vlajs_training.vla_server.options import ModelOptions

ENVS = 16


def untrained(folder: Path) -> Path:
    """A mini-VLA of the usual size that learnt nothing."""
    write_demos(folder)
    config = tiny_config(folder, folder / "run", network=NetworkConfig())
    cloner = Cloner(config, load_demonstrations(folder), phrase_rows())
    camera = CameraView()
    contract = replace(cloner.contract({}, {}), camera=camera, convention=convention_of(5.0, camera))
    file = folder / "untrained.safetensors"
    save_weights(file, contract, cloner.averaged.state_dict(), cloner.embeddings)
    return file


def cpu_ms(act: Callable[[], object], rounds: int) -> float:
    """Median CPU time for one environment, after one round that does not count."""
    act()
    times = []
    for _ in range(rounds):
        started = time.process_time()
        act()
        times.append(1e3 * (time.process_time() - started) / ENVS)
    return float(np.median(times))


def view_for(env: TaskEnvironment, model: MiniVla) -> tuple[View, str]:
    """What shows the scenes, and what to call it."""
    camera = model.contract.camera
    try:
        return RenderedView(env.definition, camera), "rendered"
    except RenderError:
        return BlankView(camera.height_px, camera.width_px), "grey, nothing renders here"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, help="a mini-VLA's file")
    parser.add_argument("--task", default="push_cube")
    parser.add_argument("--rounds", type=int, default=10)
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        file = given.weights or untrained(Path(folder))
        model = load_model(file)
        response = ControllerResponse.from_yaml(TWIN_RESPONSE)
        env = TaskEnvironment(
            given.task, num_envs=ENVS, response=response, randomisation=get_randomisation("none"), seed=1
        )
        asked = np.arange(ENVS)
        observation = env.reset(1)
        scripted = make_teacher("scripted", env.definition, num_envs=ENVS, seed=1)
        scripted.begin(asked)
        scripted.observe(observation)
        view, pictures = view_for(env, model)
        images = view.images(env.visible_state(asked))
        said = [env.definition.task.instruction] * ENVS
        with (
            serving(lambda: load_mini_vla(ModelOptions(weights=str(file)))) as server,
            VlaClient(VlaConfig(backend="vlajs", url=server.url)) as client,
        ):
            rows = {
                "one decision, simulated": cpu_ms(lambda: env.step(np.zeros((ENVS, 7), np.float32)), given.rounds),
                "scripted": cpu_ms(lambda: scripted.query(asked), given.rounds),
                f"a picture ({pictures})": cpu_ms(lambda: view.images(env.visible_state(asked)), given.rounds),
                "mini-VLA, picture in hand": cpu_ms(lambda: model.answer(images, said), given.rounds),
                "the same behind a server": cpu_ms(lambda: client.query(images, said), given.rounds),
            }
    print(f"{given.task}, CPU ms for one environment, median of {given.rounds} rounds of {ENVS}")
    decision_ms = next(iter(rows.values()))
    for name, found_ms in rows.items():
        print(f"{name:40}{found_ms:10.2f}{found_ms / decision_ms:9.1f}x")


if __name__ == "__main__":
    main()
