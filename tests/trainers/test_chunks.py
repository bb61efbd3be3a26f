"""Passes in chunks make the numbers of one pass, and are not made where images depend on each other."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gendistill.nets.learners import ConvNet
from gendistill.nets.weight_normalised import MeanOnlyBatchNorm
from trainers.chunks import CPU_CHUNK, chunks, rows_apart
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
        distance = FeatureMatching(match=match).distance_in(probe, real, made)
        found.append((distance, torch.autograd.grad(distance, made)[0]))
    torch.testing.assert_close(found[0], found[1])
