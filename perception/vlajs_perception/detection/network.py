"""The network as it is trained: half the time a picture on processors that multiply bfloat16 themselves.

Imported once Ultralytics is loaded (:func:`vlajs_perception.detection.engine.load_engine`), never before. A checkpoint
names its class, so that it stays importable.
"""

from typing import Any

import torch
from ultralytics.nn.tasks import PoseModel


class TrainedPoseModel(PoseModel):  # type: ignore[misc]  (Ultralytics is untyped)
    """YOLO pose network whose convolutions may compute in bfloat16 while it trains; its weights stay float32.

    Attributes:
        in_bfloat16: whether they do.
    """

    in_bfloat16 = False

    def predict(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        """Ultralytics' forward pass; what comes out is float32: pixels counted in eight bits would be worthless."""
        if not self.training:
            return super().predict(x, *args, **kwargs)
        # the order of memory that these convolutions are fastest in
        x = x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, dtype=torch.bfloat16, enabled=self.in_bfloat16):
            return _float32(super().predict(x, *args, **kwargs))


def multiplies_bfloat16() -> bool:
    """Whether this machine's processor, or its graphics card, multiplies matrices of bfloat16 itself."""
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())


def _float32(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.float()
    if isinstance(value, dict):
        return {name: _float32(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_float32(part) for part in value)
    return value
