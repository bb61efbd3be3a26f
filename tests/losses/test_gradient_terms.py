"""Gradients of a batch and what is made of them, against closed forms and finite differences."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from gendistill import unroll
from gendistill.errors import UserError
from gendistill.losses.gradient_terms import batch_gradient, gradient_magnitude, gradient_projection
from gendistill.losses.matching import DISTANCES, gradient_distance
from gendistill.nets.learners import ConvNet
from gendistill.seeds import initialisation

RNG = torch.Generator().manual_seed(0)


def linear(parameters: Mapping[str, Tensor], images: Tensor) -> Tensor:
    return images.flatten(1) @ parameters["weight"].T


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=RNG, dtype=torch.float64)


@pytest.fixture
def probe() -> ConvNet:
    with initialisation(0, "probe"):
        return ConvNet(3, (1, 4, 4), width=3, depth=1, activation="tanh").double()


def test_closed_forms_of_a_linear_probe() -> None:
    weight, images, labels = normal(3, 8).requires_grad_(), normal(5, 2, 2, 2), torch.tensor([0, 1, 2, 2, 0])
    residual = ((images.flatten(1) @ weight.T).softmax(1) - torch.eye(3, dtype=torch.float64)[labels]).detach() / 5
    (given,) = batch_gradient(linear, {"weight": weight}, images, labels)
    torch.testing.assert_close(given, residual.T @ images.flatten(1))
    (given,) = batch_gradient(linear, {"weight": weight}, images, labels, grad_wrt="input")
    torch.testing.assert_close(given, (residual @ weight.detach()).view_as(images))


def test_parameters_that_do_not_matter_are_left_out() -> None:
    parameters = {"weight": normal(3, 8).requires_grad_(), "idle": normal(2, 2).requires_grad_()}
    assert len(batch_gradient(linear, parameters, normal(2, 2, 2, 2), torch.tensor([0, 1]))) == 1


def test_magnitude_and_projection_in_numbers() -> None:
    left, right = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])], [torch.tensor([1.0, 7.0]), torch.tensor([[-2.0]])]
    assert gradient_magnitude(left) == pytest.approx(5.0)
    assert gradient_projection(left, right) == pytest.approx((3 - 8) / (1 + 49 + 4) ** 0.5)
    assert gradient_projection(left, left) == pytest.approx(5.0)
    assert gradient_projection([3 * value for value in left], left) == pytest.approx(15.0)
    zero = [torch.zeros(2, requires_grad=True)]
    gradient_magnitude(zero).backward()
    assert torch.equal(zero[0].grad, torch.zeros(2))  # type: ignore[arg-type]
    assert gradient_projection(left[:1], [torch.zeros(2)]) == 0


@pytest.mark.parametrize("grad_wrt", ["weights", "input"])
@pytest.mark.parametrize("kind", [*DISTANCES, "magnitude", "projection"])
def test_second_order_gradient_of_the_generator_by_finite_differences(probe: ConvNet, kind: str, grad_wrt: str) -> None:
    """The generator here is one matrix A, so that its images are tanh(z A)."""
    parameters = dict(probe.named_parameters())
    latents, labels = normal(4, 2), torch.tensor([0, 1, 2, 1])
    matrix = (0.5 * normal(2, 16)).requires_grad_()

    def logits(values: Mapping[str, Tensor], images: Tensor) -> Tensor:
        return unroll.call(probe, values, images)

    real = batch_gradient(logits, parameters, normal(4, 1, 4, 4), labels, grad_wrt=grad_wrt)
    assert not any(gradient.requires_grad for gradient in real)

    def term(generator: Tensor) -> Tensor:
        images = (latents @ generator).tanh().view(4, 1, 4, 4)
        fake = batch_gradient(logits, parameters, images, labels, grad_wrt=grad_wrt, create_graph=True)
        if kind == "magnitude":
            return gradient_magnitude(fake)
        return gradient_projection(fake, real) if kind == "projection" else gradient_distance(real, fake, kind)

    assert torch.autograd.gradcheck(term, (matrix,))
    (slope,) = torch.autograd.grad(term(matrix), matrix)
    assert slope.norm() > 1e-4, "the comparison is worth nothing at a flat place"


def test_batches_of_different_size_can_be_compared_in_the_weights(probe: ConvNet) -> None:
    parameters = dict(probe.named_parameters())
    images, labels = normal(3, 1, 4, 4), torch.arange(3)

    def gradient(times: int) -> list[Tensor]:
        batch = images.repeat(times, 1, 1, 1), labels.repeat(times)
        return batch_gradient(lambda values, x: unroll.call(probe, values, x), parameters, *batch)

    assert gradient_distance(gradient(1), gradient(4), "mse") < 1e-20


def test_unknown_words_are_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'weights'"):
        batch_gradient(linear, {}, normal(1, 1, 2, 2), torch.tensor([0]), grad_wrt="weight")
