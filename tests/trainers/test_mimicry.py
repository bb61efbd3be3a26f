"""Networks of torch-mimicry under this project's loop, against torch-mimicry's own trainer."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gendistill.data.description import Description, symmetric
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.mimicry import installed, latest_pair, load
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.runs.processes import Processes
from gendistill.seeds import Streams
from gendistill.teacher import GeneratorTeacher, open_teacher
from trainers.mimicry import MimicryTrainer, accepted_extras

pytestmark = pytest.mark.skipif(not installed(), reason="torch-mimicry is not installed")

Pair = tuple[Tensor, Tensor]
FAMILIES = {"sngan": "SNGAN", "ssgan": "SSGAN", "cgan_pd": "CGANPD"}


def specs(family: str) -> dict[str, Any]:
    path = f"torch_mimicry.nets.{family}.{FAMILIES[family]}"
    return {
        "generator": {"class_path": f"{path}Generator32", "init_args": {"nz": 4, "ngf": 4}},
        "discriminator": {"class_path": f"{path}Discriminator32", "init_args": {"ndf": 4}},
    }


def small(family: str = "sngan", **options: Any) -> MimicryTrainer:
    settings: dict[str, Any] = {"batch_size": 4, "n_dis": 2, "lr_generator": 1e-3, **specs(family)}
    return MimicryTrainer(**settings | options)


@pytest.fixture(scope="module")
def data() -> RealData:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (30, 3, 32, 32), generator=generator, dtype=torch.uint8)
    split = Split(images, torch.arange(30) % 3)
    return RealData(Description("noise", ("a", "b", "c"), (3, 32, 32), symmetric(3)), split, split, split)


def attached(trainer: MimicryTrainer, data: RealData, root: Path, **options: Any) -> MimicryTrainer:
    settings: dict[str, Any] = {"name": "run", "root": str(root), "device": "cpu", "steps": 4}
    chosen = RunOptions(**settings | options)
    directory = RunDirectory(chosen.root, chosen.name)
    trainer.attach(RunContext(chosen, directory, torch.device("cpu"), Streams(chosen.seed)), data)
    return trainer


def run_options(root: Path, name: str, **options: Any) -> RunOptions:
    settings: dict[str, Any] = {"steps": 20, "save_every": 5, "sample_every": 10, "device": "cpu", "progress": False}
    return RunOptions(name=name, root=str(root), **settings | options)


def same(ours: Any, other: Any) -> None:
    if isinstance(ours, Tensor):
        assert torch.equal(ours, other)
    elif isinstance(ours, dict):
        assert ours.keys() == other.keys()
        for key in ours:
            same(ours[key], other[key])
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(other)
        for one, two in zip(ours, other, strict=True):
            same(one, two)
    else:
        assert ours == other


class Breaks(MimicryTrainer):
    """Fails in its eighth step, as a machine might."""

    def train_step(self, batch: Pair) -> dict[str, Tensor]:
        if self.step == 7:
            raise RuntimeError("power cut")
        return super().train_step(batch)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_trains_and_resumes_to_the_bit(family: str, data: RealData, tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    whole, continued = small(family), small(family)
    run = train(whole, data, run_options(tmp_path, "whole"))
    with pytest.raises(RuntimeError, match="power cut"):
        train(Breaks(batch_size=4, n_dis=2, lr_generator=1e-3, **specs(family)), data, run_options(tmp_path, "broken"))
    torch.randn(3)  # what happens between the parts does not matter
    torch.random.set_rng_state(before)
    # Without pictures in the second part: they leave training alone.
    train(continued, data, run_options(tmp_path, "broken", sample_every=0))
    same(continued.state_dict(), whole.state_dict())
    assert torch.equal(torch.random.get_rng_state(), before), "the program's own random numbers must not be touched"
    started = attached(small(family), data, tmp_path, name="untrained")
    moved = [(a - b).abs().max() for a, b in zip(whole.generator.parameters(), started.generator.parameters())]  # noqa: B905
    assert max(moved) > 1e-3, "the comparison is worth nothing if nothing was trained"
    expected = {"loss/errG", "loss/errD", "prob/D(x)", "prob/D(G(z))"}
    assert set(run.metrics) == expected | ({"loss_SS/errG_SS", "loss_SS/errD_SS"} if family == "ssgan" else set())
    assert len(list((tmp_path / "whole" / "samples").glob("*.png"))) == 2


class Recorded:
    """A data loader that gives recorded batches, and keeps the state of torch's generator at each of them."""

    batch_size = 4

    def __init__(self, batches: list[Pair]) -> None:
        self.batches = batches
        self.random_states: list[Tensor] = []

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Pair]:
        for batch in self.batches:
            self.random_states.append(torch.random.get_rng_state())
            yield batch


