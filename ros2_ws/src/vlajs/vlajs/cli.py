"""The command line: ``vlajs <command> ...``. Each command imports what it needs when it is called.

Errors a user can mend are one line on standard error: exit code 2 for what was typed or given, 1 for what went wrong
on the way. Anything else keeps its traceback.
"""

import dis
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

USER_ERROR = 2
"""Exit code: the command cannot be carried out as typed."""
FAILED = 1
"""Exit code: it was carried out and failed."""
Command = Callable[[list[str]], int]


class UsageError(ValueError):
    """The command cannot be carried out as typed; the message says why and what to do."""


# -- bundle ------------------------------------------------------------------------------------------------------


def bundle_show(file: tyro.conf.Positional[Path], /) -> int:
    """Print the contract of a policy bundle: what it sees, what its actions do, what it was trained with.

    Args:
        file: policy bundle (.safetensors).
    """
    from vlajs.policy.bundle import load_bundle
    from vlajs.policy.describe import describe_contract

    print(describe_contract(load_bundle(file).contract))
    return 0


def bundle_verify(files: tyro.conf.Positional[tuple[Path, ...]], /) -> int:
    """Check policy bundles as a robot would on loading them.

    Args:
        files: policy bundles (.safetensors).
    """
    from vlajs.policy.bundle import load_bundle
    from vlajs.policy.contract import ContractError

    if not files:
        raise UsageError("no file given: vlajs bundle verify FILE [FILE ...]")
    refused = 0
    for file in files:
        try:
            print(f"{file}: good, {load_bundle(file).contract.contract_id}")
        except ContractError as error:
            refused += 1
            print(f"error: {error}", file=sys.stderr)
    return USER_ERROR if refused else 0


# -- up ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Up:
    """Start the nodes of a launch and stop them all on Ctrl-C: vlajs up twin checkpoint:=policy.safetensors"""

    launch: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="LAUNCH")]
    """Which one: real_robot, twin, openvla_baseline or openvla_baseline_twin."""
    arguments: Annotated[tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="KEY:=VALUE")] = ()
    """key:=value words; --show-args lists the keys."""
    show_args: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """List the arguments of the launch and do nothing."""


def up(words: list[str]) -> int:
    """Carry out ``vlajs up``."""
    from vlajs.bringup import description_named
    from vlajs.launch_description import given_from, show_arguments

    config = tyro.cli(Up, args=words, prog="vlajs up")
    description = description_named(config.launch)
    if config.show_args:
        print(show_arguments(description))
        return 0
    given = given_from(list(config.arguments))
    description.resolve(given)  # refuse before anything starts
    from vlajs.processes import run_until_signal

    return run_until_signal(description, given)


# -- dispatch ----------------------------------------------------------------------------------------------------


def _tyro(function: Callable[..., int | None], name: str) -> Command:
    """A command whose options are a function's parameters."""

    def run(words: list[str]) -> int:
        return tyro.cli(function, args=words, prog=f"vlajs {name}") or 0

    return run


def _session(function: str) -> Command:
    def run(words: list[str]) -> int:
        command = getattr(importlib.import_module("vlajs.nodes.session_cli"), function)
        return _tyro(command, f"session {function}")(words)

    return run


def _module(module: str, distribution: str, function: str = "main") -> Command:
    """A command that is another module's ``function(words) -> int``, perhaps of a distribution not installed here."""

    def run(words: list[str]) -> int:
        try:
            found = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
                raise UsageError(f"{module} needs {error.name}, which is not installed: {error}") from error
            raise UsageError(f"this command is part of {distribution}, which is not installed here") from error
        return getattr(found, function)(words) or 0

    return run


