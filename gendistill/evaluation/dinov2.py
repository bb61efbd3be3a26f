"""DINOv2 as an extractor: a vision transformer whose weights come from a local file of the authors."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill import torch_file
from gendistill.budget import check_file
from gendistill.data.description import Normalisation
from gendistill.errors import UserError
from gendistill.evaluation.extractors import Extractor
from gendistill.nets.timm_learner import created
from gendistill.regular import expanded, regular
from gendistill.weights import checked

SIDE, PATCH = 224, 14
OFFSET = 0.1
"""Added by the authors' code to the sides of the grid to which positions are resampled."""
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SIZES = {384: ("vit_small_patch14_dinov2", "ViT-S/14"), 768: ("vit_base_patch14_dinov2", "ViT-B/14"),
         1024: ("vit_large_patch14_dinov2", "ViT-L/14")}  # fmt: skip
"""Networks by the width of their tokens: timm's name, and the authors'."""
FILE = "dinov2_vits14_pretrain.pth"
URL = f"https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/{FILE}"
UNUSED = ("mask_token",)
"""Of training alone."""


class DINOv2Extractor(Extractor):
    """The class token of DINOv2 after its last norm: 384 (ViT-S/14), 768 or 1024 features.

    Images are mapped to [0, 1], repeated to three channels if grey, resized to 224x224 (bicubic, antialiased) and
    normalised as ImageNet. A score over it is called ``FD[DINOv2 ViT-S/14]``, never FID.

    Args:
        weights: The authors' file of a backbone without registers, such as ``dinov2_vits14_pretrain.pth``.

    Raises:
        UserError: There is no such file, it holds something else, or timm is not installed.

    Source:
        Oquab et al. 2024, "DINOv2"; as a measure of fidelity: Stein et al. 2023, "Exposing flaws of generative model
        evaluation metrics".
    """

    batch_size = 50

    def __init__(self, weights: str | Path | None = None) -> None:
        super().__init__()
        if weights is None:
            raise UserError(f"the extractor dinov2 needs its file; get {FILE} from {URL} and give its path as weights")
        path = regular(expanded(weights))
        if not path.is_file():
            raise UserError(f"there is no DINOv2 weights file '{path}'; get {FILE} from {URL}")
        check_file(path, 2)
        state = _read(path)
        width = state["cls_token"].shape[-1]
        if width not in SIZES:
            known = ", ".join(name for _, name in SIZES.values())
            raise UserError(f"'{path}' holds a transformer of width {width}; DINOv2 is taken as {known}")
        model, self.size = SIZES[width]
        self.name = f"DINOv2 {self.size}"
        with path.open("rb") as file:
            self._id = f"{self.name}/{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"
        self.network: Any = created(model, (3, SIDE, SIDE), 0)
        _load(self.network, state, path)
        self.requires_grad_(False).eval()

    @property
    def id(self) -> str:
        """The name with the hash of the weights file."""
        return self._id

    def features(self, images: Tensor, normalisation: Normalisation) -> Tensor:
        """Return class tokens (N, D) of images (N, 1 or 3, H, W)."""
        pixels = normalisation.invert(images).clamp(0, 1)
        if pixels.shape[1] not in (1, 3):
            raise UserError(f"DINOv2 takes images of 1 or 3 channels, got {pixels.shape[1]}")
        pixels = pixels.expand(-1, 3, -1, -1)
        resized = F.interpolate(pixels, size=(SIDE, SIDE), mode="bicubic", align_corners=False, antialias=True)
        mean, std = (torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (MEAN, STD))
        tokens: Tensor = self.network.forward_features((resized - mean) / std)
        return tokens[:, 0]


def positions(embedding: Tensor, side: int) -> Tensor:
    """Return position embeddings (1, 1 + side^2, D) resampled as the authors' code does for another size of images.

    Args:
        embedding: (1, 1 + M^2, D), the class token's first.
        side: Patches a side.
    """
    known = round((embedding.shape[1] - 1) ** 0.5)
    if known == side:
        return embedding
    grid = embedding[:, 1:].reshape(1, known, known, -1).permute(0, 3, 1, 2)
    factor = (side + OFFSET) / known
    grid = F.interpolate(grid, scale_factor=(factor, factor), mode="bicubic")
    return torch.cat([embedding[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], 1)


def _read(path: Path) -> dict[str, Tensor]:
    try:
        content = torch_file.load(path)
        state = checked(content, str(path))
    except UserError:
        raise
    except Exception as error:  # torch raises many kinds for a damaged file; all mean the same to the user
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"'{path}' cannot be read as weights: {reason}") from error
    token, embedding = state.get("cls_token"), state.get("pos_embed")
    if token is None or embedding is None or token.ndim != 3 or embedding.ndim != 3 or "register_tokens" in state:
        raise UserError(f"'{path}' does not hold a DINOv2 backbone without registers; get {FILE} from {URL}")
    return {name: value.float() for name, value in state.items() if name not in UNUSED}


def _load(network: Any, state: dict[str, Tensor], path: Path) -> None:
    try:
        network.load_state_dict({**state, "pos_embed": positions(state["pos_embed"], SIDE // PATCH)})
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"'{path}' does not hold weights of DINOv2: {reason}") from error
