"""Two processes with half the batch each are one with the whole of it, whatever loss is added.

Losses that are not linear in the batch are averaged over processes before they bend.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from gan_runs import effective
from own_losses import DM, FAMILIES, GAN, GTN, LEARNER, enter, in_two, made, trained
from torch import Tensor

from gendistill.exchange import means_over_processes
from gendistill.objects import locate
from gendistill.runs.processes import Processes
from trainers.gan import ConditionalGANTrainer
from trainers.trainer import Trainer

GRADIENTS = "trainers.terms.gradients"
Found = dict[str, dict[str, Tensor]]


def term(path: str, **options: Any) -> dict[str, Any]:
    probe = {"learner": LEARNER} if path.startswith("trainers.") and "MetaLoss" not in path else None
    given = ({} if probe is None else {"probe": probe}) | options
    return {"terms": [{"class_path": path, "init_args": given}]}


FEW = {"real_per_class": 2, "generated_per_class": 2}
RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    "brightness": ("brightness_gan.BrightnessGAN", GAN | {"weight": 9.0}),
    "probe": ("probe_gan.ProbeGAN", GAN | {"weight": 9.0, "width": 4}),
    "varied": ("varied_gtn.VariedGTN", GTN | {"weight": 9.0}),
    "contrast": ("contrast_dm.ContrastDM", DM | {"weight": 9.0}),
}
TERMS: dict[str, dict[str, Any]] = {
    "difference": term(f"{GRADIENTS}.GradientDifference", weight=3.0, real_per_fake=2),
    "difference-l2": term(f"{GRADIENTS}.GradientDifference", weight=3.0, distance="l2", real="batch"),
    "difference-input": term(f"{GRADIENTS}.GradientDifference", weight=3.0, grad_wrt="input"),
    "difference-input-l2": term(f"{GRADIENTS}.GradientDifference", weight=30.0, grad_wrt="input", distance="l2"),
    "magnitude": term(f"{GRADIENTS}.GradientMagnitude", weight=3.0),
    "magnitude-norm": term(f"{GRADIENTS}.GradientMagnitude", weight=3.0, normalise=False),
    "magnitude-input": term(f"{GRADIENTS}.GradientMagnitude", weight=30.0, normalise=False, grad_wrt="input"),
    "trunk": term(f"{GRADIENTS}.GradientDifference", weight=3.0, apply_to="both", probe={"state": "trunk"}),
    "features": term("trainers.terms.feature_matching.FeatureMatching", weight=3.0, **FEW),
    "class-gradients": term("trainers.terms.gradient_matching.ClassGradientMatching", weight=3.0, **FEW),
    "meta": term("trainers.terms.meta_loss.MetaLoss", weight=3.0, learners=LEARNER, inner_batch_size=6, inner_steps=2),
    "smooth": term("smooth.Smooth", weight=3.0),
}
RUNS |= {name: ("trainers.gan.ConditionalGANTrainer", GAN | options) for name, options in TERMS.items()}
RUNS |= {
    "unrolled": (
        "trainers.unrolled_gan.ConditionalUnrolledGANTrainer",
        GAN | {"unroll_steps": 2, "unroll_optimizer": "sgd", "unroll_lr": 0.05},
    ),
    "packed": ("trainers.gan.ConditionalGANTrainer", GAN | {"packing": 3, "gradient_penalty": 1.0}),
    "two discriminators": ("trainers.d2gan.ConditionalD2GANTrainer", GAN),
    "relativistic": (
        "trainers.gan.ConditionalGANTrainer",
        GAN | {"loss_type": "relativistic", "r1": 0.5, "r2": 0.5, "packing": 2, "diff_augment": "color_shift"},
    ),
}
for family in ("gtn-recompute", "dm", "dc", "dd", "mtt"):
    kind, options = FAMILIES[family]
    RUNS[family] = (f"{kind.__module__}.{kind.__qualname__}", options | term("smooth.Smooth", weight=3.0))


class Apart(ConditionalGANTrainer):
    """The brightness term as it is without an exchange: a square of each process's own mean."""

    def extra_loss(self, made: Any) -> Tensor:
        real = self.draw_real("brightness", 64)
        return 9.0 * (made.images.mean() - real.images.mean()).square()


