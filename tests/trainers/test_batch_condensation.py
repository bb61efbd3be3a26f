from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gendistill.batch_coresets import batch_order
from gendistill.data.description import symmetric
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.architectures import kinds_seen
from gendistill.evaluation.condensation_controls import CONTROLS, control_teacher
from gendistill.evaluation.condensation_metrics import gradient_agreement, held_out_networks
from gendistill.losses.matching import gradient_distance
from gendistill.nets.cgan_pd import CGANPDGenerator
from gendistill.objects import build
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.seeds import initialisation
from gendistill.teacher import GeneratorTeacher, StoredImages, load, save
from trainers.batch_condensation import BatchCondensationTrainer

LEARNER = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 2}}
FRESH = [{"state": "fresh", "learner": LEARNER}]
POOL = [*FRESH, {"state": "pool", "size": 2, "steps": 6, "learner": LEARNER, "batch_size": 16}]


def condense(
    data: RealData, root: Path, steps: int = 4, name: str = "condensed", **options: Any
) -> BatchCondensationTrainer:
    arguments: dict[str, Any] = {"batch_size": 16, "condensed_size": 8, "probes": FRESH, **options}
    trainer = BatchCondensationTrainer(**arguments)
    train(trainer, data, RunOptions(name, str(root), steps, save_every=3, sample_every=0, progress=False, device="cpu"))
    return trainer


@pytest.fixture
def generator(tmp_path: Path, tiny_data: RealData) -> str:
    spec = {"class_path": f"{CGANPDGenerator.__module__}.CGANPDGenerator", "init_args": {"nz": 6, "ngf": 4}}
    spec["init_args"] |= {"num_classes": 3, "image_shape": (1, 8, 8), "bottom_width": 2}
    with initialisation(0, "generator"):
        network = build(spec, nn.Module)
    path = tmp_path / "generator.safetensors"
    save(GeneratorTeacher(network, tiny_data.description.with_normalisation(symmetric(1))), path)
    return str(path)


