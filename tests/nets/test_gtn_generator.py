"""The generator of a generative teaching network: images of any usual size, and refusals."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gendistill.errors import UserError
from gendistill.nets.gtn import GTNGenerator
from gendistill.seeds import stream


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28)])
def test_generator_makes_images_of_any_usual_size(shape: tuple[int, int, int]) -> None:
    network = GTNGenerator(10, shape, nz=4, hidden=8, channels=4)
    labels = torch.arange(6)
    latents = torch.randn(6, 4, generator=stream(0, "z"))
    images = network(latents, labels)
    assert images.shape == (6, *shape) and images.abs().max() <= 2.0
    soft = network(latents, F.one_hot(labels, 10).float())
    assert torch.equal(images, soft)
    assert torch.equal(images, network.eval()(latents, labels))


def test_generator_refuses_what_it_cannot_build() -> None:
    with pytest.raises(UserError, match="multiples of 4"):
        GTNGenerator(10, (1, 30, 30))
    with pytest.raises(UserError, match="batch, none"):
        GTNGenerator(10, (1, 8, 8), normalisation="layer")
    plain = GTNGenerator(10, (1, 8, 8), normalisation="none", weight_norm=False)
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in plain.modules())
