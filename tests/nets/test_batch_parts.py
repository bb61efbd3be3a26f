"""Batches in parts: how large they are, that they give the numbers of the whole, and which networks are left whole."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill import unroll
from gendistill.nets.learners import ConvNet
from gendistill.nets.parts import InParts, images_at_once


def test_larger_images_come_in_smaller_numbers() -> None:
    cpu, gpu = torch.device("cpu"), torch.device("cuda")
    shapes: list[tuple[int, int, int]] = [(1, 8, 8), (3, 32, 32), (3, 64, 64), (3, 224, 224), (3, 999, 999)]
    assert [images_at_once(cpu, shape) for shape in shapes] == [128, 128, 32, 2, 1]
    wide, narrow = (nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, width, 3)) for width in (128, 32))
    assert [images_at_once(cpu, shape, wide) for shape in shapes] == [128, 32, 8, 1, 1]
    assert [images_at_once(cpu, shape, narrow) for shape in shapes] == [128, 128, 32, 2, 1]
    assert images_at_once(gpu, shapes[1], wide) == 2048
    assert [images_at_once(gpu, shape) for shape in shapes] == [2048, 2048, 512, 41, 2]


class Mixing(nn.Module):
    """A layer of somebody's own that lets images see each other."""

    def forward(self, images: Tensor) -> Tensor:
        return images - images.mean(0)


def _sizes(network: nn.Module, images: Tensor) -> list[int]:
    seen: list[int] = []

    def call(some: Tensor) -> Tensor:
        seen.append(len(some))
        return some

    assert torch.equal(InParts(network)(call, images), images)
    return seen


def test_parts_are_alike_and_fit_the_cache() -> None:
    wide = nn.Sequential(nn.Conv2d(3, 256, 3))
    assert _sizes(wide, torch.randn(40, 3, 32, 32)) == [14, 14, 12]
    assert _sizes(wide, torch.randn(16, 3, 32, 32)) == [16]


@pytest.mark.parametrize(
    "layer",
    [Mixing(), nn.BatchNorm2d(256), nn.BatchNorm2d(256, track_running_stats=False), nn.Dropout(0.5)],
    ids=["own", "batch norm", "batch norm without buffers", "dropout"],
)
def test_networks_whose_parts_are_no_whole_are_left_alone(layer: nn.Module) -> None:
    network = nn.Sequential(nn.Conv2d(3, 256, 3), layer)
    assert _sizes(network, torch.randn(40, 3, 32, 32)) == [40]


@pytest.mark.parametrize("memory", unroll.MEMORY_MODES)
def test_steps_in_parts_have_the_gradient_of_whole_steps(
    memory: unroll.Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    learner = ConvNet(num_classes=2, image_shape=(1, 8, 8), width=4, depth=1).double()
    shown = torch.randn(3, 7, 1, 8, 8, dtype=torch.float64)
    labels, rates = torch.arange(7).expand(3, -1) % 2, torch.full((3,), 0.1, dtype=torch.float64)
    outer = torch.randn(7, 1, 8, 8, dtype=torch.float64)

    def gradient(most: int) -> Tensor:
        monkeypatch.setattr("gendistill.nets.parts._fitting", lambda *given: most)
        images = shown.clone().requires_grad_()

        def look(step: int, parameters: unroll.Parameters) -> Tensor | None:
            return F.cross_entropy(unroll.call(learner, parameters, outer), labels[0]) if step == 3 else None

        done = unroll.unrolled_loss(learner, images, labels, rates, torch.zeros_like(rates), look, memory=memory)
        done.loss.backward()
        assert images.grad is not None
        return images.grad

    torch.testing.assert_close(gradient(2), gradient(7), rtol=1e-10, atol=1e-14)
