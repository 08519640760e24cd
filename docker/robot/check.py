"""Fails the build of an image that carries a training stack to the robot, or lacks what the robot needs."""

import importlib
import importlib.util
import sys

NEEDED = ("franky", "franky_sim", "vlajs.cli", "vlajs.policy.bundle", "vlajs_perception.camera")
UNWANTED = ("mani_skill", "sapien", "torch", "ultralytics", "vlajs_training")


def main() -> None:
    """Imports what is needed and looks for what must not be there."""
    for name in NEEDED:
        importlib.import_module(name)
    present = [name for name in UNWANTED if importlib.util.find_spec(name)]
    if present:
        sys.exit(f"installed on the robot's side, which must do without: {', '.join(present)}")
    print(f"good: {', '.join(NEEDED)} import; {', '.join(UNWANTED)} are absent")


if __name__ == "__main__":
    main()
