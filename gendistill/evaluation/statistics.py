"""What fidelity needs of the real images, computed once for each extractor and kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gendistill.data.description import Normalisation
from gendistill.data.fingerprint import split_fingerprint, text_fingerprint
from gendistill.data.real import Split
from gendistill.errors import UserError
from gendistill.evaluation.cache import cache_folder, read_tensors, write_tensors
from gendistill.evaluation.extractors import Extractor, extract
from gendistill.evaluation.frechet import frechet_distance_from_features, frechet_distance_to_moments, moments
from gendistill.seeds import stream

KEPT_FEATURES = 10_000
"""Feature vectors kept for KID and the neighbour scores; a larger set is represented by a fixed random draw."""

FORMAT = "1"


@dataclass(frozen=True)
class RealStatistics:
    """The real side of a comparison.

    Attributes:
        mean: (D,) float64, over all images.
        covariance: (D, D) float64, over all images, unbiased.
        features: (M, D) float32; all images, or a fixed draw of 10,000 of them.
        count: Number of images behind mean and covariance.
        dataset: Fingerprint of the images and labels.
        extractor: ``id`` of the extractor.
    """

    mean: Tensor
    covariance: Tensor
    features: Tensor
    count: int
    dataset: str
    extractor: str

    def frechet_distance(self, features: Tensor) -> float:
        """Return the Fréchet distance to features (N, D) of other images."""
        if len(self.features) == self.count:
            return frechet_distance_from_features(features, self.features)
        return frechet_distance_to_moments(features, self.mean, self.covariance)

    def save(self, path: Path) -> None:
        """Write a safetensors file.

        Raises:
            StorageError: The place cannot be written.
        """
        metadata = {
            "format": FORMAT,
            "count": str(self.count),
            "dataset": self.dataset,
            "extractor": self.extractor,
        }
        tensors = {"mean": self.mean, "covariance": self.covariance, "features": self.features}
        write_tensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: Path, *, dataset: str, extractor: str) -> RealStatistics:
        """Read statistics, and refuse those of another data set or another extractor.

        Args:
            path: What :meth:`save` wrote.
            dataset: Fingerprint of the images that the caller compares with.
            extractor: ``id`` of the extractor that the caller uses.

        Raises:
            UserError: The file is damaged or belongs to something else.
        """
        tensors, metadata = read_tensors(path)
        if metadata.get("format") != FORMAT or set(tensors) != {"mean", "covariance", "features"}:
            raise UserError(f"'{path}' does not hold statistics of format {FORMAT}; delete it to have it made anew")
        for what, expected in (("dataset", dataset), ("extractor", extractor)):
            if metadata.get(what) != expected:
                raise UserError(
                    f"the statistics in '{path}' are of {what} {metadata.get(what)}, not of {expected}; "
                    "delete the file to have it made anew"
                )
        count = int(metadata["count"])
        return cls(**tensors, count=count, dataset=metadata["dataset"], extractor=metadata["extractor"])


def compute_statistics(split: Split, normalisation: Normalisation, extractor: Extractor) -> RealStatistics:
    """Return the statistics of a split, feature by feature in float64.

    Args:
        split: Real images, at least 2.
        normalisation: The one in which the extractor is given the images.
        extractor: The network.

    Raises:
        UserError: Fewer than 2 images.
    """
    features = extract(extractor, split.images, normalisation)
    mean, covariance = moments(features)
    if len(features) > KEPT_FEATURES:
        chosen = torch.randperm(len(features), generator=stream(0, "fidelity/kept features"))[:KEPT_FEATURES]
        features = features[chosen]
    return RealStatistics(mean, covariance, features, len(split), split_fingerprint(split), extractor.id)


def real_statistics(
    split: Split, normalisation: Normalisation, extractor: Extractor, *, folder: Path | None = None
) -> RealStatistics:
    """Return the statistics of a split, from the cache or computed now and put there.

    Args:
        split: Real images.
        normalisation: The one in which the extractor is given the images.
        extractor: The network.
        folder: Where statistics are kept; by default ``$GENDISTILL_CACHE/statistics`` or
            ``~/.cache/gendistill/statistics``.

    Raises:
        UserError: The cached file is damaged or of something else.
        StorageError: The cache cannot be written.
    """
    dataset, identity = split_fingerprint(split), extractor.id
    name = text_fingerprint(f"{FORMAT}|{dataset}|{identity}|{normalisation}")
    path = (folder or cache_folder("statistics")) / f"{name}.safetensors"
    if path.is_file():
        return RealStatistics.load(path, dataset=dataset, extractor=identity)
    statistics = compute_statistics(split, normalisation, extractor)
    statistics.save(path)
    return statistics