def test_the_teacher_shows_one_small_batch_for_each_real_one(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = condense(tiny_data, tmp_path)
    teacher = load(trainer.run.directory.teacher)
    assert isinstance(teacher, StoredImages) and teacher.order == "fixed" and teacher.batch_size == 8
    assert teacher.images_stored == 48
    assert kinds_seen(teacher) == {LEARNER["class_path"]}
    assert teacher.metadata["condensation"] == {
        "sizes": [16, 8], "batches": 6, "start": "random", "optimised": True, "image_gradients": 4 * 6 * (16 + 2 * 8)
    }  # fmt: skip
    real = tiny_data.train.labels[batch_order(tiny_data.train.labels, None, 16, 0)]
    assert torch.equal(trainer.index, batch_order(tiny_data.train.labels, None, 16, 0))
    for (_, labels, _), wanted in zip(teacher.batches(6, 64, torch.Generator()), real, strict=True):
        assert (2 * torch.bincount(labels, minlength=3) - torch.bincount(wanted, minlength=3)).abs().max() <= 1


@pytest.mark.parametrize("start", CONTROLS)
def test_without_optimisation_it_is_the_control(tiny_data: RealData, tmp_path: Path, start: str) -> None:
    found = condense(tiny_data, tmp_path, steps=1, start=start, optimise=False).condensed()
    if start == "random":
        target = trainer_target(tiny_data)
        assert (found[0][:, :, None] == target[:, None]).flatten(3).all(3).any(2).all()
    assert found[0].shape == (6, 8, 1, 8, 8)
    assert found[1].is_floating_point() == (start in ("loss", "mixup"))
    if start == "mixup":
        torch.testing.assert_close(found[0].mean(1), trainer_target(tiny_data).mean(1))
        torch.testing.assert_close(found[1].sum(2), torch.ones(6, 8))


def trainer_target(data: RealData) -> torch.Tensor:
    index = batch_order(data.train.labels, None, 16, 0)
    return data.train.batch(index.flatten(), data.description.normalisation)[0].unflatten(0, index.shape)


@pytest.mark.parametrize("vectorised", [False, True])
def test_the_loss_is_that_of_one_batch_after_another(tiny_data: RealData, tmp_path: Path, vectorised: bool) -> None:
    trainer = condense(tiny_data, tmp_path, steps=1, vectorised=vectorised, labels="learned")
    trainer.optimise = False  # what follows only looks
    images, labels = trainer._target(slice(None))
    probe = trainer.probes[0].draw()
    trainer.probes[0].draw = lambda: probe  # type: ignore[method-assign]
    small, targets = trainer.condensed()
    distances, cosines = [], []
    parameters = list(probe.network.parameters())
    for place in range(6):
        wanted = torch.autograd.grad(F.cross_entropy(probe.network(images[place]), labels[place]), parameters)
        given = torch.autograd.grad(F.cross_entropy(probe.network(small[place]), targets[place]), parameters)
        distances.append(gradient_distance(wanted, given))
        left, right = (torch.cat([part.flatten() for part in parts]) for parts in (wanted, given))
        cosines.append(F.cosine_similarity(left, right, dim=0))
    found = trainer.train_step((images, labels))
    torch.testing.assert_close(found["loss/gradient_matching"], torch.stack(distances).mean(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["cosine/gradient"], torch.stack(cosines).mean(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("vectorised", [False, True])
@pytest.mark.parametrize("options", [{"augment": "crop_scale"}, {"labels": "learned", "probes": POOL}])
def test_a_step_in_passes_is_that_of_all_batches_together(
    tiny_data: RealData, tmp_path: Path, vectorised: bool, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def step(together: int) -> tuple[list[torch.Tensor], dict[str, torch.Tensor]]:
        name = f"{vectorised}-{together}"
        trainer = condense(tiny_data, tmp_path, steps=1, name=name, vectorised=vectorised, optimise=False, **options)
        trainer.optimise, trainer.together = True, together
        kept: list[torch.Tensor] = []
        monkeypatch.setattr(trainer.optimizer, "step", lambda: kept.append(trainer.values[0].grad.clone()))
        if trainer.label_optimizer is not None:
            monkeypatch.setattr(trainer.label_optimizer, "step", lambda: kept.append(trainer.labels[0].grad.clone()))
        return kept, trainer.train_step(trainer._target(slice(None)))

    whole, values = step(6)
    assert len(whole) == (2 if "labels" in options else 1) and whole[0].flatten(1).norm(dim=1).min() > 1e-4
    for together in (1, 4):
        parts, same = step(together)
        for one, other in zip(parts, whole, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-6)
        for metric, value in values.items():
            torch.testing.assert_close(same[metric], value)


def test_a_pass_holds_as_many_batches_as_fit_it(tiny_data: RealData, tmp_path: Path) -> None:
    for vectorised, together in ((None, 1), (False, 1), (True, 8)):
        trainer = condense(tiny_data, tmp_path, steps=1, name=f"{vectorised}", vectorised=vectorised)
        assert trainer.together == together  # 128 images, 16 a batch


def test_by_default_a_step_moves_at_most_32_batches(tiny_data: RealData, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r"1 steps of a round move the first 1 of 2 parts.*run.steps from 2 on"):
        trainer = condense(tiny_data, tmp_path, steps=1, batch_size=2, condensed_size=1)
    assert [len(part) for part in trainer.values] == [32, 16]
    every = condense(tiny_data, tmp_path, steps=1, name="all", batch_size=2, condensed_size=1, batches_at_once=None)
    assert [len(part) for part in every.values] == [48]


def test_batches_do_not_notice_each_other(tiny_data: RealData, tmp_path: Path) -> None:
    whole = condense(tiny_data, tmp_path, steps=2, name="whole")
    parts = condense(tiny_data, tmp_path, steps=6, name="parts", batches_at_once=2)
    assert len(parts.values) == 3
    assert all(not torch.equal(part, whole.values[0][:2]) for part in parts.values)
    with pytest.warns(UserWarning, match="first 1 of 3 parts"):
        one = condense(tiny_data, tmp_path, steps=1, name="one", batches_at_once=2)
    first = condense(tiny_data, tmp_path, steps=1, name="first")
    torch.testing.assert_close(one.values[0], first.values[0][:2], rtol=1e-4, atol=1e-5)
    untouched = condense(tiny_data, tmp_path, steps=1, name="control", optimise=False).values[0]
    assert torch.equal(torch.cat([part.detach() for part in one.values[1:]]), untouched[2:])


@pytest.mark.parametrize(
    "options", [{"start": "noise", "augment": "crop_scale"}, {"start": "mixup", "labels": "learned"}]
)
def test_gradients_come_nearer_in_networks_it_never_met(
    tiny_data: RealData, tmp_path: Path, options: dict[str, Any]
) -> None:
    pool = {"state": "pool", "size": 3, "steps": 30, "learner": LEARNER, "batch_size": 16, "lr": 0.05}
    common = {"num_batches": 3, "probes": [pool], "lr": 0.1 if options["start"] == "noise" else 0.02, **options}
    trainer = condense(tiny_data, tmp_path, steps=25, **common)
    same: dict[str, Any] = {"batch_size": 16, "size": 8, "num_batches": 3}
    networks = held_out_networks(LEARNER, tiny_data, ages=[15], count=3, seed=7)
    original = control_teacher("original", tiny_data, **same)
    found = gradient_agreement(trainer.teacher(), original, tiny_data, 3, networks)["15"]["cosine"]["mean"]
    start = condense(tiny_data, tmp_path, steps=1, name="start", optimise=False, **common).teacher()
    before = gradient_agreement(start, original, tiny_data, 3, networks)["15"]["cosine"]["mean"]
    assert 1 - found < 0.9 * (1 - before)


@pytest.mark.parametrize("options", [{"probes": POOL, "labels": "learned"}, {"rounds": 2}, {"batches_at_once": 4}])
def test_a_resumed_run_ends_bit_identical(tiny_data: RealData, tmp_path: Path, options: dict[str, Any]) -> None:
    whole = condense(tiny_data, tmp_path, steps=8, name="whole", **options)
    for stop in [3, 6] if "rounds" in options else [3]:  # in the first round and in the second
        trainer = BatchCondensationTrainer(**{"batch_size": 16, "condensed_size": 8, "probes": FRESH, **options})
        name = f"halves-{stop}"
        run = RunOptions(name, str(tmp_path), 8, save_every=stop, sample_every=0, progress=False, device="cpu")
        original = trainer.train_step

        def stopping(batch: Any, trainer: Any = trainer, original: Any = original, stop: int = stop) -> Any:
            if trainer.step == stop:
                raise RuntimeError("power cut")
            return original(batch)

        trainer.train_step = stopping  # type: ignore[method-assign]
        with pytest.raises(RuntimeError, match="power cut"):
            train(trainer, tiny_data, run)
        resumed = condense(tiny_data, tmp_path, steps=8, name=name, **options)
        for left, right in zip(whole.condensed(), resumed.condensed(), strict=True):
            assert torch.equal(left, right)


def test_rounds_condense_what_the_round_before_made(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = condense(tiny_data, tmp_path, steps=4, rounds=2)
    images, labels = trainer.condensed()
    assert images.shape == (6, 4, 1, 8, 8) and labels.shape == (6, 4)
    first = condense(tiny_data, tmp_path, steps=2, name="first")
    assert torch.equal(trainer.wanted[0], first.condensed()[0])
    card = trainer.teacher().metadata["condensation"]
    assert card["sizes"] == [16, 8, 4] and card["image_gradients"] == 2 * 6 * (16 + 16) + 2 * 6 * (8 + 8)


OWN_STATISTICS = {
    "batch": {**LEARNER, "init_args": {**LEARNER["init_args"], "normalisation": "batch"}},
    "means": {
        "class_path": "gendistill.nets.weight_normalised.WeightNormConvNet",
        "init_args": {"widths": [4], "hidden": None},
    },
}


@pytest.mark.parametrize("decode", [None, 2])
@pytest.mark.parametrize("kind", OWN_STATISTICS)
def test_batches_in_one_pass_where_statistics_move(
    tiny_data: RealData, tmp_path: Path, kind: str, decode: int | None
) -> None:
    options = {"probes": [{"state": "fresh", "learner": OWN_STATISTICS[kind]}, *FRESH], "decode": decode}
    together, apart = (
        condense(tiny_data, tmp_path, name=str(vectorised), vectorised=vectorised, **options)
        for vectorised in (True, False)
    )
    torch.testing.assert_close(together.values[0], apart.values[0], rtol=1e-4, atol=1e-4)


def test_latents_of_a_generator(tiny_data: RealData, tmp_path: Path, generator: str) -> None:
    trainer = condense(tiny_data, tmp_path, steps=2, generator=generator, lr=0.2, batches_at_once=4, labels="learned")
    torch.testing.assert_close(trainer.values[0].norm(dim=-1), torch.full((4, 8), 6**0.5))
    teacher = load(trainer.run.directory.teacher)
    assert isinstance(teacher, GeneratorTeacher) and teacher.curriculum and teacher.images_stored == 48
    convert = teacher.description.normalisation.convert
    shown = [convert(images, trainer.normalisation) for images, _, _ in teacher.batches(6, 5, torch.Generator())]
    torch.testing.assert_close(torch.stack(shown), trainer.condensed()[0], rtol=1e-4, atol=1e-4)
    repeated = condense(tiny_data, tmp_path, steps=2, name="again", generator=generator, rounds=2)
    assert repeated.condensed()[0].shape == (6, 4, 1, 8, 8)


def test_order_of_the_teacher(tiny_data: RealData, tmp_path: Path) -> None:
    teacher = condense(tiny_data, tmp_path, steps=1, order="stratified").teacher()
    assert isinstance(teacher, StoredImages) and teacher.order == "stratified" and teacher.batch_size is None


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"start": "herdin"}, "did you mean 'herding'"),
        ({"condensed_size": 16}, r"can have 1\.\.15"),
        ({"rounds": 5}, "do not come out in whole images"),
        ({"rounds": 2, "steps": 3}, "which 2 rounds cannot share"),
        ({"probes": []}, "probes is an empty list"),
        ({"lr": 0}, "must be positive"),
        ({"num_batches": 9}, "the training images make 6 batches; choose 1 to 6"),
        ({"labels": "soft"}, "labels is 'soft'"),
    ],
)
def test_bad_options_are_refused(
    tiny_data: RealData, tmp_path: Path, options: Any, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is not typed is lowered with a note.
    monkeypatch.setattr(BatchCondensationTrainer, "typed", frozenset(options))
    with pytest.raises(UserError, match=sentence):
        condense(tiny_data, tmp_path, **options)


def test_a_teacher_without_latents_is_refused(tiny_data: RealData, tmp_path: Path) -> None:
    save(control_teacher("random", tiny_data, batch_size=16, size=8), tmp_path / "images.safetensors")
    with pytest.raises(UserError, match="has no latent space"):
        condense(tiny_data, tmp_path, generator=str(tmp_path / "images.safetensors"))