def theirs(trainer: MimicryTrainer, loader: Recorded, log_dir: Path, steps: int, save_steps: int = 1000) -> Any:
    """torch-mimicry's trainer on new networks with the weights of ``trainer``."""
    from torch_mimicry import training

    nets = []
    for ours in (trainer.generator, trainer.discriminator):
        net = type(ours)(**ours.spec["init_args"])
        net.load_state_dict(ours.state_dict())
        nets.append(net)
    net_g, net_d = nets
    opt_g = torch.optim.Adam(net_g.parameters(), trainer.lr_generator, betas=trainer.betas)
    opt_d = torch.optim.Adam(net_d.parameters(), trainer.lr_discriminator, betas=trainer.betas)
    often = {"print_steps": 1000, "vis_steps": 1000, "log_steps": 1000, "save_steps": save_steps}
    return training.Trainer(
        net_d, net_g, opt_d, opt_g, loader, steps, str(log_dir), n_dis=trainer.n_dis, lr_decay="linear",
        device=torch.device("cpu"), **often,
    )  # fmt: skip


def advance(trainer: MimicryTrainer, steps: int) -> dict[str, Tensor]:
    values: dict[str, Tensor] = {}
    for _ in range(steps):
        values = trainer.train_step(trainer.next_batch())
        trainer.run.step += 1
    return values


@pytest.mark.parametrize("family", FAMILIES)
def test_steps_equal_those_of_torch_mimicry_to_the_bit(family: str, data: RealData, tmp_path: Path) -> None:
    trainer = attached(small(family), data, tmp_path)
    twin = attached(small(family), data, tmp_path)
    loader = Recorded([twin.next_batch() for _ in range(8)])
    other = theirs(trainer, loader, tmp_path / "log", steps=4)
    torch.manual_seed(3)
    advance(trainer, 4)
    torch.manual_seed(3)
    other.train()
    same(trainer.generator.state_dict(), other.netG.state_dict())
    same(trainer.discriminator.state_dict(), other.netD.state_dict())
    same(trainer.generator_optimizer.state_dict()["state"], other.optG.state_dict()["state"])
    same(trainer.discriminator_optimizer.state_dict()["state"], other.optD.state_dict()["state"])


def test_a_run_continues_one_of_torch_mimicry(data: RealData, tmp_path: Path) -> None:
    twin = attached(small(), data, tmp_path)
    loader = Recorded([twin.next_batch() for _ in range(8)])
    other = theirs(twin, loader, tmp_path / "log", steps=4, save_steps=2)
    torch.manual_seed(3)
    other.train()
    for file in latest_pair(tmp_path / "log").values():
        assert file.name.endswith("_4_steps.pth")
        file.unlink()
    trainer = attached(small(continue_from=str(tmp_path / "log")), data, tmp_path)
    assert trainer.step == 2
    later = iter(loader.batches[4:])
    trainer.next_batch = lambda: next(later)  # type: ignore[method-assign]
    torch.random.set_rng_state(loader.random_states[4])
    advance(trainer, 2)
    same(trainer.generator.state_dict(), other.netG.state_dict())
    same(trainer.discriminator.state_dict(), other.netD.state_dict())


