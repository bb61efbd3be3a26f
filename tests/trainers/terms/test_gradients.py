"""Gradient difference and gradient magnitude: their values, where they act, and where they cannot."""

from __future__ import annotations

import copy
import inspect
import math
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_gans import SMALL, advance, attached, equal, term, trained

from gendistill.data.real import RealData
from gendistill.errors import UserError
from trainers.batch import Batch
from trainers.gan import ConditionalGANTrainer, GANTrainer
from trainers.gradient_difference_gan import GradientDifferenceGAN
from trainers.gradient_magnitude_gan import GradientMagnitudeGAN
from trainers.terms.gradients import GradientDifference, GradientMagnitude, GradientTerm

NET: dict[str, Any] = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 1}}
DIFFERENCE = "trainers.terms.gradients.GradientDifference"
MAGNITUDE = "trainers.terms.gradients.GradientMagnitude"
PROBE: dict[str, Any] = {"learner": NET}
TRUNK: dict[str, Any] = {"state": "trunk"}


@pytest.mark.filterwarnings("ignore:the term")
@pytest.mark.parametrize("kind", [DIFFERENCE, MAGNITUDE])
@pytest.mark.parametrize("grad_wrt", ["weights", "input"])
def test_in_the_discriminators_loss_the_weight_has_no_effect(
    tiny_data: RealData, tmp_path: Path, kind: str, grad_wrt: str
) -> None:
    """The finding: bit-identical networks after n steps for weight 0 and weight 10, while the printed loss differs."""
    options: dict[str, Any] = {"apply_to": "discriminator", "grad_wrt": grad_wrt, "probe": PROBE}
    if kind == MAGNITUDE:
        options["normalise"] = False
    plain = trained(tiny_data, tmp_path)
    runs = [trained(tiny_data, tmp_path, terms=[term(kind, weight=weight, **options)]) for weight in (0.0, 10.0)]
    for run in runs:
        assert equal(run.generator, plain.generator) and equal(run.discriminator, plain.discriminator)
        assert equal(run.ema.module, plain.ema.module)
    records = [advance(run, 1) for run in runs]
    name = f"term/{runs[0].terms[0].name}"
    assert records[0][name] == records[1][name] > 0
    assert abs(records[1]["loss/discriminator"] - records[0]["loss/discriminator"]) > 1e-3


@pytest.mark.parametrize("kind", [DIFFERENCE, MAGNITUDE])
@pytest.mark.parametrize("probe", [PROBE, TRUNK], ids=["fresh", "trunk"])
def test_in_the_generators_loss_it_moves_the_generator(
    tiny_data: RealData, tmp_path: Path, kind: str, probe: dict[str, Any]
) -> None:
    plain = trained(tiny_data, tmp_path, steps=1)
    off, on = (
        trained(tiny_data, tmp_path, steps=1, terms=[term(kind, weight=weight, probe=probe)]) for weight in (0.0, 10.0)
    )
    assert equal(off.generator, plain.generator) and equal(off.discriminator, plain.discriminator)
    assert equal(on.discriminator, plain.discriminator)
    assert not equal(on.generator, plain.generator)


@pytest.mark.parametrize("kind", [DIFFERENCE, MAGNITUDE])
@pytest.mark.parametrize("grad_wrt", ["weights", "input"])
def test_through_the_trunk_it_moves_the_discriminator(
    tiny_data: RealData, tmp_path: Path, kind: str, grad_wrt: str
) -> None:
    options: dict[str, Any] = {"apply_to": "discriminator", "grad_wrt": grad_wrt, "probe": TRUNK}
    if kind == MAGNITUDE:
        options["normalise"] = grad_wrt == "weights"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        off, on = (
            trained(tiny_data, tmp_path, steps=1, terms=[term(kind, weight=weight, **options)]) for weight in (0.0, 9.0)
        )
    plain = trained(tiny_data, tmp_path, steps=1)
    assert not equal(on.discriminator, plain.discriminator)
    assert equal(off.discriminator, plain.discriminator) and equal(off.generator, plain.generator)


