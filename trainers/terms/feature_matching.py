"""Class means of features in random networks, as Distribution Matching, DiM and D2M compare them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gendistill.errors import UserError, did_you_mean
from gendistill.losses.matching import feature_matching
from gendistill.nets.layer_inputs import layer_inputs
from trainers.chunks import class_means, rows_apart
from trainers.terms.class_wise import ClassWise
from trainers.terms.probes import Probe

MATCH = ("features", "logits", "layers")


class FeatureMatching(ClassWise):
    """``sum_c || mean f(x_c) - mean f(G(z, c)) ||^2`` for a probe's embedding f.

    Eq. (6), Zhao & Bilen 2023 ("Dataset Condensation with Distribution Matching"), on a generator's samples as in Wang
    et al. 2023 ("DiM", which matches logits in partly trained networks) and Sajedi et al. 2024 ("D2M", which matches
    several layers).

    Args:
        match: What f is: ``features`` (what the classifier's last layer is given), ``logits``, or ``layers``: what
            every layer but the first is given, each layer's squared distance divided by the number of its units.
        **kwargs: See :class:`~trainers.terms.class_wise.ClassWise`.

    Raises:
        UserError: An option is out of range.
    """

    def __init__(self, *, match: str = "features", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if match not in MATCH:
            raise UserError(f"match is '{match}'; {did_you_mean(match, MATCH)}choose one of {', '.join(MATCH)}")
        self.match = match

    def distance_in(self, probe: Probe, real: Tensor, generated: Tensor) -> Tensor:
        """Return the distance of the class means in one network."""
        with torch.no_grad():
            wanted = self._means(probe, real)
        pairs = zip(wanted, self._means(probe, generated), strict=True)
        distances = [
            feature_matching(one[:, None], other[:, None]) / (one.shape[-1] if self.match == "layers" else 1)
            for one, other in pairs
        ]
        return torch.stack(distances).sum()

    def _means(self, probe: Probe, images: Tensor) -> list[Tensor]:
        """Return the mean embeddings (K, F) of images (K, M, C, H, W)."""
        network = probe.network
        return class_means(
            lambda some: self._embed_rows(probe, some), images, network=network, apart=rows_apart(network)
        )

    def _embed_rows(self, probe: Probe, images: Tensor) -> list[Tensor]:
        """Return embeddings (N, F) of images (N, C, H, W)."""
        parameters = {name: value.detach() for name, value in probe.parameters.items()}
        if self.match == "logits":
            return [probe.logits(parameters, images)]
        found = layer_inputs(probe.network, lambda: probe.logits(parameters, images))[1:]
        return found if self.match == "layers" else found[-1:]