COMMANDS: dict[str, tuple[Command | dict[str, Command], str]] = {
    "bundle": (
        {"show": _tyro(bundle_show, "bundle show"), "verify": _tyro(bundle_verify, "bundle verify")},
        "show or verify policy bundles",
    ),
    "up": (up, "start the nodes of a launch: real_robot, twin, or a VLA alone (openvla_baseline)"),
    "session": (
        {name: _session(name) for name in ("run", "resume", "report", "table", "robustness")},
        "run evaluation trials, report them",
    ),
    "identify": (_module("vlajs.nodes.identify", "vlajs"), "measure the response of bridge and arm for training"),
    "train": (_module("vlajs_training.train", "vlajs-training"), "train a policy"),
    "evaluate": (_module("vlajs_training.evaluate", "vlajs-training"), "evaluate a policy in simulation"),
    "compare": (_module("vlajs_training.compare", "vlajs-training"), "compare training runs: curves, cost of success"),
    "sweep": (_module("vlajs_training.sweep", "vlajs-training"), "train every run that a YAML file describes"),
    "perception": (
        {
            "render": _module("vlajs_perception.rendering.commands", "vlajs-perception", "render"),
            "train": _module("vlajs_perception.detection.commands", "vlajs-perception", "train"),
            "check": _module("vlajs_perception.checking.commands", "vlajs-perception", "check"),
        },
        "labelled pictures, a detector trained on them, and how well it finds objects",
    ),
    "teacher": (
        {
            **{
                name: _module("vlajs_training.teachers.commands", "vlajs-training", name)
                for name in ("calibrate", "evaluate")
            },
            "demos": _module("vlajs_training.mini_vla.demos", "vlajs-training", "demos"),
            "train": _module("vlajs_training.mini_vla.train", "vlajs-training", "train"),
            "serve": _module("vlajs_training.vla_server.commands", "vlajs-training", "serve"),
            "finetune": _module("vlajs_training.vla_server.finetune", "vlajs-training", "finetune"),
        },
        "measure how good a teacher is alone, degrade it to a given success; train mini-VLA; serve or fine-tune a VLA",
    ),
    "calibrate": (
        {
            **{
                name: _module("vlajs_perception.calibration.commands", "vlajs-perception", name)
                for name in ("board", "solve", "check", "tags")
            },
            "capture": _module("vlajs.nodes.calibration_capture", "vlajs", "capture"),
        },
        "find where a camera is: print a board, capture views, solve from them, check it; find tags on the table",
    ),
}


def _usage(prefix: str, commands: dict[str, str]) -> str:
    width = max(map(len, commands))
    lines = [f"usage: {prefix} <command> ...   (add --help to a command for its options)", ""]
    return "\n".join(lines + [f"  {name:{width}}  {summary}".rstrip() for name, summary in commands.items()])


def dispatch(words: list[str]) -> int:
    """Carry out a command line without the program's name.

    Raises:
        ValueError: what the user typed or gave cannot be; the message says what to do.
    """
    prefix, commands, summaries = "vlajs", dict(COMMANDS), {name: text for name, (_, text) in COMMANDS.items()}
    if not words or words[0] in ("-h", "--help"):
        print(_usage(prefix, summaries))
        return 0 if words else USER_ERROR
    name, rest = words[0], words[1:]
    if name not in commands:
        raise UsageError(f"unknown command {name!r}: known are {', '.join(commands)}")
    command, _ = commands[name]
    if not isinstance(command, dict):
        return command(rest)
    if not rest or rest[0] in ("-h", "--help"):
        print(_usage(f"vlajs {name}", dict.fromkeys(command, "")))
        return 0 if rest else USER_ERROR
    if rest[0] not in command:
        raise UsageError(f"unknown command '{name} {rest[0]}': known are {', '.join(command)}")
    return command[rest[0]](rest[1:])


def raised_on_purpose(error: BaseException) -> bool:
    """Whether a ``raise`` statement of this project made the error, not a slip within a calculation or a library."""
    innermost = error.__traceback__
    if innermost is None:
        return False
    while innermost.tb_next is not None:
        innermost = innermost.tb_next
    frame = innermost.tb_frame
    ours = frame.f_globals.get("__name__", "").partition(".")[0] in ("vlajs", "vlajs_training", "vlajs_perception")
    return ours and frame.f_code.co_code[innermost.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def main() -> None:
    """Entry point of ``vlajs``."""
    try:
        code = dispatch(sys.argv[1:])
    except (ValueError, RuntimeError, OSError) as error:
        if not raised_on_purpose(error):
            raise
        print("; ".join(("error: " + str(error), *getattr(error, "__notes__", ()))), file=sys.stderr)
        code = USER_ERROR if isinstance(error, ValueError) else FAILED
    except KeyboardInterrupt:
        code = 130
    sys.exit(code)


if __name__ == "__main__":
    main()
