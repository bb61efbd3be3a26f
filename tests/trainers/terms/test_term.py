"""Any term on any GAN: where it acts, what it leaves alone, what is saved, what is refused."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_gans import HERE, SMALL, advance, attached, equal, run_options, term, trained
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.runs.loop import train
from trainers.gan import ConditionalGANTrainer, GANTrainer
from trainers.terms import assemble
from trainers.terms.assemble import reaches


def test_without_terms_the_state_has_none(tiny_data: RealData, tmp_path: Path) -> None:
    state = trained(tiny_data, tmp_path).state_dict()
    assert set(state) == {
        "ema",
        "generator",
        "discriminator",
        "generator_optimizer",
        "discriminator_optimizer",
        "sampler",
    }


def test_a_term_on_the_generator_moves_it_and_is_logged(tiny_data: RealData, tmp_path: Path) -> None:
    plain = trained(tiny_data, tmp_path)
    off = trained(tiny_data, tmp_path, terms=[term("Dark", weight=0.0)])
    on = trained(tiny_data, tmp_path, terms=[term("Dark", weight=3.0)])
    assert equal(off.generator, plain.generator) and equal(off.discriminator, plain.discriminator)
    assert not equal(on.generator, plain.generator)
    record = advance(on, 1)
    assert record["term/dark"].ndim == 0 and not record["term/dark"].requires_grad


def test_weights_are_factors_and_losses_are_sums(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = ConditionalGANTrainer(**SMALL, terms=[term("Dark", weight=2.0), term("Dark", weight=-0.5)])
    record = advance(attached(trainer, tiny_data, tmp_path), 1)
    plain = advance(attached(ConditionalGANTrainer(**SMALL), tiny_data, tmp_path), 1)
    assert {"term/dark_0", "term/dark_1"} <= set(record)
    assert record["term/dark_0"] != record["term/dark_1"], "each term draws from a stream of its own"
    expected = plain["loss/generator"] + 2.0 * record["term/dark_0"] - 0.5 * record["term/dark_1"]
    assert record["loss/generator"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_on_the_discriminator_it_is_inert_and_says_so_once(tiny_data: RealData, tmp_path: Path) -> None:
    plain = trained(tiny_data, tmp_path)
    with pytest.warns(UserWarning, match="changes nothing there, whatever its weight") as caught:
        on = trained(tiny_data, tmp_path, terms=[term("Dark", weight=9.0, apply_to="discriminator")])
    assert len(caught) == 1
    assert equal(on.generator, plain.generator) and equal(on.discriminator, plain.discriminator)


def test_a_term_is_examined_once(tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def counted(value: Tensor, parameters: Iterable[Tensor]) -> bool:
        asked.append(reaches(value, parameters))
        return asked[-1]

    monkeypatch.setattr(assemble, "reaches", counted)
    trained(tiny_data, tmp_path, terms=[term("Confident", apply_to="discriminator")])
    assert asked == [True]


def test_a_term_that_looks_at_the_discriminator_moves_it(tiny_data: RealData, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        on = trained(tiny_data, tmp_path, terms=[term("Confident", weight=9.0, apply_to="discriminator")])
    assert not equal(on.discriminator, trained(tiny_data, tmp_path).discriminator)


@pytest.mark.filterwarnings("ignore:the term")
def test_term_only_replaces_the_loss_where_the_term_applies(tiny_data: RealData, tmp_path: Path) -> None:
    start = attached(ConditionalGANTrainer(**SMALL), tiny_data, tmp_path)
    options: dict[str, Any] = {"terms": [term("Dark", apply_to="discriminator")], "term_only": True}
    never = trained(tiny_data, tmp_path, **options)
    weights = dict(never.discriminator.named_parameters())
    assert all(torch.equal(value, weights[name]) for name, value in start.discriminator.named_parameters())
    assert not equal(never.generator, start.generator), "the generator still learns from a discriminator that does not"
    alone = attached(
        ConditionalGANTrainer(**SMALL, terms=[term("Dark", weight=2.0)], term_only=True), tiny_data, tmp_path
    )
    record = advance(alone, 1)
    assert record["loss/generator"].item() == pytest.approx(2.0 * record["term/dark"].item())


def test_a_broken_run_with_a_term_continues_to_the_same_weights(tiny_data: RealData, tmp_path: Path) -> None:
    options = SMALL | {"terms": [term("Dark"), term("Dark", apply_to="both")]}

    class Breaks(ConditionalGANTrainer):
        def train_step(self, batch: Any) -> Any:
            if self.step == 3:
                raise RuntimeError("power cut")
            return super().train_step(batch)

    whole, continued = ConditionalGANTrainer(**options), ConditionalGANTrainer(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train(whole, tiny_data, run_options(tmp_path, name="whole", save_every=2))
        with pytest.raises(RuntimeError, match="power cut"):
            train(Breaks(**options), tiny_data, run_options(tmp_path, name="broken", save_every=2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # the run was told before it broke
        train(continued, tiny_data, run_options(tmp_path, name="broken", save_every=2))
    assert equal(continued.generator, whole.generator) and equal(continued.discriminator, whole.discriminator)
    calls: list[Any] = [one.calls for one in continued.terms]  # type: ignore[attr-defined]
    assert calls == [4, 12]


def test_a_state_without_the_term_is_refused(tiny_data: RealData, tmp_path: Path) -> None:
    state = trained(tiny_data, tmp_path).state_dict()
    with pytest.raises(UserError, match="lacks terms"):
        attached(ConditionalGANTrainer(**SMALL, terms=[term("Dark")]), tiny_data, tmp_path).load_state_dict(state)


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"terms": [term("Dark", weight=float("nan"))]}, "finite"),
    ({"terms": [term("Dark", apply_to="generators")]}, "did you mean 'generator'"),
    ({"terms": [term("Dark", wieght=1.0)]}, "did you mean 'weight'"),
    ({"terms": term("Dark")}, "give a list"),
    ({"terms": [{"class_path": "torch.nn.Linear"}]}, "not a subclass"),
    ({"terms": [{"class_path": f"{HERE}.Drak"}]}, "did you mean 'Dark'"),
]


@pytest.mark.parametrize(("options", "words"), REFUSALS, ids=range(len(REFUSALS)))
def test_refusals(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        GANTrainer(**options)


def test_term_only_needs_a_term(tiny_data: RealData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no terms to train with"):
        attached(ConditionalGANTrainer(**SMALL, term_only=True), tiny_data, tmp_path)
