"""What a condensed batch starts from and must beat: smaller batches that cost next to nothing to make."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill import batch_coresets
from gendistill.batch_coresets import SELECTIONS, batch_order
from gendistill.data.real import RealData
from gendistill.errors import UserError, did_you_mean
from gendistill.evaluation.victims import trained_learners
from gendistill.nets.learners import default_learner
from gendistill.seeds import derive_seed, stream
from gendistill.teacher.coreset import feature_vectors
from gendistill.teacher.stored import StoredImages

CONTROLS = ("random", "loss", "herding", "kcenter", "mixup")
"""``random``: a random part, whose gradient is an unbiased estimate already. ``loss``: images drawn by their loss, with
weights. ``herding``, ``kcenter``: coresets of each class of the batch. ``mixup``: means of random pairs."""

LOOKS = 50
"""Updates of the network whose loss tells hard images from easy ones: enough for classes, too few for single images."""


def control(
    name: str,
    images: Tensor,
    labels: Tensor,
    size: int,
    data: RealData,
    generator: torch.Generator,
    *,
    features: str = "pixels",
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Return a smaller batch for each batch.

    Args:
        name: One of :data:`CONTROLS`.
        images: (B, M, C, H, W) float32, normalised as the data set is.
        labels: (B, M) class indices or (B, M, K) soft labels.
        size: Images of the smaller batches, 1..M-1.
        data: The real data.
        generator: Draws, wherever it lives.
        features: Where herding and k-center measure; see :func:`gendistill.teacher.coreset.feature_vectors`.
        seed: Of the network whose loss is taken.

    Returns:
        Images (B, size, C, H, W), and labels as they are, soft for ``mixup``. For ``loss`` they are soft and multiplied
        by the images' weights, which multiplies the cross-entropy.

    Raises:
        UserError: Unknown name, or a size out of range.
    """
    if name not in CONTROLS:
        raise UserError(
            f"there is no control '{name}'; {did_you_mean(name, CONTROLS)}choose among {', '.join(CONTROLS)}"
        )
    length, classes = images.shape[1], data.description.num_classes
    if not 1 <= size < length:
        raise UserError(
            f"a batch of {length} images is made smaller; it cannot have {size} images, but 1..{length - 1}"
        )
    hard = labels.argmax(-1) if labels.is_floating_point() else labels
    if name in SELECTIONS:
        vectors = None
        if name != "random":
            vectors = feature_vectors(data, features, images.flatten(0, 1)).unflatten(0, images.shape[:2])
        return at(images, labels, batch_coresets.select(name, hard, classes, size, generator, vectors))
    soft = labels if labels.is_floating_point() else F.one_hot(labels, classes).to(images)
    if name == "mixup":
        both = batch_coresets.pairs(len(images), length, size, generator).to(images.device)
        parts = [at(images, soft, places) for places in both.unbind(2)]
        return (parts[0][0] + parts[1][0]) / 2, (parts[0][1] + parts[1][1]) / 2
    places, weights = batch_coresets.by_loss(_losses(images, soft, data, seed), size, generator)
    chosen, targets = at(images, soft, places)
    return chosen, targets * weights[..., None]


def control_teacher(
    name: str,
    data: RealData,
    *,
    batch_size: int = 64,
    size: int = 32,
    num_batches: int | None = None,
    features: str = "pixels",
    seed: int = 0,
) -> StoredImages:
    """Return a control as a teacher that shows its batches in order.

    Args:
        name: One of :data:`CONTROLS`, or ``original`` for the whole batches.
        data: The real data.
        batch_size: Images of a real batch.
        size: Images of the smaller one.
        num_batches: See :func:`gendistill.batch_coresets.batch_order`.
        features: See :func:`control`.
        seed: Of the batches and of what is drawn in them.

    Raises:
        UserError: See :func:`control`.
    """
    order = batch_order(data.train.labels, num_batches, batch_size, seed)
    flat, labels = data.train.batch(order.flatten(), data.description.normalisation)
    images, labels = flat.unflatten(0, order.shape), labels.unflatten(0, order.shape)
    if name != "original":
        drawn = stream(seed, f"condensation/{name}")
        images, labels = control(name, images, labels, size, data, drawn, features=features, seed=seed)
    return StoredImages(
        images.flatten(0, 1),
        labels.flatten(0, 1),
        data.description,
        order="fixed",
        batch_size=images.shape[1],
        metadata={"seed": seed, "source": {"dataset": data.description.name, "selection": f"batches: {name}"}},
    )


def at(images: Tensor, labels: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
    """Return images (B, S, C, H, W) and labels (B, S) or (B, S, K) at places (B, S) of each batch."""
    rows = torch.arange(len(images), device=images.device)[:, None]
    places = places.to(images.device)
    return images[rows, places], labels[rows, places]


def _losses(images: Tensor, soft: Tensor, data: RealData, seed: int) -> Tensor:
    """Return the loss (B, M) of each image in a network that has seen a little of the real data."""
    spec = default_learner(data.description)
    (network,) = trained_learners(spec, data, [derive_seed(seed, "condensation/loss") >> 8], updates=LOOKS)
    with torch.no_grad():
        found = [
            F.cross_entropy(network(some), targets, reduction="none")
            for some, targets in zip(images.flatten(0, 1).split(500), soft.flatten(0, 1).split(500), strict=True)
        ]
    return torch.cat(found).view(images.shape[:2]).clamp(min=0)
