"""OpenVLA as it is built, with few random weights: a picture's patches among the words, actions as tokens of a Llama.

Unlike ``tiny_openvla``, whose head says whole actions, this one can be fine-tuned as OpenVLA is. The tokenizer knows
the words of the demonstrated tasks; the folder needs no library to be written.
"""

import json
import re
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from vlajs_training.mini_vla.phrasings import all_phrasings
from vlajs_training.vla_server.openvla import PROMPT

WIDTH, LAYERS, MLP, PATCH, SIDE = 48, 1, 96, 16, 64
TOKENS, PADDED, BINS = 512, 64, 256
END, EMPTY = 2, 3

CONFIGURATION = """
from transformers import LlamaConfig, PretrainedConfig

class TinyConfig(PretrainedConfig):
    model_type = "tiny-causal-openvla"

    def __init__(self, text_config=None, patch=0, sight="sighted", n_action_bins=256, pad_to_multiple_of=64,
                 empty_token=3, norm_stats=None, **kwargs):
        self.text_config = LlamaConfig(**(text_config or {}))
        self.patch, self.sight, self.empty_token = patch, sight, empty_token
        self.n_action_bins, self.pad_to_multiple_of = n_action_bins, pad_to_multiple_of
        self.norm_stats = norm_stats or {}
        super().__init__(**kwargs)
"""

MODEL = """
import numpy as np
import torch
from torch import nn
from transformers import AutoModelForCausalLM, PreTrainedModel

from .configuration_tiny import TinyConfig

class PatchEmbed(nn.Module):
    def __init__(self, width, patch):
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

class Vision(nn.Module):
    def __init__(self, width, patch):
        super().__init__()
        self.patch_embed, self.fc1 = PatchEmbed(width, patch), nn.Linear(width, width)

    def forward(self, pixels):
        return torch.tanh(self.fc1(torch.tanh(self.patch_embed.proj(pixels).flatten(2).transpose(1, 2))))

class TinyForActionPrediction(PreTrainedModel):
    config_class = TinyConfig
    base_model_prefix = "model"

    def __init__(self, config):
        super().__init__(config)
        self.norm_stats = config.norm_stats
        width = config.text_config.hidden_size
        self.vision_backbone, self.projector = Vision(width, config.patch), nn.Linear(width, width)
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.vocab_size = config.text_config.vocab_size - config.pad_to_multiple_of
        edges = np.linspace(-1, 1, config.n_action_bins)
        self.bin_centers = (edges[:-1] + edges[1:]) / 2
        self.post_init()

    def _init_weights(self, module):
        pass

    def get_input_embeddings(self):
        return self.language_model.get_input_embeddings()

    def get_output_embeddings(self):
        return self.language_model.get_output_embeddings()

    def tie_weights(self):
        self.language_model.tie_weights()

    def forward(self, input_ids=None, attention_mask=None, pixel_values=None, labels=None, past_key_values=None,
                use_cache=None, **kwargs):
        if input_ids.shape[1] == 1:
            return self.language_model(input_ids=input_ids, past_key_values=past_key_values, use_cache=use_cache)
        if self.config.sight == "blind":
            seen = torch.zeros(len(input_ids), 16, self.config.text_config.hidden_size, dtype=pixel_values.dtype)
        else:
            seen = self.vision_backbone(pixel_values)
        seen, words = self.projector(seen), self.get_input_embeddings()(input_ids)
        behind_first = lambda rows, inserted: torch.cat([rows[:, :1], inserted, rows[:, 1:]], 1)
        flat = seen.shape[:2]
        if labels is not None:
            labels = behind_first(labels, labels.new_full(flat, -100))
        return self.language_model(
            inputs_embeds=behind_first(words, seen.to(words.dtype)), labels=labels, use_cache=use_cache,
            attention_mask=behind_first(attention_mask, attention_mask.new_ones(flat)),
        )

    def prepare_inputs_for_generation(self, input_ids, past_key_values=None, **kwargs):
        known = {name: kwargs.get(name) for name in ("attention_mask", "pixel_values", "use_cache")}
        return {"input_ids": input_ids if past_key_values is None else input_ids[:, -1:],
                "past_key_values": past_key_values, **known}

    def predict_action(self, input_ids=None, unnorm_key=None, attention_mask=None, **kwargs):
        if not torch.all(input_ids[:, -1] == self.config.empty_token):
            input_ids = torch.cat([input_ids, input_ids.new_full((1, 1), self.config.empty_token)], 1)
        mask = torch.ones_like(input_ids)
        said = self.generate(input_ids, attention_mask=mask, max_new_tokens=7, min_new_tokens=7, **kwargs)[0, -7:]
        bins = np.clip(self.vocab_size - said.cpu().numpy() - 1, 0, len(self.bin_centers) - 1)
        normalised, stats = self.bin_centers[bins], self.norm_stats[unnorm_key]["action"]
        low, high = np.array(stats["q01"]), np.array(stats["q99"])
        return np.where(stats["mask"], 0.5 * (normalised + 1) * (high - low) + low, normalised)
"""

