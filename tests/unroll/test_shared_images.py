"""Images that are made a second time on the way back are the same ones, whatever the generator does meanwhile."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from gendistill import unroll
from gendistill.nets.layers import BatchNorm2d, SNConv2d
from gendistill.seeds import initialisation, stream

STEPS, B, NZ = 4, 6, 3


class Net(nn.Module):
    """Latents and classes to images of 4x4."""

    def __init__(self, middle: nn.Module) -> None:
        super().__init__()
        self.first, self.middle = nn.Linear(NZ + 1, 2 * 16), middle

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return self.middle(torch.tanh(self.first(torch.cat([z, y[:, None].to(z)], 1))).view(-1, 2, 4, 4))


def convolution() -> nn.Conv2d:
    return nn.Conv2d(2, 1, 3, padding=1)


class DropConnect(nn.Module):
    """A parametrisation that draws."""

    def forward(self, weight: Tensor) -> Tensor:
        return nn.functional.dropout(weight, 0.3, self.training)


def drop_connect() -> nn.Module:
    layer = convolution()
    parametrize.register_parametrization(layer, "weight", DropConnect())
    return layer


MIDDLES: dict[str, Callable[[], nn.Module]] = {
    "hooked spectral norm": lambda: torch.nn.utils.spectral_norm(convolution()),
    "spectral norm": lambda: parametrizations.spectral_norm(convolution()),
    "own spectral norm": lambda: SNConv2d(2, 1, 3, padding=1),
    "weight norm": lambda: parametrizations.weight_norm(convolution()),
    "batch norm": lambda: nn.Sequential(BatchNorm2d(2), convolution(), nn.InstanceNorm2d(1, track_running_stats=True)),
    "dropout": lambda: nn.Sequential(nn.Dropout(0.4), convolution(), nn.RReLU(), nn.AlphaDropout(0.1)),
    "drop connect": drop_connect,
}


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("middle", MIDDLES)
def test_without_graphs_all_is_as_with_them(middle: str, first: int) -> None:
    found = []
    for keep in (True, False):
        with initialisation(0, "generator"):
            network = Net(MIDDLES[middle]()).double()
            given = torch.randn(STEPS, B, NZ, dtype=torch.float64).requires_grad_()
            latents = given.sin()  # with a graph, which can be passed once
            told = (torch.arange(STEPS * B).view(STEPS, B) % 2).requires_grad_(False)
            shared = unroll.SharedImages(network, latents, told, told, first=first, keep_graph=keep)
            weights = torch.randn(STEPS, B, 1, 4, 4, dtype=torch.float64, generator=stream(0, "weights"))
            for image, weight in list(zip(shared.images, weights, strict=True))[first:]:
                (image * image * weight).sum().backward()
            shared.backward()
            after = torch.random.get_rng_state()
        assert given.grad is not None and given.grad.abs().amax((1, 2)).gt(0).tolist() == [
            t >= first for t in range(STEPS)
        ]
        buffers = dict(network.named_buffers())
        gradients = [p.grad for p in network.parameters() if p.grad is not None]
        assert len(gradients) == len(list(network.parameters()))
        found.append((shared.images, [given.grad, *gradients], buffers, after))
    (images, gradients, buffers, after), (others, found_gradients, found_buffers, found_after) = found
    assert all(torch.equal(one, other) for one, other in zip(images, others, strict=True))
    assert all(torch.equal(value, found_buffers[name]) for name, value in buffers.items())
    assert torch.equal(after, found_after)
    for expected, value in zip(gradients, found_gradients, strict=True):
        torch.testing.assert_close(value, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("keep", [True, False])
def test_no_step_writes_a_gradient_of_all_latents(keep: bool) -> None:
    latents = torch.randn(STEPS, B, NZ, requires_grad=True)
    told = torch.arange(STEPS * B).view(STEPS, B) % 2
    with initialisation(0, "generator"):
        shared = unroll.SharedImages(Net(convolution()), latents, told, told, keep_graph=keep)
    sum(image.sum() for image in shared.images).backward()
    with torch.profiler.profile() as profile:
        shared.backward()
    assert latents.grad is not None and latents.grad.flatten(1).norm(dim=1).min() > 0
    assert not [event for event in profile.events() if event.name in ("SelectBackward0", "IndexBackward0")]
