"""``vlajs teacher serve``: a vision-language-action model on the network."""

import logging
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Literal

import tyro

from vlajs.vla.serving.config import ServerConfig
from vlajs.vla.serving.model import Model
from vlajs.vla.serving.server import VlaServer
from vlajs_training.vla_server.options import ModelOptions


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """Serve a vision-language-action model: to training as a teacher, to the arm as a baseline.

    /healthz answers 200 once the model is loaded, warm, and seen to look at its images. Ctrl-C ends it.
    """

    model: Literal["openvla", "mini-vla"]
    """Which kind of model."""
    options: Annotated[ModelOptions, tyro.conf.OmitArgPrefixes]
    """What it is loaded with."""
    server: Annotated[ServerConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=ServerConfig)
    """How it is reached."""


def loader_of(model: str) -> Callable[[ModelOptions], Model]:
    """The function that loads models of this kind; only its own libraries are imported."""
    if model == "mini-vla":
        from vlajs_training.mini_vla.model import load_mini_vla

        return load_mini_vla
    from vlajs_training.vla_server.openvla import load_openvla

    return load_openvla


def serve(words: list[str]) -> int:
    """Carry out ``vlajs teacher serve``."""
    config = tyro.cli(ServeConfig, args=words, prog="vlajs teacher serve")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    config.options.named_convention()  # refuse before anything starts
    server = VlaServer(partial(loader_of(config.model), config.options), config.server)
    server.run()
    if server.is_busy:  # Python would wait for the model's thread, perhaps for ever
        logging.warning("the model was still working: its thread is abandoned")
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)
    return 0
