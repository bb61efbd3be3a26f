from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gendistill.data.description import Description, symmetric
from gendistill.errors import UserError
from gendistill.nets.cgan_pd import CGANPDGenerator
from gendistill.nets.dcgan import ConditionalDCGANGenerator
from gendistill.nets.gtn import GTNGenerator
from gendistill.nets.mixture import GeneratorMixture
from gendistill.objects import build
from gendistill.seeds import initialisation
from gendistill.teacher import GeneratorTeacher, load, save


class Constant(nn.Module):
    """Every pixel is this number, plus what the latent says."""

    def __init__(self, value: float, nz: int = 3) -> None:
        super().__init__()
        self.nz = nz
        self.value = nn.Parameter(torch.tensor(value))

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        assert x.shape[1] == self.nz
        return self.value + 0 * x.sum(1).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def latents(count: int, nz: int) -> Tensor:
    return torch.randn(count, nz, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("weights", [None, [1.0, 1.0, 2.0], [0.0, 0.3, 0.7]])
def test_each_generator_is_called_as_often_as_its_weight_says(weights: list[float] | None) -> None:
    mixture = GeneratorMixture([Constant(0.0), Constant(1.0), Constant(2.0)], weights).eval()
    with torch.no_grad():
        shown = mixture(latents(20000, mixture.nz))[:, 0, 0, 0]
    share = torch.bincount(shown.long(), minlength=3) / 20000
    wanted = torch.tensor(weights or [1.0] * 3)
    torch.testing.assert_close(share, wanted / wanted.sum(), atol=0.012, rtol=0)


def test_with_and_without_a_graph_the_images_are_the_same() -> None:
    mixture = GeneratorMixture([Constant(0.0), Constant(1.0, nz=5), Constant(2.0)]).eval()
    drawn = latents(50, mixture.nz)
    assert mixture.nz == 6
    with torch.no_grad():
        apart = mixture(drawn)
    together = mixture(drawn.requires_grad_())
    assert torch.equal(apart, together)
    (slope,) = torch.autograd.grad(together.sum(), drawn, retain_graph=True)
    assert slope.shape == drawn.shape
    counts = torch.autograd.grad(together.sum(), [member.value for member in mixture.members])  # type: ignore[union-attr]
    assert [int(count) // 4 for count in counts] == torch.bincount(mixture.member(drawn)).tolist()


def test_it_is_a_teacher_of_one_file(tmp_path: Path) -> None:
    description = Description("bands", ("a", "b", "c"), (1, 8, 8), symmetric(1))
    members = []
    for number in range(2):
        spec = {
            "class_path": f"{CGANPDGenerator.__module__}.CGANPDGenerator",
            "init_args": {"nz": 6 + number, "ngf": 4},
        }
        spec["init_args"] |= {"num_classes": 3, "image_shape": (1, 8, 8), "bottom_width": 2}  # type: ignore[operator]
        with initialisation(number, "generator"):
            members.append(build(spec, nn.Module))
    teacher = GeneratorTeacher(GeneratorMixture(members, [1.0, 3.0]), description)
    save(teacher, tmp_path / "mixture.safetensors")
    loaded = load(tmp_path / "mixture.safetensors")
    for one, other in zip(
        teacher.sample(9, torch.Generator().manual_seed(1)),
        loaded.sample(9, torch.Generator().manual_seed(1)),
        strict=True,
    ):
        assert torch.equal(one, other)
    latent = latents(4, 8)
    latent[:, -1] = 3.0  # far out: the last of them
    told = torch.arange(4) % 3
    torch.testing.assert_close(teacher.generate(latent, told), members[1].eval()(latent[:, :7], told).detach())


@pytest.mark.parametrize("weights", [[1.0], [0.0, 0.0], [-1.0, 2.0], [float("nan"), 1.0]])
def test_weights_that_are_none(weights: list[float]) -> None:
    with pytest.raises(UserError, match="one from 0 for each, not all 0"):
        GeneratorMixture([Constant(0.0), Constant(1.0)], weights)


def test_members_that_are_none() -> None:
    with pytest.raises(UserError, match="at least one generator"):
        GeneratorMixture([])
    with pytest.raises(UserError, match="no latent size"):
        GeneratorMixture([nn.Linear(2, 2)])


def test_generators_that_normalise_by_the_batch_see_all_of_it() -> None:
    # The second is called for one image alone, which a batch norm could not normalise.
    sizes = {"num_classes": 3, "image_shape": (1, 8, 8), "nz": 4, "hidden": 8, "channels": 4}
    members = [GTNGenerator(**sizes) for _ in range(2)]  # type: ignore[arg-type]
    mixture, z, y = GeneratorMixture(members).eval(), latents(5, 5), torch.tensor([0, 1, 2, 0, 1])
    z[:, -1] = torch.tensor([-1.0, -1, 1, -1, -1])
    with torch.no_grad():
        made = mixture(z, y)
        each = [member(z[:, :4], y) for member in members]
    assert not mixture.apart()
    assert torch.equal(made, torch.where((z[:, -1] > 0).view(-1, 1, 1, 1), each[1], each[0]))


def test_generators_of_different_shapes_are_one_sentence() -> None:
    members = [ConditionalDCGANGenerator(3, (1, size, size), nz=4, ngf=4) for size in (8, 16)]
    mixture, z, y = (
        GeneratorMixture(members).eval(),
        torch.tensor([[0.0, 0, 0, 0, -1], [0, 0, 0, 0, 1]]),
        torch.zeros(2),
    )
    for graph in (False, True):
        with torch.set_grad_enabled(graph), pytest.raises(UserError, match=r"shape \(1, 8, 8\) and \(1, 16, 16\)"):
            mixture(z, y.long())


def test_a_generator_makes_images_of_the_classes_that_it_knows() -> None:
    members = [Constant(0.0), Constant(1.0), Constant(2.0)]
    mixture = GeneratorMixture(members, [1, 1, 2], knows=[[0, 1], [1], [2, 1]]).eval()
    drawn = latents(4000, mixture.nz)
    for kind, shares in ((0, [1, 0, 0]), (1, [0.25, 0.25, 0.5]), (2, [0, 0, 1]), (3, [0.25, 0.25, 0.5])):
        shown = mixture(drawn, torch.full((4000,), kind))[:, 0, 0, 0]
        found = torch.bincount(shown.long(), minlength=3) / 4000
        assert torch.allclose(found, torch.tensor(shares, dtype=torch.float32), atol=0.03)
        assert all(count == 0 for count, share in zip(found, shares, strict=True) if share == 0)
    every = torch.arange(4000) % 4
    assert torch.equal(mixture(drawn, every).detach(), mixture.train()(drawn, every).detach())


@pytest.mark.parametrize("knows", [[[0]], [[0], [-1]], [[0], ["1"]], [0, 1], [[0], [10**9]]])
def test_classes_that_are_none_are_refused(knows: Any) -> None:
    with pytest.raises(UserError, match="knows says which classes each of 2 generators"):
        GeneratorMixture([Constant(0.0), Constant(1.0)], knows=knows)
