from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill import unroll
from gendistill.errors import UserError
from gendistill.losses.trajectory import ParameterDistance
from gendistill.seeds import initialisation, stream
from gendistill.unroll.direct import direct_loss

B, K = 6, 3


class Learner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.head = nn.Linear(2 * 16, K)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.softplus(self.conv(x)).flatten(1))


def learner() -> nn.Module:
    with initialisation(0, "learner"):
        return Learner().double()


class Problem:
    """N batches with soft labels, a rate a step, and a target near the start."""

    def __init__(self, steps: int, rate: float) -> None:
        generator = stream(0, "problem")

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator, dtype=torch.float64)

        self.learner = learner()
        self.start = unroll.initial_parameters(self.learner)
        target = {name: value + 0.1 * normal(*value.shape) for name, value in self.start.items()}
        self.distance = ParameterDistance(steps, target, self.start)
        self.images = normal(steps, B, 1, 4, 4).requires_grad_()
        self.labels = normal(steps, B, K).softmax(-1).requires_grad_()
        self.rates = torch.full((steps,), rate, dtype=torch.float64, requires_grad=True)

    def shortcut(self) -> Tensor:
        return direct_loss(
            self.learner, self.images.unbind(), self.labels.unbind(), self.rates, self.distance, parameters=self.start
        ).loss

    def exact(self, memory: unroll.Memory = "full") -> Tensor:
        momenta = torch.zeros_like(self.rates)
        return unroll.unrolled_loss(
            self.learner,
            self.images,
            self.labels,
            self.rates,
            momenta,
            self.distance,
            parameters=self.start,
            memory=memory,
        ).loss

    def gradients(self, loss: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(loss, [self.images, self.labels, self.rates])

    def with_constant_parameters(self) -> Tensor:
        """The shortcut, slowly and obviously: one graph of all steps in which every theta_t is detached."""
        theta = dict(self.start)
        moved = {name: torch.zeros_like(value) for name, value in theta.items()}
        for x, y, rate in zip(self.images, self.labels, self.rates, strict=True):
            here = {name: value.detach().requires_grad_() for name, value in theta.items()}
            loss = F.cross_entropy(unroll.call(self.learner, here, x), y)
            gradient = torch.autograd.grad(loss, list(here.values()), create_graph=True)
            for name, part in zip(here, gradient, strict=True):
                moved[name] = moved[name] - rate * part
                theta[name] = (self.start[name] + moved[name]).detach()
        loss = self.distance(len(self.rates), {name: self.start[name] + moved[name] for name in moved})
        assert loss is not None
        return loss


@pytest.mark.parametrize("memory", ["recompute", "sqrt"])
def test_the_exact_gradient_of_the_distance_in_constant_memory_is_that_of_the_whole_graph(memory: str) -> None:
    problem = Problem(5, 0.3)
    whole, parts = problem.exact("full"), problem.exact(memory)  # type: ignore[arg-type]
    torch.testing.assert_close(whole, parts, rtol=1e-12, atol=0)
    for one, other in zip(problem.gradients(whole), problem.gradients(parts), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


def test_the_exact_gradient_of_the_distance_is_that_of_finite_differences() -> None:
    problem = Problem(3, 0.3)
    found = problem.gradients(problem.exact("recompute"))
    step = 1e-6
    for tensor, gradient in zip((problem.images, problem.labels, problem.rates), found, strict=True):
        direction = torch.randn(tensor.shape, generator=stream(2, "direction"), dtype=torch.float64)
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                tensor += sign * step * direction
            ends.append(problem.exact().detach())
            with torch.no_grad():
                tensor -= sign * step * direction
        slope = (ends[0] - ends[1]) / (2 * step)
        torch.testing.assert_close((gradient * direction).sum(), slope, rtol=1e-7, atol=1e-9)


def test_the_shortcut_is_the_gradient_with_every_theta_held_constant() -> None:
    problem = Problem(4, 0.3)
    fast, slow = problem.shortcut(), problem.with_constant_parameters()
    torch.testing.assert_close(fast, slow, rtol=1e-12, atol=0)
    for one, other in zip(problem.gradients(fast), problem.gradients(slow), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-14)


def test_the_shortcut_has_the_right_value_and_a_bias_that_grows_with_the_rate() -> None:
    biases = []
    for rate in (0.01, 0.1, 0.5):
        problem = Problem(6, rate)
        exact, short = problem.exact(), problem.shortcut()
        torch.testing.assert_close(exact, short, rtol=1e-12, atol=0)
        true, biased = problem.gradients(exact)[0], problem.gradients(short)[0]
        biases.append(float((true - biased).norm() / true.norm()))
    assert 1e-4 < biases[0] < biases[1] < biases[2] and biases[2] > 0.05


def test_the_shortcut_is_exact_for_one_step() -> None:
    problem = Problem(1, 0.5)
    for one, other in zip(problem.gradients(problem.exact()), problem.gradients(problem.shortcut()), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)


def test_parameters_at_the_end_are_those_of_the_engine() -> None:
    problem = Problem(3, 0.2)
    momenta = torch.zeros_like(problem.rates)
    end = unroll.unrolled_loss(
        problem.learner, problem.images, problem.labels, problem.rates, momenta, problem.distance
    ).parameters
    images, labels = list(problem.images.detach()), list(problem.labels.detach())
    found = direct_loss(
        problem.learner, images, labels, problem.rates.detach(), problem.distance, parameters=problem.start
    )
    for name, value in end.items():
        torch.testing.assert_close(found.parameters[name], value, rtol=1e-12, atol=0)


def test_what_does_not_fit_is_refused() -> None:
    problem = Problem(2, 0.1)
    images, labels = problem.images.unbind(), problem.labels.unbind()
    with pytest.raises(UserError, match="got 2, 1 and 2"):
        direct_loss(problem.learner, images, labels[:1], problem.rates, problem.distance, parameters=problem.start)
    with pytest.raises(UserError, match="None after the last step"):
        direct_loss(problem.learner, images, labels, problem.rates, lambda step, theta: None, parameters=problem.start)
