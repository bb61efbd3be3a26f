from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill import unroll
from gendistill.errors import UserError
from gendistill.seeds import initialisation, stream

T, B, K = 4, 5, 3


class Learner(nn.Module):
    """Small and smooth, with a convolution and a normalisation over each image; ``unused`` is never reached."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)
        self.norm = nn.GroupNorm(1, 2)
        self.head = nn.Linear(2 * 16, K)
        self.unused = nn.Parameter(torch.zeros(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.softplus(self.norm(self.conv(x))).flatten(1))


def problem(soft: bool) -> dict[str, Tensor]:
    generator = stream(0, "problem")

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    hard = torch.arange(T * B).view(T, B) % K
    return {
        "images": normal(T, B, 1, 4, 4).requires_grad_(),
        "labels": normal(T, B, K).softmax(-1).requires_grad_() if soft else hard,
        "learning_rates": (0.1 + 0.1 * torch.rand(T, generator=generator, dtype=torch.float64)).requires_grad_(),
        "momenta": (0.5 + 0.4 * torch.rand(T, generator=generator, dtype=torch.float64)).requires_grad_(),
    }


def make_learner() -> Learner:
    with initialisation(0, "learner"):
        return Learner().double()


def real_loss(learner: nn.Module, every: int) -> unroll.OuterLoss:
    generator = stream(1, "real")
    images = torch.randn(T + 1, 6, 1, 4, 4, generator=generator, dtype=torch.float64)
    labels = torch.arange(6) % K

    def loss(step: int, parameters: unroll.Parameters) -> Tensor | None:
        if step % every:
            return None
        return F.cross_entropy(unroll.call(learner, parameters, images[step]), labels)

    return loss


def gradients(values: dict[str, Tensor], loss: Tensor, extra: list[Tensor]) -> list[Tensor]:
    wanted = [value for value in values.values() if value.requires_grad] + extra
    return list(torch.autograd.grad(loss, wanted, materialize_grads=True))


def by_hand(learner: nn.Module, theta: unroll.Parameters, values: dict[str, Tensor], outer: unroll.OuterLoss) -> Tensor:
    """The plain unroll, written as the equations stand."""
    velocity = {name: torch.zeros_like(p) for name, p in theta.items()}
    total = torch.zeros((), dtype=torch.float64)
    for t in range(T):
        logits = torch.func.functional_call(learner, theta, (values["images"][t],))
        y = values["labels"][t]
        target = y if y.is_floating_point() else F.one_hot(y, K).double()
        inner = -(target * logits.log_softmax(1)).sum(1).mean()
        g = torch.autograd.grad(inner, list(theta.values()), create_graph=True, materialize_grads=True)
        velocity = {n: values["momenta"][t] * v + gi for (n, v), gi in zip(velocity.items(), g, strict=True)}
        theta = {n: p - values["learning_rates"][t] * velocity[n] for n, p in theta.items()}
        loss = outer(t + 1, theta)
        total = total if loss is None else total + loss
    return total


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("every", [T, 2, 1])
def test_both_modes_equal_the_plain_unroll(soft: bool, every: int) -> None:
    learner, values = make_learner(), problem(soft)
    results = []
    for memory in ("plain", *unroll.MEMORY_MODES):
        theta = {n: p.requires_grad_() for n, p in unroll.initial_parameters(learner).items()}
        outer = real_loss(learner, every)
        if memory == "plain":
            loss = by_hand(learner, theta, values, outer)
        else:
            loss = unroll.unrolled_loss(learner, **values, outer_loss=outer, parameters=theta, memory=memory).loss
        results.append([loss.detach(), *gradients(values, loss, list(theta.values()))])
    for other in results[1:]:
        for expected, found in zip(results[0], other, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    # Everything that should matter does: only the first momentum and the unreached parameter have no gradient.
    assert all(value.abs().max() > 1e-6 for value in results[0][:4])


@pytest.mark.parametrize("memory", unroll.MEMORY_MODES)
def test_gradcheck(memory: str) -> None:
    learner = make_learner()
    values = {
        name: value.detach()[:2, :2] if value.dim() > 1 else value.detach()[:2] for name, value in problem(True).items()
    }
    theta = unroll.initial_parameters(learner)

    def loss(images: Tensor, labels: Tensor, rates: Tensor, momenta: Tensor, weight: Tensor) -> Tensor:
        parameters = {**theta, "conv.weight": weight}
        outer = real_loss(learner, 1)
        return unroll.unrolled_loss(
            learner, images, labels, rates, momenta, outer, parameters=parameters, memory=memory
        ).loss

    inputs = [value.requires_grad_() for value in values.values()]
    assert torch.autograd.gradcheck(loss, (*inputs, theta["conv.weight"].clone().requires_grad_()))


def test_final_parameters_are_those_of_torch_sgd() -> None:
    learner, values = make_learner(), problem(False)
    optimiser = torch.optim.SGD([p for p in learner.parameters()], lr=1.0)
    outcome = {
        memory: unroll.unrolled_loss(learner, **values, outer_loss=real_loss(learner, T), memory=memory).parameters
        for memory in unroll.MEMORY_MODES
    }
    for t in range(T):
        optimiser.param_groups[0].update(lr=values["learning_rates"][t].item(), momentum=values["momenta"][t].item())
        optimiser.zero_grad()
        F.cross_entropy(learner(values["images"][t].detach()), values["labels"][t]).backward()
        optimiser.step()
    for parameters in outcome.values():
        for name, expected in learner.named_parameters():
            torch.testing.assert_close(parameters[name], expected.detach(), rtol=1e-12, atol=1e-14)


def test_learners_that_share_samples_add_up() -> None:
    values = problem(False)
    generator = nn.Linear(16, 16).double()
    latents = torch.randn(T, B, 16, generator=stream(0, "latents"), dtype=torch.float64)

    def losses(images: Tensor) -> list[Tensor]:
        found = []
        for name in ("first", "second"):
            with initialisation(0, name):
                learner = Learner().double()
            rest = {key: value for key, value in values.items() if key != "images"}
            found.append(unroll.unrolled_loss(learner, images, **rest, outer_loss=real_loss(learner, 2)).loss)
        return found

    images = generator(latents).view(T, B, 1, 4, 4)
    together = torch.autograd.grad(sum(losses(images)), generator.weight)[0]
    leaf = images.detach().requires_grad_()
    for loss in losses(leaf):
        loss.backward()
    images = generator(latents).view(T, B, 1, 4, 4)
    shared = torch.autograd.grad(images, generator.weight, leaf.grad)[0]
    torch.testing.assert_close(shared, together, rtol=1e-10, atol=1e-12)


def test_running_statistics_and_weights_of_the_learner_stay_as_they_were() -> None:
    learner = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, K)).double()
    before = {name: value.clone() for name, value in learner.state_dict().items()}
    values = problem(False)
    for memory in unroll.MEMORY_MODES:
        unroll.unrolled_loss(learner, **values, outer_loss=real_loss(learner, 1), memory=memory).loss.backward()
    assert all(torch.equal(value, before[name]) for name, value in learner.state_dict().items())
    assert all(parameter.grad is None for parameter in learner.parameters())


def test_what_cannot_be_unrolled_is_said() -> None:
    learner, values = make_learner(), problem(False)
    with pytest.raises(UserError, match="as many images"):
        unroll.unrolled_loss(learner, **(values | {"momenta": values["momenta"][:2]}), outer_loss=real_loss(learner, 1))
    with pytest.raises(UserError, match="full, recompute"):
        unroll.unrolled_loss(learner, **values, outer_loss=real_loss(learner, 1), memory="half")
    for memory in unroll.MEMORY_MODES:
        with pytest.raises(UserError, match="None after every step"):
            unroll.unrolled_loss(learner, **values, outer_loss=lambda step, theta: None, memory=memory)
