"""What a sweep's YAML file asks for: a list of runs, and what has become of each so far.

    folder: runs/sub_optimal        # where the runs go; by default runs/<name of the file>
    cpus_per_run: 2
    gpus_per_run: 0
    common:                         # settings of all runs
      reward: sub_optimal
      task: [pick_cube, push_cube]  # lists are crossed
      seed: [1, 2, 3]
    runs:                           # at least one entry; its settings go before common ones
      - method: ppo
      - method: [vlajs, vlajs-rpd]
        teacher_scale: [0.25, 1, 4]

Settings are those of ``vlajs train``, nested ones as ``ppo: {learning_rate: 1e-3}``. A setting that is itself a
sequence is written as a list of lists.
"""

import contextlib
import io
import itertools
import json
import re
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal

import tyro
import yaml

from vlajs.policy.bundle import load_bundle
from vlajs.policy.contract import ContractError
from vlajs_training.runs import CONFIG_FILE, RUN_FORMAT, RunError, last_steps, read_config
from vlajs_training.train_config import TrainConfig

Status = Literal["new", "interrupted", "finished", "refused"]

_IN_RUN_NAME = {"task", "reward", "protocol", "method", "seed"}
_SET_BY_SWEEP = {"folder", "resume"}


class SweepError(ValueError):
    """The file cannot be carried out; the message names the key and the remedy."""


@dataclass(frozen=True, kw_only=True)
class SweepRun:
    """One training run.

    Attributes:
        name: of its folder.
        config: its settings.
        arguments: the same for ``vlajs train``, without ``--resume``.
        log: where its output goes.
    """

    name: str
    config: TrainConfig
    arguments: tuple[str, ...]
    log: Path

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.config.run_folder

    def steps(self) -> int:
        """Env steps done so far, at most the budget."""
        return min(last_steps(self.folder), self.config.budget)

    def status(self) -> tuple[Status, str]:
        """What its folder says, and for ``refused`` why.

        A run is finished when its budget is trained and the report, if one was asked for, is in the bundle.
        """
        if not (self.folder / CONFIG_FILE).exists():
            return "new", ""
        try:
            before = read_config(self.folder)
        except RunError as error:
            return "refused", str(error)
        wanted = json.loads(json.dumps({"format": RUN_FORMAT, **self.config.settings()}, default=str))
        if changed := sorted(key for key in before | wanted if before.get(key) != wanted.get(key)):
            return (
                "refused",
                f"{self.folder} was started with other settings ({', '.join(changed)}): use another folder",
            )
        trained = self.steps() >= self.config.budget
        return ("finished" if trained and (not self.config.report_episodes or self._reported()) else "interrupted"), ""

    def _reported(self) -> bool:
        try:
            return "simulation_success" in load_bundle(self.config.bundle_path).contract.provenance
        except ContractError:
            return False


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """A file's content.

    Attributes:
        folder: holds the run folders, and beside each its log.
        cpus_per_run: of Ray's resources; with 2 a machine of two cores runs one at a time.
        gpus_per_run: the same.
        runs: in the order they are started, low seeds first, so that all methods can be compared early.
    """

    folder: Path
    cpus_per_run: int
    gpus_per_run: int
    runs: tuple[SweepRun, ...]


