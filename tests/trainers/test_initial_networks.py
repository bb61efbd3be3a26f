"""A GAN that starts from a trained one."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.nets.modes import frozen
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.seeds import Streams
from gendistill.teacher import StoredImages, load, save
from trainers.gan import ConditionalGANTrainer
from trainers.latent_search import LatentSearchTrainer

SMALL: dict[str, Any] = {
    "generator": {"class_path": "gendistill.nets.cgan_pd.CGANPDGenerator", "init_args": {"nz": 6, "ngf": 6}},
    "discriminator": {"class_path": "gendistill.nets.cgan_pd.CGANPDDiscriminator", "init_args": {"ndf": 6}},
    "batch_size": 12,
    "n_dis": 1,
}


def options(root: Path, name: str, **more: Any) -> RunOptions:
    settings: dict[str, Any] = {"name": name, "root": str(root), "steps": 3, "device": "cpu"}
    return RunOptions(**settings | {"sample_every": 0, "progress": False} | more)


def gan(**more: Any) -> ConditionalGANTrainer:
    return ConditionalGANTrainer(**SMALL | more)


def built(trainer: ConditionalGANTrainer, data: RealData, root: Path) -> ConditionalGANTrainer:
    chosen = options(root, "new", seed=7)
    run = RunContext(chosen, RunDirectory(chosen.root, chosen.name), torch.device("cpu"), Streams(chosen.seed))
    trainer.attach(run, data)
    return trainer


def same(first: Any, second: Any) -> bool:
    states = first.state_dict(), second.state_dict()
    return all(torch.equal(value, states[1][name]) for name, value in states[0].items())


@pytest.fixture
def trained(tiny_data: RealData, tmp_path: Path) -> ConditionalGANTrainer:
    trainer = gan()
    train(trainer, tiny_data, options(tmp_path, "old"))
    return trainer


@pytest.mark.parametrize("reference", ["old", "old/state.pt"])
def test_a_run_gives_both_networks_and_the_average(
    trained: ConditionalGANTrainer, tiny_data: RealData, tmp_path: Path, reference: str
) -> None:
    trainer = built(gan(initial_generator=str(tmp_path / reference)), tiny_data, tmp_path)
    for name in ("generator", "discriminator"):
        assert same(getattr(trainer, name), getattr(trained, name))
    assert same(trainer.ema.module, trained.ema.module) and trainer.ema.updates == 3
    assert not trainer.generator_optimizer.state, "optimisers start anew"


def test_a_teacher_file_gives_the_generator(
    trained: ConditionalGANTrainer, tiny_data: RealData, tmp_path: Path
) -> None:
    file = str(tmp_path / "old" / "teacher.safetensors")
    trainer, fresh = built(gan(initial_generator=file), tiny_data, tmp_path), built(gan(), tiny_data, tmp_path)
    assert same(trainer.generator, trained.ema.module) and same(trainer.ema.module, trained.ema.module)
    assert same(trainer.discriminator, fresh.discriminator) and not same(trainer.generator, fresh.generator)
    assert all(parameter.requires_grad for parameter in trainer.generator.parameters())
    rng = torch.Generator().manual_seed(0)
    assert torch.equal(trainer.teacher().sample(6, rng)[0], load(file).sample(6, rng.manual_seed(0))[0])


def test_a_run_under_way_no_longer_needs_what_it_started_from(
    trained: ConditionalGANTrainer, tiny_data: RealData, tmp_path: Path
) -> None:
    start = {"initial_generator": str(tmp_path / "old")}
    whole, first, rest = gan(**start), gan(**start), gan(**start)
    train(whole, tiny_data, options(tmp_path, "whole", steps=4))
    train(first, tiny_data, options(tmp_path, "parts", steps=4, save_every=2))
    (tmp_path / "parts" / "state.previous.pt").replace(tmp_path / "parts" / "state.pt")
    shutil.rmtree(tmp_path / "old")
    train(rest, tiny_data, options(tmp_path, "parts", steps=4, save_every=2))
    assert same(rest.generator, whole.generator) and same(rest.discriminator, whole.discriminator)


def test_what_does_not_fit_is_refused(trained: ConditionalGANTrainer, tiny_data: RealData, tmp_path: Path) -> None:
    wide = {**SMALL["generator"], "init_args": {"nz": 6, "ngf": 8}}
    save(StoredImages(torch.zeros(3, 1, 8, 8), torch.arange(3), tiny_data.description), tmp_path / "images.safetensors")
    search = LatentSearchTrainer(str(tmp_path / "old"), images_per_class=1, real_batch=2)
    train(search, tiny_data, options(tmp_path, "search", steps=1))
    cases: list[tuple[dict[str, Any], str]] = [
        ({"initial_generator": str(tmp_path / "old"), "generator": wide}, "does not fit the generator CGANPDGenerator"),
        ({"initial_generator": str(tmp_path / "nothing")}, "initial_generator: there is no teacher"),
        ({"initial_generator": str(tmp_path / "images.safetensors")}, "kind 'stored-images', which has no network"),
        ({"initial_generator": str(tmp_path / "search")}, "no GAN"),
    ]
    for more, words in cases:
        with pytest.raises(UserError, match=words):
            built(gan(**more), tiny_data, tmp_path)


def test_frozen_gives_back_what_it_took() -> None:
    layer = torch.nn.Linear(2, 2)
    layer.bias.requires_grad_(False)
    with frozen(layer):
        assert not layer.weight.requires_grad
    assert layer.weight.requires_grad and not layer.bias.requires_grad


def change_state(root: Path, change: Any) -> None:
    path = root / "old" / "state.pt"
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)


@pytest.mark.parametrize("part", ["generator", "discriminator", "ema"])
def test_weights_that_are_no_numbers_are_refused(part: str, tiny_data: RealData, tmp_path: Path, trained: Any) -> None:
    def spoil(state: Any) -> None:
        weights = state["trainer"][part]
        weights = weights["module"] if part == "ema" else weights
        name = next(iter(weights))
        weights[name] = torch.full_like(weights[name], torch.nan)

    change_state(tmp_path, spoil)
    with pytest.raises(UserError, match="old' cannot be used: '.*' holds values that are NaN or infinite"):
        built(gan(initial_generator=str(tmp_path / "old")), tiny_data, tmp_path)


def test_weights_of_wrapped_networks_are_recognised(tiny_data: RealData, tmp_path: Path, trained: Any) -> None:
    def wrap(state: Any) -> None:
        for part in ("generator", "discriminator"):
            weights = state["trainer"][part]
            state["trainer"][part] = {f"module._orig_mod.{name}": value for name, value in weights.items()}

    change_state(tmp_path, wrap)
    begun = built(gan(initial_generator=str(tmp_path / "old")), tiny_data, tmp_path)
    assert same(begun.generator, trained.generator) and same(begun.discriminator, trained.discriminator)


@pytest.mark.parametrize("reference", ["old", "old/teacher.safetensors"])
def test_a_conditional_gan_of_other_classes_is_refused(
    reference: str, tiny_data: RealData, tmp_path: Path, trained: Any
) -> None:
    start = str(tmp_path / reference)
    order = tiny_data.in_order(torch.tensor([1, 2, 0]), ("bottom", "top", "middle"))
    with pytest.raises(UserError, match="same order|bring the data's classes into its order"):
        built(gan(initial_generator=start), order, tmp_path)
    others = replace(tiny_data, description=replace(tiny_data.description, class_names=("a", "b", "c")))
    with pytest.raises(UserError, match="classes top, middle, bottom"):
        built(gan(initial_generator=start), others, tmp_path)
