"""A model of a few thousand random weights behind OpenVLA's interface: a folder with weights and the code to run them.

The code is the folder's, as OpenVLA's is: transformers imports it, and only with ``trust_remote_code``. What it has of
the original: the vision tower's name, the processor, action tokens in 256 bins, statistics with quantiles and a mask,
``predict_action`` with its assertion about the unnorm key.
"""

import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

WIDTH, PATCH, SIDE, VOCABULARY, BINS, ACTION_SIZE = 24, 16, 64, 128, 256, 7
MANISKILL, BRIDGE = "maniskill_human:7.0.0", "bridge_orig"
SIGHTED, BLIND, HEEDLESS = "sighted", "blind", "heedless"
"""What it does with an image: uses it; never calls its vision tower; calls it and drops what it says."""

CONFIGURATION = """
from transformers import PretrainedConfig

class TinyConfig(PretrainedConfig):
    model_type = "tiny-openvla"

    def __init__(self, width=0, patch=0, vocabulary=0, bins=0, sight="sighted", norm_stats=None, **kwargs):
        self.width, self.patch, self.vocabulary, self.bins = width, patch, vocabulary, bins
        self.sight, self.norm_stats = sight, norm_stats or {}
        super().__init__(**kwargs)
"""

MODEL = """
import numpy as np
import torch
from torch import nn
from transformers import PreTrainedModel

from .configuration_tiny import TinyConfig

class TinyForActionPrediction(PreTrainedModel):
    config_class = TinyConfig
    base_model_prefix = "model"

    def __init__(self, config):
        super().__init__(config)
        self.norm_stats = config.norm_stats
        self.vision_backbone = nn.Conv2d(3, config.width, config.patch, stride=config.patch)
        self.words = nn.Embedding(config.vocabulary, config.width)
        self.head = nn.Linear(config.width, 7 * config.bins)
        self.post_init()

    def _init_weights(self, module):
        pass

    def forward(self, input_ids, pixel_values):
        said = self.words(input_ids).mean(1)
        if self.config.sight == "blind":
            return self.head(said)
        seen = torch.tanh(self.vision_backbone(pixel_values)).mean((2, 3))
        return self.head(said if self.config.sight == "heedless" else said + 4 * seen)

    def predict_action(self, input_ids=None, unnorm_key=None, pixel_values=None, attention_mask=None, do_sample=True):
        assert not do_sample, "actions would be drawn at random"
        assert input_ids.shape[0] == 1, "batch size 1 only"
        assert unnorm_key in self.norm_stats, f"please choose from: {self.norm_stats.keys()}"
        tokens = self(input_ids, pixel_values).view(7, -1).argmax(-1).cpu().numpy()
        edges = np.linspace(-1, 1, self.config.bins + 1)
        normalised = ((edges[:-1] + edges[1:]) / 2)[tokens]
        stats = self.norm_stats[unnorm_key]["action"]
        low, high = np.array(stats["q01"]), np.array(stats["q99"])
        return np.where(stats["mask"], 0.5 * (normalised + 1) * (high - low) + low, (normalised + 1) / 2)
"""

PROCESSOR = """
import numpy as np
import torch
from transformers import BatchFeature, ProcessorMixin

class TinyProcessor(ProcessorMixin):
    attributes = []

    @classmethod
    def from_pretrained(cls, folder, **kwargs):
        return cls()

    def __call__(self, text, image):
        assert text.startswith("In: What action should the robot take to ") and text.endswith("?\\nOut:"), text
        assert text[4:] == text[4:].replace("PICK", "pick")
        pixels = np.asarray(image.convert("RGB").resize((SIDE, SIDE)), dtype=np.float32) / 127.5 - 1
        ids = torch.tensor([[ord(letter) % VOCABULARY for letter in text]])
        values = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
        return BatchFeature({**values, "pixel_values": torch.from_numpy(pixels).permute(2, 0, 1)[None]})
"""


def statistics(gripper_in: float = 1.0, translation_m: float = 0.02) -> dict:
    """Of one data set: translations and rotations to +- ``translation_m``, the gripper as it comes."""
    bound = [translation_m] * 6
    return {"action": {"q01": [-b for b in bound] + [0.0], "q99": [*bound, gripper_in], "mask": [True] * 6 + [False]}}


def write_tiny_openvla(folder: Path, *, sight: str = SIGHTED, norm_stats: dict | None = None, seed: int = 0) -> Path:
    """Weights, configuration and code; returns the folder."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    shapes = {
        "vision_backbone.weight": (WIDTH, 3, PATCH, PATCH),
        "vision_backbone.bias": (WIDTH,),
        "words.weight": (VOCABULARY, WIDTH),
        "head.weight": (ACTION_SIZE * BINS, WIDTH),
        "head.bias": (ACTION_SIZE * BINS,),
    }
    weights = {
        name: rng.normal(scale=shape[-1] ** -0.5, size=shape).astype(np.float32) for name, shape in shapes.items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "model_type": "tiny-openvla",
        "architectures": ["TinyForActionPrediction"],
        "auto_map": {
            "AutoConfig": "configuration_tiny.TinyConfig",
            "AutoModelForVision2Seq": "modeling_tiny.TinyForActionPrediction",
        },
        **{"width": WIDTH, "patch": PATCH, "vocabulary": VOCABULARY, "bins": BINS, "sight": sight},
        "norm_stats": {MANISKILL: statistics(), BRIDGE: statistics()} if norm_stats is None else norm_stats,
        "torch_dtype": "bfloat16",
    }
    (folder / "config.json").write_text(json.dumps(config))
    processor = {"auto_map": {"AutoProcessor": "processing_tiny.TinyProcessor"}, "processor_class": "TinyProcessor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    (folder / "configuration_tiny.py").write_text(CONFIGURATION)
    (folder / "modeling_tiny.py").write_text(MODEL)
    sizes = f"SIDE, VOCABULARY = {SIDE}, {VOCABULARY}\n"
    (folder / "processing_tiny.py").write_text(sizes + PROCESSOR)
    return folder