def read_sweep(path: Path) -> Sweep:
    """Read and check a sweep's file.

    Raises:
        SweepError: not readable, an unknown or repeated key, a value ``vlajs train`` refuses, or the same run twice.
    """
    content = _read_yaml(path)
    _check_keys(content, {"folder", "cpus_per_run", "gpus_per_run", "common", "runs"}, str(path))
    folder = Path(content.get("folder") or Path("runs") / path.stem)
    cpus, gpus = content.get("cpus_per_run", 2), content.get("gpus_per_run", 0)
    for name, value, least in (("cpus_per_run", cpus, 1), ("gpus_per_run", gpus, 0)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise SweepError(f"{path}: {name} is {value!r}, expected a whole number of at least {least}")
    entries = content.get("runs")
    if not isinstance(entries, list) or not entries:
        raise SweepError(f"{path}: runs must be a list with at least one entry, such as - method: ppo")
    common = _settings(content.get("common") or {}, f"{path}: common")
    runs: dict[str, SweepRun] = {}
    for number, entry in enumerate(entries, start=1):
        where = f"{path}: runs, entry {number}"
        for run in _crossed(common, _settings(entry, where), folder, where):
            if run.name in runs:
                raise SweepError(f"{where}: {run.name} is described twice; remove one")
            if run.config.device == "cuda" and not gpus:
                raise SweepError(f"{where}: device cuda with gpus_per_run 0 would see no GPU: set gpus_per_run: 1")
            runs[run.name] = run
    ordered = sorted(runs.values(), key=lambda run: run.config.seed)
    return Sweep(folder=folder, cpus_per_run=cpus, gpus_per_run=gpus, runs=tuple(ordered))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text()
        _refuse_repeated_keys(yaml.compose(text, Loader=yaml.SafeLoader), path)
        content = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SweepError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise SweepError(f"{path} is no mapping: it needs at least runs: [...]")
    return content


def _refuse_repeated_keys(node: yaml.Node | None, path: Path) -> None:
    """YAML's own loader keeps the last of two equal keys and says nothing."""
    if isinstance(node, yaml.MappingNode):
        names = [key.value for key, _ in node.value]
        if repeated := sorted({str(name) for name in names if names.count(name) > 1}):
            line = node.start_mark.line + 1
            raise SweepError(f"{path}: {', '.join(repeated)} twice in the mapping at line {line}: use a list")
        for _, value in node.value:
            _refuse_repeated_keys(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_repeated_keys(value, path)


def _check_keys(content: dict[str, Any], known: set[str], where: str) -> None:
    if unknown := sorted(str(key) for key in content if key not in known):
        raise SweepError(f"{where}: unknown key {', '.join(unknown)}; known are {', '.join(sorted(known))}")


def _settings(content: Any, where: str, kind: Any = TrainConfig, prefix: str = "") -> dict[str, list[Any]]:
    """Dotted setting to the values it takes."""
    if not isinstance(content, dict):
        raise SweepError(f"{where}: expected settings of vlajs train, such as method: ppo, found {content!r}")
    known = {item.name: item.type for item in fields(kind)}
    if not prefix:
        known = {name: value for name, value in known.items() if name not in _SET_BY_SWEEP}
    _check_keys(content, set(known), where)
    found: dict[str, list[Any]] = {}
    for key, value in content.items():
        if is_dataclass(known[key]):
            found |= _settings(value, f"{where}, {key}", known[key], f"{prefix}{key}.")
        else:
            values = value if isinstance(value, list) else [value]
            if not values or any(isinstance(item, dict) for item in values):
                raise SweepError(f"{where}: {prefix}{key} is {value!r}, expected a value or a list of values")
            found[prefix + key] = values
    return found


def _crossed(common: dict[str, list[Any]], own: dict[str, list[Any]], folder: Path, where: str) -> list[SweepRun]:
    """The runs of one entry.

    A folder is named by what the run's own name says, and by what varies besides: the entry's own settings and lists
    in common. So it stays the same when entries are added.
    """
    settings = common | own
    named = [key for key in settings if key not in _IN_RUN_NAME and (key in own or len(common.get(key, [])) > 1)]
    runs = []
    for values in itertools.product(*settings.values()):
        chosen = dict(zip(settings, values, strict=True))
        suffix = "".join(f"-{key.split('.')[-1]}={_word(chosen[key])}" for key in named)
        name = _parsed(_arguments(chosen), where).run_name + re.sub(r"[^\w.,=+-]", "_", suffix)
        arguments = (*_arguments(chosen), "--folder", str(folder / name))
        config = _parsed(list(arguments), where)
        runs.append(SweepRun(name=name, config=config, arguments=arguments, log=folder / f"{name}.log"))
    return runs


def _arguments(chosen: dict[str, Any]) -> list[str]:
    """The command line of ``vlajs train`` for these settings."""
    words = [str(chosen["task"])] if "task" in chosen else []
    for key, value in chosen.items():
        option = key.replace("_", "-")
        if key == "task":
            continue
        if isinstance(value, bool):
            head, _, last = option.rpartition(".")
            words.append(f"--{option}" if value else f"--{head + '.' if head else ''}no-{last}")
        else:
            words += [f"--{option}", *(map(_word, value) if isinstance(value, list) else [_word(value)])]
    return words


def _word(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _parsed(arguments: list[str], where: str) -> TrainConfig:
    """As ``vlajs train`` reads it.

    Raises:
        SweepError: it would refuse.
    """
    if not arguments or arguments[0].startswith("--"):
        raise SweepError(f"{where}: no task; add task: push_cube, here or in common")
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint), contextlib.redirect_stdout(complaint):
            return tyro.cli(TrainConfig, args=arguments, prog="vlajs train")
    except SystemExit as error:
        # the frame that tyro draws around its words goes, and so does its last line
        text = re.sub(r"[^\x20-\x7e]+|-{5,}|For full helptext.*", " ", complaint.getvalue())
        raise SweepError(f"{where}: vlajs train {' '.join(arguments)} is refused: {' '.join(text.split())}") from error
