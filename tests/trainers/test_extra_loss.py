"""A loss of one's own in every method: it costs nothing at weight 0, and its gradient reaches what is learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from own_losses import (
    DM,
    FAMILIES,
    GAN,
    GTN,
    asked,
    attached,
    bands,
    learned,
    made,
    run_options,
    stored_generator,
    trained,
)
from torch import Tensor

from gendistill.errors import UserError
from gendistill.objects import locate
from gendistill.runs.loop import train
from trainers.batch import Batch, Made
from trainers.distribution_matching import DistributionMatchingTrainer
from trainers.enas import ENASTrainer
from trainers.gan import ConditionalGANTrainer, GANTrainer
from trainers.gtn import GTNTrainer
from trainers.terms.over_groups import over_groups, rows_of
from trainers.terms.term import Term
from trainers.trainer import Trainer

HERE = __name__


class Dark(Term):
    """Made images shall be darker than the real ones beside them; it draws, too."""

    by_group = True

    def __call__(self, real: Batch, fake: Batch) -> Tensor:
        drawn = torch.rand((), generator=self.stream) + torch.rand(())
        return (fake.images - real.images).mean() + fake.images.square().mean() * drawn


def bright(real: Batch, fake: Batch, power: int = 2) -> Tensor:
    """A term that is a function."""
    return (fake.images.mean() - real.images.mean()).abs() ** power


def build(family: str, root: Path, kind: type[Trainer] | None = None, **more: Any) -> Trainer:
    base, options = FAMILIES[family]
    if family == "condensation-latents":
        more["generator"] = stored_generator(root)
    return made(kind or base, root, options, **more)


def per_image(made: Made) -> Tensor:
    """A loss that is a mean over images, of all that they are made with."""
    pixels = made.images.square().flatten(1).mean(1)
    loss = pixels * (1 + made.classes)
    if made.latents is not None:
        loss = loss + (made.latents - 1).flatten(1).square().mean(1)
    if made.told is not None:
        loss = loss + (made.told - 0.25).square().sum(1)
    return loss.mean()


@pytest.mark.parametrize("family", FAMILIES)
def test_weight_0_is_plain_to_the_bit_and_another_weight_is_not(family: str, tmp_path: Path) -> None:
    def loss(self: Trainer, made: Made) -> Tensor:
        real, alike = self.draw_real("own", 4), self.draw_alike("own", made.classes)
        self.record("own/pixels", made.images.mean())
        noise = torch.rand(())  # of nobody's stream: lent, and taken back
        return self.weight * (per_image(made) + noise * real.images.mean() + alike.images.mean())  # type: ignore[attr-defined]

    found: dict[float, dict[str, Tensor]] = {}
    plain = trained(build(family, tmp_path), tmp_path, "plain")
    for weight in (0.0, 5.0):
        kind = asked(FAMILIES[family][0], loss)
        kind.weight = weight  # type: ignore[attr-defined]
        terms = [{"class_path": f"{HERE}.Dark", "init_args": {"weight": weight}}]
        found[weight] = trained(build(family, tmp_path, kind, terms=terms), tmp_path, f"weight-{weight}")
    assert set(found[0.0]) - set(plain) == {"train/loss/extra", "train/term/dark", "train/own/pixels"}
    assert all(torch.equal(found[0.0][name], value) for name, value in plain.items())
    learns = [name for name in plain if not name.startswith("train/")]
    assert learns and any(not torch.equal(found[5.0][name], plain[name]) for name in learns)
    assert float(found[5.0]["train/loss/extra"]) != 0 == float(found[0.0]["train/loss/extra"])


EXAMPLES: dict[str, tuple[type[Trainer], dict[str, Any], str]] = {
    "brightness_gan.BrightnessGAN": (ConditionalGANTrainer, GAN, "generator."),
    "probe_gan.ProbeGAN": (ConditionalGANTrainer, GAN, "generator."),
    "varied_gtn.VariedGTN": (GTNTrainer, GTN, "generator."),
    "contrast_dm.ContrastDM": (DistributionMatchingTrainer, DM, "images"),
}


@pytest.mark.parametrize("path", EXAMPLES)
def test_the_examples_at_weight_0_are_plain_and_otherwise_move_what_is_learned(path: str, tmp_path: Path) -> None:
    base, options, moved = EXAMPLES[path]
    plain = trained(made(base, tmp_path, options), tmp_path, "plain")
    kind = locate(path, base)
    off, on = (trained(made(kind, tmp_path, options, weight=w), tmp_path, f"weight-{w}") for w in (0.0, 9.0))
    assert all(torch.equal(off[name], value) for name, value in plain.items())
    assert any(not torch.equal(on[name], value) for name, value in plain.items() if name.startswith(moved))


STORED = {
    "dm": {"images": "images"},
    "dc": {"images": "images"},
    "dd": {"images": "images", "labels": "told"},
    "mtt": {"images": "images"},
    "latent": {"latents": "latents"},
}
"""What is learned, and what of :class:`Made` it is; learned labels of trajectory matching are logits."""


@pytest.mark.parametrize("family", STORED)
@pytest.mark.parametrize("by_group", [False, True])
def test_the_gradient_is_added_to_that_of_the_method(family: str, by_group: bool, tmp_path: Path) -> None:
    free = {"constraint": "none"} if family == "latent" else {}  # the sphere takes a part of the gradient away
    plain = attached(build(family, tmp_path, **free), tmp_path)
    seen: list[Made] = []

    def loss(self: Trainer, made: Made) -> Tensor:
        seen.append(made)
        return 5 * per_image(made)

    own = attached(build(family, tmp_path, asked(FAMILIES[family][0], loss, by_group), **free), tmp_path)
    first: Any = own
    before = made_of(first, family)
    for trainer in (plain, own):
        trainer.train_step(trainer.next_batch())
    assert len(seen) > 1 if by_group else len(seen) == 1
    leaves = {field: value.detach().requires_grad_() for field, value in before._asdict().items() if floats(value)}
    images = leaves["images"]
    if family == "latent":  # the images are the generator's
        images = first.source.description.normalisation.convert(
            first.space.render(leaves["latents"], first.base), first.normalisation
        )
    expected = 5 * per_image(before._replace(**leaves | {"images": images}))
    for name, field in STORED[family].items():
        gradient = torch.autograd.grad(expected, leaves[field], retain_graph=True)[0]
        difference = getattr(own, name).grad - getattr(plain, name).grad
        torch.testing.assert_close(difference.reshape(gradient.shape), gradient, rtol=1e-3, atol=1e-5)


def floats(value: Tensor | None) -> bool:
    return value is not None and value.is_floating_point()


def made_of(trainer: Any, family: str) -> Made:
    """What a trainer of stored images or latents hands to losses, made by hand."""
    if family == "latent":
        return Made(trainer.images().detach(), trainer.labels, latents=trainer.latents.detach().clone())
    images = trainer.images.detach().clone()
    if family == "mtt":
        return Made(images, torch.arange(3).repeat(2), trainer.labels.detach().softmax(1))
    if family == "dd":
        return Made(images.flatten(0, 1), torch.arange(3).repeat(2), trainer.labels.detach().flatten(0, 1).clone())
    return Made(images.flatten(0, 1), torch.arange(3).repeat_interleave(2))


@pytest.mark.parametrize("memory", ["full", "recompute"])
@pytest.mark.parametrize("by_group", [False, True])
def test_it_reaches_generator_latents_and_labels_of_a_gtn(memory: str, by_group: bool, tmp_path: Path) -> None:
    kind = asked(FAMILIES["gtn"][0], lambda self, made: 5 * per_image(made), by_group)
    plain, own, slow = (
        attached(build("gtn", tmp_path, of, memory=memory, gradient_clip=0.0), tmp_path)
        for of in (FAMILIES["gtn"][0], kind, kind)
    )
    for trainer in (plain, own):
        trainer.train_step(trainer.next_batch())
    by_hand: Any = slow
    latents, classes, labels = by_hand.curriculum.lesson(slow.run.streams["latents"], 3)
    images = torch.cat([by_hand.generator(z, y) for z, y in zip(latents, classes, strict=True)])
    loss = 5 * per_image(Made(images, classes.flatten(), labels.flatten(0, 1), latents.flatten(0, 1)))
    moved = [parameter for group in by_hand.optimizer.param_groups for parameter in group["params"]]
    expected = torch.autograd.grad(loss, moved, allow_unused=True)
    pairs = zip(*([p.grad for g in t.optimizer.param_groups for p in g["params"]] for t in (plain, own)), strict=True)
    for (before, after), gradient in zip(pairs, expected, strict=True):
        difference = after - before
        wanted = torch.zeros_like(difference) if gradient is None else gradient
        torch.testing.assert_close(difference, wanted, rtol=1e-3, atol=1e-5)
    assert sum(gradient is not None and bool(gradient.any()) for gradient in expected) > 3


def test_a_gan_hands_latents_that_made_the_images(tmp_path: Path) -> None:
    seen: list[Made] = []
    kind = asked(ConditionalGANTrainer, lambda self, made: seen.append(made))  # type: ignore[func-returns-value, arg-type]
    trainer: Any = attached(kind(**GAN), tmp_path)
    trainer.train_step(trainer.next_batch())
    (made,) = seen
    twin: Any = attached(kind(**GAN), tmp_path)
    twin.fakes()  # those of the discriminator's update, which moves the streams
    torch.testing.assert_close(twin.generator(made.latents, made.classes), made.images)
    assert made.told is None


def test_groups_are_weighted_by_their_size_and_so_is_what_they_log() -> None:
    images = torch.randn(7, 1, 2, 2, dtype=torch.float64, requires_grad=True)
    made, records = Made(images, torch.arange(7)), dict[str, Tensor]({"other": torch.ones(())})

    def loss(some: Made) -> Tensor:
        records["mean"] = some.images.mean().detach()
        return per_image(some)

    whole, parted = (over_groups(loss, made, groups, records, "it") for groups in ((), rows_of(7, 3)))
    assert whole is not None and parted is not None
    torch.testing.assert_close(parted, whole)
    torch.testing.assert_close(records, {"other": torch.ones(()), "mean": images.mean().detach()})
    one, other = (torch.autograd.grad(value, images)[0] for value in (whole, parted))
    torch.testing.assert_close(one, other)
    assert over_groups(lambda some: None, made, rows_of(7, 3), records, "it") is None


def test_one_group_is_in_memory_at_a_time() -> None:
    images, alive, most = torch.randn(6, 1, 2, 2, requires_grad=True), 0, 0

    class Counted(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            nonlocal alive, most
            alive += 1
            most = max(most, alive)
            return x.clone()

        @staticmethod
        def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
            nonlocal alive
            alive -= 1
            return gradient

    over_groups(lambda some: Counted.apply(some.images).sum(), Made(images, None), rows_of(6, 2), {}, "it")
    assert (alive, most) == (0, 1)


def test_a_term_that_makes_images_of_its_own_moves_the_generator_of_a_gtn(tmp_path: Path) -> None:
    path = "trainers.terms.feature_matching.FeatureMatching"
    options: dict[str, Any] = {"probe": {"learner": FAMILIES["dm"][1]["learner"]}, "real_per_class": 2}
    terms = [{"class_path": path, "init_args": options | {"generated_per_class": 2, "weight": 9.0}}]
    on = trained(build("gtn", tmp_path, terms=terms), tmp_path, "on")
    off = trained(build("gtn", tmp_path), tmp_path, "off")
    assert "train/term/feature_matching" in on
    assert any(not torch.equal(on[name], off[name]) for name in off if name.startswith("generator."))


def test_a_function_is_a_term_and_so_is_a_path_alone(tmp_path: Path) -> None:
    plain = trained(build("dm", tmp_path), tmp_path, "plain")
    terms = [f"{HERE}.Dark", {"class_path": f"{HERE}.bright", "weight": 3.0, "init_args": {"power": 1}}]
    on = trained(build("dm", tmp_path, terms=terms), tmp_path, "on")
    assert {"train/term/dark", "train/term/bright"} == set(on) - set(plain)
    assert not torch.equal(on["images.0"], plain["images.0"])


def test_a_broken_run_continues_to_the_same_images(tmp_path: Path) -> None:
    def loss(self: Trainer, made: Made) -> Tensor:
        return (made.images - self.draw_alike("own", made.classes).images).square().mean() * self.draw_real(
            "other", 2
        ).images.mean()

    kind = asked(DistributionMatchingTrainer, loss)

    class Breaks(kind):  # type: ignore[misc, valid-type]
        def train_step(self, batch: Any) -> Any:
            if self.step == 2:
                raise RuntimeError("power cut")
            return super().train_step(batch)

    terms = [{"class_path": f"{HERE}.Dark"}]
    whole = trained(build("dm", tmp_path, kind, terms=terms), tmp_path, "whole")
    with pytest.raises(RuntimeError, match="power cut"):
        train(build("dm", tmp_path, Breaks, terms=terms), bands(), run_options(tmp_path, "broken", save_every=1))
    again = build("dm", tmp_path, kind, terms=terms)
    train(again, bands(), run_options(tmp_path, "broken", save_every=1))
    assert all(torch.equal(value, whole[name]) for name, value in learned(again).items())


def test_what_a_method_cannot_do_is_said(tmp_path: Path) -> None:
    dark = [{"class_path": f"{HERE}.Dark"}]
    with pytest.raises(UserError, match="ENASTrainer was given terms, which its steps do not add"):
        attached(ENASTrainer(teacher="none", terms=dark), tmp_path)
    path = "trainers.terms.feature_matching.FeatureMatching"
    with pytest.raises(UserError, match="'feature_matching' uses the trainer's generator, which Distribution"):
        attached(build("dm", tmp_path, terms=[{"class_path": path}]), tmp_path)
    both = [{"class_path": f"{HERE}.Dark", "init_args": {"apply_to": "discriminator"}}]
    with pytest.raises(UserError, match="has one loss; leave it out"):
        attached(build("dd", tmp_path, terms=both), tmp_path)
    with pytest.raises(UserError, match="and DatasetDistillationTrainer has none; choose state"):
        path = "trainers.terms.gradients.GradientDifference"
        trunk = [{"class_path": path, "init_args": {"probe": {"state": "trunk"}}}]
        attached(build("dd", tmp_path, terms=trunk), tmp_path)
    for wrong, words in (
        (5, "a term is 5; give its dotted path"),
        ({"class_path": f"{HERE}.bright", "weight": "x"}, "the weight of a term is 'x'"),
        (
            {"class_path": f"{HERE}.bright", "wieght": 1},
            "has wieght; a function takes",
        ),
        ({"class_path": f"{HERE}.bright", "init_args": {"pwer": 1}}, "called as bright"),
    ):
        with pytest.raises(UserError, match=words):
            build("dm", tmp_path, terms=[wrong])
    objective = [{"class_path": "trainers.latent_objectives.FeatureMatching"}]
    with pytest.raises(UserError, match="shared_probe"):
        attached(build("mtt", tmp_path, terms=objective), tmp_path)
    with pytest.raises(UserError, match="leave terms and extra_loss out"):
        attached(build("condensation", tmp_path, terms=dark, optimise=False), tmp_path)
    vector = attached(build("dm", tmp_path, asked(FAMILIES["dm"][0], lambda self, made: made.images)), tmp_path)
    with pytest.raises(UserError, match="extra_loss returned a tensor of shape"):
        vector.train_step(vector.next_batch())
    with pytest.raises(UserError, match="ask for at least 1"):
        vector.draw_real("own", 0)
    blind = attached(asked(GANTrainer, lambda self, made: made.classes.sum())(), tmp_path)
    with pytest.raises(UserError, match="use ConditionalGANTrainer"):
        blind.train_step(blind.next_batch())
