"""Every method that trains learners inside has every option of inner training, against a slow obvious loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from callers import CALLERS, Inner, alike, step
from torch import Tensor, nn
from torch.func import functional_call

from gendistill.data.real import RealData
from gendistill.inner import training
from gendistill.unroll import Unrolled


class WithStatistics(nn.Module):
    """A smooth network whose features are normalised by batch norm."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.hidden, self.norm = nn.Linear(math.prod(image_shape), 6), nn.BatchNorm1d(6, momentum=0.4)
        self.classifier = nn.Linear(6, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(torch.tanh(self.norm(self.hidden(x.flatten(1)))))
        return logits


NORMALISED: Inner = {"class_path": f"{__name__}.WithStatistics"}


def obvious_loss(
    learner: nn.Module,
    images: Sequence[Tensor],
    labels: Sequence[Tensor],
    rates: Tensor,
    momenta: Tensor,
    outer: Callable[..., Tensor | None],
    *,
    parameters: dict[str, Tensor] | None,
    inner_loss: Callable[[Tensor, Tensor], Tensor],
    optimizer: str,
    window: int | None,
    buffers: bool,
    **_: Any,
) -> Unrolled:
    """Train step by step in one graph, cut where the window begins, by the formulas of SGD and Adam."""
    theta = parameters or {name: value.detach().clone() for name, value in learner.named_parameters()}
    theta = {name: value.clone().requires_grad_() for name, value in theta.items()}
    kept = {name: value.clone() for name, value in learner.named_buffers()}
    one, two = ({name: torch.zeros_like(value) for name, value in theta.items()} for _ in range(2))
    total: Tensor = torch.zeros(())
    first = 0 if window is None else len(images) - window
    for t in range(len(images)):
        if t == first:
            theta, one, two = ({n: v.detach().requires_grad_() for n, v in part.items()} for part in (theta, one, two))
            kept = {name: value.detach() for name, value in kept.items()}
        if buffers:
            hidden = functional_call(
                learner.hidden, {n[7:]: v for n, v in theta.items() if n[:6] == "hidden"}, (images[t].flatten(1),)
            )
            share = learner.norm.momentum
            mean, variance = hidden.mean(0), hidden.var(0)
            kept["norm.running_mean"] = (1 - share) * kept["norm.running_mean"] + share * mean
            kept["norm.running_var"] = (1 - share) * kept["norm.running_var"] + share * variance
        own = {name: value.clone() for name, value in learner.named_buffers()}
        loss = inner_loss(functional_call(learner, {**own, **theta}, (images[t],)), labels[t])
        found = torch.autograd.grad(loss, list(theta.values()), create_graph=True, materialize_grads=True)
        gradient = dict(zip(theta, found, strict=True))
        if optimizer == "sgd":
            one = {n: momenta[t] * one[n] + gradient[n] for n in theta}
            theta = {n: theta[n] - rates[t] * one[n] for n in theta}
        else:
            one = {n: 0.9 * one[n] + 0.1 * gradient[n] for n in theta}
            two = {n: 0.999 * two[n] + 0.001 * gradient[n] ** 2 for n in theta}
            unbiased = {n: (one[n] / (1 - 0.9 ** (t + 1)), two[n] / (1 - 0.999 ** (t + 1))) for n in theta}
            theta = {n: theta[n] - rates[t] * m / ((s + 1e-22).sqrt() + 1e-8) for n, (m, s) in unbiased.items()}
        if t >= first and (asked := outer(t + 1, {**theta, **(kept if buffers else {})})) is not None:
            total = total + asked
    return Unrolled(total, {name: value.detach() for name, value in theta.items()}, {})


GAINED: list[Inner] = [
    {"optimizer": "adam"},
    {"window": 2},
    {"window": 2, "window_end": "last", "memory": "recompute"},
    {"optimizer": "adam", "window": 3, "memory": "sqrt"},
]


@pytest.mark.parametrize("inner", GAINED, ids=str)
@pytest.mark.parametrize("caller", CALLERS)
def test_a_step_is_that_of_the_obvious_loop(
    caller: str, inner: Inner, tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, plain = (step(caller, tmp_path, tiny_data, given) for given in (inner, {}))
    assert not alike(ours, plain, 1e-3)
    monkeypatch.setattr(training.unroll, "unrolled_loss", obvious_loss)
    obvious = step(caller, tmp_path, tiny_data, inner)
    assert alike(ours, obvious, 2e-4)


@pytest.mark.parametrize("caller", [name for name in CALLERS if "trajectories" not in name and name != "MTT"])
def test_running_statistics_are_looked_at_and_differentiated(
    caller: str, tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = step(caller, tmp_path, tiny_data, {"statistics": "running"}, NORMALISED)
    batch = step(caller, tmp_path, tiny_data, {"statistics": "batch"}, NORMALISED)
    monkeypatch.setattr(training.unroll, "unrolled_loss", obvious_loss)
    obvious = step(caller, tmp_path, tiny_data, {"statistics": "running"}, NORMALISED)
    assert alike(running, obvious, 1e-3) and not alike(running, batch, 1e-2)


@pytest.mark.parametrize("inner", [{}, {"optimizer": "adam", "window": 2, "memory": "recompute"}], ids=str)
@pytest.mark.parametrize("caller", CALLERS)
def test_learners_together_are_learners_one_by_one(
    caller: str, inner: Inner, tiny_data: RealData, tmp_path: Path
) -> None:
    apart, together = (step(caller, tmp_path, tiny_data, inner | {"batched": batched}) for batched in (False, True))
    assert alike(together, apart, 1e-4)


@pytest.mark.parametrize("caller", CALLERS)
def test_bfloat16_is_near_and_the_run_s_precision_is_the_default(
    caller: str, tiny_data: RealData, tmp_path: Path
) -> None:
    exact, rough = (step(caller, tmp_path, tiny_data, {"precision": word})[0] for word in ("float32", "bfloat16"))
    assert exact != rough and abs(exact - rough) < 0.05 * abs(exact)
    if caller in ("DD", "MTT"):  # whose run does nothing else in lower precision
        assert torch.equal(step(caller, tmp_path, tiny_data, {}, precision="bfloat16")[0], rough)
        own = step(caller, tmp_path, tiny_data, {"precision": "float32"}, precision="bfloat16")[0]
        assert torch.equal(own, exact)


@pytest.mark.parametrize("caller", [name for name in CALLERS if name not in ("GTN", "GAN")])
def test_the_shortcut_has_the_same_loss_and_another_gradient(caller: str, tiny_data: RealData, tmp_path: Path) -> None:
    exact, short = (step(caller, tmp_path, tiny_data, {"gradient": word}) for word in ("exact", "shortcut"))
    torch.testing.assert_close(exact[0], short[0])
    assert not alike(short, exact, 1e-4)
