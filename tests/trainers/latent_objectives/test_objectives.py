"""Objectives of a latent search against slow, obvious versions of their equations."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.data.description import Normalisation
from gendistill.errors import UserError
from gendistill.nets.learners import ConvNet
from gendistill.nets.weight_normalised import MeanOnlyBatchNorm
from gendistill.runs.attributes import capture
from gendistill.seeds import Streams, initialisation
from trainers.batch import Batch
from trainers.latent_objectives import (
    Confidence,
    FeatureMatching,
    GradientMatching,
    MetaLoss,
    ThesisLoss,
    TrajectoryMatching,
)
from trainers.latent_objectives.assemble import WORDS, attach_objectives, build_objectives
from trainers.latent_objectives.meta_loss import SearchInner
from trainers.latent_objectives.objective import SharedProbe
from trainers.terms.gradients import GradientMagnitude
from trainers.terms.term import Term

CLASSES, REAL, MADE = 3, 4, 2
SPEC = {"class_path": f"{ConvNet.__module__}.ConvNet", "init_args": {"width": 3, "depth": 1}}


def network(normalisation: str = "instance", seed: int = 0) -> ConvNet:
    with initialisation(seed, "probe"):
        return ConvNet(CLASSES, (1, 8, 8), width=3, depth=1, normalisation=normalisation)


def trainer(probe: nn.Module | None = None, data: Any = None) -> Any:
    """The little that an objective asks of its trainer."""
    made = network() if probe is None else probe
    return SimpleNamespace(
        data=data
        or SimpleNamespace(
            description=SimpleNamespace(num_classes=CLASSES, embedding=None, kind="pictures", cloud=None)
        ),
        run=SimpleNamespace(streams=Streams(0, torch.device("cpu")), directory=SimpleNamespace(has_state=False)),
        device=torch.device("cpu"),
        normalisation=Normalisation((0.5,), (0.5,)),
        shared_probe=SharedProbe(lambda: made),
        real_batch=REAL,
        images_per_class=MADE,
        initialised=lambda name: initialisation(0, name),
        place=lambda module: module,
    )


def batches(seed: int = 0) -> tuple[Batch, Batch]:
    generator = torch.Generator().manual_seed(seed)
    labels = [torch.arange(CLASSES).repeat_interleave(count) for count in (REAL, MADE)]
    real, made = (torch.randn(len(some), 1, 8, 8, generator=generator) for some in labels)
    return Batch(real, labels[0]), Batch(made.requires_grad_(), labels[1])


def value_of(objective: Term, of: Any, real: Batch, fake: Batch) -> Tensor:
    attach_objectives([objective], of)
    return objective(real, fake)


def gradient(probe: nn.Module, images: Tensor, labels: Tensor, wrt: str, graph: bool) -> list[Tensor]:
    images = images if images.requires_grad else images.detach().requires_grad_()
    wanted = [images] if wrt == "input" else list(probe.parameters())
    return list(torch.autograd.grad(F.cross_entropy(probe(images), labels), wanted, create_graph=graph))


def norm(parts: list[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts]).norm()


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("wrt", ["weights", "input"])
@pytest.mark.parametrize(("alpha", "beta", "sign"), [(1, 0, "minimise"), (0, 1, "maximise"), (0.5, 2, "minimise")])
def test_eq_46_class_by_class_and_its_gradient(wrt: str, joint: bool, alpha: float, beta: float, sign: str) -> None:
    probe = network()
    real, fake = batches()
    objective = ThesisLoss(alpha=alpha, beta=beta, sign=sign, grad_wrt=wrt, joint=joint)
    found = value_of(objective, trainer(probe), real, fake)
    expected = torch.zeros(())
    groups = [torch.arange(CLASSES)] if joint else [torch.tensor([k]) for k in range(CLASSES)]
    for group in groups:
        of_real = torch.isin(real.labels, group)
        if wrt == "input":  # each image with one real image of its class
            of_real &= torch.arange(len(of_real)) % REAL < MADE
        of_fake = torch.isin(fake.labels, group)
        wanted = gradient(probe, real.images[of_real], real.labels[of_real], wrt, False)
        made = gradient(probe, fake.images[of_fake], fake.labels[of_fake], wrt, True)
        difference = norm([a - b for a, b in zip(wanted, made, strict=True)])
        expected = expected + alpha * difference + (-1 if sign == "maximise" else 1) * beta * norm(made)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(value, fake.images)[0] for value in (found, expected)))


class OfTheBatch(nn.Module):
    """A network whose layer normalises by the batch, without running statistics or with means alone."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        with initialisation(0, "probe"):
            self.body = nn.Sequential(nn.Conv2d(1, 3, 3), layer, nn.Tanh(), nn.Flatten(), nn.Linear(108, CLASSES))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.body(x)
        return logits


