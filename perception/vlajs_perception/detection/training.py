"""A detector from labelled pictures: a YOLO11 nano pose network trained from nothing, resumable, its end in sight."""

import hashlib
import importlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from vlajs_perception.detection.engine import load_engine
from vlajs_perception.detection.export import export_detector
from vlajs_perception.detection.model_file import STRIDE_PX, DetectorCard
from vlajs_perception.detection.training_data import DataFolder, check_apart, check_folder, lay_out
from vlajs_perception.files import write_whole
from vlajs_perception.rendering.dataset import DatasetError

NETWORK = "yolo11n-pose.yaml"

HYPERPARAMETERS: dict[str, Any] = {
    # Few epochs: a step a batch, no pretrained weights (they need a download), learning rate down to a hundredth.
    "optimizer": "AdamW",
    "lrf": 0.01,
    "momentum": 0.9,
    "cos_lr": True,
    "warmup_epochs": 1.0,
    "warmup_bias_lr": 0.0,
    "pretrained": False,
    "amp": False,
    # An input as wide and high as the pictures, without grey borders that cost as much as pictures.
    "rect": True,
    # Mirrored, an object's corners count the other way round; turned, down in the picture is no longer down.
    "fliplr": 0.0,
    "flipud": 0.0,
    "degrees": 0.0,
    "shear": 0.0,
    "perspective": 0.0,
    # Four pictures in one halve every object, and pixels are what poses are made of. The scenes are cluttered anyway.
    "mosaic": 0.0,
    "translate": 0.1,
    "scale": 0.25,
    "hsv_h": 0.015,
    "hsv_s": 0.4,
    "hsv_v": 0.3,
    "erasing": 0.0,
}
_CHECKPOINT, _RECIPE, _PROGRESS = "checkpoint.pt", "recipe.json", "progress.json"
_WEIGHTS = "weights.safetensors"
"""The averaged weights of the last epoch, in a form that can be taken from anybody; a checkpoint is a pickle."""


@dataclass(frozen=True, kw_only=True)
class TrainSettings:
    """How a detector is trained.

    Raises:
        ValueError: a number out of range.
    """

    epochs: int = 12
    """How often each picture is seen."""
    image_size: int = 512
    """Longer side of the network's input in pixels, a multiple of 32; time grows with its square."""
    batch: int = 16
    """Pictures a step."""
    seed: int = 1
    """Of weights and order."""
    learning_rate: float = 0.00125
    """Of the first epochs, down to a hundredth in the last; half of it where weights are begun with."""
    threads: int = 2
    """Of the processor."""
    bfloat16: bool | None = None
    """Whether the network computes in bfloat16 while it trains: half the time where the processor can (AMX, AVX-512
    BF16), far more where it cannot. By itself: where it can."""

    def __post_init__(self) -> None:
        for name, low, high in (("epochs", 1, 10000), ("batch", 1, 1024), ("threads", 1, 256), ("seed", 0, 2**31 - 1)):
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"{name} = {getattr(self, name)} is outside [{low}, {high}]")
        if not STRIDE_PX <= self.image_size <= 4096 or self.image_size % STRIDE_PX:
            raise ValueError(f"image_size = {self.image_size} must be a multiple of {STRIDE_PX} in [{STRIDE_PX}, 4096]")
        if not 0.0 < self.learning_rate <= 0.1:
            raise ValueError(
                f"learning_rate = {self.learning_rate} is outside (0, 0.1]: the weights would not converge"
            )


