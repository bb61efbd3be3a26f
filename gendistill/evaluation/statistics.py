"""What fidelity needs of the real images, computed once for each extractor and kept."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from gendistill.data.description import Normalisation
from gendistill.data.fingerprint import split_fingerprint, tensors_fingerprint, text_fingerprint
from gendistill.data.real import Split
from gendistill.errors import UserError
from gendistill.evaluation.cache import cache_folder, is_kept, made_anew, read_tensors, write_tensors
from gendistill.evaluation.extractors import Extractor, extract
from gendistill.evaluation.frechet import Gaussian, moments
from gendistill.evaluation.pairs import RealPairs
from gendistill.seeds import stream

KEPT_FEATURES = 10_000
"""Feature vectors kept for KID and the neighbour scores; a larger set is represented by a fixed random draw."""

FORMAT = "2"
TENSORS = {"mean", "covariance", "features", "classes", "places", "class_counts"}


@dataclass(frozen=True)
class RealStatistics:
    """The real side of a comparison.

    Attributes:
        mean: (D,) float64, over all images.
        covariance: (D, D) float64, over all images, unbiased.
        features: (M, D) float32; all images, or a fixed draw of 10,000 of them.
        classes: (M,) int64, of the features.
        places: (M,) int64, where in the split the features' images are.
        class_counts: (K,) int64, over all images, up to the last class that has any.
        dataset: Fingerprint of the images and labels.
        extractor: ``id`` of the extractor.
    """

    mean: Tensor
    covariance: Tensor
    features: Tensor
    classes: Tensor
    places: Tensor
    class_counts: Tensor
    dataset: str
    extractor: str

    @property
    def count(self) -> int:
        """Number of images behind mean and covariance."""
        return int(self.class_counts.sum())

    @property
    def shares(self) -> Tensor:
        """(K,) float64 share of each class in all images."""
        return self.class_counts.double() / self.count

    @cached_property
    def gaussian(self) -> Gaussian:
        """The Gaussian of all images, its factor computed once."""
        if len(self.features) == self.count:
            return Gaussian.of_features(self.features)
        return Gaussian.of_moments(self.mean, self.covariance)

    def frechet_distance(self, features: Tensor) -> float:
        """Return the Fréchet distance to features (N, D) of other images."""
        return Gaussian.of_features(features).distance(self.gaussian)

    def save(self, path: Path) -> None:
        """Write a safetensors file.

        Raises:
            StorageError: The place cannot be written.
        """
        metadata = {"format": FORMAT, "dataset": self.dataset, "extractor": self.extractor}
        write_tensors(path, {name: getattr(self, name) for name in TENSORS}, metadata)

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
        if metadata.get("format") != FORMAT or set(tensors) != TENSORS:
            raise UserError(f"'{path}' does not hold statistics of format {FORMAT}; delete it to have it made anew")
        for what, expected in (("dataset", dataset), ("extractor", extractor)):
            if metadata.get(what) != expected:
                raise UserError(
                    f"the statistics in '{path}' are of {what} {metadata.get(what)}, not of {expected}; "
                    "delete the file to have it made anew"
                )
        found = cls(**tensors, dataset=metadata["dataset"], extractor=metadata["extractor"])
        if not found.whole():
            raise UserError(f"the statistics in '{path}' are damaged; delete the file to have it made anew")
        return found

    def whole(self) -> bool:
        """Return whether the tensors belong together and all numbers are finite."""
        whole_numbers = self.classes, self.places, self.class_counts
        if self.features.ndim != 2 or any(one.ndim != 1 or one.dtype != torch.int64 for one in whole_numbers):
            return False
        size, width = self.features.shape
        shapes = {"mean": (width,), "covariance": (width, width), "classes": (size,), "places": (size,)}
        return (
            all(tuple(getattr(self, name).shape) == shape for name, shape in shapes.items())
            and all(bool(getattr(self, name).isfinite().all()) for name in ("mean", "covariance", "features"))
            and 2 <= size <= self.count
            and int(self.classes.min()) >= 0
            and int(self.classes.max()) < len(self.class_counts)
        )


def compute_statistics(split: Split, normalisation: Normalisation, extractor: Extractor) -> RealStatistics:
    """Return the statistics of a split, feature by feature in float64.

    Args:
        split: Real images, at least 2.
        normalisation: The one in which the extractor is given the images.
        extractor: The network.

    Raises:
        UserError: Fewer than 2 images.
    """
    if len(split) < 2:
        raise UserError(f"real images are compared with as a distribution, which takes at least 2, got {len(split)}")
    features = extract(extractor, split.images, normalisation)
    mean, covariance = moments(features)
    places = torch.arange(len(features))
    if len(features) > KEPT_FEATURES:
        chosen = torch.randperm(len(features), generator=stream(0, "fidelity/kept features"))[:KEPT_FEATURES]
        features, places = features[chosen], places[chosen]
    labels = split.labels.cpu()
    identity = split_fingerprint(split), extractor.id
    return RealStatistics(mean, covariance, features, labels[places], places, torch.bincount(labels), *identity)


def real_statistics(
    split: Split, normalisation: Normalisation, extractor: Extractor, *, folder: Path | None = None
) -> RealStatistics:
    """Return the statistics of a split, from the cache or computed now and put there.

    A file that is damaged, of an earlier format or of something else is made anew.

    Args:
        split: Real images.
        normalisation: The one in which the extractor is given the images.
        extractor: The network.
        folder: Where statistics are kept; by default ``$GENDISTILL_CACHE/statistics`` or
            ``~/.cache/gendistill/statistics``.

    Raises:
        UserError: Fewer than 2 images.
        StorageError: The cache cannot be written.
    """
    dataset, identity = split_fingerprint(split), extractor.id
    name = text_fingerprint(f"{FORMAT}|{dataset}|{identity}|{normalisation}")
    path = (folder or cache_folder("statistics")) / f"{name}.safetensors"
    if is_kept(path):
        try:
            return RealStatistics.load(path, dataset=dataset, extractor=identity)
        except UserError as error:
            made_anew(error)
    statistics = compute_statistics(split, normalisation, extractor)
    statistics.save(path)
    return statistics


def real_pairs(real: RealStatistics, num_classes: int, nearest: int, *, folder: Path | None = None) -> RealPairs:
    """Return what the pairs of real images say, from the cache or computed now and put there.

    Args:
        real: The real side.
        num_classes: Number of classes K.
        nearest: Which neighbour sets the radius of a ball.
        folder: Where it is kept, see :func:`real_statistics`.

    Raises:
        StorageError: The cache cannot be written.
    """
    digest = tensors_fingerprint({"features": real.features, "classes": real.classes})
    name = text_fingerprint(f"pairs|{FORMAT}|{digest}|{num_classes}|{nearest}")
    path = (folder or cache_folder("statistics")) / f"{name}.safetensors"
    given = real.features, real.classes, num_classes
    if is_kept(path):
        try:
            kept = RealPairs.restored(*given, read_tensors(path)[0])
        except UserError as error:
            made_anew(error)
            kept = None
        if kept is not None:
            return kept
    made = RealPairs.of(*given, nearest)
    write_tensors(path, made.tensors(), {"format": FORMAT})
    return made
