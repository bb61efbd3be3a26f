"""A gradient penalty is of each image by itself: discriminators that normalise by their batch are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gendistill import notes
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.nets.base import BaseDiscriminator
from gendistill.nets.mixing import answers_apart, batch_layer
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from trainers.gan import ConditionalGANTrainer, GANTrainer
from trainers.wgan import ConditionalWGANTrainer, WGANTrainer

NETS = "gendistill.nets"
SMALL = {"batch_size": 12, "n_dis": 1}


def go(trainer: Any, data: RealData, root: Path) -> None:
    options = {"name": "run", "root": str(root), "steps": 1, "device": "cpu", "sample_every": 0, "progress": False}
    train(trainer, data, RunOptions(**options))  # type: ignore[arg-type]


def dcgan(kind: str, **more: Any) -> dict[str, Any]:
    return {"class_path": f"{NETS}.dcgan.{kind}", "init_args": {"ndf": 4, "bottom_width": 2} | more}


GENERATOR = {"class_path": f"{NETS}.dcgan.DCGANGenerator", "init_args": {"nz": 4, "ngf": 4}}
CONDITIONAL = {"class_path": f"{NETS}.dcgan.ConditionalDCGANGenerator", "init_args": {"nz": 4, "ngf": 4}}


@pytest.mark.parametrize(
    ("trainer", "generator", "kind"),
    [
        (GANTrainer, GENERATOR, "DCGANDiscriminator"),
        (WGANTrainer, GENERATOR, "DCGANDiscriminator"),
        (ConditionalGANTrainer, CONDITIONAL, "ConditionalDCGANDiscriminator"),
        (ConditionalWGANTrainer, CONDITIONAL, "ConditionalDCGANDiscriminator"),
    ],
)
def test_batch_norm_and_a_penalty_exclude_each_other(
    trainer: type[GANTrainer], generator: Any, kind: str, tiny_data: RealData, tmp_path: Path
) -> None:
    def made(penalty: float, **more: Any) -> GANTrainer:
        discriminator = dcgan(kind, **more)
        return trainer(generator=generator, discriminator=discriminator, gradient_penalty=penalty, **SMALL)  # type: ignore[arg-type]

    with pytest.raises(UserError) as caught:
        go(made(10.0), tiny_data, tmp_path / "a")
    said = str(caught.value)
    assert "--trainer.gradient_penalty is 10, but layer '" in said and "layers.3' (BatchNorm2d)" in said
    assert f"(BatchNorm2d) of {kind} lets the images of a batch see each other" in said
    assert (
        "give it norm: none (--trainer.discriminator.init_args.norm none)" in said
        and "--trainer.gradient_penalty 0" in said
    )
    go(made(0.0), tiny_data, tmp_path / "b")
    go(made(10.0, norm="none"), tiny_data, tmp_path / "c")


@pytest.mark.parametrize("path", ["sngan.SNGANDiscriminator", "wgan_gp.WGANGPDiscriminator"])
def test_discriminators_without_it_may_have_one(path: str, tiny_data: RealData, tmp_path: Path) -> None:
    discriminator = {"class_path": f"{NETS}.{path}", "init_args": {"ndf": 4}}
    go(
        GANTrainer(generator=GENERATOR, discriminator=discriminator, gradient_penalty=10.0, **SMALL),  # type: ignore[arg-type]
        tiny_data,
        tmp_path,
    )


class Own(BaseDiscriminator):
    """A user's critic with a layer that no list knows: it subtracts the mean of its batch."""

    def __init__(self, image_shape: tuple[int, int, int], loss_type: str = "hinge", mixes: bool = True) -> None:
        super().__init__(ndf=1, loss_type=loss_type)
        self.linear = nn.Linear(image_shape[0] * image_shape[1] * image_shape[2], 1)
        self.mixes = mixes

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.linear(x.flatten(1))
        return logits - logits.mean() if self.mixes else logits


@pytest.mark.parametrize("mixes", [True, False])
def test_what_a_users_own_layer_does_is_found_out(mixes: bool, tiny_data: RealData, tmp_path: Path) -> None:
    discriminator = {"class_path": f"{__name__}.Own", "init_args": {"mixes": mixes}}
    trainer = GANTrainer(generator=GENERATOR, discriminator=discriminator, gradient_penalty=1.0, **SMALL)  # type: ignore[arg-type]
    if mixes:
        with pytest.raises(UserError, match="but Own lets the images of a batch see each other.*layer, instance or"):
            go(trainer, tiny_data, tmp_path)
    else:
        go(trainer, tiny_data, tmp_path)


@pytest.mark.parametrize(
    ("layer", "apart"),
    [
        (nn.BatchNorm1d(4), False),
        (nn.BatchNorm1d(4).eval(), True),
        (nn.SyncBatchNorm(4).eval(), True),
        (nn.LayerNorm(4), True),
        (nn.GroupNorm(2, 4), True),
        (nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), True),
        (nn.Dropout(0.5), True),
    ],
)
def test_layers_that_mix_a_batch_are_told_from_those_that_do_not(layer: nn.Module, apart: bool) -> None:
    network = nn.Sequential(nn.Linear(4, 4), layer)
    assert answers_apart(network, torch.randn(5, 4)) == apart
    named = batch_layer(network)
    assert (named is not None and named[0] == "1") == ("BatchNorm" in type(layer).__name__)


def test_the_check_leaves_a_run_as_it_is(tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the check and without it, a run ends in the same weights: it asks a copy, and draws from its own stream."""
    discriminator = {"class_path": f"{NETS}.sngan.SNGANDiscriminator", "init_args": {"ndf": 4}}
    states = []
    for name in ("with", "without"):
        trainer = GANTrainer(generator=GENERATOR, discriminator=discriminator, gradient_penalty=10.0, **SMALL)  # type: ignore[arg-type]
        go(trainer, tiny_data, tmp_path / name)
        states.append(torch.load(tmp_path / name / "run" / "state.pt", weights_only=True)["trainer"]["discriminator"])
        monkeypatch.setattr("trainers.gan.no_penalty", lambda *given: None)
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_the_bridge_only_says_so(tiny_data: RealData, capsys: pytest.CaptureFixture[str]) -> None:
    from trainers.mimicry import MimicryTrainer

    class Net(nn.Module):
        num_classes = 0

        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))

        def compute_gradient_penalty_loss(self) -> None: ...

        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = self.layers(x)
            return logits

    notes.begin()
    trainer = MimicryTrainer(batch_size=4)
    trainer.data, trainer.discriminator = tiny_data, Net()
    trainer._check_penalty()
    said = capsys.readouterr().err
    assert "note: layer 'layers.2' (BatchNorm1d) of Net lets the images of a batch see each other" in said
    trainer.discriminator.layers[2] = nn.LayerNorm(4)
    trainer._check_penalty()
    assert capsys.readouterr().err == ""
