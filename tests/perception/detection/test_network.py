"""The network that trains in bfloat16 is the network that trains in single precision, but for rounding."""

from pathlib import Path
from typing import Any

import pytest

from vlajs_perception.detection.engine import load_engine

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    load_engine(Path(tmp_path_factory.mktemp("engine")))
    from ultralytics.cfg import get_cfg

    from vlajs_perception.detection.network import TrainedPoseModel

    torch.manual_seed(1)
    model = TrainedPoseModel("yolo11n-pose.yaml", ch=3, nc=4, data_kpt_shape=(16, 3), verbose=False)
    model.args = get_cfg(overrides={"task": "pose"})
    return model.train()


def answers(model: Any, in_bfloat16: bool) -> dict[str, Any]:
    model.in_bfloat16 = in_bfloat16
    torch.manual_seed(2)
    with torch.no_grad():
        return model.predict(torch.rand(2, 3, 64, 96))


def tensors(value: Any) -> list[Any]:
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value
    return [tensor for part in parts for tensor in tensors(part)]


def test_answers_are_single_precision_and_differ_by_rounding_alone(model: Any) -> None:
    exact, rounded = tensors(answers(model, False)), tensors(answers(model, True))
    assert len(exact) == len(rounded) > 3
    for one, other in zip(exact, rounded, strict=True):
        assert one.dtype == other.dtype == torch.float32
        # untrained, the normalisation of a few places blows rounding up; another computation would not correlate at all
        assert torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1] > 0.85
    assert any((one != other).any() for one, other in zip(exact, rounded, strict=True))


def test_gradients_reach_weights_that_stay_single_precision(model: Any) -> None:
    model.in_bfloat16 = True
    kpts = torch.rand(2, 16, 3)
    batch = {
        "img": torch.rand(2, 3, 64, 96),
        "batch_idx": torch.tensor([0.0, 1.0]),
        "cls": torch.zeros(2, 1),
        "bboxes": torch.tensor([[0.5, 0.5, 0.3, 0.4], [0.4, 0.5, 0.3, 0.3]]),
        "keypoints": kpts,
    }
    loss, _ = model.loss(batch)
    loss.sum().backward()
    for weight in model.parameters():
        assert weight.dtype == torch.float32
        assert weight.grad is None or (weight.grad.dtype == torch.float32 and torch.isfinite(weight.grad).all())
    assert sum(weight.grad is not None and bool(weight.grad.any()) for weight in model.parameters()) > 100
