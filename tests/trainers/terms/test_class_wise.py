"""Feature matching and gradient matching class by class: closed forms, slow versions, and what they leave alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import small_gans as small
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.data.augment import apply, draw_parameters
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.losses.matching import DISTANCES, gradient_distance
from gendistill.nets.learners import ConvNet, Learner
from gendistill.runs.loop import train
from trainers.gan import ConditionalGANTrainer, GANTrainer
from trainers.terms.class_wise import ClassWise
from trainers.terms.feature_matching import FeatureMatching
from trainers.terms.generated import draw_generated
from trainers.terms.gradient_matching import ClassGradientMatching
from trainers.terms.probes import Probe

FEATURES = "trainers.terms.feature_matching.FeatureMatching"
GRADIENTS = "trainers.terms.gradient_matching.ClassGradientMatching"
NARROW = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 1}}
POOL = {"state": "pool", "size": 2, "steps": 3, "batch_size": 6, "learner": NARROW}
KEPT = {"state": "pretrained", "steps": 4, "batch_size": 6, "learner": NARROW}
FEW = {"real_per_class": 4, "generated_per_class": 2}


def smooth(norm: str = "instance") -> nn.Module:
    torch.manual_seed(0)
    return ConvNet(3, (1, 4, 4), width=2, depth=1, activation="tanh", normalisation=norm).double()


def probe_of(network: nn.Module) -> Probe:
    return Probe(network, dict(network.named_parameters()))


def drawn(count: int, seed: int) -> Tensor:
    return torch.randn(3, count, 1, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


class Linear(Learner):
    """Logits and features that are linear in the pixels, so that distances are those of mean images."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__(num_classes, image_shape)
        self.first = nn.Linear(16, 4, bias=False)
        self.classifier = nn.Linear(4, num_classes)

    def features(self, x: Tensor) -> Tensor:
        found: Tensor = self.first(x.flatten(1))
        return found


def test_matching_in_a_linear_network_is_the_distance_of_mean_images() -> None:
    network = Linear(3, (1, 4, 4)).double()
    real, generated = drawn(5, 1), drawn(2, 2)
    difference = (real.mean(1) - generated.mean(1)).flatten(1)
    features = network.first.weight
    logits = network.classifier.weight @ features
    expected = {
        "features": (difference @ features.T).square().sum(),
        "logits": (difference @ logits.T).square().sum(),
        "layers": (difference @ features.T).square().sum() / 4,
    }
    for match, value in expected.items():
        found = FeatureMatching(match=match).distance_in(probe_of(network), real, generated)
        torch.testing.assert_close(found, value)


def test_layers_add_up_what_each_layer_is_given() -> None:
    torch.manual_seed(0)
    network = ConvNet(3, (1, 4, 4), width=2, depth=2).double()
    real, generated = drawn(3, 1), drawn(2, 2)

    def distance(part: nn.Module) -> Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for one, other in zip(real, generated, strict=True):
            means = [part(images).flatten(1).mean(0) for images in (one, other)]
            total = total + (means[0] - means[1]).square().mean()
        return total

    found = FeatureMatching(match="layers").distance_in(probe_of(network), real, generated)
    torch.testing.assert_close(found, distance(network.blocks[:4]) + distance(network.blocks))


@pytest.mark.parametrize("match", ["features", "logits", "layers"])
def test_gradient_of_feature_matching(match: str) -> None:
    term, probe = FeatureMatching(match=match), probe_of(smooth())
    real, generated = drawn(3, 1), drawn(2, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda images: term.distance_in(probe, real, images), (generated,), fast_mode=True)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_gradient_matching_against_one_class_after_another(distance: str, norm: str) -> None:
    network = smooth(norm)
    real, generated = drawn(3, 1), drawn(2, 2).requires_grad_()
    expected = torch.zeros((), dtype=torch.float64)
    for label in range(3):
        both = [
            torch.autograd.grad(
                F.cross_entropy(network(images[label]), torch.full((len(images[label]),), label)),
                list(network.parameters()),
                create_graph=True,
            )
            for images in (real, generated)
        ]
        expected = expected + gradient_distance(both[0], both[1], distance)
    (slope,) = torch.autograd.grad(expected, generated)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    for classes in ("at_once", "one_by_one"):
        term = ClassGradientMatching(distance=distance, classes=classes)
        found = term.distance_in(probe_of(network), real, generated)
        torch.testing.assert_close(found, expected)
        torch.testing.assert_close(torch.autograd.grad(found, generated)[0], slope)
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())


def test_gradient_of_gradient_matching() -> None:
    term, probe = ClassGradientMatching(), probe_of(smooth())
    real, generated = drawn(3, 1), drawn(2, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda images: term.distance_in(probe, real, images), (generated,), fast_mode=True)


def terms_of(kind: str, **options: Any) -> list[dict[str, Any]]:
    return [small.term(kind, probe=POOL, **FEW, **options)]


