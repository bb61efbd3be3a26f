"""Real images as a teacher: the baseline that every other teacher must beat."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from gendistill.data.description import LEVELS, Description
from gendistill.data.real import Split
from gendistill.errors import UserError
from gendistill.teacher.base import Teacher
from gendistill.teacher.draw import even_shares
from gendistill.teacher.stored import StoredImages

NEAR = 0.25
"""How far from a whole one a pixel's value may be that was normalised and kept in half precision."""


class RealSubset(StoredImages):
    """Real images, kept as they are stored and normalised when they are shown; tokens of sentences are embedded then.

    Args:
        images: (N, C, H, W) uint8, tokens (N, 1, L, 1) or points (N, 2, 1, 1) int32; not copied.
        labels: See :class:`StoredImages`.
        description: The data set; its normalisation is applied to each batch.
        **options: See :class:`StoredImages`.
    """

    kind: ClassVar[str] = "real-subset"

    @classmethod
    def stored_as(cls, description: Description) -> tuple[tuple[int, ...], torch.dtype]:
        """Return shape and type of one stored image, which are those of the real data."""
        return description.stored

    def _stored_as(self, description: Description) -> tuple[tuple[int, ...], torch.dtype]:
        if self.decode is not None and self.decode.stored_as(description) != (description.image_shape, torch.float32):
            raise UserError(f"real images are kept as they are, which {type(self.decode).__name__} does not decode")
        return self.stored_as(description)

    def values(self, index: Tensor) -> Tensor:
        """Return images (B, C, H, W) float32, normalised, at ``index`` (B,)."""
        return self.description.normalisation.apply(self.images[index])

    @classmethod
    def all(cls, split: Split, description: Description, metadata: Mapping[str, Any] | None = None) -> Self:
        """Return every image of a split as one teacher."""
        noted = {"source": {"dataset": description.name, "images": len(split), "selection": "all"}}
        return cls(split.images, split.labels, description, metadata=noted | dict(metadata or {}))

    @classmethod
    def random(
        cls,
        split: Split,
        description: Description,
        *,
        generator: torch.Generator,
        images_per_class: int | None = None,
        count: int | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Self:
        """Draw a random subset with as many images of every class as the split allows.

        Args:
            split: The real images.
            description: The data set.
            generator: Draws which images.
            images_per_class: Images of every class, at least 1; give this or ``count``.
            count: Images in total, 1..N. Shares differ by at most one; a class that is too small gives all it has and
                the others fill up.
            metadata: Added to the teacher's metadata.

        Returns:
            The teacher, ordered by class.

        Raises:
            UserError: Neither or both sizes given, or more images asked for than there are.
        """
        if (images_per_class is None) == (count is None):
            raise UserError("give either images_per_class or count for a random subset, not both and not neither")
        order = torch.randperm(len(split), generator=generator, device=generator.device).to(split.labels.device)
        shuffled = split.labels[order]
        members = [order[shuffled == label] for label in range(description.num_classes)]
        available = [len(index) for index in members]
        if images_per_class is not None:
            if not 1 <= images_per_class <= min(available):
                least = description.class_names[available.index(min(available))]
                raise UserError(
                    f"images_per_class must lie in 1..{min(available)} for '{description.name}', got "
                    f"{images_per_class}: class '{least}' has {min(available)}; a number in total (real:subset=K) "
                    "takes of such a class what there is"
                )
            shares = [images_per_class] * len(members)
        else:
            total = int(count or 0)
            if not 1 <= total <= sum(available):
                raise UserError(
                    f"the number of images must lie in 1..{sum(available)} for '{description.name}', got {total}"
                )
            shares = even_shares(total, available, generator)
        index = torch.cat([index[:share] for index, share in zip(members, shares, strict=True)])
        noted = {"source": {"dataset": description.name, "images": len(index), "selection": "random, stratified"}}
        return cls(split.images[index], split.labels[index], description, metadata=noted | dict(metadata or {}))


def shows_real_images(teacher: Teacher) -> bool:
    """Return whether a teacher is real images, or means or softly labelled ones of them, that nothing was learned for.

    Every choice of real images notes how it was chosen.
    """
    return isinstance(teacher, RealSubset) or "selection" in (teacher.noted("source", dict) or {})


def is_everything(teacher: Teacher, split: Split) -> bool:
    """Return whether a teacher is all images of a split, each once, in whatever order, and nothing beside them.

    So are images that were exported and read back, which are normalised numbers then: each must be a pixel's value.

    Args:
        teacher: The teacher.
        split: The real images.
    """
    if not isinstance(teacher, StoredImages) or teacher.images_stored != len(split) or teacher.labels_are_soft:
        return False
    if teacher.images.shape != split.images.shape or teacher.decode is not None or teacher.labeller is not None:
        return False
    images, labels = _as_kept(teacher, split), teacher.labels.cpu()
    if images is None:
        return False
    if torch.equal(images, split.images.cpu()) and torch.equal(labels, split.labels.cpu()):
        return True
    ours, theirs = (_fingerprints(*pair) for pair in ((images, labels), (split.images.cpu(), split.labels.cpu())))
    return ours == theirs


def _as_kept(teacher: StoredImages, split: Split) -> Tensor | None:
    """Return a teacher's images as the split keeps its own, on the CPU; None where they are others."""
    if isinstance(teacher, RealSubset):
        return teacher.images.cpu()
    plain = teacher.order != "fixed" and teacher.batch_size is None and teacher.learning_rates is None
    if not plain or not teacher.images.is_floating_point() or split.images.dtype not in LEVELS:
        return None
    kept = split.images.dtype
    values = teacher.description.normalisation.invert(teacher.images.float()).mul(LEVELS[kept]).cpu()
    pixels = values.round()
    if not bool((((values - pixels).abs() <= NEAR) & (pixels >= 0) & (pixels <= LEVELS[kept])).all()):
        return None
    return pixels.to(kept)


def _fingerprints(images: Tensor, labels: Tensor) -> list[bytes]:
    """Return what tells each image with its label apart, sorted."""
    pairs = zip(images.flatten(1).numpy(), labels.tolist(), strict=True)
    return sorted(hashlib.sha256(image.tobytes() + label.to_bytes(8, "little")).digest() for image, label in pairs)
