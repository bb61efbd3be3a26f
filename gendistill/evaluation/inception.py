"""The Inception network of FID, from pytorch-fid's weights, checked before they are loaded."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import Inception3, inception_v3

from gendistill import torch_file
from gendistill.budget import check_file
from gendistill.data.description import Normalisation
from gendistill.errors import UserError
from gendistill.evaluation.extractors import Extractor
from gendistill.regular import expanded, regular
from gendistill.weights import checked

FILE_NAME = "pt_inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/{FILE_NAME}"
HASH_PREFIX = "6726825d"
"""First eight hexadecimal digits of the SHA-256 of the published file, which its name carries."""
TWIN = "weights-inception-2015-12-05-6726825d.pth"
"""Torch-fidelity's file of the same weights, under the same names; its own sum is not published."""


def fid_network() -> Inception3:
    """Return the network of FID without weights: torchvision's Inception v3 with pytorch-fid's patched blocks.

    pytorch-fid's own constructor always downloads and unpickles its file, so its blocks are put in place here.
    """
    from pytorch_fid import inception as blocks

    network = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
    network.Mixed_5b = blocks.FIDInceptionA(192, pool_features=32)
    network.Mixed_5c = blocks.FIDInceptionA(256, pool_features=64)
    network.Mixed_5d = blocks.FIDInceptionA(288, pool_features=64)
    network.Mixed_6b = blocks.FIDInceptionC(768, channels_7x7=128)
    network.Mixed_6c = blocks.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6d = blocks.FIDInceptionC(768, channels_7x7=160)
    network.Mixed_6e = blocks.FIDInceptionC(768, channels_7x7=192)
    network.Mixed_7b = blocks.FIDInceptionE_1(1280)
    network.Mixed_7c = blocks.FIDInceptionE_2(2048)
    return network


class InceptionExtractor(Extractor):
    """The 2048 pool3 features of FID; a score over them, and only that, is called FID.

    Images are mapped to [0, 1], repeated to three channels if grey, rounded to 8 bits (the image files that
    pytorch-fid reads are), resized to 299x299 (bilinear, corners not aligned) and scaled to [-1, 1].

    Torch-fidelity's file of these weights is taken, too. Its sum is not published, so nobody can tell it from another
    file of that name: scores over it are called ``FD[Inception of torch-fidelity]``.

    Args:
        weights: The weights file; None looks for it in torch's hub folder (``$TORCH_HOME/hub/checkpoints``) and else
            downloads it there.
        allow_unverified_weights: Take a file whose hash is not the published one. Scores are then not named FID.

    Raises:
        UserError: No file and no network, a wrong hash, or a file that is not such a state dict.
    """

    batch_size = 50

    def __init__(self, weights: str | Path | None = None, allow_unverified_weights: bool = False) -> None:
        super().__init__()
        path = find_weights(weights)
        digest = digest_of(path)
        self.verified = digest.startswith(HASH_PREFIX)
        twin = path.name == TWIN
        if not self.verified and not twin and not allow_unverified_weights:
            raise UserError(
                f"'{path}' is not pytorch-fid's weights: its SHA-256 starts with {digest[:8]}, not {HASH_PREFIX}; get "
                f"the file anew from {URL} (in Python, allow_unverified_weights takes it, and loses the name FID)"
            )
        unverified = "Inception of torch-fidelity" if twin else "Inception with unverified weights"
        self.name = "Inception" if self.verified else unverified
        self._id = f"{self.name}/{digest[:16]}"
        self.network = fid_network()
        _load(self.network, path)
        # Dropout does nothing in evaluation mode, so an identity head makes the network return its pool3 features.
        head = self.network.fc
        self.network.fc = nn.Identity()
        self.head = nn.Parameter(head.weight.detach())
        self.requires_grad_(False).eval()

    @property
    def id(self) -> str:
        """The name with the hash of the weights file."""
        return self._id

    def score_name(self, measure: str) -> str:
        """Return FID, KID or IS; with other weights ``FD[...]`` with what they are."""
        if not self.verified:
            return super().score_name(measure)
        return "FID" if measure == "FD" else measure

    def features(self, images: Tensor, normalisation: Normalisation) -> Tensor:
        """Return pool3 features (N, 2048) of images (N, 1 or 3, H, W)."""
        pixels = (normalisation.invert(images).clamp(0, 1) * 255).round() / 255
        if pixels.shape[1] not in (1, 3):
            raise UserError(f"Inception takes images of 1 or 3 channels, got {pixels.shape[1]}")
        pixels = pixels.expand(-1, 3, -1, -1)
        resized = F.interpolate(pixels, size=(299, 299), mode="bilinear", align_corners=False)
        features: Tensor = self.network(2 * resized - 1)
        return features

    def probabilities(self, features: Tensor) -> Tensor:
        """Return probabilities (N, 1008) as the first Inception Score did: from the logits without their bias."""
        return (features.to(self.head) @ self.head.T).softmax(1)


def find_weights(path: str | Path | None = None) -> Path:
    """Return the weights file: the given one, else the one in torch's hub folder, else a download into that folder.

    Raises:
        UserError: The given file does not exist, or the download fails.
    """
    if path is not None:
        given = regular(expanded(path))
        if not given.is_file():
            raise UserError(f"there is no Inception weights file '{given}'; get {FILE_NAME} from {URL}")
        check_file(given)
        return given
    cached = Path(torch.hub.get_dir()) / "checkpoints" / FILE_NAME
    if not cached.is_file():
        try:
            cached.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(URL, str(cached), hash_prefix=HASH_PREFIX, progress=False)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"the Inception weights cannot be downloaded ({error}); get {URL} on a machine with a network and put "
                f"it at '{cached}' under its name {FILE_NAME}, or give its path as weights"
            ) from error
    return cached


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(network: nn.Module, path: Path) -> None:
    try:
        state = torch_file.load(path)
        network.load_state_dict(checked(state, str(path), network.state_dict().keys()))
    except UserError:
        raise
    except Exception as error:  # torch raises many kinds for a damaged file; all mean the same to the user
        reason = str(error).splitlines()[0]
        raise UserError(f"'{path}' does not hold weights of FID's Inception network: {reason}") from error