def test_images_of_its_own_come_class_by_class(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = ConditionalGANTrainer(**small.SMALL, terms=terms_of(FEATURES))
    small.attached(trainer, tiny_data, tmp_path)
    before = {name: value.clone() for name, value in trainer.generator.named_buffers()}
    term = trainer.terms[0]
    made, real = draw_generated(trainer, 2, term.stream, seed=0), term.draw_real(2)
    for batch in (made, real):
        assert batch.labels is not None and batch.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert made.images.requires_grad and made.images.shape == (6, 1, 8, 8)
    assert all(torch.equal(value, before[name]) for name, value in trainer.generator.named_buffers())


def test_both_sides_are_augmented_alike(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = ConditionalGANTrainer(**small.SMALL, terms=terms_of(FEATURES, augment="shift_cutout"))
    small.attached(trainer, tiny_data, tmp_path)
    (term,) = trainer.terms
    assert isinstance(term, ClassWise)
    images = torch.rand(4, 1, 8, 8)
    state = term.stream.get_state()
    one, other = term._alike(images, images)
    assert torch.equal(one, other) and not torch.equal(one, images)
    term.stream.set_state(state)
    parameters = draw_parameters("shift_cutout", 1, (1, 8, 8), term.stream)
    torch.testing.assert_close(one, apply(images, parameters, -1.0))


def test_probes_take_turns(tiny_data: RealData, tmp_path: Path) -> None:
    kinds: list[Any] = []

    class Spy(FeatureMatching):
        def distance_in(self, probe: Probe, real: Tensor, generated: Tensor) -> Tensor:
            kinds.append(type(probe.network).__name__)
            return super().distance_in(probe, real, generated)

    mlp = {"class_path": "gendistill.nets.learners.MLP", "init_args": {"width": 4}}
    trainer = ConditionalGANTrainer(**small.SMALL)
    trainer.terms = [Spy(probe=[{"learner": NARROW}, {"learner": mlp}], **FEW)]
    small.advance(small.attached(trainer, tiny_data, tmp_path), 3)
    assert kinds == ["ConvNet", "MLP", "ConvNet"]


@pytest.mark.parametrize("kind", [FEATURES, GRADIENTS])
def test_with_weight_0_the_gan_is_the_plain_one_to_the_bit(kind: str, tiny_data: RealData, tmp_path: Path) -> None:
    plain = small.trained(tiny_data, tmp_path)
    off = small.trained(tiny_data, tmp_path, terms=terms_of(kind, weight=0.0))
    heavy = small.trained(tiny_data, tmp_path, terms=terms_of(kind, weight=10.0))
    for name in ("generator", "discriminator"):
        assert small.equal(getattr(off, name), getattr(plain, name))
    assert not small.equal(heavy.generator, plain.generator)


@pytest.mark.parametrize("kind", [FEATURES, GRADIENTS])
def test_with_weight_0_networks_that_draw_and_iterate_are_those_of_the_plain_gan(
    kind: str, tiny_data: RealData, tmp_path: Path
) -> None:
    """Dropout in all networks, the probe's too, and spectral norm in the generator."""
    networks = {"generator": {"class_path": "small_gans.Restless", "init_args": {"nz": 6, "ngf": 6}}}
    networks["discriminator"] = {"class_path": "small_gans.Forgetful", "init_args": {"ndf": 6}}
    probe = {"state": "fresh", "learner": {"class_path": "small_gans.ForgetfulProbe"}}
    found = []
    for weight in (None, 0.0, 10.0):
        terms = [] if weight is None else [small.term(kind, probe=probe, weight=weight, **FEW)]
        torch.manual_seed(0)
        found.append(small.trained(tiny_data, tmp_path, **networks, terms=terms))
    plain, off, heavy = found
    for name in ("generator", "discriminator"):
        assert small.equal(getattr(off, name), getattr(plain, name))
    assert not small.equal(heavy.generator, plain.generator)


@pytest.mark.parametrize("kind", [FEATURES, GRADIENTS])
def test_alone_it_brings_the_generator_nearer(kind: str, tiny_data: RealData, tmp_path: Path) -> None:
    terms = [small.term(kind, real_per_class=16, generated_per_class=4, probe=KEPT)]
    trainer = ConditionalGANTrainer(**{**small.SMALL, "n_dis": 1, "lr_generator": 1e-2}, terms=terms, term_only=True)
    small.attached(trainer, tiny_data, tmp_path, steps=25)
    values = [small.advance(trainer, 1)[f"term/{trainer.terms[0].name}"].item() for _ in range(25)]

    assert sum(values[-5:]) < 0.8 * sum(values[:5])


@pytest.mark.parametrize("kind", [FEATURES, GRADIENTS])
def test_a_continued_run_is_the_same_to_the_bit(kind: str, tiny_data: RealData, tmp_path: Path) -> None:
    def trainer() -> ConditionalGANTrainer:
        return ConditionalGANTrainer(**small.SMALL, lr_decay="none", terms=terms_of(kind))

    whole, continued = trainer(), trainer()
    train(whole, tiny_data, small.run_options(tmp_path, name="whole", steps=6, save_every=6))
    train(trainer(), tiny_data, small.run_options(tmp_path, name="parts", steps=3, save_every=3))
    train(continued, tiny_data, small.run_options(tmp_path, name="parts", steps=6, save_every=3))
    assert small.equal(continued.generator, whole.generator)
    assert small.equal(continued.discriminator, whole.discriminator)


REFUSALS: list[tuple[type[ClassWise], dict[str, Any], str]] = [
    (FeatureMatching, {"match": "feature"}, "did you mean 'features'"),
    (FeatureMatching, {"real_per_class": 0}, "real_per_class"),
    (FeatureMatching, {"probe": []}, "empty list"),
    (FeatureMatching, {"augment": "turn"}, "augmentation"),
    (FeatureMatching, {"probe": {"state": "fresch"}}, "fresh"),
    (ClassGradientMatching, {"distance": "cosine"}, "cosine_layerwise"),
    (ClassGradientMatching, {"classes": "together"}, "at_once, one_by_one"),
]


@pytest.mark.parametrize(("kind", "options", "words"), REFUSALS)
def test_refusals(kind: type[ClassWise], options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        kind(**options)


def test_a_generator_without_labels_is_refused(tiny_data: RealData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="needs generated images with labels"):
        small.attached(GANTrainer(batch_size=12, terms=terms_of(FEATURES)), tiny_data, tmp_path)
