"""Passes in chunks make the numbers of one pass, and are not made where images depend on each other."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gendistill.nets.learners import ConvNet
from gendistill.nets.weight_normalised import MeanOnlyBatchNorm
from trainers.chunks import CPU_CHUNK, KEPT, chunks, mapped, rows_apart
from trainers.terms.feature_matching import FeatureMatching
from trainers.terms.probes import Probe

COUNT = CPU_CHUNK + 6


def test_rows_come_once_and_in_order() -> None:
    first, second = torch.arange(COUNT), torch.randn(COUNT, 2)
    parts = chunks(first, second, apart=True)
    assert [len(one) for one, _ in parts] == [CPU_CHUNK, 6]
    assert torch.equal(torch.cat([one for one, _ in parts]), first)
    assert torch.equal(torch.cat([other for _, other in parts]), second)
    assert len(chunks(first, apart=False)) == len(chunks(first[:CPU_CHUNK], apart=True)) == 1


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(1), MeanOnlyBatchNorm(1)], ids=["batch", "mean-only"])
def test_a_batch_norm_that_looks_at_the_batch_holds_rows_together(norm: nn.Module) -> None:
    assert not rows_apart(nn.Sequential(norm).train())
    assert rows_apart(nn.Sequential(norm).eval())


def test_batch_norm_without_running_statistics_always_looks_at_the_batch() -> None:
    assert not rows_apart(nn.BatchNorm2d(1, track_running_stats=False).eval())


@pytest.mark.parametrize("normalisation", ["instance", "batch"])
@pytest.mark.parametrize("match", ["features", "logits", "layers"])
def test_feature_matching_in_chunks_has_the_gradient_of_one_pass(
    normalisation: str, match: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = ConvNet(num_classes=2, image_shape=(1, 8, 8), width=4, depth=2, normalisation=normalisation).double()
    probe = Probe(network, dict(network.named_parameters()))
    real, made = torch.randn(2, 40, 1, 8, 8).double(), torch.randn(2, 35, 1, 8, 8).double().requires_grad_()
    found = []
    for size in (CPU_CHUNK, 10**6):
        monkeypatch.setattr("trainers.chunks.CPU_CHUNK", size)
        for kept in (KEPT, 10):
            monkeypatch.setattr("trainers.chunks.KEPT", kept)
            distance = FeatureMatching(match=match).distance_in(probe, real, made)
            found.append((distance, torch.autograd.grad(distance, made)[0]))
    for one in found[1:]:
        torch.testing.assert_close(one, found[0])


class Noisy(nn.Module):
    """Draws for itself and keeps an average: what a second pass must not do again."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.scale = nn.Parameter(torch.tensor(2.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return (self.scale * x + torch.randn_like(x)).square() * self.calls.clone()


@pytest.mark.parametrize("count", [KEPT, KEPT + 1])
def test_a_graph_that_is_made_anew_is_the_one_that_was_not_kept(count: int) -> None:
    network, x = Noisy(), torch.randn(count, 3, requires_grad=True)
    kept: list[torch.Size] = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.shape)
        return tensor

    state = torch.get_rng_state()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        found = mapped(network, x, apart=True, network=network, weights=[network.scale])
    assert len(kept) > 8 if count == KEPT else kept == [x.shape, network.scale.shape]
    after, calls = torch.get_rng_state(), network.calls.clone()
    gradients = torch.autograd.grad(found.sum(), [x, network.scale])
    assert torch.equal(torch.get_rng_state(), after) and torch.equal(network.calls, calls)
    torch.set_rng_state(state)
    plain = Noisy()
    expected = torch.cat([plain(some) for some in x.split(CPU_CHUNK)])
    assert torch.equal(found, expected) and torch.equal(plain.calls, calls)
    for one, other in zip(gradients, torch.autograd.grad(expected.sum(), [x, plain.scale]), strict=True):
        torch.testing.assert_close(one, other)


def test_precision_on_the_way_back_is_that_of_the_way_there() -> None:
    network, x = nn.Linear(3, 2), torch.randn(KEPT + 1, 3, requires_grad=True)
    seen: list[torch.dtype] = []

    def watched(some: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = network(some)
        seen.append(found.dtype)
        return found.float()

    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = mapped(watched, x, apart=True, network=network)
    found.sum().backward(inputs=[x])
    assert len(seen) == 10 and set(seen) == {torch.bfloat16}


def test_without_gradients_there_is_no_second_pass() -> None:
    with torch.no_grad():
        assert not mapped(torch.exp, torch.randn(KEPT + 1, requires_grad=True), apart=True).requires_grad
