"""The detector that comes with the package: cubes, pegs, boxes with a hole and goal marks on a table."""

from pathlib import Path

DETECTOR = Path(__file__).parent / "weights" / "tabletop.onnx"
"""Its card lies beside it; the weights' licence is stated there and differs from the code's."""
