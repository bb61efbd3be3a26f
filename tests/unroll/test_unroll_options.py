"""Adam, windows, running statistics and precision: every option against a plain unroll, in every memory mode."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill import unroll
from gendistill.errors import UserError
from gendistill.nets.weight_normalised import MeanOnlyBatchNorm, WeightNormConvNet
from gendistill.seeds import initialisation, stream

T, B, K = 5, 6, 3
SHAPE = (1, 6, 6)


class Smooth(nn.Module):
    """A learner with running means, smooth so that finite differences are exact."""

    def __init__(self, momentum: float = 0.6) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, bias=False)
        self.norm = MeanOnlyBatchNorm(2, momentum)
        self.head = nn.Linear(2 * 16, K)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.softplus(self.norm(self.conv(x))).flatten(1))


def learner(kind: str = "smooth") -> nn.Module:
    with initialisation(0, "learner"):
        if kind == "smooth":
            return Smooth().double()
        return WeightNormConvNet(K, SHAPE, widths=[3, 4], hidden=5).double()


def normal(name: str, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=stream(0, name), dtype=torch.float64)


def given(steps: int = T, batch: int = B) -> dict[str, Tensor]:
    return {
        "images": normal("images", steps, batch, *SHAPE).requires_grad_(),
        "labels": normal("labels", steps, batch, K).softmax(-1).requires_grad_(),
        "learning_rates": (0.1 + 0.05 * normal("rates", steps).abs()).requires_grad_(),
        "momenta": (0.5 + 0.3 * normal("momenta", steps).sigmoid()).requires_grad_(),
    }


def looks(network: nn.Module, evaluation: bool, every: int = 2) -> unroll.OuterLoss:
    images = normal("real", T + 1, 7, *SHAPE)

    def loss(step: int, parameters: unroll.Parameters) -> Tensor | None:
        if step % every and step != T:
            return None
        logits = unroll.call(network, parameters, images[step], evaluation=evaluation)
        return F.cross_entropy(logits, torch.arange(7) % K)

    return loss


def pulled(loss: Tensor, values: dict[str, Tensor], theta: unroll.Parameters) -> list[Tensor]:
    return list(torch.autograd.grad(loss, [*values.values(), *theta.values()], materialize_grads=True))


def plain(
    network: nn.Module, values: dict[str, Tensor], theta: unroll.Parameters, evaluation: bool, rule: str, window: int
) -> Tensor:
    """The unroll as its equations stand; means are carried by hand through the layers' own formula."""
    first = {name: torch.zeros_like(p) for name, p in theta.items()}
    second = {name: torch.zeros_like(p) for name, p in theta.items()}
    norms = {name: module for name, module in network.named_modules() if isinstance(module, MeanOnlyBatchNorm)}
    running = {name: module.running_mean.clone() for name, module in norms.items()}
    means: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_pre_hook(
            lambda _, args, name=name: means.__setitem__(name, args[0].mean([0, *range(2, args[0].dim())]))
        )
        for name, module in norms.items()
    ]
    outer, total = looks(network, evaluation), torch.zeros((), dtype=torch.float64)
    for t in range(T):
        if t == T - window:
            theta = {name: p.detach().requires_grad_() for name, p in theta.items()} if t else theta
            first, second, running = ({n: v.detach() for n, v in d.items()} for d in (first, second, running))
        inner = F.cross_entropy(unroll.call(network, theta, values["images"][t]), values["labels"][t])
        g = torch.autograd.grad(inner, list(theta.values()), create_graph=True, materialize_grads=True)
        running = {n: (1 - norms[n].momentum) * running[n] + norms[n].momentum * means[n] for n in norms}
        rate, momentum, moved = values["learning_rates"][t], values["momenta"][t], {}
        for (name, p), gradient in zip(theta.items(), g, strict=True):
            if rule == "sgd":
                first[name] = momentum * first[name] + gradient
                moved[name] = p - rate * first[name]
            else:
                first[name] = 0.9 * first[name] + 0.1 * gradient
                second[name] = 0.999 * second[name] + 0.001 * gradient**2
                scale = (second[name] / (1 - 0.999 ** (t + 1)) + 1e-22).sqrt() + 1e-8
                moved[name] = p - rate * first[name] / (1 - 0.9 ** (t + 1)) / scale
        theta = moved
        if t >= T - window:
            buffers = {f"{n}.running_mean": value for n, value in running.items()}
            kept = dict(running)
            loss = outer(t + 1, {**theta, **buffers})
            running = kept
            total = total if loss is None else total + loss
    for hook in hooks:
        hook.remove()
    return total


@pytest.mark.parametrize("kind", ["smooth", "weight norm"])
@pytest.mark.parametrize("rule", ["sgd", "adam"])
@pytest.mark.parametrize("evaluation", [False, True])
@pytest.mark.parametrize("window", [T, 3, 1])
def test_every_mode_equals_the_plain_unroll(kind: str, rule: Any, evaluation: bool, window: int) -> None:
    network, results = learner(kind), []
    for memory in ("plain", *unroll.MEMORY_MODES):
        values = given()
        theta = {name: p.requires_grad_() for name, p in unroll.initial_parameters(network).items()}
        if memory == "plain":
            loss = plain(network, values, theta, evaluation, rule, window)
        else:
            loss = unroll.unrolled_loss(
                network,
                **values,
                outer_loss=looks(network, evaluation),
                parameters=theta,
                memory=memory,  # type: ignore[arg-type]
                optimizer=rule,
                window=None if window == T else window,
                buffers=evaluation,
            ).loss
        results.append([loss.detach(), *pulled(loss, values, theta)])
    for other in results[1:]:
        for expected, found in zip(results[0], other, strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12 * float(expected.abs().max() + 1))
    images, _, rates, momenta, *initial = results[0][1:]
    assert (images.abs().amax((1, 2, 3, 4)) > 0).tolist() == [t >= T - window for t in range(T)]
    assert (rates != 0).tolist() == [t >= T - window for t in range(T)]
    assert (momenta != 0).any() == (rule == "sgd")
    assert (max(float(value.abs().max()) for value in initial) > 0) == (window == T)


