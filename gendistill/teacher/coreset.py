"""Coresets of the real training images as teachers: herding, k-center and k-means, class by class."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from gendistill import coresets
from gendistill.data.real import RealData
from gendistill.errors import UserError, did_you_mean
from gendistill.objects import locate
from gendistill.seeds import stream
from gendistill.teacher.stored import StoredImages
from gendistill.teacher.subset import RealSubset

Method = Literal["herding", "kcenter", "kmeans", "kmeans-mean"]
METHODS = get_args(Method)

PIXELS = "pixels"
# Named, not imported: networks that judge stand above teachers.
CHOOSE = "gendistill.evaluation.choice.choose_extractor"
EXTRACT = "gendistill.evaluation.extractors.extract"
VALUES = 2**26
"""Feature values (256 MiB) of the classes that are looked at together, at most; one class is always taken whole."""


def coreset(
    data: RealData, method: str, images_per_class: int, *, features: str = "classifier", seed: int = 0
) -> StoredImages:
    """Return a coreset of the training images with the same number of images of every class.

    Args:
        data: The real data. Images are chosen among ``train`` alone.
        method: ``herding``, ``kcenter`` (greedy), ``kmeans`` (the real image nearest to each centre) or
            ``kmeans-mean`` (the mean image of each cluster: synthetic images).
        images_per_class: From 1 to the size of the smallest class.
        features: Where distances are measured; see :func:`feature_vectors`.
        seed: Of k-means; herding and k-center have nothing to draw.

    Returns:
        Real images, or for ``kmeans-mean`` stored ones, ordered by class and there by the order of choice.

    Raises:
        UserError: Unknown method or features, or a number of images out of range.
    """
    if method not in METHODS:
        hint = did_you_mean(method, METHODS)
        raise UserError(f"there is no coreset '{method}'; {hint}choose one of {', '.join(METHODS)}")
    description, split = data.description, data.train
    counts = torch.bincount(split.labels, minlength=description.num_classes)
    if not 1 <= images_per_class <= int(counts.min()):
        least = description.class_names[int(counts.argmin())]
        raise UserError(
            f"a coreset of '{description.name}' has 1..{int(counts.min())} images a class, got {images_per_class}: "
            f"class '{least}' has {int(counts.min())}"
        )
    vectors = feature_vectors(data, features)
    members, valid = coresets.grouped(split.labels, description.num_classes)
    at_once = max(1, VALUES // (members.shape[1] * vectors.shape[1]))
    generator = stream(seed, f"coreset/{method}")
    metadata = {
        "seed": seed,
        "source": {
            "dataset": description.name,
            "images": description.num_classes * images_per_class,
            "selection": method,
            "features": features,
        },
    }
    made = []
    for some, taken in zip(members.split(at_once), valid.split(at_once), strict=True):
        if method == "kmeans-mean":
            _, sides = coresets.k_means(vectors[some], taken, images_per_class, generator)
            made.append(_mean_images(data, some, taken, sides, images_per_class))
        else:
            made.append(some.gather(1, _places(method, vectors[some], taken, images_per_class, generator)))
    if method == "kmeans-mean":
        labels = torch.arange(description.num_classes, device=split.labels.device).repeat_interleave(images_per_class)
        return StoredImages(torch.cat(made).flatten(0, 1), labels, description, metadata=metadata)
    index = torch.cat(made).flatten()
    return RealSubset(split.images[index], split.labels[index], description, metadata=metadata)


def feature_vectors(data: RealData, features: str, images: Tensor | None = None) -> Tensor:
    """Return a vector for each training image, or for each of other images.

    Args:
        data: The real data.
        features: ``pixels`` (normalised), or a network as for the Fréchet distance: ``classifier`` (trained once on the
            training images and kept), ``inception``, or the dotted path of an extractor.
        images: (N, C, H, W) float32, normalised as the data set is; None: the training images.

    Returns:
        (N, D) float32 on the device of the images.

    Raises:
        UserError: The word names nothing.
    """
    if features == PIXELS:
        pixels = data.description.normalisation.apply(data.train.images) if images is None else images
        return pixels.flatten(1)
    images = data.train.images if images is None else images
    extractor = locate(CHOOSE)(features, data)
    vectors: Tensor = locate(EXTRACT)(extractor, images, data.description.normalisation)
    return vectors.to(images.device)


def _places(method: str, features: Tensor, valid: Tensor, count: int, generator: torch.Generator) -> Tensor:
    if method == "herding":
        return coresets.herding(features, valid, count)
    if method == "kcenter":
        return coresets.k_center(features, valid, count)
    centres, _ = coresets.k_means(features, valid, count, generator)
    return coresets.nearest_members(features, valid, centres)


def _mean_images(data: RealData, members: Tensor, valid: Tensor, sides: Tensor, count: int) -> Tensor:
    """Return the mean image of every cluster (G, count, C, H, W), normalised."""
    images = data.description.normalisation.apply(data.train.images[members])
    weights = torch.nn.functional.one_hot(sides, count).to(images) * valid[..., None]
    sums = torch.einsum("gmk,gmchw->gkchw", weights, images)
    sizes = weights.sum(1)[..., None, None, None]
    if bool((sizes == 0).any()):
        raise UserError(
            f"k-means left a cluster of '{data.description.name}' without an image, which happens where images are "
            "equal; ask for fewer images a class, or for kmeans in place of kmeans-mean"
        )
    return sums / sizes