def test_only_the_inert_half_of_both_is_warned_of(tiny_data: RealData, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="changes nothing there") as caught:
        trained(tiny_data, tmp_path, terms=[term(DIFFERENCE, probe=PROBE, apply_to="both")])
    assert len(caught) == 1


@pytest.mark.filterwarnings("ignore:the term")
def test_term_only_in_the_discriminators_loss_is_a_discriminator_that_is_never_trained(
    tiny_data: RealData, tmp_path: Path
) -> None:
    class Untrained(ConditionalGANTrainer):
        def discriminator_step(self, real: Batch) -> None:
            self.discriminator_loss(real, self.fakes_without_trace())

        def fakes_without_trace(self) -> Batch:
            statistics = copy.deepcopy(self.generator.state_dict())
            with torch.no_grad():
                fake = self.fakes()
            self.generator.load_state_dict(statistics)
            return fake

    never = Untrained(**SMALL)
    advance(attached(never, tiny_data, tmp_path))
    alone = GradientDifferenceGAN(
        **SMALL, weight=1.5, term={"apply_to": "discriminator", "probe": PROBE}, term_only=True
    )
    advance(attached(alone, tiny_data, tmp_path))
    assert equal(alone.discriminator, never.discriminator) and equal(alone.generator, never.generator)


@pytest.mark.parametrize("distance", ["l2", "mse"])
def test_the_difference_is_that_of_two_plain_backward_passes(
    tiny_data: RealData, tmp_path: Path, distance: str
) -> None:
    spec = term(DIFFERENCE, probe=PROBE, distance=distance, real="batch")
    trainer = attached(ConditionalGANTrainer(**SMALL, terms=[spec]), tiny_data, tmp_path)
    (own,) = trainer.terms
    assert isinstance(own, GradientDifference)
    network = copy.deepcopy(own.probes.new("0"))
    real, fake = Batch(*trainer.next_batch()), trainer.fakes()
    value = own(real, fake)
    gradients = []
    for images, labels in (real, Batch(fake.images.detach(), fake.labels)):
        network.zero_grad()
        F.cross_entropy(network(images), labels).backward()  # type: ignore[arg-type]
        gradients.append(torch.cat([p.grad.flatten().clone() for p in network.parameters()]))  # type: ignore[union-attr]
    difference = gradients[0] - gradients[1]
    expected = difference.norm() if distance == "l2" else difference.square().sum()
    torch.testing.assert_close(value.detach(), expected)
    assert value.requires_grad


