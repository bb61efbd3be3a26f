"""A small network that looks for the frequencies at which two characteristic functions differ most."""

from __future__ import annotations

from torch import Tensor, nn


class FrequencySampler(nn.Module):
    """Moves normal frequencies: t = e + reach tanh(h(e)), with two hidden layers h.

    It begins as the identity. What it adds is bounded: at ever higher frequencies the characteristic functions of any
    two finite samples differ, so that an unbounded one would look for noise.

    Args:
        features: F, length of a frequency.
        width: Of the hidden layers, at least 1.
        reach: How far each number of a frequency may be moved; positive.
    """

    def __init__(self, features: int, width: int = 256, reach: float = 1.0) -> None:
        super().__init__()
        self.reach = reach
        last = nn.Linear(width, features)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(
            nn.Linear(features, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2), last, nn.Tanh()
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return frequencies (T, F) for normal numbers (T, F)."""
        moved: Tensor = self.layers(x)
        return x + self.reach * moved