def train_detector(
    data: tuple[Path, ...],
    validation: tuple[Path, ...],
    output: Path,
    settings: TrainSettings,
    *,
    begin_with: Path | None = None,
    resume: bool = False,
) -> DetectorCard:
    """Train a detector and write it, with its card beside it.

    A run keeps its state in ``output`` with suffix ``.run``: killed at any moment, it goes on from its last epoch.

    Args:
        data: folders to train with.
        validation: folders of other pictures; nothing is chosen by them, they only give the figures.
        output: the ``.onnx`` file to write.
        settings: of the training.
        begin_with: folder of an earlier run, with whose weights this one begins; None: from nothing.
        resume: go on with a run that stopped.

    Raises:
        DatasetError: a data folder that cannot be used, or a run that is another or cannot go on.
        EngineMissingError: Ultralytics is not installed.
        OSError: the disk is full, or the like.
    """
    if output.suffix != ".onnx":
        raise DatasetError(f"{output}: a detector's file ends in .onnx")
    if not data or not validation:
        raise DatasetError("give at least one folder to train with and one to validate with")
    training, validating = [check_folder(path) for path in data], [check_folder(path) for path in validation]
    check_apart(training, validating)
    begun_with = None if begin_with is None else weights_of(begin_with)
    run = output.with_suffix(".run")
    engine = load_engine(run / "ultralytics")
    if settings.bfloat16 is None:
        network = importlib.import_module("vlajs_perception.detection.network")
        settings = replace(settings, bfloat16=_bfloat16_of(run, network.multiplies_bfloat16()))
    recipe = _recipe(training, validating, settings, begun_with, engine.__version__)
    _begin(run, recipe, resume)
    description = lay_out(run, training, validating)
    if _epochs_done(run) < settings.epochs:
        _train(run, description, settings, begun_with)
    figures = json.loads((run / _PROGRESS).read_text())["figures"]
    pictures = [validating[0].path / "images" / f"{name}.jpg" for name in validating[0].names]
    return export_detector(run / _CHECKPOINT, run, recipe, figures, settings.image_size, output, pictures)


def _recipe(
    training: list[DataFolder],
    validation: list[DataFolder],
    settings: TrainSettings,
    begun_with: bytes | None,
    version: str,
) -> dict[str, Any]:
    return {
        "begun_with_sha256": None if begun_with is None else hashlib.sha256(begun_with).hexdigest(),
        "network": NETWORK,
        "ultralytics": version,
        "settings": {name: value for name, value in asdict(settings).items() if name != "threads"},
        "hyperparameters": HYPERPARAMETERS,
        "data": [folder.recipe() for folder in training],
        "validation": [folder.recipe() for folder in validation],
    }


def weights_of(run: Path) -> bytes:
    """The weights that an earlier run ended with.

    Raises:
        DatasetError: no folder of a run, one that has not finished an epoch, or a damaged file.
    """
    file, safetensors = run / _WEIGHTS, importlib.import_module("safetensors")
    if not file.is_file():
        raise DatasetError(
            f"--begin-with {run}: it holds no {_WEIGHTS}; give the folder (.run) of a run that has finished an epoch"
        )
    weights = file.read_bytes()
    try:
        safetensors.deserialize(weights)
    except safetensors.SafetensorError as error:
        raise DatasetError(f"--begin-with: {file} is damaged ({error}, {len(weights)} bytes): copy it again") from error
    return weights


def _bfloat16_of(run: Path, possible: bool) -> bool:
    """A run goes on with what it began with, be it on another machine."""
    file = run / _RECIPE
    return bool(json.loads(file.read_text())["settings"]["bfloat16"]) if file.exists() else possible


def _begin(run: Path, recipe: dict[str, Any], resume: bool) -> None:
    file = run / _RECIPE
    if file.exists() and not resume:
        raise DatasetError(f"{run} holds a run: --resume goes on with it, or remove it to start afresh")
    if not file.exists():
        write_whole(file, json.dumps(recipe, indent=1).encode())
        return
    before, now = json.loads(file.read_text()), json.loads(json.dumps(recipe))
    other = sorted(name for name in now if before.get(name) != now[name])
    if other:
        raise DatasetError(
            f"{run} holds a run with other {', '.join(other)} (see {file.name}): give the same to go on with it, or "
            "another --output"
        )


def _epochs_done(run: Path) -> int:
    file = run / _PROGRESS
    return int(json.loads(file.read_text())["epochs"]) if file.exists() else 0


