"""Networks of torch-mimicry under this project's loop, against torch-mimicry's own trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from mimicry_runs import FAMILIES, Pair, Recorded, advance, attached, noise, run_options, same, small, specs, theirs
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.mimicry import installed, load
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.runs.processes import Processes
from gendistill.seeds import Streams
from gendistill.teacher import GeneratorTeacher, open_teacher
from trainers.mimicry import MimicryTrainer, accepted_extras

pytestmark = pytest.mark.skipif(not installed(), reason="torch-mimicry is not installed")


@pytest.fixture(scope="module")
def data() -> RealData:
    return noise()


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
    with pytest.raises(UserError, match=r"\(3, 32, 32\), but 'bands' has \(1, 8, 8\).* image_size 32 and channels 3"):
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