def run_all(root: Path) -> Found:
    """Make every run; return what each has learned and logged."""
    found = {
        name: trained(made(locate(path, Trainer), root, options), root, name) for name, (path, options) in RUNS.items()
    }
    return found | {"apart": trained(Apart(**GAN), root, "apart")}


def twice(share: Tensor, world: int) -> dict[str, Tensor]:
    """A loss that bends the means of a batch, and its gradient and the gradient of that one's norm by a weight."""
    weight = torch.linspace(0.5, 1.5, 3, dtype=torch.float64, requires_grad=True)
    rows = (share * weight).tanh()
    mean, square = means_over_processes([rows.mean(0), rows.square().mean()], world)
    loss = mean.square().sum().sqrt() * square
    (slope,) = torch.autograd.grad(loss, weight, create_graph=True)
    (own,) = means_over_processes([slope], world)  # what a process adds to the gradient of all
    (curve,) = torch.autograd.grad(own.square().sum(), weight)
    return {"loss": loss.detach(), "slope": own.detach(), "curve": curve}


def rows() -> Tensor:
    return torch.randn(8, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def worker(rank: int, port: int, root: str) -> None:
    enter(rank, port)
    processes = Processes.from_environment()
    processes.connect()
    found = run_all(Path(root) / "two")
    share = processes.shard(rows())
    exchanged = twice(share, 2)
    (curve,) = means_over_processes([exchanged["curve"]], 2)
    leaf = share.clone().requires_grad_()
    whole = processes.gathered(leaf)
    (back,) = torch.autograd.grad((whole.cumsum(0).square()).sum(), leaf)
    more = {"gathered": whole.detach(), "back": back}
    torch.save(found | {"exchanged": exchanged | {"curve": curve} | more}, Path(root) / f"{rank}.pt")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Found, list[Found]]]:
    root = tmp_path_factory.mktemp("processes")
    in_two(worker, root)
    yield run_all(root / "one"), [torch.load(root / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", RUNS)
def test_two_are_one(name: str, results: tuple[Found, list[Found]]) -> None:
    alone, (first, second) = results
    for key, value in alone[name].items():
        assert torch.equal(first[name][key], second[name][key]), f"{key} differs between processes"
        if not key.startswith("generator.") or effective(key):
            torch.testing.assert_close(first[name][key], value, rtol=1e-3, atol=2e-5, msg=lambda m, k=key: f"{k}: {m}")


def test_without_the_exchange_they_are_not(results: tuple[Found, list[Found]]) -> None:
    alone, (first, _) = results
    assert first["brightness"].keys() > alone["apart"].keys()
    torch.testing.assert_close(alone["apart"]["train/loss/extra"], alone["brightness"]["train/loss/extra"])
    gap = (first["apart"]["train/loss/extra"] - alone["apart"]["train/loss/extra"]).abs()
    assert gap > 1e-3 * alone["apart"]["train/loss/extra"]


def test_the_mean_is_differentiated_twice(results: tuple[Found, list[Found]]) -> None:
    expected = twice(rows(), 1)
    for found in results[1]:
        for name, value in expected.items():
            torch.testing.assert_close(found["exchanged"][name], value, rtol=1e-12, atol=1e-14)


def test_slices_are_gathered_in_their_order(results: tuple[Found, list[Found]]) -> None:
    whole = rows().requires_grad_()
    (expected,) = torch.autograd.grad((whole.cumsum(0).square()).sum(), whole)
    # Gradients are averaged over processes: each of the two has twice its part of the gradient of one loss.
    parts = [found["exchanged"]["back"] / 2 for found in results[1]]
    torch.testing.assert_close(torch.cat(parts), expected)
    assert all(torch.equal(found["exchanged"]["gathered"], whole.detach()) for found in results[1])
