"""The network of mini-VLA: convolutions whose features the sentence scales and shifts (FiLM, arXiv:1709.07871).

Where things are is read off by the mean place of each of some maps' activation (spatial softmax, arXiv:1504.00702), at
a quarter of the picture's resolution: it answers more finely than one pixel.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from vlajs_training.mini_vla.sentence import SIZE as SENTENCE_SIZE
from vlajs_training.ranges import require_range

OUTPUTS = 7
SHARPNESS = 5.0
"""Of the softmax over places: at 1 every place is at first in the middle of the picture, and little is learnt."""
REGIONS = (6, 8)
"""Rows and columns of the regions that features are averaged over."""
GROUPS = 8
"""Channels are normalised in so many groups: every number of channels is a multiple of it."""


@dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """How large the network is; 0.9 million parameters by default."""

    stem_channels: int = 24
    """Maps at half of the picture's resolution."""
    fine_channels: int = 48
    """Maps at a quarter, where places are read off."""
    coarse_channels: int = 96
    """Maps at an eighth, where most of the work is done."""
    coarse_blocks: int = 3
    """Residual blocks there."""
    keypoints: int = 32
    """Places that are read off."""
    condition: int = 128
    """What is made of the sentence for all blocks to see."""
    region_channels: int = 16
    """Features of each of the 6 x 8 regions."""
    hidden: int = 256
    """Width of the last layers."""

    def check(self) -> None:
        """Refuse a network nobody could want.

        Raises:
            ValueError: naming the parameter, its value and the limit.
        """
        for name in ("stem_channels", "fine_channels", "coarse_channels"):
            if getattr(self, name) % GROUPS:
                raise ValueError(f"network.{name} = {getattr(self, name)}: it must be a multiple of {GROUPS}")
        limits = dict.fromkeys(("stem_channels", "fine_channels", "coarse_channels"), (GROUPS, 512.0))
        limits |= {
            "coarse_blocks": (1, 16.0),
            "keypoints": (1, 256),
            "region_channels": (1, 256),
            "condition": (1, 1024),
            "hidden": (1, 2048),
        }
        require_range("network", vars(self), limits)


class FilmBlock(nn.Module):
    """Two convolutions around which the features pass; between them the sentence has its say."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.film = nn.Linear(condition, 2 * channels)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)  # type: ignore[arg-type]  (it has one)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """Features (B, C, H, W) under a condition (B, condition)."""
        scale, shift = self.film(condition)[:, :, None, None].chunk(2, dim=1)
        inner = functional.relu(self.norm(self.first(functional.relu(x))) * (1 + scale) + shift)
        return x + self.second(inner)


class MiniVlaNetwork(nn.Module):
    """Pictures and sentences in, actions out: see :meth:`forward`."""

    def __init__(self, config: NetworkConfig) -> None:
        """Random weights, drawn from torch's generator."""
        super().__init__()
        stem, fine, coarse = config.stem_channels, config.fine_channels, config.coarse_channels
        self.sentence = nn.Sequential(nn.Linear(SENTENCE_SIZE, config.condition), nn.ReLU())
        self.stem = nn.Sequential(nn.Conv2d(5, stem, 5, stride=2, padding=2), nn.GroupNorm(GROUPS, stem), nn.ReLU())
        self.to_fine = nn.Sequential(nn.Conv2d(stem, fine, 3, stride=2, padding=1), nn.GroupNorm(GROUPS, fine))
        self.fine = FilmBlock(fine, config.condition)
        self.to_coarse = nn.Conv2d(fine, coarse, 3, stride=2, padding=1)
        self.coarse = nn.ModuleList(FilmBlock(coarse, config.condition) for _ in range(config.coarse_blocks))
        self.back = nn.Conv2d(coarse, fine, 1)
        self.places = FilmBlock(fine, config.condition)
        self.keypoints = nn.Conv2d(fine, 2 * config.keypoints, 1)
        self.regions = nn.Conv2d(coarse, config.region_channels, 1)
        features = 3 * config.keypoints + config.region_channels * REGIONS[0] * REGIONS[1] + config.condition
        self.head = nn.Sequential(
            nn.LayerNorm(features),
            nn.Linear(features, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, config.hidden),
            nn.ReLU(),
            nn.Linear(config.hidden, OUTPUTS),
        )

    def forward(self, images: Tensor, sentences: Tensor) -> Tensor:
        """Of pictures (B, H, W, 3) uint8 and sentences (B, 384): (B, 7).

        Translation (3) and rotation vector (3) as shares of the longest answer, unbounded; then the logit that the hand
        should be open.
        """
        condition = self.sentence(sentences * SENTENCE_SIZE**0.5)  # of unit length: now each number is about 1
        x = images.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        x = torch.cat([x, _grid(x).expand(len(x), -1, -1, -1)], dim=1)
        fine = self.fine(self.to_fine(self.stem(x)), condition)
        coarse = self.to_coarse(functional.relu(fine))
        for block in self.coarse:
            coarse = block(coarse, condition)
        context = functional.interpolate(self.back(coarse), size=fine.shape[2:], mode="nearest")
        maps = self.keypoints(functional.relu(self.places(fine + context, condition)))
        where, what = maps.chunk(2, dim=1)
        weights = (SHARPNESS * where).flatten(2).softmax(dim=2)
        places = weights @ _grid(where).flatten(2)[0].T
        seen = (weights * what.flatten(2)).sum(dim=2)
        regions = functional.adaptive_avg_pool2d(functional.relu(self.regions(functional.relu(coarse))), REGIONS)
        return self.head(torch.cat([places.flatten(1), seen, regions.flatten(1), condition], dim=1))


def parameter_count(network: nn.Module) -> int:
    """How many numbers are learnt."""
    return sum(parameter.numel() for parameter in network.parameters())


def _grid(like: Tensor) -> Tensor:
    """Column and row of every pixel, each from -1 to 1: (1, 2, H, W)."""
    rows = torch.linspace(-1, 1, like.shape[2], device=like.device)
    columns = torch.linspace(-1, 1, like.shape[3], device=like.device)
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"))[None]
