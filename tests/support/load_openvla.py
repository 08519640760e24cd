"""``python load_openvla.py``: a JSON list of options on standard input, a JSON line for each: model or error.

One process for all of them: importing transformers takes most of the time.
"""

import dataclasses
import json
import sys

from vlajs.vla.errors import ConventionError
from vlajs.vla.serving.model import ModelError, probe_images, warm_up
from vlajs_training.vla_server.openvla import load_openvla
from vlajs_training.vla_server.options import ModelOptions


def outcome_of(options: dict) -> dict:
    """What loading and the warm-up led to."""
    try:
        model = load_openvla(ModelOptions(**options))
        warm_up(model)
    except (ModelError, ConventionError) as error:
        return {"error": str(error)}
    actions = model.act(probe_images(model)[1:3], ["PICK up the cube "] * 2)
    convention = None if model.convention is None else dataclasses.asdict(model.convention)
    return {"name": model.name, "convention": convention, "actions": actions.tolist()}


if __name__ == "__main__":
    for item in json.load(sys.stdin):
        print(json.dumps(outcome_of(item)))
