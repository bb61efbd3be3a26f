"""Extractors: networks whose features a Fréchet distance is measured in, named in every score."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from gendistill.counter import SECONDS_BETWEEN_LINES, Counter
from gendistill.data.description import Normalisation
from gendistill.data.fingerprint import tensors_fingerprint, text_fingerprint
from gendistill.errors import UserError
from gendistill.finite import check_finite


class Extractor(nn.Module, ABC):
    """A frozen network that turns images into feature vectors.

    A subclass sets ``name`` and overrides :meth:`features`; :meth:`probabilities` as well gives an Inception Score. It
    may take ``num_classes`` and ``image_shape`` in its constructor.

    Attributes:
        name: Stands in the brackets of every score: ``FD[<name>]``.
        batch_size: Images a call, for memory.
    """

    name: str
    batch_size: int = 500

    @abstractmethod
    def features(self, images: Tensor, normalisation: Normalisation) -> Tensor:
        """Return features (N, D) of images (N, C, H, W) that are normalised by ``normalisation``."""

    def probabilities(self, features: Tensor) -> Tensor | None:
        """Return class probabilities (N, K) for features (N, D), or None when the network has no classes."""
        return None

    @property
    def id(self) -> str:
        """The name with fingerprints of weights and code: two extractors with one id give the same features."""
        return f"{self.name}/{tensors_fingerprint(self.state_dict())}/{_source_fingerprint(type(self))}"

    def score_name(self, measure: str) -> str:
        """Return the name of a score over this network: ``FD[digits classifier]``."""
        return f"{measure}[{self.name}]"


def _source_fingerprint(cls: type) -> str:
    """Name the code of a class, so that statistics kept from before an edit are not used after it."""
    try:
        source = inspect.getsource(cls)
    except (OSError, TypeError):  # typed at a prompt
        source = ""
    return text_fingerprint(f"{cls.__module__}.{cls.__qualname__}\n{source}")[:8]


def extractor_device(extractor: Extractor, inputs: Tensor) -> torch.device:
    """Return where an extractor's weights are; without weights it works where its inputs are."""
    return next((parameter.device for parameter in extractor.parameters()), inputs.device)


@torch.no_grad()
def extract(extractor: Extractor, images: Tensor, normalisation: Normalisation) -> Tensor:
    """Return features (N, D), float32 on the CPU, of images (N, C, H, W).

    Args:
        extractor: The network.
        images: float32 in ``normalisation``, or as they are stored (uint8, tokens) and normalised batch by batch.
        normalisation: The one that the network is told.

    Raises:
        UserError: An image is not finite, or the extractor returns something else than one finite vector an image.
    """
    device = extractor_device(extractor, images)
    parts: list[Tensor] = []
    tell, done = Counter(f"features of {extractor.name}", "images", after=SECONDS_BETWEEN_LINES), 0
    for batch in images.split(extractor.batch_size):
        done += len(batch)
        batch = batch.to(device)
        shown = check_finite("images", batch) if batch.is_floating_point() else normalisation.apply(batch)
        part = extractor.features(shown, normalisation)
        if part.ndim != 2 or len(part) != len(batch):
            raise UserError(
                f"the extractor '{extractor.name}' must return features (N, D) for {len(batch)} images, it returned "
                f"shape {tuple(part.shape)}"
            )
        parts.append(part.float().cpu())
        tell(done, len(images))
    features = torch.cat(parts)
    if not bool(features.isfinite().all()):
        raise UserError(
            f"the features of extractor '{extractor.name}' are not finite; its weights may hold NaN, or the images "
            "numbers far beyond those of pixels"
        )
    return features
