"""Training at once is held against the obvious way: one learner after another with torch's own optimiser."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gendistill.evaluation import ensemble as ensembles
from gendistill.evaluation.ensemble import Separate, build_learner, right
from gendistill.evaluation.rates import candidates
from gendistill.evaluation.stacked import Stacked
from gendistill.evaluation.workers import Workers
from gendistill.nets.again import draws
from gendistill.teacher import StoredImages

SEEDS, STEPS = (5, 9), 6
CONVNET = "gendistill.nets.learners.ConvNet"
SPECS = [
    {"class_path": CONVNET, "init_args": {"width": 6, "depth": 2}},
    {"class_path": CONVNET, "init_args": {"width": 5, "depth": 1, "normalisation": "batch", "pooling": "max"}},
    {"class_path": "gendistill.nets.learners.MLP", "init_args": {"width": 12}},
    {"class_path": "gendistill.nets.learners.LeNet"},
]


def lessons(soft: bool):
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(len(SEEDS), STEPS, 12, 1, 8, 8, generator=generator)
    labels = torch.randint(0, 3, (len(SEEDS), STEPS, 12), generator=generator)
    targets = F.one_hot(labels, 3) * 0.8 + 0.2 / 3 if soft else labels
    return [list(zip(x, y, strict=True)) for x, y in zip(images, targets, strict=True)]


def ways(tiny_data, optimizer):
    learned = StoredImages(
        torch.zeros(3, 1, 8, 8),
        torch.arange(3),
        tiny_data.description,
        learning_rates=torch.tensor([0.1, 0.05]),
        # Not 0 at first: torch's SGD would then forget the first gradient, where our velocity keeps it.
        momenta=torch.tensor([0.25, 0.5, 0.9]),
    )
    lr = ["teacher", 0.05, 0.01] if optimizer == "sgd" else [0.01, 0.001]
    return candidates(lr, learned, STEPS, optimizer=optimizer, schedule="cosine", weight_decay=1e-3)


def one_after_another(spec, description, tried, optimizer, batches, split):
    """Train every learner by itself; return parameters (E, P) and accuracies."""
    rows, accuracies = [], []
    for seed, own in zip(SEEDS, batches, strict=True):
        for way in tried:
            network = build_learner(spec, description, seed)
            if optimizer == "sgd":
                trainer = torch.optim.SGD(network.parameters(), 1.0, weight_decay=way.weight_decay)
            else:
                trainer = torch.optim.Adam(network.parameters(), 1.0, weight_decay=way.weight_decay)
            for step, (images, labels) in enumerate(own):
                trainer.param_groups[0]["lr"] = way.rates[step]
                if optimizer == "sgd":
                    trainer.param_groups[0]["momentum"] = way.momenta[step]
                trainer.zero_grad()
                F.cross_entropy(network(images), labels).backward()
                trainer.step()
            rows.append(torch.cat([parameter.detach().flatten() for parameter in network.parameters()]))
            network.eval()
            with torch.no_grad():
                logits = network(description.normalisation.apply(split.images))
            accuracies.append((logits.argmax(1) == split.labels).double().mean())
    return torch.stack(rows), torch.stack(accuracies)


def made(strategy, spec, data, tried, workers, optimizer="sgd"):
    cpu = torch.device("cpu")
    return strategy(spec, data.description, SEEDS, tried, optimizer=optimizer, device=cpu, workers=workers)


@pytest.mark.parametrize("strategy", [Separate, Stacked])
@pytest.mark.parametrize("spec", SPECS, ids=["instance", "batch", "mlp", "lenet"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_at_once_equals_one_after_another(tiny_data, strategy, spec, optimizer):
    tried, batches = ways(tiny_data, optimizer), lessons(soft=optimizer == "sgd")
    expected, accuracies = one_after_another(spec, tiny_data.description, tried, optimizer, batches, tiny_data.test)
    with Workers(2 if strategy is Separate else 1) as workers:
        ensemble = made(strategy, spec, tiny_data, tried, workers, optimizer)
        before = ensemble.parameters.clone()
        ensemble.train([own[:2] for own in batches], 0)
        ensemble.train([own[2:] for own in batches], 2)
        members = range(len(expected))
        measured = ensemble.accuracy(members, tiny_data.test)
        some = ensemble.accuracy([3, 0], tiny_data.test)
    assert (ensemble.parameters - before).abs().max() > 1e-2
    # Adam divides by the size of gradients that can be as small as rounding errors, so it gets more room.
    room = 2e-5 if optimizer == "sgd" else 2e-3
    torch.testing.assert_close(ensemble.parameters, expected, rtol=room, atol=room)
    torch.testing.assert_close(measured, accuracies, rtol=0, atol=1.01 / len(tiny_data.test))
    assert torch.equal(some, measured[[3, 0]])


def test_learners_of_a_seed_start_alike_and_of_two_seeds_do_not(tiny_data):
    ensemble = made(Separate, SPECS[0], tiny_data, ways(tiny_data, "sgd"), Workers(1))
    rows = ensemble.parameters
    assert torch.equal(rows[0], rows[1]) and torch.equal(rows[3], rows[5])
    assert not torch.equal(rows[0], rows[3])
    assert ensemble.parameter_count == rows.shape[1]


def test_frozen_parameters_stay(tiny_data, monkeypatch):
    def frozen(spec, description, seed, initial=None):
        network = copy.deepcopy(build_learner(spec, description, seed))
        network.blocks[0].weight.requires_grad_(False)
        return network

    monkeypatch.setattr("gendistill.evaluation.ensemble.build_learner", frozen)
    rows = []
    for strategy in (Separate, Stacked):
        ensemble = made(strategy, SPECS[0], tiny_data, ways(tiny_data, "sgd"), Workers(1))
        assert "blocks.0.weight" not in ensemble.shapes
        ensemble.train(lessons(soft=False), 0)
        rows.append(ensemble.parameters)
    torch.testing.assert_close(rows[0], rows[1], rtol=2e-5, atol=2e-5)


def test_a_diverged_learner_is_wrong():
    logits = torch.tensor([[[2.0, 1.0], [0.0, 1.0]], [[torch.nan, torch.nan], [torch.inf, 0.0]]])
    assert right(logits, torch.tensor([0, 1])).tolist() == [[True, True], [False, False]]


class Forgetful(nn.Module):
    """Dropout as a layer, and noise as a function."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.hidden, self.dropout = nn.Linear(64, 16), nn.Dropout(0.5)
        self.head = nn.Linear(16, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = torch.tanh(self.dropout(self.hidden(x.flatten(1))))
        return self.head(hidden + torch.rand_like(hidden) if self.training else hidden)


FORGETFUL = {"class_path": f"{__name__}.Forgetful"}


@pytest.mark.parametrize("strategy", [Separate, Stacked])
def test_what_learners_draw_is_their_own(strategy, tiny_data) -> None:
    tried, batches = ways(tiny_data, "sgd"), lessons(soft=False)
    before, found = torch.random.get_rng_state(), []
    for cores in (1, 2, 2):
        with Workers(cores) as workers:
            ensemble = made(strategy, FORGETFUL, tiny_data, tried, workers)
            ensemble.train([batch[:2] for batch in batches], 0)
            torch.rand(3)  # whoever draws meanwhile
            torch.random.set_rng_state(before)
            ensemble.train([batch[2:] for batch in batches], 2)
            found.append(ensemble.parameters)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(found[0], found[1]) and torch.equal(found[0], found[2])
    if strategy is Separate:
        # Alone a learner draws what it draws in company.
        with Workers(1) as workers:
            alone = Separate(
                FORGETFUL, tiny_data.description, SEEDS[1:], tried[:1],
                optimizer="sgd", device=torch.device("cpu"), workers=workers,
            )  # fmt: skip
            alone.train(batches[1:], 0)
        assert torch.equal(alone.parameters[0], found[0][len(tried)])
    rows = found[0]
    assert not torch.equal(rows[0], rows[len(tried)])


def test_generators_of_the_process_are_looked_at_by_one_thread_at_a_time(tiny_data, monkeypatch) -> None:
    """Whether a learner draws is seen by global generators, which other threads may lend meanwhile."""
    held = []

    def looks(network: Any, images: Any) -> bool:
        held.append(ensembles.LENDING.locked())
        return False

    monkeypatch.setattr(ensembles, "draws", looks)
    with Workers(1) as workers:
        ensemble = made(Separate, SPECS[1], tiny_data, ways(tiny_data, "sgd"), workers)
        ensemble.train(lessons(soft=False), 0)
    assert held == [True] and not ensembles.LENDING.locked()


def test_learners_that_do_not_draw_are_known(tiny_data) -> None:
    images = torch.randn(4, 1, 8, 8)
    for spec, wanted in ((FORGETFUL, True), (SPECS[1], False)):
        network = build_learner(spec, tiny_data.description, 0).eval()
        state = {name: value.clone() for name, value in network.state_dict().items()}
        before = torch.random.get_rng_state()
        assert draws(network, images) == wanted
        assert not network.training and torch.equal(torch.random.get_rng_state(), before)
        assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
