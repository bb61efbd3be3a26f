"""A torch-mimicry checkpoint as a teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from gendistill.data.description import Description, symmetric
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.mimicry import Checkpoint, installed, load, write_checkpoint
from gendistill.teacher import GeneratorTeacher, open_teacher, save
from gendistill.teacher import load as load_teacher
from gendistill.teacher.mimicry import generator_teacher

pytestmark = pytest.mark.skipif(not installed(), reason="torch-mimicry is not installed")

NAMES = ("a", "b", "c")
COLOUR = Description("colour", NAMES, (3, 32, 32), symmetric(3))
NOISE, LABELS = torch.randn(4, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1, 2])


def saved(network: Any, folder: Path) -> Path:
    """Write a network's checkpoint after some of its statistics have moved."""
    network.generate_images(8)
    return write_checkpoint(folder, "netG", Checkpoint(network.state_dict(), None, 12))


@pytest.mark.parametrize("family", ["sngan", "cgan_pd"])
def test_a_known_generator_needs_no_name(family: str, tmp_path: Path) -> None:
    load()
    from torch_mimicry.nets import cgan_pd, sngan

    conditional = family == "cgan_pd"
    theirs = (
        cgan_pd.CGANPDGenerator32(num_classes=3, nz=5, ngf=6) if conditional else sngan.SNGANGenerator32(nz=5, ngf=6)
    )
    path = saved(theirs, tmp_path)
    before = torch.random.get_rng_state()
    teacher = generator_teacher(path, COLOUR)
    assert torch.equal(torch.random.get_rng_state(), before)
    expected = theirs.eval()(NOISE, *([LABELS] if conditional else []))
    torch.testing.assert_close(teacher.generate(NOISE, LABELS), expected)
    assert "step 12" in teacher.metadata["source"] and ("notes" in teacher.metadata) == (not conditional)
    # As latent-search and evaluate open it; images can be differentiated by latents.
    split = Split(torch.zeros(3, 3, 32, 32, dtype=torch.uint8), torch.arange(3))
    opened = open_teacher(path, RealData(COLOUR, split, split, split))
    assert isinstance(opened, GeneratorTeacher)
    latents = NOISE.clone().requires_grad_()
    opened.render(latents, LABELS).sum().backward()
    assert latents.grad is not None and latents.grad.abs().max() > 0
    # Its file names a class of this project.
    save(teacher, tmp_path / "teacher.safetensors")
    assert teacher.header()["network"]["class_path"].startswith("gendistill.nets.")
    again = load_teacher(tmp_path / "teacher.safetensors")
    assert isinstance(again, GeneratorTeacher)
    assert torch.equal(again.generate(NOISE, LABELS), teacher.generate(NOISE, LABELS))


def test_any_other_generator_is_named(tmp_path: Path) -> None:
    load()
    from torch_mimicry.nets.sngan import SNGANGenerator48

    large = Description("large", NAMES, (3, 48, 48), symmetric(3))
    theirs = SNGANGenerator48(nz=5, ngf=16)
    path = saved(theirs, tmp_path)
    spec = {"class_path": "torch_mimicry.nets.sngan.SNGANGenerator48", "init_args": {"nz": 5, "ngf": 16}}
    with pytest.raises(UserError, match="name its class"):
        generator_teacher(path, large)
    teacher = generator_teacher(path, large, spec)
    assert torch.equal(teacher.generate(NOISE, LABELS), theirs.eval()(NOISE))
    save(teacher, tmp_path / "teacher.safetensors")
    again = load_teacher(tmp_path / "teacher.safetensors")
    assert isinstance(again, GeneratorTeacher)
    assert torch.equal(again.generate(NOISE, LABELS), theirs.eval()(NOISE))
    with pytest.raises(UserError, match="does not fit SNGANGenerator48"):
        generator_teacher(path, large, spec | {"init_args": {"nz": 5, "ngf": 32}})


def test_refusals(tmp_path: Path) -> None:
    load()
    from torch_mimicry.nets.cgan_pd import CGANPDGenerator32

    path = saved(CGANPDGenerator32(num_classes=4, nz=5, ngf=6), tmp_path)
    with pytest.raises(UserError, match="4 classes"):
        generator_teacher(path, COLOUR)
    with pytest.raises(UserError, match=r"\(3, 32, 32\)"):
        generator_teacher(path, Description("grey", ("a", "b", "c", "d"), (1, 28, 28)))
    with pytest.raises(UserError, match="name the data set"):
        open_teacher(path)
    unit = {"class_path": "torch_mimicry.nets.dcgan.DCGANGeneratorCIFAR"}
    with pytest.raises(UserError, match="use DCGANGenerator32"):
        generator_teacher(path, COLOUR, unit)
