"""The parts of a latent search, each alone and inside a run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gendistill.data.description import symmetric
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.nets.cgan_pd import CGANPDGenerator
from gendistill.objects import build
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.seeds import initialisation
from gendistill.teacher import GeneratorTeacher, StoredImages, load, save
from trainers.latent_search import LatentSearchTrainer
from trainers.latents.film import Film
from trainers.latents.inversion import Inversion
from trainers.latents.space import Space

NZ = 6
PROBE = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 2}}


@pytest.fixture
def generator(tmp_path: Path, tiny_data: RealData) -> str:
    spec = {"class_path": f"{CGANPDGenerator.__module__}.CGANPDGenerator", "init_args": {"nz": NZ, "ngf": 4}}
    spec["init_args"] |= {"num_classes": 3, "image_shape": (1, 8, 8), "bottom_width": 2}
    with initialisation(0, "generator"):
        network = build(spec, nn.Module)
    path = tmp_path / "generator.safetensors"
    save(GeneratorTeacher(network, tiny_data.description.with_normalisation(symmetric(1))), path)
    return str(path)


def search(
    generator: str, data: RealData, root: Path, steps: int = 4, name: str = "search", **options: Any
) -> LatentSearchTrainer:
    arguments: dict[str, Any] = {"images_per_class": 2, "real_batch": 4, "probe": PROBE, "film_frames": 0, **options}
    trainer = LatentSearchTrainer(generator, **arguments)
    train(trainer, data, RunOptions(name, str(root), steps, sample_every=0, progress=False, device="cpu"))
    return trainer


# -- where it searches ------------------------------------------------------------------------------------------------


def test_a_layer_is_searched_from_what_the_latents_gave(generator: str, tiny_data: RealData, tmp_path: Path) -> None:
    trainer = search(generator, tiny_data, tmp_path, layer="blocks.0", constraint="none")
    plain = trainer.source.generate(trainer.base, trainer.labels)
    torch.testing.assert_close(trainer.space.render(trainer.start, trainer.base), plain)
    # Out of the latents' reach now: the layers before have no say any more.
    with torch.no_grad():
        now = trainer.space.render(trainer.latents, trainer.base)
        torch.testing.assert_close(trainer.space.render(trainer.latents, torch.randn_like(trainer.base)), now)
    assert (now - plain).abs().amax((1, 2, 3)).min() > 1e-4
    teacher = load(trainer.run.directory.teacher)
    assert isinstance(teacher, StoredImages)
    torch.testing.assert_close(teacher.everything()[0], now)
    torch.testing.assert_close(trainer.start_teacher().everything()[0], plain)


def test_gradients_in_a_layer_are_those_of_the_rest_of_the_network(
    generator: str, tiny_data: RealData, tmp_path: Path
) -> None:
    trainer = search(generator, tiny_data, tmp_path, steps=1, layer="blocks.0", constraint="none")
    network = trainer.network.eval()
    features = trainer.latents.detach().clone().requires_grad_()
    h = features
    for block in list(network.blocks)[1:]:
        h = block(h, trainer.labels)
    expected = torch.tanh(network.conv(torch.relu(network.norm(h)))).square().sum()
    found = trainer.space.render(trainer.latents, trainer.base).square().sum()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(a, b)[0] for a, b in ((found, trainer.latents),
                                                                          (expected, features))))  # fmt: skip


class Spectral(nn.Module):
    """A generator with spectral norm, whose power iteration a pass in training mode moves on."""

    def __init__(self) -> None:
        super().__init__()
        self.nz = NZ
        self.embedding = nn.Embedding(3, NZ)
        self.linear = nn.utils.parametrizations.spectral_norm(nn.Linear(NZ, 64))
        self.norm = nn.BatchNorm1d(64)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        made: Tensor = self.norm(self.linear(z + self.embedding(y)))
        return made.tanh().view(-1, 1, 8, 8)


@pytest.mark.parametrize("batch_norm", ["eval", "batch"])
def test_images_in_chunks_have_the_gradients_of_one_graph_and_leave_the_generator_alone(
    tiny_data: RealData, batch_norm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = GeneratorTeacher(
        Spectral(), tiny_data.description.with_normalisation(symmetric(1)), latents=None, batch_norm=batch_norm
    )
    weight = source.network.embedding.weight.requires_grad_()
    labels, latents = torch.arange(7) % 3, torch.randn(7, NZ, requires_grad=True)
    space, before = Space(source, labels), source.network.state_dict()
    before = {name: value.clone() for name, value in before.items()}
    found = []
    for size in (1000, 2):
        monkeypatch.setattr("trainers.chunks.KEPT", size)
        monkeypatch.setattr("trainers.chunks.CPU_CHUNK", size)
        source.network.load_state_dict(before)
        images = space.render(latents, latents)
        found.append([images.detach(), *torch.autograd.grad(images.square().sum(), [latents, weight])])
        if batch_norm == "eval":
            assert all(torch.equal(value, before[name]) for name, value in source.network.state_dict().items())
    torch.testing.assert_close(found[0], found[1])
    assert found[0][1].norm() > 0 and found[0][2].norm() > 0


def test_class_embeddings_move_and_are_stored(generator: str, tiny_data: RealData, tmp_path: Path) -> None:
    before = load(generator).tensors()
    trainer = search(generator, tiny_data, tmp_path, embedding_lr=0.05)
    after = load(trainer.run.directory.teacher).tensors()
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert moved and all("embed" in name for name in moved)
    # Latents stay on their sphere, embeddings are free of it; the start is as it was.
    torch.testing.assert_close(trainer.norms, torch.full((5, 3), NZ**0.5))
    first = trainer.start_teacher()
    assert all(torch.equal(value, first.tensors()[name]) for name, value in before.items())
    teacher = load(trainer.run.directory.teacher)
    made = trainer.source.generate(trainer.latents, trainer.labels)
    torch.testing.assert_close(teacher.everything()[0], made)


# -- where it starts --------------------------------------------------------------------------------------------------


def test_inversion_finds_latents_of_images_that_the_generator_made() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 12), nn.Unflatten(1, (1, 3, 4)))
    draws = torch.Generator().manual_seed(1)

    def draw() -> Tensor:
        z = torch.randn(5, 4, generator=draws)
        return 2 * z / z.norm(dim=1, keepdim=True)

    targets = network(draw()).detach()
    found = Inversion(steps=200, lr=0.1, draws=8)(network, targets, draw, "sphere")
    torch.testing.assert_close(found.norm(dim=1), torch.full((5,), 2.0))
    random = (network(draw()) - targets).square().mean()
    assert (network(found) - targets).square().mean() < 0.02 * random


def test_a_search_may_start_at_real_images(generator: str, tiny_data: RealData, tmp_path: Path) -> None:
    inverted = search(generator, tiny_data, tmp_path, steps=1, start="inversion", inversion={"steps": 30})
    plain = search(generator, tiny_data, tmp_path, steps=1, name="plain")
    index = inverted.classes.draw(2, type(inverted.run.streams)(0, torch.device("cpu"))["inversion"]).flatten()
    targets, _ = tiny_data.train.batch(index, symmetric(1))

    def error(trainer: LatentSearchTrainer) -> float:
        return float((trainer.source.generate(trainer.start, trainer.labels) - targets).square().mean())

    assert error(inverted) < error(plain)
    torch.testing.assert_close(inverted.start.norm(dim=1), torch.full((6,), NZ**0.5))


# -- what it keeps and when it ends -----------------------------------------------------------------------------------


def test_a_trajectory_shows_the_images_of_every_step(generator: str, tiny_data: RealData, tmp_path: Path) -> None:
    trainer = search(generator, tiny_data, tmp_path, collect="trajectory", constraint="none")
    teacher = load(trainer.run.directory.teacher)
    assert isinstance(teacher, GeneratorTeacher) and teacher.latents is not None and teacher.labels is not None
    assert teacher.latents.shape == (4 * 6, NZ)
    assert torch.equal(teacher.latents[-6:], trainer.latents.detach())
    assert teacher.labels.view(4, 6).eq(trainer.labels).all()
    one = search(generator, tiny_data, tmp_path, steps=1, name="one", constraint="none")
    assert torch.equal(teacher.latents[:6], one.latents.detach())


EVERYTHING = {
    "collect": "trajectory", "start": "inversion", "inversion": {"steps": 2}, "validate_every": 2, "film_frames": 2,
    "objective": [{"class_path": "thesis", "weight": 0.5, "init_args": {"probe": {"state": "pool", "size": 2,
                   "steps": 4}}}, "feature_matching"],
    "optimizer": {"class_path": "torch.optim.AdamW"}, "constraint": "truncation", "truncation": 1.5,
}  # fmt: skip
LAYER = {"layer": "blocks.0", "constraint": "l2", "embedding_lr": 0.1, "validate_every": 1, "patience": 3,
         "start": "inversion", "inversion": {"steps": 2}}  # fmt: skip


@pytest.mark.parametrize("options", [EVERYTHING, LAYER], ids=["trajectory", "layer"])
def test_resumed_equals_uninterrupted_with_every_option(
    generator: str, tiny_data: RealData, tmp_path: Path, options: dict[str, Any]
) -> None:
    whole = search(generator, tiny_data, tmp_path, steps=6, name="whole", **options)
    search(generator, tiny_data, tmp_path, steps=3, name="halves", **options)
    halves = search(generator, tiny_data, tmp_path, steps=6, name="halves", **options)
    for name in ("latents", "start", "base", "norms", "angles"):
        assert torch.equal(getattr(whole, name), getattr(halves, name)), name
    one, other = (load(trainer.run.directory.teacher) for trainer in (whole, halves))
    assert all(torch.equal(value, other.tensors()[name]) for name, value in one.tensors().items())
    assert all(torch.equal(a, b) for a, b in zip(whole.held_out.best, halves.held_out.best, strict=True))
    if options is EVERYTHING:
        assert whole.latents.abs().max() <= 1.5 and whole.start.abs().max() <= 1.5
        assert len(halves.film.steps) == len(halves.film.images) >= 3


def test_looking_changes_nothing(generator: str, tiny_data: RealData, tmp_path: Path) -> None:
    plain = search(generator, tiny_data, tmp_path, name="plain")
    looked = search(generator, tiny_data, tmp_path, name="looked", validate_every=1, film_frames=3)
    assert torch.equal(plain.latents, looked.latents)


def test_the_cosine_is_that_of_whole_gradients_on_validation_images(
    generator: str, tiny_data: RealData, tmp_path: Path
) -> None:
    trainer = search(generator, tiny_data, tmp_path, steps=2, validate_every=2, held_out_probes=1)
    held, probe = trainer.held_out, trainer.held_out.networks[0]
    assert [held.real(k).shape for k in range(3)] == [(10, 1, 8, 8)] * 3  # all of the 30 validation images
    cosines = []
    for k in range(3):
        flat = []
        for images in (held.real(k), trainer.images()[trainer.labels == k].detach()):
            loss = nn.functional.cross_entropy(probe(images), torch.full((len(images),), k))
            flat.append(torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(probe.parameters()))]))
        cosines.append((flat[0] @ flat[1]) / (flat[0].norm() * flat[1].norm()))
    assert held.best_value == pytest.approx(float(torch.stack(cosines).mean()), abs=1e-5)


def test_a_search_that_gets_no_better_ends_with_the_best(
    generator: str, tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = iter([0.1, 0.5, 0.4, 0.3])
    from trainers.latents.held_out import HeldOut

    monkeypatch.setattr(HeldOut, "cosine", lambda self, generated: torch.tensor(next(values)))
    trainer = search(generator, tiny_data, tmp_path, steps=9, validate_every=1, patience=2)
    assert trainer.held_out.stopped  # at step 4; later looks would find no value
    assert torch.equal(trainer.angles[4:], trainer.angles[4].expand(6))
    second = search(generator, tiny_data, tmp_path, steps=2, name="second")
    teacher = load(trainer.run.directory.teacher)
    assert isinstance(teacher, GeneratorTeacher) and teacher.latents is not None
    assert torch.equal(teacher.latents, second.latents.detach())


def test_accuracy_may_be_the_criterion(generator: str, tiny_data: RealData, tmp_path: Path) -> None:
    trainer = search(generator, tiny_data, tmp_path, steps=1, validate_every=1, criterion="accuracy")
    assert 0 <= trainer.held_out.best_value <= 1


def test_a_film_keeps_an_even_distance_however_long() -> None:
    film = Film(3, steps=6)
    for step in range(50):
        film.look(step, lambda: torch.full((2, 1, 2, 2), 0.5))
    assert 3 <= len(film.steps) <= 6 and len(film.images) == len(film.steps)
    assert {b - a for a, b in zip(film.steps, film.steps[1:], strict=False)} == {film.interval}
    assert film.steps[0] == 0 and film.images[0].dtype == torch.uint8 and int(film.images[0].max()) == 128


def test_trajectory_matching_moves_latents(generator: str, tiny_data: RealData, tmp_path: Path) -> None:
    spec = {"class_path": "trajectory_matching", "init_args": {
        "learner": PROBE, "experts": 1, "expert": {"batch_size": 32}, "max_start_epoch": 1, "expert_epochs": 1,
        "student_steps": 2, "student_batch": 3, "student_lr": 0.02}}  # fmt: skip
    trainer = search(generator, tiny_data, tmp_path, steps=2, objective=spec)
    objective: Any = trainer.objectives[0]
    assert (trainer.latents - trainer.start).abs().max() > 0
    start, target = (objective.buffer.snapshot(0, at) for at in (0, 1))
    theta = {name: value.clone().requires_grad_() for name, value in start.items()}
    state = objective.plan.state_dict()
    batch = (torch.zeros(0, 1, 8, 8), torch.zeros(0, dtype=torch.int64))
    lesson = objective.plan.draw(0)
    objective.plan.load_state_dict(state)
    images = trainer.images()
    for index, _ in lesson.batches:
        logits = torch.func.functional_call(objective.student, theta, (images[index],))
        loss = nn.functional.cross_entropy(logits, trainer.labels[index])
        slopes = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
        theta = {name: value - 0.02 * g for (name, value), g in zip(theta.items(), slopes, strict=True)}
    distances = [sum((theta[n] - target[n]).square().sum() for n in target),
                 sum((start[n] - target[n]).square().sum() for n in target)]  # fmt: skip
    torch.testing.assert_close(trainer.loss(batch)[0], distances[0] / distances[1])
    assert trainer.teacher().learning_rates is not None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"layer": "blok.0", "constraint": "none"}, "no layer 'blok.0'"),
        ({"layer": "blocks.0"}, "features of layer 'blocks.0' have none"),
        ({"layer": "blocks", "constraint": "none"}, "does not give one tensor"),
        ({"optimizer": "adamm"}, "did you mean 'adam'"),
        ({"optimizer": {"class_path": "torch.optim.LBFGS"}}, "LBFGS"),
        ({"optimizer": {"class_path": "torch.nn.Linear"}}, "not a subclass"),
        ({"start": "inversoin"}, "did you mean 'inversion'"),
        ({"inversion": {"stesp": 3}}, "inversion takes"),
        ({"patience": 2}, "set validate_every"),
        ({"criterion": "acuracy", "validate_every": 1}, "did you mean 'accuracy'"),
        ({"collect": "trajectory", "embedding_lr": 0.1}, "collect: trajectory"),
        ({"film_frames": -1}, "film_frames"),
        ({"truncation": 0.0, "constraint": "truncation"}, "positive"),
    ],
)
def test_mistakes_are_explained(
    generator: str, tiny_data: RealData, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(UserError, match=said):
        search(generator, tiny_data, tmp_path, steps=1, **options)