def test_a_continued_run_resumes_from_its_own_state(data: RealData, tmp_path: Path) -> None:
    train(small(checkpoint_every=3), data, run_options(tmp_path, "first", steps=3))
    first = tmp_path / "first"
    train(small(continue_from=str(first)), data, run_options(tmp_path, "second", steps=4))
    shutil.rmtree(first)  # no longer needed
    continued = small(continue_from=str(first))
    assert train(continued, data, run_options(tmp_path, "second", steps=5)).step == 5
    with pytest.raises(UserError, match="log_dir of a torch-mimicry run"):
        attached(small(continue_from=str(first)), data, tmp_path, name="third")


def test_another_optimisers_checkpoint_is_refused(data: RealData, tmp_path: Path) -> None:
    trainer = attached(small(), data, tmp_path)
    sgd = torch.optim.SGD(trainer.generator.parameters(), 0.1)
    for name in ("netG", "netD"):
        network = trainer.generator if name == "netG" else trainer.discriminator
        network.save_checkpoint(str(tmp_path / "log" / name), 3, sgd if name == "netG" else None)
    with pytest.raises(UserError, match="not Adam's"):
        attached(small(continue_from=str(tmp_path / "log")), data, tmp_path)
    trainer.generator.save_checkpoint(str(tmp_path / "log" / "netG"), 3)
    assert attached(small(continue_from=str(tmp_path / "log")), data, tmp_path).step == 3
    with pytest.raises(UserError, match="does not fit SSGANDiscriminator32"):
        attached(small("ssgan", continue_from=str(tmp_path / "log")), data, tmp_path)


