"""The meta-loss against a slow version that differentiates through everything at once, and what it leaves alone."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import small_gans as small
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.runs.loop import train
from trainers.gan import ConditionalGANTrainer
from trainers.terms.generated import carry
from trainers.terms.meta_loss import MetaLoss

META = "trainers.terms.meta_loss.MetaLoss"
SMOOTH = {
    "class_path": "gendistill.nets.learners.ConvNet",
    "init_args": {"width": 4, "depth": 1, "activation": "tanh"},
}
FEW: dict[str, Any] = {"learners": SMOOTH, "inner_steps": 2, "inner_batch_size": 6, "real_per_class": 2}


def gan(data: RealData, root: Path, trainer: dict[str, Any] | None = None, **options: Any) -> ConditionalGANTrainer:
    built = ConditionalGANTrainer(**small.SMALL | (trainer or {}), terms=[small.term(META, **FEW | options)])
    small.attached(built, data, root)
    return built


def the_term(trainer: ConditionalGANTrainer) -> Any:
    (term,) = trainer.terms
    assert isinstance(term, MetaLoss)
    return term


def value_of(trainer: ConditionalGANTrainer) -> Tensor:
    trainer._records = {}
    loss: Tensor = the_term(trainer)(None, None)
    return loss


def obvious(trainer: ConditionalGANTrainer, images: Tensor) -> Tensor:
    """The mean over learners and looks, through training and generator in one graph."""
    term = the_term(trainer)
    rate, momentum = term.window["learning_rate"], term.window["momentum"]
    total = torch.zeros((), dtype=images.dtype)
    for learner in term.learners:
        looks = [term.draw_real(2) for _ in range(2)]
        theta = {name: value.detach().clone().requires_grad_() for name, value in learner.named_parameters()}
        velocity = {name: torch.zeros_like(value) for name, value in theta.items()}
        for step in range(2):
            loss = F.cross_entropy(functional_call(learner, theta, (images[step],)), term.curriculum.labels[step])
            gradients = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
            velocity = {n: momentum * velocity[n] + g for n, g in zip(theta, gradients, strict=True)}
            theta = {name: theta[name] - rate * velocity[name] for name in theta}
            real = looks[step]
            total = total + F.cross_entropy(functional_call(learner, theta, (real.images,)), real.labels)
    return total / (2 * len(term.learners))


def test_value_and_gradient_are_those_of_one_large_graph(tiny_data: RealData, tmp_path: Path) -> None:
    one, other = (gan(tiny_data, tmp_path, learn_learning_rates=False) for _ in range(2))
    found = value_of(one)
    term = the_term(other)
    latents, labels = term.curriculum.draw(term.stream), term.curriculum.labels
    images = other.generator(latents.flatten(0, 1), labels.flatten()).unflatten(0, labels.shape)
    expected = obvious(other, images)
    torch.testing.assert_close(found, expected)
    for trainer, loss in ((one, found), (other, expected)):
        (3 * loss).backward(inputs=list(trainer.generator.parameters()))
    for mine, theirs in zip(one.generator.parameters(), other.generator.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-3, atol=1e-6)
    assert any(parameter.grad.abs().max() > 1e-4 for parameter in one.generator.parameters())


@pytest.mark.parametrize("memory", ["full", "recompute"])
def test_gradient_of_the_images(tiny_data: RealData, tmp_path: Path, memory: str) -> None:
    trainer = gan(tiny_data, tmp_path, inner_batch_size=3, memory=memory, meta_batch=1)
    term = the_term(trainer)
    term.curriculum.double()
    term.learners = [learner.double() for learner in term.learners]
    draw, state = term.draw_real, term.stream.get_state()
    term.draw_real = lambda count: draw(count)._replace(images=draw(count).images.double())

    def loss(images: Tensor) -> Tensor:
        term.stream.set_state(state)
        term.ages = [0]
        value, gradients = term._teach(images.detach().requires_grad_())
        return carry(value, images, gradients[0])

    images = torch.randn(2, 3, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(loss, (images,), fast_mode=True)


def test_carry_is_a_linear_function_with_the_known_gradient() -> None:
    images = torch.randn(3, 2, requires_grad=True)
    gradient = torch.randn(3, 2)
    carried = carry(torch.tensor(5.0), 2 * images, gradient)
    assert carried.item() == 5.0
    (0.5 * carried).backward()
    torch.testing.assert_close(images.grad, gradient)


def test_images_are_balanced_over_classes_at_every_step(tiny_data: RealData, tmp_path: Path) -> None:
    labels = the_term(gan(tiny_data, tmp_path)).curriculum.labels
    assert [torch.bincount(row).tolist() for row in labels] == [[2, 2, 2]] * 2


def test_inner_learning_rates_learn_unless_they_are_fixed(tiny_data: RealData, tmp_path: Path) -> None:
    for learn in (True, False):
        trainer = gan(tiny_data, tmp_path, learn_learning_rates=learn, learning_rate=0.05)
        records = small.advance(trainer, 2)
        rates = the_term(trainer).curriculum.learning_rates.detach()
        assert bool((rates == the_term(trainer).curriculum.learning_rates.new_tensor(0.05).log().exp()).all()) != learn
        assert {"meta/accuracy", "meta/learning_rate", "term/meta_loss"} <= set(records)


def test_without_a_horizon_every_update_meets_new_learners(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = gan(tiny_data, tmp_path)
    term = the_term(trainer)
    first = [learner.classifier.weight.clone() for learner in term.learners]
    small.advance(trainer, 2)
    second = [learner.classifier.weight for learner in term.learners]
    assert not any(torch.equal(one, other) for one, other in zip(first, second, strict=True))
    assert not torch.equal(second[0], second[1])


def test_with_a_horizon_learners_go_on_and_are_renewed_one_after_the_other(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = gan(tiny_data, tmp_path, horizon=4, meta_batch=2)
    term = the_term(trainer)
    assert term.ages == [0, 1]  # in windows of two steps: the second place is renewed first
    ages, same = [], []
    for _ in range(4):
        before = list(term.learners)
        weights = [learner.classifier.weight.clone() for learner in before]
        small.advance(trainer, 1)
        ages.append(list(term.ages))
        same.append([one is other for one, other in zip(before, term.learners, strict=True)])
        assert not any(torch.equal(a, b.classifier.weight) for a, b in zip(weights, term.learners, strict=True))
    assert ages == [[1, 2], [2, 1], [1, 2], [2, 1]]
    assert same == [[True, True], [True, False], [False, True], [True, False]]


def test_a_learner_of_a_window_starts_where_the_last_one_ended(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = gan(tiny_data, tmp_path, horizon=4, meta_batch=1, learn_learning_rates=False)
    term = the_term(trainer)
    theta = {name: value.detach().clone() for name, value in term.learners[0].named_parameters()}
    state = term.stream.get_state()
    value_of(trainer)
    term.stream.set_state(state)
    latents, labels = term.curriculum.draw(term.stream), term.curriculum.labels
    images = trainer.generator(latents.flatten(0, 1), labels.flatten()).detach().unflatten(0, labels.shape)
    network = term.learners[0]
    moved = {name: value.requires_grad_() for name, value in theta.items()}
    optimizer = torch.optim.SGD(moved.values(), lr=0.05, momentum=0.9)
    for step in range(2):
        optimizer.zero_grad()
        F.cross_entropy(functional_call(network, moved, (images[step],)), labels[step]).backward()
        optimizer.step()
    for name, value in network.named_parameters():
        torch.testing.assert_close(value, moved[name], rtol=1e-4, atol=1e-6)


def test_with_weight_0_the_gan_is_the_plain_one_to_the_bit(tiny_data: RealData, tmp_path: Path) -> None:
    plain = small.trained(tiny_data, tmp_path)
    off, on = (small.trained(tiny_data, tmp_path, terms=[small.term(META, weight=w, **FEW)]) for w in (0.0, 1.0))
    for name in ("generator", "discriminator"):
        assert small.equal(getattr(off, name), getattr(plain, name))
    assert not small.equal(on.generator, plain.generator)


@pytest.mark.parametrize("horizon", [None, 4])
def test_a_continued_run_is_the_same_to_the_bit(tiny_data: RealData, tmp_path: Path, horizon: int | None) -> None:
    def trainer() -> ConditionalGANTrainer:
        return ConditionalGANTrainer(
            **small.SMALL, lr_decay="none", terms=[small.term(META, horizon=horizon, meta_batch=3, **FEW)]
        )

    whole, continued = trainer(), trainer()
    train(whole, tiny_data, small.run_options(tmp_path, name="whole", steps=6, save_every=6))
    train(trainer(), tiny_data, small.run_options(tmp_path, name="parts", steps=3, save_every=3))
    train(continued, tiny_data, small.run_options(tmp_path, name="parts", steps=6, save_every=3))
    assert small.equal(continued.generator, whole.generator)
    assert torch.equal(the_term(continued).curriculum.learning_rates, the_term(whole).curriculum.learning_rates)
    assert the_term(continued).ages == the_term(whole).ages


def test_alone_it_teaches_learners_better(tiny_data: RealData, tmp_path: Path) -> None:
    options = {"n_dis": 1, "lr_generator": 5e-3, "term_only": True, "lr_decay": "none"}
    trainer = gan(tiny_data, tmp_path, trainer=options, inner_steps=3, learning_rate=0.1)
    values = [small.advance(trainer, 1)["term/meta_loss"].item() for _ in range(30)]
    assert sum(values[-5:]) < 0.8 * sum(values[:5])


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"inner_steps": 0}, "inner.steps is 0"),
    ({"learning_rate": 0.0}, "learning_rate"),
    ({"meta_batch": 0}, "meta_batch"),
    ({"horizon": 3, "inner_steps": 4}, "horizon is 3"),
    ({"learners": [SMOOTH, SMOOTH, SMOOTH]}, "3 specs and meta_batch is 2"),
    ({"memory": "half"}, "recompute"),
    ({"schedule_lr": 0.0}, "schedule_lr"),
]


@pytest.mark.parametrize(("options", "words"), REFUSALS)
def test_refusals(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        MetaLoss(**options)


def test_learners_train_in_the_precision_of_the_run_or_their_own(tiny_data: RealData, tmp_path: Path) -> None:
    values = []
    for run, own in (("float32", "bfloat16"), ("float32", None), ("bfloat16", None), ("bfloat16", "float32")):
        term = small.term(META, **FEW, inner={"precision": own})
        trainer = small.attached(ConditionalGANTrainer(**small.SMALL, terms=[term]), tiny_data, tmp_path, precision=run)
        values.append(small.advance(trainer, 1)["term/meta_loss"])
    rough, exact, *_ = values
    assert rough != exact and abs(rough - exact) < 0.05 * abs(exact)
    assert all(math.isfinite(value) for value in values)
