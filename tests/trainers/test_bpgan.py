"""A GAN cut in two in one process: it equals the GAN in one piece, whatever the base, and continues to the bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from gan_runs import SMALL, advance, attached
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.links.exchanges import OWN
from gendistill.links.ledger import total
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.teacher import load
from trainers.bpgan import BPGANTrainer
from trainers.gan import ConditionalGANTrainer, GANTrainer
from trainers.wgan import ConditionalWGANTrainer

NETS = "gendistill.nets.dcgan.ConditionalDCGAN"
DCGAN = {
    "generator": {"class_path": f"{NETS}Generator", "init_args": {"nz": 5, "ngf": 4}},
    "discriminator": {"class_path": f"{NETS}Discriminator", "init_args": {"ndf": 4}},
}
PLAIN = {
    "generator": {"class_path": "gendistill.nets.dcgan.DCGANGenerator", "init_args": {"nz": 5, "ngf": 4}},
    "discriminator": {"class_path": "gendistill.nets.dcgan.DCGANDiscriminator",
                      "init_args": {"ndf": 4, "norm": "none"}},
}  # fmt: skip
FEATURES = [{"class_path": "trainers.terms.gradients.GradientDifference", "init_args": {"weight": 0.5}}]
BASES: dict[str, tuple[type[GANTrainer], dict[str, Any]]] = {
    "hinge with spectral norm": (ConditionalGANTrainer, {"n_dis": 2, "loss_type": "hinge"} | SMALL),
    "wgan-gp": (GANTrainer, {"n_dis": 2, "loss_type": "wasserstein", "gradient_penalty": 10.0} | PLAIN),
    "clipped critic": (ConditionalWGANTrainer, {"n_dis": 2} | DCGAN),
    "relativistic": (ConditionalGANTrainer, {"n_dis": 1, "loss_type": "relativistic", "r1": 0.1} | SMALL),
    "a term": (ConditionalGANTrainer, {"n_dis": 1, "terms": FEATURES} | SMALL),
    "packs": (ConditionalGANTrainer, {"n_dis": 1, "packing": 2} | DCGAN),
}


def spec(of: type[GANTrainer], arguments: dict[str, Any]) -> dict[str, Any]:
    return {"class_path": f"{of.__module__}.{of.__name__}", "init_args": {"batch_size": 12} | arguments}


def cut(name: str, **options: Any) -> Any:
    return BPGANTrainer(base=spec(*BASES[name]), **options)


@pytest.mark.parametrize("name", BASES)
def test_one_process_is_the_base_gan_to_the_bit(name: str, tiny_data: RealData, tmp_path: Path) -> None:
    of, arguments = BASES[name]
    whole = attached(of(**{"batch_size": 12} | arguments), tiny_data, tmp_path)
    halves = attached(cut(name), tiny_data, tmp_path)
    for one, other in zip(advance(whole), advance(halves), strict=True):
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    for key, value in whole.generator.state_dict().items():
        assert torch.equal(halves.maker.gan.generator.state_dict()[key], value), key
    for key, value in whole.discriminator.state_dict().items():
        assert torch.equal(halves.judge.gan.discriminator.state_dict()[key], value), key
