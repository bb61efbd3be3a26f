"""Batch norm across processes, and spectral norm under autocast."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn

from gendistill.nets.layers import BatchNorm2d, SNConv2d


def batch() -> Tensor:
    # A large mean, so that a variance from E[x^2] - E[x]^2 would be visibly wrong in float32.
    return 300 + torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))


def run_layer(layer: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Outputs, first and second order gradients, and running statistics of one training call."""
    x = x.clone().requires_grad_(True)
    out = layer(x)
    (slope,) = torch.autograd.grad(out.square().mul(torch.linspace(0, 1, 4)).sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert x.grad is not None and layer.weight.grad is not None
    return {
        "out": out.detach(),
        "slope": slope.detach(),
        "curve": x.grad,
        "weight": layer.weight.grad,
        "mean": layer.running_mean,
        "var": layer.running_var,
        "count": layer.num_batches_tracked,
    }


def test_alone_it_is_the_torch_layer() -> None:
    ours, theirs = BatchNorm2d(3), nn.BatchNorm2d(3)
    found, expected = run_layer(ours, batch()), run_layer(theirs, batch())
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def worker(rank: int, store: str, directory: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    # Unequal shares: four samples here, two there.
    share = batch().double()[:4] if rank == 0 else batch().double()[4:]
    layer = BatchNorm2d(3).double()
    torch.save(run_layer(layer, share), Path(directory) / f"{rank}.pt")
    single = BatchNorm2d(3)
    single.track_running_stats = False
    torch.save(single(share.float()).detach(), Path(directory) / f"float{rank}.pt")
    assert single.num_batches_tracked == 0
    torch.distributed.destroy_process_group()


def test_two_processes_are_one_batch(tmp_path: Path) -> None:
    mp.spawn(worker, (str(tmp_path / "store"), str(tmp_path)), nprocs=2)
    parts = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)]
    expected = run_layer(nn.BatchNorm2d(3).double(), batch().double())
    for key in ("out", "slope", "curve"):
        torch.testing.assert_close(torch.cat([part[key] for part in parts]), expected[key], rtol=1e-6, atol=1e-10)
    torch.testing.assert_close(sum(part["weight"] for part in parts), expected["weight"], rtol=1e-6, atol=1e-10)
    for part in parts:
        for key in ("mean", "var", "count"):
            torch.testing.assert_close(part[key], expected[key])
    single = torch.cat([torch.load(tmp_path / f"float{rank}.pt", weights_only=True) for rank in range(2)])
    torch.testing.assert_close(single.double(), expected["out"], rtol=0, atol=1e-3)


def test_spectral_norm_is_computed_in_float32_under_autocast() -> None:
    torch.manual_seed(0)
    layer = SNConv2d(3, 8, 3)
    plain, mixed = copy.deepcopy(layer), copy.deepcopy(layer)
    x = torch.randn(2, 3, 6, 6)
    expected = plain(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = mixed(x)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.02)
    for ours, theirs in zip(mixed.buffers(), plain.buffers(), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_statistics_can_be_left_alone(momentum: float | None) -> None:
    layer = BatchNorm2d(3, momentum=momentum)
    layer.track_running_stats = False
    layer(batch())
    assert layer.running_mean is not None and torch.equal(layer.running_mean, torch.zeros(3))
