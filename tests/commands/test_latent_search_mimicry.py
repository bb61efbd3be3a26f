"""``gendistill latent-search X.pth``: a checkpoint with torch-mimicry's keys, written here, searched and judged.

The weights have the names and shapes of ``CGANPDGenerator32`` (torch-mimicry 0.1.16), and its forward pass is written
out below, so that the whole way is checked without that package.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from gendistill.cli import main
from gendistill.teacher import GeneratorTeacher, load

NZ, WIDTH, CLASSES = 6, 4, 2
BLOCKS = (2, 3, 4)


def checkpoint(path: Path, steps: int = 70) -> dict[str, Tensor]:
    """Write a checkpoint of random weights; return the state dict of the network."""
    generator = torch.Generator().manual_seed(0)

    def drawn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.5

    def statistics(name: str) -> dict[str, Tensor]:
        spread = {f"{name}.running_mean": drawn(WIDTH), f"{name}.running_var": drawn(WIDTH).abs() + 0.5}
        return spread | {f"{name}.num_batches_tracked": torch.tensor(steps)}

    def layer(name: str, *shape: int) -> dict[str, Tensor]:
        return {f"{name}.weight": drawn(*shape), f"{name}.bias": drawn(shape[0])}

    state = layer("l1", WIDTH * 16, NZ)
    for block in (f"block{number}" for number in BLOCKS):
        state |= layer(f"{block}.c1", WIDTH, WIDTH, 3, 3) | layer(f"{block}.c2", WIDTH, WIDTH, 3, 3)
        for norm in ("b1", "b2"):
            state |= statistics(f"{block}.{norm}.bn") | {f"{block}.{norm}.embed.weight": drawn(CLASSES, 2 * WIDTH)}
        state |= layer(f"{block}.c_sc", WIDTH, WIDTH, 1, 1)
    state |= layer("b5", WIDTH) | statistics("b5") | layer("c5", 3, WIDTH, 3, 3)
    torch.save({"model_state_dict": state, "optimizer_state_dict": None, "global_step": steps}, path)
    return state


def images_of(state: dict[str, Tensor], z: Tensor, y: Tensor) -> Tensor:
    """Return the images (N, 3, 32, 32) of latents (N, nz) and classes (N,): torch-mimicry's forward pass, eval mode."""

    def conv(name: str, x: Tensor) -> Tensor:
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, state[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def normalised(name: str, x: Tensor) -> Tensor:
        mean, var = (state[f"{name}.running_{part}"].view(1, -1, 1, 1) for part in ("mean", "var"))
        return (x - mean) / (var + 1e-5).sqrt()

    def conditional(name: str, x: Tensor) -> Tensor:
        gain, shift = state[f"{name}.embed.weight"][y][..., None, None].chunk(2, 1)
        return gain * normalised(f"{name}.bn", x) + shift

    def doubled(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    h = (z @ state["l1.weight"].T + state["l1.bias"]).view(len(z), WIDTH, 4, 4)
    for block in (f"block{number}" for number in BLOCKS):
        residual = conv(f"{block}.c1", doubled(conditional(f"{block}.b1", h).relu()))
        residual = conv(f"{block}.c2", conditional(f"{block}.b2", residual).relu())
        h = residual + conv(f"{block}.c_sc", doubled(h))
    h = normalised("b5", h) * state["b5.weight"].view(1, -1, 1, 1) + state["b5.bias"].view(1, -1, 1, 1)
    return conv("c5", h.relu()).tanh()


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder of 32x32 images of two classes, bright and dark."""
    root = tmp_path / "photographs"
    for label, name in enumerate(("bright", "dark")):
        (root / name).mkdir(parents=True)
        for number in range(20):
            shade = 180 - 150 * label + number
            Image.new("RGB", (32, 32), (shade, 40, shade // 2)).save(root / name / f"{number}.png")
    return root


def test_a_checkpoint_is_searched_and_judged(
    tmp_path: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "netG_70_steps.pth"
    state = checkpoint(path)
    learner = "{class_path: gendistill.nets.learners.ConvNet, init_args: {width: 4, depth: 2}}"
    words = ["latent-search", str(path), "--data.name", f"folder:{photographs}", "--images-per-class", "2",
             "--steps", "3", "--real_batch", "4", "--probe", learner, "--run.root", str(tmp_path / "runs"),
             "--run.device", "cpu", "--run.progress", "false", "--film_frames", "0"]  # fmt: skip
    assert main([*words, "--no_evaluate", "--json"]) == 0
    json.loads(capsys.readouterr().out)
    run = tmp_path / "runs/latent-search"
    before, after = load(run / "start.safetensors"), load(run / "teacher.safetensors")
    for teacher in (before, after):
        assert isinstance(teacher, GeneratorTeacher)
        assert teacher.latents is not None and teacher.labels is not None
        assert teacher.labels.tolist() == [0, 0, 1, 1]
        torch.testing.assert_close(teacher.latents.norm(dim=1), torch.full((4,), NZ**0.5))
        # What is stored is what torch-mimicry's network shows at these latents.
        expected = images_of(state, teacher.latents, teacher.labels)
        torch.testing.assert_close(teacher.everything()[0], expected, rtol=1e-4, atol=1e-5)
    assert isinstance(before, GeneratorTeacher) and isinstance(after, GeneratorTeacher)
    assert before.latents is not None and after.latents is not None
    assert (after.latents - before.latents).norm(dim=1).min() > 1e-3
    assert expected.std() > 0.05  # the images say something


def test_a_search_ends_with_results(
    tmp_path: Path, photographs: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "netG_70_steps.pth"
    checkpoint(path)
    judged: list[tuple[str, str]] = []

    def judge(teacher: GeneratorTeacher, data: object, options: object, reference: str, name: str) -> dict[str, object]:
        judged.append((teacher.kind, name))
        return {"name": name}

    monkeypatch.setattr("gendistill.commands.latent_search.judge", judge)
    words = ["latent-search", str(path), "--data.name", f"folder:{photographs}", "--steps", "1", "--real_batch", "4",
             "--images-per-class", "1", "--run.root", str(tmp_path / "runs"), "--run.device", "cpu",
             "--run.progress", "false", "--film_frames", "0", "--objective", "gradient_matching", "--probe",
             "{class_path: gendistill.nets.learners.ConvNet, init_args: {width: 4, depth: 2}}", "--json"]  # fmt: skip
    assert main(words) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["teachers"]] == ["before", "after"]
    assert judged == [("generator", "before"), ("generator", "after")]


def test_a_checkpoint_of_something_else_is_refused(
    tmp_path: Path, photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "netG_70_steps.pth"
    state = {name: value for name, value in checkpoint(path).items() if not name.startswith("l1")}
    torch.save({"model_state_dict": state, "optimizer_state_dict": None, "global_step": 70}, path)
    words = ["latent-search", str(path), "--data.name", f"folder:{photographs}", "--run.root", str(tmp_path / "runs")]
    assert main([*words, "--run.device", "cpu"]) == 2
    assert "not of a generator that this project knows" in capsys.readouterr().err
