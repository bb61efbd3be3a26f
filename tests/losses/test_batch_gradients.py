"""Gradients of many batches at once against one batch after another, and their derivatives."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gendistill import unroll
from gendistill.losses.batch_gradients import batch_cosines, batch_gradients


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Conv2d(1, 3, 3), nn.GroupNorm(3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(12, 4))
    return layers.double()


def batches(soft: bool) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(3, 5, 1, 4, 4, generator=generator, dtype=torch.float64)
    labels = torch.randint(4, (3, 5), generator=generator)
    return images, torch.randn(3, 5, 4, generator=generator, dtype=torch.float64) if soft else labels


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("at_once", [False, True])
def test_they_are_the_gradients_of_each_batch(network: nn.Module, soft: bool, at_once: bool) -> None:
    images, labels = batches(soft)
    parameters = dict(network.named_parameters())
    found = batch_gradients(
        lambda values, some: unroll.call(network, values, some), parameters, images, labels,
        create_graph=False, at_once=at_once,
    )  # fmt: skip
    for place in range(3):
        expected = torch.autograd.grad(
            F.cross_entropy(network(images[place]), labels[place]), list(parameters.values())
        )
        for part, right in zip(found, expected, strict=True):
            torch.testing.assert_close(part[place], right)


@pytest.mark.parametrize("at_once", [False, True])
def test_they_are_differentiated_with_respect_to_images_and_labels(network: nn.Module, at_once: bool) -> None:
    images, labels = batches(soft=True)
    parameters = dict(network.named_parameters())

    def squares(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        found = batch_gradients(
            lambda values, some: unroll.call(network, values, some), parameters, images, labels,
            create_graph=True, at_once=at_once,
        )  # fmt: skip
        return sum((part.square().sum() for part in found), torch.zeros((), dtype=torch.float64))

    inputs = (images[:2, :2].clone().requires_grad_(), labels[:2, :2].clone().requires_grad_())
    assert torch.autograd.gradcheck(squares, inputs, atol=1e-6)


def test_cosine_of_whole_gradients() -> None:
    left = [torch.tensor([[3.0, 0.0], [1.0, 1.0]]), torch.tensor([[4.0], [0.0]])]
    right = [torch.tensor([[0.0, 1.0], [2.0, 2.0]]), torch.tensor([[0.0], [0.0]])]
    torch.testing.assert_close(batch_cosines(left, right), torch.tensor([0.0, 1.0]))
    torch.testing.assert_close(batch_cosines(left, [2 * part for part in left]), torch.ones(2))