def test_torch_mimicry_continues_our_run(data: RealData, tmp_path: Path) -> None:
    trainer = small(checkpoint_every=2)
    train(trainer, data, run_options(tmp_path, "run", steps=5))
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").glob("*/*"))
    assert names == sorted(f"{net}_{step}_steps.pth" for net in ("netG", "netD") for step in (2, 4, 5))
    for file in latest_pair(tmp_path / "run").values():
        file.unlink()
    fresh = attached(small(), data, tmp_path, name="fresh")
    other = theirs(fresh, Recorded([fresh.next_batch() for _ in range(2)]), tmp_path / "run", steps=5)
    assert other._restore_models_and_step() == 4
    assert other.optG.param_groups[0]["lr"] == pytest.approx(1e-3 * (1 - 4 / 5), rel=1e-12)
    assert all(state["step"] == 4 for state in other.optG.state.values())
    assert all(state["step"] == 8 for state in other.optD.state.values())
    # One step later it is where ours was at the end, but for the random numbers.
    gaps = [(a - b).abs().max() for a, b in zip(other.netG.parameters(), trainer.generator.parameters(), strict=True)]
    assert 0 < max(gaps) <= 5e-4


def test_a_users_networks_run_unchanged(data: RealData, tmp_path: Path) -> None:
    own = {
        "generator": {"class_path": "users_mimicry_nets.OwnGenerator"},
        "discriminator": {"class_path": "users_mimicry_nets.OwnDiscriminator", "init_args": {"ndf": 6}},
    }
    trainer = attached(small(**own), data, tmp_path)
    start = trainer.generator.layers[0].weight.detach().clone()
    values = advance(trainer, 3)
    assert set(values) == {"loss/errD", "loss/errG", "step"} and values["step"] == 2
    assert not any(value.requires_grad for value in values.values())
    assert not torch.equal(trainer.generator.layers[0].weight, start)
    assert accepted_extras(trainer.generator.train_step) == {}
    # torch-mimicry 0.1.16 passes 'scaler' to all, and so fails on these networks.
    loader = Recorded([trainer.next_batch() for _ in range(2)])
    with pytest.raises(TypeError, match="scaler"):
        theirs(trainer, loader, tmp_path / "log", steps=1).train()


def test_extra_arguments_go_only_where_they_are_taken() -> None:
    def by_name(real_batch: Any, scaler: Any = None) -> None: ...

    def any_name(real_batch: Any, **kwargs: Any) -> None: ...

    def neither(real_batch: Any) -> None: ...

    assert accepted_extras(by_name) == accepted_extras(any_name) == {"scaler": None}
    assert accepted_extras(neither) == {}


def test_every_discriminator_update_sees_other_images(data: RealData, tmp_path: Path) -> None:
    trainer = attached(small(n_dis=3), data, tmp_path)
    seen: list[tuple[str, Tensor]] = []
    for name in ("discriminator", "generator"):
        network = getattr(trainer, name)
        step = type(network).train_step

        def spy(name: str = name, step: Any = step, network: Any = network, **given: Any) -> Any:
            seen.append((name, given["real_batch"][0]))
            assert given["global_step"] == 0 and given["device"] == torch.device("cpu")
            return step(network, **given)

        network.train_step = spy
    advance(trainer, 1)
    assert [name for name, _ in seen] == ["discriminator"] * 3 + ["generator"]
    images = [image for _, image in seen]
    assert torch.equal(images[2], images[3])
    assert not torch.equal(images[0], images[1]) and not torch.equal(images[1], images[2])
    assert min(image.min() for image in images) >= -1 and max(image.max() for image in images) <= 1


@pytest.mark.parametrize("family", ["sngan", "cgan_pd"])
def test_the_teacher_goes_through_its_file(family: str, data: RealData, tmp_path: Path) -> None:
    trainer = small(family)
    train(trainer, data, run_options(tmp_path, "run", steps=2))
    teacher = open_teacher(tmp_path / "run", data)
    assert isinstance(teacher, GeneratorTeacher)
    images, labels = teacher.sample(9, torch.Generator().manual_seed(1))
    assert torch.bincount(labels).tolist() == [3, 3, 3]
    noise = teacher.fresh(5, torch.Generator().manual_seed(2))
    classes = torch.tensor([0, 1, 2, 1, 0])
    expected = trainer.generator.eval()(noise, *([classes] if family == "cgan_pd" else []))
    assert torch.equal(teacher.generate(noise, classes), expected)
    same_noise = noise[:1].expand(3, -1)
    by_class = teacher.generate(same_noise, torch.arange(3))
    assert torch.equal(by_class[0], by_class[1]) == (family == "sngan")
    assert ("random" in teacher.metadata.get("notes", "")) == (family == "sngan")


def test_refusals(data: RealData, tiny_data: RealData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"\(3, 32, 32\), but 'bands' has \(1, 8, 8\)"):
        attached(small(), tiny_data, tmp_path)
    with pytest.raises(UserError, match="float32"):
        attached(small(), data, tmp_path, precision="bfloat16")
    with pytest.raises(UserError, match=r"trainers\.gan\.GANTrainer"):
        attached(small(generator={"class_path": "gendistill.nets.sngan.SNGANGenerator"}), data, tmp_path)
    with pytest.raises(UserError, match="in one process"):
        options = RunOptions(device="cpu")
        context = RunContext(options, RunDirectory(tmp_path, "two"), torch.device("cpu"), Streams(0), Processes(0, 2))
        small().attach(context, data)
    for wrong, words in (
        ({"n_dis": 0}, "n_dis"),
        ({"checkpoint_every": -1}, "checkpoint_every"),
        ({"lr_generator": 0.0}, "lr_generator"),
        ({"betas": (0.0, 1.0)}, "betas"),
        ({"lr_decay": "cosine"}, "linear, none"),
    ):
        with pytest.raises(UserError, match=words):
            small(**wrong)


def test_networks_with_forward_hooks_of_spectral_norm_make_a_teacher(data: RealData, tmp_path: Path) -> None:
    """A generator with torch's older spectral norm cannot be deep-copied after a forward pass without care."""
    load()
    from torch_mimicry.modules import layers

    trainer = attached(small(), data, tmp_path)
    trainer.generator.l1 = layers.SNLinear(4, 4 * 4 * 4)
    trainer.generator(torch.randn(2, 4))
    images, _ = trainer.teacher().sample(3, torch.Generator().manual_seed(0))
    assert images.isfinite().all()
