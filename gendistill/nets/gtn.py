"""The generator of Generative Teaching Networks: a small up-sampling network conditioned on a class.

Such, Rawal, Lehman, Stanley, Clune 2020, "Generative Teaching Networks", written from the description in the paper.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm as parametrise

from gendistill.errors import UserError
from gendistill.nets.base import Generator
from gendistill.nets.resblocks import other_sizes
from gendistill.spelling import option

NORMALISATIONS = ("batch", "none")


class GTNGenerator(Generator):
    """Two linear layers, then two convolutions that each follow a doubling of the resolution.

    Args:
        num_classes: Number of classes K; the class enters as a one-hot or soft vector beside the latent.
        image_shape: (C, H, W); H and W must be multiples of 4.
        nz: Length of the latent vector.
        hidden: Width of the first linear layer.
        channels: Maps after the second linear layer; the first convolution halves them.
        normalisation: "batch" (the paper's) or "none". The statistics are always those of the batch at hand and none
            are kept: a teacher must show a learner the very images that its latents were trained to give.
        weight_norm: Whether every weight is a direction times a learned length, as in the paper.
        slope: Negative slope of the leaky ReLUs.
        output_scale: Images are this times tanh, in the data's normalised units; 2 covers what normalised pixels span.

    Raises:
        UserError: A size that cannot be built.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: tuple[int, int, int],
        nz: int = 128,
        hidden: int = 1024,
        channels: int = 128,
        normalisation: str = "batch",
        weight_norm: bool = True,
        slope: float = 0.1,
        output_scale: float = 2.0,
    ) -> None:
        super().__init__()
        colours, height, width = image_shape
        if height % 4 or width % 4:
            raise UserError(
                f"GTNGenerator doubles twice: height and width must be multiples of 4, got {height} and {width}; "
                f"{other_sizes(min(height, width), 4)} (of a text: {option('length')} and {option('embedding')})"
            )
        if min(num_classes, nz, hidden, colours) < 1 or channels < 2:
            raise UserError("GTNGenerator needs nz, hidden and num_classes of at least 1 and channels of at least 2")
        if normalisation not in NORMALISATIONS:
            raise UserError(f"normalisation is '{normalisation}'; use one of: {', '.join(NORMALISATIONS)}")
        self.num_classes = num_classes
        self.image_shape = (colours, height, width)
        self.nz = nz
        self.slope = slope
        self.output_scale = output_scale
        self.bottom = (channels, height // 4, width // 4)
        wrap = parametrise if weight_norm else _as_it_is
        batch = normalisation == "batch"
        pixels = self.bottom[1] * self.bottom[2]
        # Batch normalisation brings its own bias; a second one would get no gradient but rounding noise.
        self.linear1 = wrap(nn.Linear(nz + num_classes, hidden, bias=not batch))
        self.linear2 = wrap(nn.Linear(hidden, channels * pixels, bias=not batch))
        self.conv1 = wrap(nn.Conv2d(channels, channels // 2, 3, bias=not batch))
        self.conv2 = wrap(nn.Conv2d(channels // 2, colours, 3))
        self.norm1 = nn.BatchNorm1d(hidden, track_running_stats=False) if batch else nn.Identity()
        self.norm2 = nn.BatchNorm2d(channels, track_running_stats=False) if batch else nn.Identity()
        self.norm3 = nn.BatchNorm2d(channels // 2, track_running_stats=False) if batch else nn.Identity()

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Make images.

        Args:
            z: (N, nz) latents.
            y: (N,) int64 classes or (N, K) soft labels.

        Returns:
            (N, C, H, W) images in [-output_scale, output_scale].
        """
        label = y if y.is_floating_point() else F.one_hot(y, self.num_classes).to(z.dtype)
        h = F.leaky_relu(self.norm1(self.linear1(torch.cat([z, label], 1))), self.slope)
        h = F.leaky_relu(self.norm2(self.linear2(h).view(-1, *self.bottom)), self.slope)
        h = F.leaky_relu(self.norm3(self.conv1(_double(h))), self.slope)
        return self.output_scale * torch.tanh(self.conv2(_double(h)))


def _double(maps: Tensor) -> Tensor:
    """Double the resolution by repetition and pad by reflection for a 3x3 convolution."""
    return F.pad(F.interpolate(maps, scale_factor=2, mode="nearest"), (1, 1, 1, 1), mode="reflect")


def _as_it_is(module: nn.Module) -> nn.Module:
    return cast(nn.Module, module)