def _train(run: Path, description: Path, settings: TrainSettings, begun_with: bytes | None) -> None:
    """Train what is left to do, leaving a whole checkpoint in ``run`` after every epoch."""
    torch = importlib.import_module("torch")
    cuda = torch.cuda.is_available()
    overrides: dict[str, Any] = {
        **HYPERPARAMETERS,
        "model": NETWORK,
        "data": str(description),
        "epochs": settings.epochs,
        "imgsz": settings.image_size,
        "batch": settings.batch,
        "nbs": settings.batch,
        "seed": settings.seed,
        "lr0": settings.learning_rate,
        "device": "0" if cuda else "cpu",
        "workers": settings.threads if cuda else 0,
        "patience": 0,
        "plots": False,
        "verbose": False,
        "save_dir": str(run.resolve()),
    }
    if _epochs_done(run):
        overrides["resume"] = str(run / _CHECKPOINT)
    pose = importlib.import_module("ultralytics.models.yolo.pose")
    network = importlib.import_module("vlajs_perception.detection.network")

    class Trainer(pose.PoseTrainer):  # type: ignore[misc, name-defined]  (known at run time)
        """Keeps the last weights instead of those that validated best: the figures then are no choice's luck."""

        def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
            """The network: new, with an earlier run's weights, or with those of the checkpoint that it goes on from."""
            data = self.data
            model = network.TrainedPoseModel(
                cfg, nc=data["nc"], ch=data["channels"], data_kpt_shape=data["kpt_shape"], verbose=False
            )
            model.in_bfloat16 = bool(settings.bfloat16)
            if weights:
                model.load(weights)
            elif begun_with is not None:
                load_weights(model, begun_with)
            return model.to(memory_format=torch.channels_last)

        def final_eval(self) -> None:
            """Nothing: the last epoch has been validated."""

    trainer = Trainer(overrides=overrides)
    torch.set_num_threads(settings.threads)  # Ultralytics leaves one core of two idle
    with _Progress(settings.epochs) as progress:
        trainer.add_callback("on_train_start", progress.begin)
        trainer.add_callback("on_train_batch_end", progress.batch)
        trainer.add_callback("on_fit_epoch_end", progress.epoch)
        trainer.add_callback("on_model_save", lambda trainer: _keep(run, trainer))
        trainer.train()


def load_weights(model: Any, weights: bytes) -> None:
    """Put an earlier run's weights into a network.

    Raises:
        DatasetError: they are of another network.
    """
    try:
        model.load_state_dict(importlib.import_module("safetensors.torch").load(weights))
    except RuntimeError as error:
        raise DatasetError(
            f"--begin-with: the weights are of another network, of other classes or keypoints: {error}"
        ) from error


def _keep(run: Path, trainer: Any) -> None:
    """A checkpoint that is whole, whenever the process dies; Ultralytics writes over its own."""
    write_whole(run / _CHECKPOINT, trainer.last.read_bytes())
    safetensors = importlib.import_module("safetensors.torch")
    averaged = {name: value.float().contiguous() for name, value in trainer.ema.ema.state_dict().items()}
    write_whole(run / _WEIGHTS, safetensors.save(averaged))
    progress = {"epochs": trainer.epoch + 1, "figures": figures_of(trainer.metrics)}
    write_whole(run / _PROGRESS, json.dumps(progress).encode())


class _Progress:
    """A bar over all epochs, with the losses, and a line an epoch."""

    def __init__(self, epochs: int) -> None:
        self._bar: tqdm[Any] = tqdm(total=0, unit="batch", dynamic_ncols=True)
        self._epochs = epochs

    def __enter__(self) -> "_Progress":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def begin(self, trainer: Any) -> None:
        batches = len(trainer.train_loader)
        self._bar.reset(total=self._epochs * batches)
        self._bar.initial = self._bar.n = trainer.start_epoch * batches
        self._bar.refresh()

    def batch(self, trainer: Any) -> None:
        self._bar.set_description(f"epoch {trainer.epoch + 1}/{self._epochs}", refresh=False)
        losses = {name.removesuffix("_loss"): f"{float(value):.3g}" for name, value in trainer.tloss.items()}
        self._bar.set_postfix(losses, refresh=False)
        self._bar.update(1)

    def epoch(self, trainer: Any) -> None:
        losses = " ".join(f"{name}={float(value):.3g}" for name, value in trainer.tloss.items())
        figures = " ".join(f"{name}={value:.3f}" for name, value in figures_of(trainer.metrics).items())
        self._bar.write(f"epoch {trainer.epoch + 1}/{self._epochs} {losses} {figures}")


def figures_of(metrics: dict[str, Any]) -> dict[str, float]:
    """Ultralytics' figures by the names used here."""
    names = {"B": "box", "P": "pose"}
    return {
        f"{names[key[-2]]}_{key.removeprefix('metrics/')[:-3].replace('-', '_').lower()}": round(float(value), 4)
        for key, value in metrics.items()
        if key.startswith("metrics/") and key[-3:] in ("(B)", "(P)")
    }