def test_matched_real_images_have_the_classes_of_the_generated_ones(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(ConditionalGANTrainer(**SMALL, terms=[term(DIFFERENCE)]), tiny_data, tmp_path)
    labels = torch.tensor([2, 0, 0, 1] * 200)
    images, drawn = trainer.terms[0].draw_alike(labels)
    assert drawn is not None and torch.equal(drawn, labels)
    rows = images[:, 0].mean(2).argmax(1) // 2  # the bright band tells the class
    assert torch.equal(rows, labels)
    assert len({tuple(image.flatten().tolist()) for image in images[labels == 1]}) == 32, "every image has its turn"


def test_more_real_images_give_a_steadier_target(tiny_data: RealData, tmp_path: Path) -> None:
    spreads = []
    for many in (1, 16):
        spec = term(DIFFERENCE, probe=PROBE, real_per_fake=many)
        trainer = attached(ConditionalGANTrainer(**SMALL, terms=[spec]), tiny_data, tmp_path)
        own, fake = trainer.terms[0], trainer.fakes()
        assert isinstance(own, GradientDifference)
        probe = own.probes.draw()
        drawn = [torch.cat([g.flatten() for g in own.real_gradient(probe, fake, fake)]) for _ in range(20)]
        spreads.append(float(torch.stack(drawn).std(0).norm()))
    assert spreads[1] < spreads[0] / 2


def test_signs(tiny_data: RealData, tmp_path: Path) -> None:
    kinds: dict[type[GradientTerm], float] = {GradientDifference: 1.0, GradientMagnitude: -1.0}
    for kind, factor in kinds.items():
        assert kind(weight=2.0).weight == 2.0 * factor
        assert kind(weight=2.0, sign="minimise").weight == 2.0 and kind(weight=2.0, sign="maximise").weight == -2.0
    values = {}
    for weight in (0.0, 30.0, -30.0):
        spec = term(MAGNITUDE, weight=weight, probe=PROBE, real_per_fake=4)
        trainer = trained(tiny_data, tmp_path, steps=8, terms=[spec], n_dis=1, lr_decay="none", lr_generator=1e-2)
        values[weight] = sum(float(advance(trainer, 1)["term/gradient_magnitude"]) for _ in range(4))
    assert values[-30.0] < values[0.0] < values[30.0]


CASES: list[dict[str, Any]] = [
    {"kind": DIFFERENCE, "distance": "l2", "grad_wrt": "input"},
    {"kind": DIFFERENCE, "distance": "mse", "sign": "maximise", "apply_to": "discriminator", "probe": TRUNK},
    {"kind": DIFFERENCE, "probe": {"state": "pool", "learner": NET, "size": 2, "steps": 4}, "real_per_fake": 2},
    {"kind": MAGNITUDE, "normalise": False, "grad_wrt": "input", "probe": {**PROBE, "mode": "eval"}},
    {"kind": MAGNITUDE, "probe": {"state": "pretrained", "learner": NET, "steps": 3}, "real": "batch"},
]


@pytest.mark.parametrize("case", CASES, ids=range(len(CASES)))
@pytest.mark.parametrize("run", [{}, {"precision": "bfloat16", "channels_last": True}], ids=["float32", "bfloat16"])
def test_all_options_train(tiny_data: RealData, tmp_path: Path, case: dict[str, Any], run: dict[str, Any]) -> None:
    options = {"probe": PROBE, **case}
    kind = options.pop("kind")
    trainer = ConditionalGANTrainer(**SMALL, terms=[term(kind, **options)])
    record = advance(attached(trainer, tiny_data, tmp_path, **run), 2)
    assert all(math.isfinite(value) for value in record.values())
    assert record[f"term/{trainer.terms[0].name}"].dtype == torch.float32


@pytest.mark.parametrize("kind", [GradientDifferenceGAN, GradientMagnitudeGAN])
def test_a_trainer_with_a_term_is_a_short_subclass(tiny_data: RealData, tmp_path: Path, kind: type[GANTrainer]) -> None:
    assert len(inspect.getsource(kind).splitlines()) < 20
    trainer = kind(**SMALL, weight=3.0, term={"probe": PROBE}, terms=[term("Dark")])
    record = advance(attached(trainer, tiny_data, tmp_path), 1)
    assert len([name for name in record if name.startswith("term/")]) == 2
    with pytest.raises(UserError, match="did you mean 'probe'"):
        kind(term={"probes": PROBE})


REFUSALS: list[tuple[type, dict[str, Any], str]] = [
    (GradientDifference, {"distance": "cosine"}, "cosine_layerwise"),
    (GradientDifference, {"grad_wrt": "inputs"}, "did you mean 'input'"),
    (GradientDifference, {"sign": "minimize"}, "did you mean 'minimise'"),
    (GradientDifference, {"real": "match"}, "matched, batch"),
    (GradientDifference, {"real_per_fake": 0}, "real_per_fake"),
    (GradientDifference, {"real_per_fake": 2, "grad_wrt": "input"}, "leave real_per_fake at 1"),
    (GradientMagnitude, {"grad_wrt": "input"}, "normalise: false"),
]


@pytest.mark.parametrize(("kind", "options", "words"), REFUSALS, ids=range(len(REFUSALS)))
def test_refusals(kind: type, options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        kind(**options)


def test_a_generator_without_labels_is_refused(tiny_data: RealData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="use ConditionalGANTrainer"):
        attached(GANTrainer(batch_size=12, terms=[term(DIFFERENCE)]), tiny_data, tmp_path)
