"""Gradients of all classes at once: against a loop, finite differences and a network whose gradient is known."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from gendistill.errors import UserError
from gendistill.losses.class_gradients import class_gradient_distance, class_gradients
from gendistill.losses.matching import DISTANCES, gradient_distance
from gendistill.nets.learners import MLP, ConvNet, LeNet


def images(count: int = 3, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(3, count, 1, 8, 8, dtype=torch.float64, generator=generator)


def network(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "convnet":
        return ConvNet(3, (1, 8, 8), width=4, depth=2).double()
    return (LeNet(3, (1, 8, 8)) if kind == "lenet" else MLP(3, (1, 8, 8), width=5)).double()


def found(net: nn.Module, shown: Tensor, at_once: bool, create_graph: bool = True) -> list[Tensor]:
    def logits(parameters: Mapping[str, Tensor], some: Tensor) -> Tensor:
        values: Tensor = functional_call(net, dict(parameters), (some,))
        return values

    return class_gradients(logits, dict(net.named_parameters()), shown, create_graph=create_graph, at_once=at_once)


@pytest.mark.parametrize("kind", ["convnet", "lenet", "mlp"])
@pytest.mark.parametrize("at_once", [True, False])
def test_each_row_is_what_backward_gives_for_one_class(kind: str, at_once: bool) -> None:
    net, shown = network(kind), images()
    gradients = found(net, shown, at_once, create_graph=False)
    assert not any(gradient.requires_grad for gradient in gradients)
    for label in range(3):
        net.zero_grad()
        F.cross_entropy(net(shown[label]), torch.full((3,), label)).backward()
        for parameter, gradient in zip(net.parameters(), gradients, strict=True):
            torch.testing.assert_close(gradient[label], parameter.grad)


@pytest.mark.parametrize("at_once", [True, False])
def test_some_classes_are_rows_of_all(at_once: bool) -> None:
    net, shown = network("convnet"), images()

    def logits(parameters: Mapping[str, Tensor], some: Tensor) -> Tensor:
        values: Tensor = functional_call(net, dict(parameters), (some,))
        return values

    parameters = dict(net.named_parameters())
    some = class_gradients(logits, parameters, shown[1:], create_graph=False, at_once=at_once, first_class=1)
    for part, whole in zip(some, found(net, shown, at_once, create_graph=False), strict=True):
        torch.testing.assert_close(part, whole[1:])


def test_a_linear_network_in_closed_form() -> None:
    weight = torch.zeros(2, 1, dtype=torch.float64)  # logits 0, so softmax is one half everywhere
    shown = torch.tensor([[[1.0], [3.0]], [[2.0], [2.0]]], dtype=torch.float64)
    (gradient,) = class_gradients(
        lambda values, some: some @ values["weight"].T, {"weight": weight}, shown, create_graph=False
    )
    # (softmax - one-hot) times the class's mean input, which is 2 for both classes.
    expected = torch.tensor([[[-1.0], [1.0]], [[1.0], [-1.0]]], dtype=torch.float64)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("distance", DISTANCES)
def test_the_distance_is_the_sum_over_classes(distance: str) -> None:
    net = network("convnet")
    real, synthetic = (found(net, images(seed=seed), True, create_graph=False) for seed in (0, 1))
    expected = sum(
        gradient_distance([row[label] for row in real], [row[label] for row in synthetic], distance)
        for label in range(3)
    )
    torch.testing.assert_close(class_gradient_distance(real, synthetic, distance), expected)


def test_classes_are_not_mixed() -> None:
    real = [torch.tensor([[[1.0, 0.0]], [[-1.0, 0.0]]])]
    turned = [real[0].flip(0)]  # the same gradients, exchanged between the classes
    assert class_gradient_distance(real, turned).item() == pytest.approx(4.0, abs=1e-5)
    assert class_gradient_distance(real, turned, "l2").item() == pytest.approx(4.0)
    assert class_gradient_distance(real, turned, "mse").item() == pytest.approx(8.0)


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("distance", DISTANCES)
def test_gradient_of_the_images(distance: str, at_once: bool) -> None:
    torch.manual_seed(0)
    net = ConvNet(3, (1, 4, 4), width=2, depth=1, activation="tanh").double()
    generator = torch.Generator().manual_seed(3)
    real = found(net, torch.randn(3, 2, 1, 4, 4, dtype=torch.float64, generator=generator), at_once, False)
    shown = torch.randn(3, 2, 1, 4, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda some: class_gradient_distance(real, found(net, some, at_once), distance), (shown,)
    )


def test_both_forms_give_the_images_one_gradient() -> None:
    net = network("lenet")
    real = found(net, images(5, seed=4), True, create_graph=False)
    results = []
    for at_once in (True, False):
        shown = images(2).requires_grad_()
        (result,) = torch.autograd.grad(class_gradient_distance(real, found(net, shown, at_once)), shown)
        results.append(result)
    torch.testing.assert_close(*results)
    assert math.isfinite(results[0].norm().item()) and results[0].norm() > 0


def test_an_unknown_distance_is_refused() -> None:
    with pytest.raises(UserError, match="cosine_layerwise"):
        class_gradient_distance([torch.zeros(2, 2, 2)], [torch.zeros(2, 2, 2)], "cosine")