@pytest.mark.parametrize("kind", ["batch", "without statistics", "means only"])
def test_classes_do_not_see_each_other_through_batch_norm(kind: str) -> None:
    layer = nn.BatchNorm2d(3, track_running_stats=False) if kind == "without statistics" else MeanOnlyBatchNorm(3)
    probe = network("batch") if kind == "batch" else OfTheBatch(layer)
    real, fake = batches()
    found = value_of(ThesisLoss(beta=1.0, alpha=0.0, grad_wrt="input"), trainer(probe), real, fake)
    apart = torch.zeros(())
    for k in range(CLASSES):
        mine = fake.labels == k
        apart = apart + norm(gradient(probe, fake.images[mine], fake.labels[mine], "input", True))
    torch.testing.assert_close(found, apart)


@pytest.mark.parametrize("normalisation", ["instance", "batch"])
@pytest.mark.parametrize(
    "make",
    [
        lambda: FeatureMatching(match="layers", augment="crop_scale"),
        lambda: GradientMatching(),
        lambda: GradientMatching(classes="at_once", augment="rotate"),
        lambda: ThesisLoss(beta=1.0),
        lambda: ThesisLoss(beta=1.0, normalise=True),
        lambda: ThesisLoss(beta=1.0, grad_wrt="input"),
        lambda: Confidence(probe={"state": "fresh", "learner": SPEC}),
    ],
    ids=["features", "gradients", "at once", "thesis", "projection", "pixels", "confidence"],
)
def test_an_objective_by_groups_has_the_gradient_of_the_whole(
    make: Any, normalisation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = SimpleNamespace(
        num_classes=CLASSES,
        image_shape=(1, 8, 8),
        embedding=None,
        kind="pictures",
        name="bands",
        normalisation=None,
        cloud=None,
    )
    found = []
    for size in (1000, 2):
        for name in ("chunks.KEPT", "chunks.CPU_CHUNK", "latent_objectives.thesis.KEPT"):
            monkeypatch.setattr(f"trainers.{name}", size)
        real, fake = batches()
        of = trainer(network(normalisation), SimpleNamespace(description=described))
        value = value_of(make(), of, real, fake)
        found.append((value.detach(), torch.autograd.grad(3 * value, fake.images)[0]))
    assert found[0][1].flatten(1).norm(dim=1).min() > 1e-6
    torch.testing.assert_close(found[1], found[0])


def test_joint_gradient_matching_is_one_distance() -> None:
    probe = network()
    real, fake = batches()
    found = value_of(GradientMatching(joint=True, distance="mse"), trainer(probe), real, fake)
    wanted, made = (gradient(probe, *batch, "weights", True) for batch in (real, fake))
    torch.testing.assert_close(found, sum((a - b).square().sum() for a, b in zip(wanted, made, strict=True)))


def test_matching_objectives_share_the_probe_of_the_step_unless_they_have_their_own() -> None:
    real, fake = batches()
    of = trainer(network(seed=1))
    value = value_of(FeatureMatching(match="logits"), of, real, fake)
    probe = of.shared_probe().network
    expected = torch.zeros(())
    for k in range(CLASSES):
        means = [probe(batch.images[batch.labels == k]).mean(0) for batch in (real, fake)]
        expected = expected + (means[0] - means[1]).square().sum()
    torch.testing.assert_close(value, expected)
    own = FeatureMatching(match="logits", probe={"learner": SPEC})
    of.data = SimpleNamespace(
        description=SimpleNamespace(
            num_classes=CLASSES, image_shape=(1, 8, 8), embedding=None, kind="pictures", cloud=None
        )
    )
    assert not torch.isclose(value_of(own, of, real, fake), expected)


def test_augmentation_is_the_same_for_both_and_black_outside() -> None:
    real, fake = batches()
    objective = FeatureMatching(augment="crop")
    of = trainer()
    attach_objectives([objective], of)
    pixels = Batch(torch.full_like(real.images, 3.0), real.labels)
    shown, again = objective._alike(pixels.images, pixels.images)
    assert torch.equal(shown, again)
    seen = [objective._alike(pixels.images, pixels.images)[0] for _ in range(8)]
    assert any((images == -1.0).any() for images in seen)  # (0 - 0.5) / 0.5


def test_confidence_is_the_cross_entropy_of_a_classifier_that_stays_as_it_is() -> None:
    real, fake = batches()
    probe = network()
    objective = Confidence(probe={"state": "fresh", "learner": SPEC})
    of = trainer(
        data=SimpleNamespace(
            description=SimpleNamespace(
                num_classes=CLASSES, image_shape=(1, 8, 8), embedding=None, kind="pictures", cloud=None
            )
        )
    )
    found = value_of(objective, of, real, fake)
    with initialisation(0, "objectives/0/confidence/probe/0"):
        probe = ConvNet(CLASSES, (1, 8, 8), width=3, depth=1)
    logits = probe(fake.images)
    expected = -logits.log_softmax(1)[torch.arange(len(logits)), fake.labels].mean()
    torch.testing.assert_close(found, expected)
    found.backward()
    assert fake.images.grad is not None


def own_function(real: Batch, fake: Batch, factor: float = 1.0) -> Tensor:
    """What a user might write."""
    return factor * (real.images.mean() - fake.images.mean()).square()


def useless_function(real: Batch, fake: Batch) -> Tensor:
    return real.images.mean()


def test_lists_carry_weights_functions_and_terms_of_a_gan() -> None:
    here = __name__
    built = build_objectives(
        [
            {"class_path": "thesis", "init_args": {"beta": 1.0}, "weight": 3},
            {"class_path": f"{here}.own_function", "init_args": {"factor": 2.0}, "weight": -0.5},
            {"class_path": f"{GradientMagnitude.__module__}.GradientMagnitude", "weight": 2},
            "feature_matching",
        ],
        search_inner=SearchInner(steps=7),
    )
    # The magnitude is maximised: its own weight is negative before the list's.
    assert [one.weight for one in built] == [3.0, -0.5, -2.0, 1.0]
    real, fake = batches()
    value = value_of(built[1], trainer(), real, fake)
    torch.testing.assert_close(value, 2 * (real.images.mean() - fake.images.mean()).square())
    meta = build_objectives("meta_loss", search_inner=SearchInner(steps=7, learning_rate=0.2))[0]
    assert isinstance(meta, MetaLoss) and (meta.options.steps, meta.options.learning_rate) == (7, 0.2)
    spec = {"class_path": "meta_loss", "init_args": {"inner": {"steps": 3}}}
    meta = build_objectives(spec, search_inner=SearchInner(steps=7, learning_rate=0.2))[0]
    assert isinstance(meta, MetaLoss) and (meta.options.steps, meta.options.learning_rate) == (3, 0.2)
    students = build_objectives("trajectory_matching", search_inner=SearchInner(steps=7, memory="sqrt"))[0]
    assert isinstance(students, TrajectoryMatching)
    assert (students.inner.options.steps, students.inner.options.memory) == (10, "sqrt")


def test_equal_objectives_have_names_and_streams_of_their_own() -> None:
    built = build_objectives(["thesis", "thesis", "feature_matching"])
    attach_objectives(built, trainer())
    assert [one.name for one in built] == ["thesis_0", "thesis_1", "feature_matching"]
    assert len({one.key for one in built}) == 3
    assert capture(built) is not None


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("feature_match", "did you mean 'feature_matching'"),
        ([], "empty"),
        ([3], "give a word"),
        ({"class_path": "thesis", "weight": "high"}, "finite number"),
        ({"class_path": "thesis", "init_args": {"alpha": 0, "beta": 0}}, "not both 0"),
        ({"class_path": "thesis", "init_args": {"sign": "maximize"}}, "did you mean 'maximise'"),
        ({"class_path": "thesis", "init_args": {"grad_wrt": "input", "normalise": True}}, "leave it out"),
        ({"class_path": "feature_matching", "init_args": {"real_per_class": 3}}, "real_batch"),
        ("trainers.terms.feature_matching.FeatureMatching", "fresh samples"),
        ({"class_path": f"{__name__}.own_function", "init_args": {"factr": 1}}, "refuses"),
        (f"{__name__}.CLASSES", "neither a class nor a function"),
        ("trainers.terms.gradients.Nothing", "has no 'Nothing'"),
    ],
)
def test_mistakes_are_explained(spec: Any, said: str) -> None:
    with pytest.raises(UserError, match=said):
        build_objectives(spec)


def test_a_function_that_does_not_look_at_the_images_is_refused() -> None:
    real, fake = batches()
    with pytest.raises(UserError, match="differentiated"):
        value_of(build_objectives(f"{__name__}.useless_function")[0], trainer(), real, fake)


def test_pixels_need_as_many_real_images() -> None:
    of = trainer()
    of.real_batch = 1
    with pytest.raises(UserError, match="real_batch"):
        attach_objectives([ThesisLoss(grad_wrt="input")], of)


def test_every_word_builds() -> None:
    assert [build_objectives(word)[0].name for word in WORDS] == list(WORDS)
