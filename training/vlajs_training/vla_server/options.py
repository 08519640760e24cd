"""What a model is loaded with, and which convention its actions follow."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal

import tyro

from vlajs.vla.convention import Convention
from vlajs.vla.errors import ConventionError
from vlajs.vla.presets import PRESETS, preset

LOG = logging.getLogger(__name__)
CONVENTION_KEY = "convention"
"""Beside a data set's statistics: what actions scaled by them mean. `vlajs teacher finetune` states it there."""


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """What a model is loaded with."""

    weights: str
    """Folder, or name on the Hugging Face hub (openvla/openvla-7b); of mini-vla the .safetensors file."""
    revision: str | None = None
    """Commit, tag or branch of weights and code on the hub; a commit keeps both from changing under you."""
    dtype: Literal["bf16", "int8", "int4"] = "bf16"
    """Number format of the weights; int8 and int4 need bitsandbytes and a GPU."""
    device: Literal["cuda", "cpu"] | None = None
    """Where it runs, by default cuda for openvla and cpu for mini-vla; CUDA_VISIBLE_DEVICES chooses among several
    GPUs."""
    unnorm_key: str | None = None
    """Statistics that actions are scaled back with; may be left out where there are only one."""
    convention: str | None = None
    """What actions mean: a preset (openvla-maniskill, openvla-bridge). By default what the weights state of
    themselves, or the preset of the unnorm key; if there is none the server states none, and clients have to."""
    trust_remote_code: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Run the Python code that comes with the weights, as OpenVLA needs: read it first."""

    def named_convention(self) -> Convention | None:
        """The preset that was asked for.

        Raises:
            ConventionError: there is none of that name.
        """
        return None if self.convention is None else preset(self.convention)


def convention_for(
    unnorm_key: str, named: Convention | None, statistics: Mapping[str, Any] | None = None
) -> Convention | None:
    """What actions scaled by ``unnorm_key`` mean: as ``named`` or stated beside its statistics, else the preset of that
    key, else unknown.

    Raises:
        ConventionError: what is stated is none, or another than ``named``.
    """
    stated = (statistics or {}).get(CONVENTION_KEY)
    if stated is not None:
        own = replace(Convention.from_dict(stated), unnorm_key=unnorm_key)
        if named is not None and replace(named, unnorm_key=unnorm_key) != own:
            raise ConventionError(
                f"the weights state another convention for {unnorm_key!r} than the one given: leave --convention away"
            )
        return own
    if named is not None:
        return replace(named, unnorm_key=unnorm_key)
    return next((known for known in PRESETS.values() if known.unnorm_key == unnorm_key), None)
