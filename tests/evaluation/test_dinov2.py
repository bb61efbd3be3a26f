"""DINOv2 from a local file of its authors' form, held against the transformer written out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill.data.description import Normalisation
from gendistill.errors import UserError
from gendistill.evaluation.dinov2 import MEAN, STD, DINOv2Extractor, positions

pytest.importorskip("timm")
WIDTH, HEADS, DEPTH, GRID = 384, 6, 12, 37


def official(seed: int = 0) -> dict[str, Tensor]:
    """Random weights under the names of the authors' file of ViT-S/14."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {
        "cls_token": (1, 1, WIDTH),
        "pos_embed": (1, 1 + GRID * GRID, WIDTH),
        "mask_token": (1, WIDTH),
        "patch_embed.proj.weight": (WIDTH, 3, 14, 14),
        "patch_embed.proj.bias": (WIDTH,),
        "norm.weight": (WIDTH,),
        "norm.bias": (WIDTH,),
    }
    for block in range(DEPTH):
        for name, shape in {
            "norm1.weight": (WIDTH,), "norm1.bias": (WIDTH,), "norm2.weight": (WIDTH,), "norm2.bias": (WIDTH,),
            "attn.qkv.weight": (3 * WIDTH, WIDTH), "attn.qkv.bias": (3 * WIDTH,),
            "attn.proj.weight": (WIDTH, WIDTH), "attn.proj.bias": (WIDTH,),
            "ls1.gamma": (WIDTH,), "ls2.gamma": (WIDTH,),
            "mlp.fc1.weight": (4 * WIDTH, WIDTH), "mlp.fc1.bias": (4 * WIDTH,),
            "mlp.fc2.weight": (WIDTH, 4 * WIDTH), "mlp.fc2.bias": (WIDTH,),
        }.items():  # fmt: skip
            shapes[f"blocks.{block}.{name}"] = shape
    return {name: 0.1 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def written_out(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """The class token of a vision transformer, step by step; x are normalised images (N, 3, 224, 224)."""
    x = F.conv2d(x, state["patch_embed.proj.weight"], state["patch_embed.proj.bias"], stride=14).flatten(2).mT
    grid = state["pos_embed"][:, 1:].reshape(1, GRID, GRID, WIDTH).permute(0, 3, 1, 2)
    scale = (16 + 0.1) / GRID
    grid = F.interpolate(grid, scale_factor=(scale, scale), mode="bicubic").permute(0, 2, 3, 1).reshape(1, 256, WIDTH)
    first = state["cls_token"] + state["pos_embed"][:, :1]
    x = torch.cat([first.expand(len(x), -1, -1), x + grid], 1)

    def norm(name: str, value: Tensor) -> Tensor:
        return F.layer_norm(value, (WIDTH,), state[f"{name}.weight"], state[f"{name}.bias"], 1e-6)

    def linear(name: str, value: Tensor) -> Tensor:
        return F.linear(value, state[f"{name}.weight"], state[f"{name}.bias"])

    for block in (f"blocks.{number}" for number in range(DEPTH)):
        q, k, v = linear(f"{block}.attn.qkv", norm(f"{block}.norm1", x)).chunk(3, -1)
        q, k, v = (one.unflatten(-1, (HEADS, -1)).transpose(1, 2) for one in (q, k, v))
        weights = (q @ k.mT / (WIDTH // HEADS) ** 0.5).softmax(-1)
        x = x + state[f"{block}.ls1.gamma"] * linear(f"{block}.attn.proj", (weights @ v).transpose(1, 2).flatten(2))
        hidden = F.gelu(linear(f"{block}.mlp.fc1", norm(f"{block}.norm2", x)))
        x = x + state[f"{block}.ls2.gamma"] * linear(f"{block}.mlp.fc2", hidden)
    return norm("norm", x)[:, 0]


def test_features_are_those_of_the_transformer_written_out(tmp_path: Path) -> None:
    state = official()
    torch.save(state, file := tmp_path / "dinov2_vits14_pretrain.pth")
    extractor = DINOv2Extractor(file)
    assert extractor.score_name("FD") == "FD[DINOv2 ViT-S/14]" and extractor.id.startswith("DINOv2 ViT-S/14/")
    grey = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    found = extractor.features(grey * 2 - 1, Normalisation((0.5,), (0.5,)))
    mean, std = (torch.tensor(one).view(1, 3, 1, 1) for one in (MEAN, STD))
    large = F.interpolate(grey.expand(-1, 3, -1, -1), size=(224, 224), mode="bicubic", antialias=True)
    expected = written_out(state, (large - mean) / std)
    assert found.shape == (2, WIDTH) and torch.allclose(found, expected, atol=2e-3, rtol=1e-3)
    assert not torch.allclose(found[0], found[1], atol=1e-2)


def test_positions_of_the_grid_that_is_stored_stay(tmp_path: Path) -> None:
    stored = torch.rand(1, 1 + 16 * 16, 8, generator=torch.Generator().manual_seed(0))
    assert positions(stored, 16) is stored
    assert torch.equal(positions(stored, 8)[:, 0], stored[:, 0]) and positions(stored, 8).shape == (1, 65, 8)


def test_other_files_are_refused_in_one_sentence(tmp_path: Path) -> None:
    state = official()
    for change, said in (
        ({"register_tokens": torch.zeros(1, 4, WIDTH)}, "without registers"),
        ({"cls_token": torch.zeros(1, 1, 100)}, "of width 100"),
        ({"norm.weight": torch.zeros(3)}, "does not hold weights of DINOv2"),
        ({"norm.weight": torch.full((WIDTH,), float("nan"))}, "norm.weight"),
    ):
        torch.save(state | change, file := tmp_path / "other.pth")
        with pytest.raises(UserError, match=said):
            DINOv2Extractor(file)
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(UserError, match="cannot be read as weights"):
        DINOv2Extractor(tmp_path / "text.pth")
    with pytest.raises(UserError, match="needs its file; get dinov2_vits14_pretrain.pth"):
        DINOv2Extractor()
    with pytest.raises(UserError, match="there is no DINOv2 weights file"):
        DINOv2Extractor(tmp_path / "nowhere.pth")
