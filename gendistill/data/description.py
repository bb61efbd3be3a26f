"""What a stranger must know of a data set to use images made from it: shape, classes, value range."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from gendistill.data.classes import ClassFit, compare_classes, differences
from gendistill.data.cloud import SHAPE, Cloud
from gendistill.data.embedding import Embedding
from gendistill.data.whitening import Whitening
from gendistill.errors import UserError
from gendistill.plain import readable
from gendistill.spelling import option

LEVELS = {torch.uint8: 255, torch.int32: 2**20}
"""What stored pixels of a type are divided by to lie in [0, 1]: pictures are uint8, coordinates of points int32."""


def as_pixels(images: Tensor) -> Tensor:
    """Return stored pictures or points (N, C, H, W) as pixels in [0, 1] float32; what is no whole number stays."""
    return images.to(torch.float32) / LEVELS.get(images.dtype, 1)


def as_stored(pixels: Tensor, kept: torch.dtype) -> Tensor:
    """Return pixels in [0, 1] as they are stored in a type of :data:`LEVELS`: clipped and rounded, NaN as 0."""
    values = pixels.nan_to_num(0.0).clamp(0, 1) * LEVELS[kept]
    return values.round().to(kept)


EXTREME = 1e9
"""Beyond this, and as a standard deviation below its inverse, pixels of single precision are lost."""


@dataclass(frozen=True)
class Normalisation:
    """Affine map between pixels in [0, 1] and the values that networks see: ``(pixel - mean) / std``, then whitened.

    Sentences have no pixels. They are stored as tokens, and networks see the vectors of an embedding.

    Attributes:
        mean: One number a channel, in [0, 1].
        std: One positive number a channel.
        whitening: What comes after it; None: nothing.
        embedding: Of sentences the vectors that tokens stand for, with a mean of 0 and a std of 1; None: of pictures.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    whitening: Whitening | None = None
    embedding: Embedding | None = None

    @classmethod
    def of_words(cls, embedding: Embedding) -> Normalisation:
        """Return the normalisation of sentences whose words have these vectors."""
        return cls((0.0,), (1.0,), None, embedding)

    def __post_init__(self) -> None:
        if self.embedding is not None and (self.mean, self.std, self.whitening) != ((0.0,), (1.0,), None):
            raise UserError("sentences have an embedding alone: no mean, standard deviation or whitening beside it")
        numbers = all(math.isfinite(value) for value in (*self.mean, *self.std))
        if len(self.mean) != len(self.std) or not self.mean or not numbers or min(self.std) <= 0:
            raise UserError(f"normalisation needs one mean and one positive std a channel, got {self.mean}, {self.std}")
        if max(map(abs, (*self.mean, *self.std))) > EXTREME or min(self.std) < 1 / EXTREME:
            raise UserError(
                f"normalisation needs means up to {EXTREME:g} and stds from {1 / EXTREME:g} to {EXTREME:g}, got "
                f"{self.mean}, {self.std}; images would be zero or infinite"
            )

    def apply(self, pixels: Tensor) -> Tensor:
        """Map pixels in [0, 1], or stored ones (:data:`LEVELS`), (N, C, H, W), to normalised float32 values.

        Tokens (N, 1, L, 1) are mapped to vectors (N, 1, L, D), and vectors stay as they are.
        """
        if self.embedding is not None:
            return pixels if pixels.is_floating_point() else self.embedding.apply(pixels)
        scale = float(LEVELS.get(pixels.dtype, 1))
        mean, std = _channels(self.mean, self.std, pixels.device)
        images = pixels.to(torch.float32)
        # In place where the values are a copy: one temporary instead of three.
        images = images - scale * mean if images is pixels else images.sub_(scale * mean)
        images.div_(scale * std)
        return images if self.whitening is None else self.whitening.apply(images)

    def invert(self, images: Tensor) -> Tensor:
        """Map normalised images (N, C, H, W) back to pixels; the result is in [0, 1] up to what was over-drawn.

        Vectors of sentences stay as they are.
        """
        mean, std = _channels(self.mean, self.std, images.device)
        return (images if self.whitening is None else self.whitening.invert(images)).mul(std).add_(mean)

    def convert(self, images: Tensor, other: Normalisation) -> Tensor:
        """Re-express images (N, C, H, W) that are normalised by ``self`` in the normalisation ``other``.

        Raises:
            UserError: One of them is of sentences; vectors of one embedding mean nothing in another.
        """
        if self.embedding != other.embedding:
            raise UserError(
                "vectors of one embedding mean nothing in another; let learners see sentences as the teacher does "
                "(normalisation: teacher)"
            )
        return images if other == self else other.apply(self.invert(images))

    def plain(self) -> Normalisation:
        """Return the normalisation without its whitening."""
        return self if self.whitening is None else Normalisation(self.mean, self.std)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold; of a whitening or an embedding its size and checksum alone."""
        values: dict[str, Any] = {"mean": self.mean, "std": self.std}
        if self.whitening is not None:
            values["whitening"] = {"values": self.whitening.size, "sha256": self.whitening.sha256}
        if self.embedding is not None:
            words, size = len(self.embedding.words), self.embedding.size
            values["embedding"] = {"words": words, "values": size, "sha256": self.embedding.sha256}
        return values

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], whitening: Whitening | None = None, embedding: Embedding | None = None
    ) -> Normalisation:
        """Read what :meth:`to_dict` wrote.

        Args:
            values: The plain values.
            whitening: The whitening that they name, which comes from elsewhere.
            embedding: The embedding that they name, which comes from elsewhere.

        Raises:
            UserError: The whitening or embedding is missing or is another one.
            KeyError, TypeError, ValueError: A value is missing or of the wrong kind.
        """
        for name, there in (("whitening", whitening), ("embedding", embedding)):
            named = values.get(name)
            if (named is None) != (there is None):
                given, wanted = ("none", "a") if there is None else ("one", "no")
                raise UserError(f"the description of the data set names {wanted} {name}, {given} is there")
            if there is not None and named is not None and named["sha256"] != there.sha256:
                raise UserError(f"the description of the data set names another {name} than the one that is there")
        mean, std = (tuple(float(number) for number in values[name]) for name in ("mean", "std"))
        return cls(mean, std, whitening, embedding)


@lru_cache(maxsize=64)
def _channels(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    # Kept on the device: making a tensor from numbers waits for a GPU, and every batch needs these.
    return torch.tensor(mean, device=device).view(1, -1, 1, 1), torch.tensor(std, device=device).view(1, -1, 1, 1)


def symmetric(channels: int) -> Normalisation:
    """Return the normalisation to [-1, 1] that generators with a tanh output work in."""
    return Normalisation((0.5,) * channels, (0.5,) * channels)


@dataclass(frozen=True)
class Description:
    """A data set without its images.

    Attributes:
        name: The data set's name, such as ``digits``.
        class_names: One name a class, in label order.
        image_shape: (C, H, W) in pixels; of sentences (1, L, D): L words, each a vector; of points (2, 1, 1).
        normalisation: How images are mapped for networks.
        cloud: The modes of points of the plane, one a class; None: the data are pictures or sentences.
    """

    name: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    normalisation: Normalisation = field(default_factory=lambda: symmetric(1))
    cloud: Cloud | None = None

    def __post_init__(self) -> None:
        for name in (self.name, *self.class_names):
            if readable(name) != name:
                raise UserError(f"the name '{readable(name)}' of a data set or a class is not UTF-8; rename it")
        channels = self.image_shape[0]
        if len(self.normalisation.mean) != channels:
            raise UserError(
                f"data set '{self.name}' has {channels} channels, its normalisation {len(self.normalisation.mean)}"
            )
        whitening = self.normalisation.whitening
        if whitening is not None and whitening.size != math.prod(self.image_shape):
            raise UserError(
                f"images of '{self.name}' have {math.prod(self.image_shape)} values, its whitening {whitening.size}"
            )
        embedding = self.normalisation.embedding
        if embedding is not None and embedding.size != self.image_shape[2]:
            raise UserError(
                f"words of '{self.name}' have {self.image_shape[2]} values, its embedding has {embedding.size}"
            )
        if self.cloud is not None:
            if self.image_shape != SHAPE or embedding is not None or whitening is not None:
                raise UserError(f"'{self.name}' holds points, which have the shape {SHAPE}, no whitening and no words")
            if len(self.cloud.centres) != self.num_classes:
                raise UserError(f"'{self.name}' has {self.num_classes} classes for {len(self.cloud.centres)} modes")

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def embedding(self) -> Embedding | None:
        """The vectors of a text's words; None: the data are pictures."""
        return self.normalisation.embedding

    @property
    def kind(self) -> str:
        """What the data hold, in a sentence: ``pictures``, ``sentences`` or ``points``."""
        return "sentences" if self.embedding is not None else "pictures" if self.cloud is None else "points"

    @property
    def of_generators(self) -> Normalisation:
        """The normalisation in which generators make images: [-1, 1], the range of a tanh; of points the data's own."""
        return symmetric(self.image_shape[0]) if self.cloud is None else self.normalisation

    @property
    def stored(self) -> tuple[tuple[int, int, int], torch.dtype]:
        """Shape and type of a real image as it is stored: uint8 (C, H, W); int32 points (2, 1, 1), tokens (1, L, 1)."""
        if self.embedding is None:
            return self.image_shape, torch.uint8 if self.cloud is None else torch.int32
        return (1, self.image_shape[1], 1), torch.int32

    def with_normalisation(self, normalisation: Normalisation) -> Description:
        """Return the same data set described in another normalisation."""
        return replace(self, normalisation=normalisation)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return {
            "name": self.name,
            "class_names": self.class_names,
            "image_shape": self.image_shape,
            "normalisation": self.normalisation.to_dict(),
            **({} if self.cloud is None else {"points": self.cloud.to_dict()}),
        }

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], whitening: Whitening | None = None, embedding: Embedding | None = None
    ) -> Description:
        """Read what :meth:`to_dict` wrote.

        Args:
            values: The plain values.
            whitening: See :meth:`Normalisation.from_dict`.
            embedding: See :meth:`Normalisation.from_dict`.

        Raises:
            UserError: A value is missing or of the wrong kind.
        """
        try:
            channels, height, width = (int(number) for number in values["image_shape"])
            return cls(
                name=str(values["name"]),
                class_names=tuple(str(name) for name in values["class_names"]),
                image_shape=(channels, height, width),
                normalisation=Normalisation.from_dict(values["normalisation"], whitening, embedding),
                cloud=None if values.get("points") is None else Cloud.from_dict(values["points"]),
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(f"the description of the data set is not complete: {error!r}") from error


def check_fits(made_for: Description, real: Description, name: str | None = None) -> ClassFit:
    """Refuse a teacher whose classes, image shape or vocabulary are not those of the real data.

    Args:
        made_for: What the teacher was made for.
        real: The real data.
        name: What the user calls the teacher.

    Returns:
        How the classes stand to each other: they may come in another order, or one side may only number them.

    Raises:
        UserError: They differ.
    """
    teacher = "the teacher" if name is None else f"teacher '{name}'"
    if made_for.num_classes != real.num_classes:
        raise UserError(
            f"{teacher} was made for {made_for.num_classes} classes ('{made_for.name}'), but '{real.name}' has "
            f"{real.num_classes}; choose the data set that it was made for"
        )
    if tuple(made_for.image_shape) != tuple(real.image_shape):
        of_what, names = ("images of a folder", ("image_size", "channels"))
        if real.embedding is not None:
            of_what, names = "a text", ("length", "embedding")
        shaping = f"of {of_what} {option(names[0])} and {option(names[1])}"
        raise UserError(
            f"{teacher} makes images of shape {tuple(made_for.image_shape)} ('{made_for.name}'), but '{real.name}' has "
            f"{tuple(real.image_shape)}; choose the data set that it was made for ({shaping} change the shape)"
        )
    if made_for.cloud is not None and real.cloud is not None and made_for.cloud != real.cloud:
        raise UserError(
            f"{teacher} was made for the points of '{made_for.name}', and those of '{real.name}' lie elsewhere; choose "
            "the data set that it was made for"
        )
    of_teacher, of_data = made_for.embedding, real.embedding
    if (of_teacher is None) != (of_data is None) or (of_teacher and of_data and of_teacher.words != of_data.words):
        raise UserError(
            f"{teacher} was made for another vocabulary than that of '{real.name}'; choose the text, "
            f"{option('length')}, {option('vocabulary')} and {option('embedding')} that it was made for"
        )
    fit = compare_classes(made_for.class_names, real.class_names, (made_for.name, real.name))
    if not fit.same:
        own, others = differences(made_for.class_names, real.class_names)
        raise UserError(
            f"{teacher} was made for the classes {own} ('{made_for.name}'), but '{real.name}' has {others}; choose the "
            "data set that it was made for, or give classes that are the same the same names"
        )
    return fit