PROCESSOR = """
import numpy as np
import torch
from transformers import BatchFeature, ProcessorMixin
from transformers.image_processing_utils import ImageProcessingMixin

class TinyImageProcessor(ImageProcessingMixin):
    def __init__(self, side=0, **kwargs):
        self.side = side
        super().__init__(**kwargs)

    def pixels(self, image):
        pixels = np.asarray(image.convert("RGB").resize((self.side, self.side)), dtype=np.float32) / 127.5 - 1
        return torch.from_numpy(pixels).permute(2, 0, 1)[None]

class TinyProcessor(ProcessorMixin):
    attributes = ["image_processor", "tokenizer"]
    image_processor_class = "AutoImageProcessor"
    tokenizer_class = "AutoTokenizer"

    def __init__(self, image_processor=None, tokenizer=None):
        super().__init__(image_processor, tokenizer)

    def __call__(self, text, images):
        words = self.tokenizer(text, return_tensors="pt")
        values = {name: words[name] for name in ("input_ids", "attention_mask")}
        return BatchFeature({**values, "pixel_values": self.image_processor.pixels(images)})
"""


def write_tiny_causal_openvla(
    folder: Path, *, sight: str = "sighted", bins: int = BINS, broken: bool = False, seed: int = 0
) -> Path:
    """Weights (``broken``: not numbers), configuration, tokenizer and code; returns the folder."""
    folder.mkdir(parents=True)
    weights = _weights(np.random.default_rng(seed))
    if broken:
        weights["projector.bias"][:] = np.nan
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    text = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 4, "intermediate_size": MLP}
    module = "configuration_tiny.TinyConfig", "modeling_tiny.TinyForActionPrediction"
    config = {
        "model_type": "tiny-causal-openvla",
        "architectures": ["TinyForActionPrediction"],
        "auto_map": dict(zip(("AutoConfig", "AutoModelForVision2Seq"), module, strict=True)),
        "text_config": {**text, "vocab_size": TOKENS + PADDED, "max_position_embeddings": 256},
        **{"patch": PATCH, "sight": sight, "n_action_bins": bins, "pad_to_multiple_of": PADDED, "empty_token": EMPTY},
        "norm_stats": {"bridge_orig": {"action": {"q01": [-1.0] * 7, "q99": [1.0] * 7, "mask": [True] * 7}}},
        "torch_dtype": "bfloat16",
    }
    processor = {
        "auto_map": {
            "AutoImageProcessor": "processing_tiny.TinyImageProcessor",
            "AutoProcessor": "processing_tiny.TinyProcessor",
        },
        "image_processor_type": "TinyImageProcessor",
        "processor_class": "TinyProcessor",
        "side": SIDE,
    }
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<PAD>"}
    for name, content in {
        "config.json": config,
        "preprocessor_config.json": processor,
        "tokenizer.json": _tokenizer(),
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", **special},
    }.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "configuration_tiny.py").write_text(CONFIGURATION)
    (folder / "modeling_tiny.py").write_text(MODEL)
    (folder / "processing_tiny.py").write_text(PROCESSOR)
    return folder


def _weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    shapes: dict[str, tuple[int, ...]] = {
        "vision_backbone.patch_embed.proj.weight": (WIDTH, 3, PATCH, PATCH),
        "vision_backbone.patch_embed.proj.bias": (WIDTH,),
        "vision_backbone.fc1.weight": (WIDTH, WIDTH),
        "vision_backbone.fc1.bias": (WIDTH,),
        "projector.weight": (WIDTH, WIDTH),
        "projector.bias": (WIDTH,),
        "language_model.model.embed_tokens.weight": (TOKENS + PADDED, WIDTH),
        "language_model.lm_head.weight": (TOKENS + PADDED, WIDTH),
    }
    norms = ["language_model.model.norm.weight"]
    for layer in range(LAYERS):
        prefix = f"language_model.model.layers.{layer}"
        shapes |= {f"{prefix}.self_attn.{part}_proj.weight": (WIDTH, WIDTH) for part in "qkvo"}
        shapes |= {f"{prefix}.mlp.{part}_proj.weight": (MLP, WIDTH) for part in ("gate", "up")}
        shapes[f"{prefix}.mlp.down_proj.weight"] = (WIDTH, MLP)
        norms += [f"{prefix}.input_layernorm.weight", f"{prefix}.post_attention_layernorm.weight"]
    drawn = {
        name: rng.normal(scale=float(np.prod(shape[1:])) ** -0.5, size=shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    return drawn | {name: np.ones(WIDTH, np.float32) for name in norms}


def _tokenizer() -> dict:
    """A word each, with the beginning of text before; the last 256 of the vocabulary stand for no word."""
    text = " ".join([PROMPT, *all_phrasings()])
    words = dict.fromkeys(re.findall(r"\w+|[^\w\s]+", text))
    known = ["<unk>", "<s>", "</s>", "\u2581", *words]
    assert len(known) <= TOKENS - BINS
    vocabulary = {word: number for number, word in enumerate(known)}
    vocabulary |= {f"<{number}>": number for number in range(len(known), TOKENS)}
    plain = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    special = {"<unk>": 0, "<s>": 1, "</s>": END, "<PAD>": TOKENS}
    first, sequence = {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}
    return {
        "version": "1.0",
        **dict.fromkeys(("truncation", "padding", "normalizer", "decoder")),
        "added_tokens": [{"id": number, "content": word, "special": True, **plain} for word, number in special.items()],
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first, sequence],
            "pair": [first, sequence],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}},
        },
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unk>"},
    }