def test_running_means_matter_to_the_gradient() -> None:
    """An exactness test that could not see the statistics' graph would pass without it."""
    network, found = learner(), []
    for momentum in (0.6, 0.3):
        network.norm.momentum = momentum  # type: ignore[union-attr]
        values = given()
        outer = looks(network, True)
        result = unroll.unrolled_loss(network, **values, outer_loss=outer, buffers=True)
        found.append(torch.autograd.grad(result.loss, values["images"])[0])
        assert not torch.equal(result.buffers["norm.running_mean"], network.norm.running_mean)  # type: ignore
    assert (found[0] - found[1]).abs().max() > 1e-4


@pytest.mark.parametrize("memory", unroll.MEMORY_MODES)
@pytest.mark.parametrize("rule", ["sgd", "adam"])
def test_gradcheck_with_running_means(memory: Any, rule: Any) -> None:
    network = learner()
    values = {name: value.detach()[:3] for name, value in given(3, 2).items()}

    def loss(images: Tensor, labels: Tensor, rates: Tensor, momenta: Tensor) -> Tensor:
        def outer(step: int, parameters: unroll.Parameters) -> Tensor | None:
            return unroll.call(network, parameters, normal("real", 2, *SHAPE), evaluation=True).square().sum()

        return unroll.unrolled_loss(
            network, images, labels, rates, momenta, outer, memory=memory, optimizer=rule, buffers=True
        ).loss

    assert torch.autograd.gradcheck(loss, [value.requires_grad_() for value in values.values()], fast_mode=True)


def test_adam_walks_as_torchs_does() -> None:
    network, values = learner(), given()
    result = unroll.unrolled_loss(network, **values, outer_loss=looks(network, False), optimizer="adam")
    optimiser = torch.optim.Adam(network.parameters())
    for t in range(T):
        optimiser.param_groups[0]["lr"] = float(values["learning_rates"].detach()[t])
        optimiser.zero_grad()
        F.cross_entropy(network(values["images"][t].detach()), values["labels"][t].detach()).backward()
        optimiser.step()
    for name, expected in network.named_parameters():
        torch.testing.assert_close(result.parameters[name], expected.detach(), rtol=1e-6, atol=1e-8)


def test_adam_has_a_gradient_where_a_unit_is_never_active() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.ReLU(), nn.Linear(4, K)).double()
    with torch.no_grad():
        network[1].bias[0] = -1e3  # type: ignore[union-attr, operator]
    values = given()
    loss = unroll.unrolled_loss(network, **values, outer_loss=looks(network, False), optimizer="adam").loss
    assert all(bool(gradient.isfinite().all()) for gradient in torch.autograd.grad(loss, [values["images"]]))


def test_evaluation_leaves_the_learner_in_its_mode() -> None:
    network = learner()
    network.norm.eval()  # type: ignore[union-attr]
    unroll.call(network, {}, normal("real", 2, *SHAPE), evaluation=True)
    assert network.training and not network.norm.training  # type: ignore[union-attr]


def test_statistics_of_torchs_layers_are_carried_as_constants() -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(32, K)).double()
    gradients = []
    for memory in unroll.MEMORY_MODES:
        values = given()
        result = unroll.unrolled_loss(network, **values, outer_loss=looks(network, True), memory=memory, buffers=True)
        assert result.buffers["1.num_batches_tracked"] == T
        gradients.append(torch.autograd.grad(result.loss, values["images"])[0])
    for other in gradients[1:]:
        torch.testing.assert_close(other, gradients[0], rtol=1e-10, atol=1e-12)
    assert network[1].num_batches_tracked == 0


def test_bfloat16_gradients_stay_near() -> None:
    with initialisation(0, "learner"):
        network = WeightNormConvNet(10, (1, 8, 8), widths=[16, 32], hidden=32)
    images = torch.randn(4, 32, 1, 8, 8, generator=stream(0, "images"))
    labels = torch.arange(4 * 32).view(4, 32) % 10
    rates, momenta = torch.full((4,), 0.02), torch.full((4,), 0.5)
    real = torch.randn(64, 1, 8, 8, generator=stream(0, "real"))
    found = []
    for precision in (None, torch.bfloat16):
        leaf = images.clone().requires_grad_()

        def outer(step: int, parameters: unroll.Parameters) -> Tensor:
            return F.cross_entropy(unroll.call(network, parameters, real), torch.arange(64) % 10)

        unroll.unrolled_loss(network, leaf, labels, rates, momenta, outer, precision=precision).loss.backward()
        found.append(leaf.grad)
    exact, rounded = found
    assert exact is not None and rounded is not None and not torch.equal(exact, rounded)
    assert F.cosine_similarity(exact.flatten(), rounded.flatten(), 0) > 0.99
    assert (exact - rounded).norm() / exact.norm() < 0.1


def test_a_window_that_does_not_fit_is_refused() -> None:
    network, values = learner(), given()
    for window in (0, T + 1):
        with pytest.raises(UserError, match="window"):
            unroll.unrolled_loss(network, **values, outer_loss=looks(network, False), window=window)
    with pytest.raises(UserError, match="sgd, adam"):
        unroll.unrolled_loss(network, **values, outer_loss=looks(network, False), optimizer="lion")  # type: ignore
