"""What a latent search gives: a generator with the latents found, or the images where it left the latents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.teacher import GeneratorTeacher, StoredImages, Teacher
from gendistill.teacher.decoded import teacher_of
from trainers.latents.space import Space, at_values, class_embeddings

PATH_POINTS = 101


@dataclass(frozen=True)
class Found:
    """What a search has found at a moment.

    Attributes:
        source: The generator, with its network as the search left it.
        space: Where was searched.
        labels: (N,) the images' classes.
        base: (N, nz) latents at which the layers before the searched one are asked; not used without a layer.
        points: (N, ...) what was searched.
        embeddings: The class embeddings, if they moved; else nothing.
        trail: Latents (N, nz) of every step, of which every image counts; none: the points' images.
        learning_rates: See :class:`gendistill.teacher.Teacher`.
        metadata: See there.
    """

    source: GeneratorTeacher
    space: Space
    labels: Tensor
    base: Tensor
    points: Tensor
    embeddings: Sequence[Tensor]
    trail: Sequence[Tensor]
    learning_rates: Tensor | None
    metadata: Mapping[str, Any]

    def teacher(self) -> Teacher:
        """Return it as a teacher.

        The generator with its latents; stored images where a layer's features were searched, which are larger than the
        images themselves.
        """
        source, labels = self.source, self.labels
        own: dict[str, Any] = {"learning_rates": self.learning_rates, "metadata": self.metadata}
        if self.space.layer is not None:
            with torch.no_grad(), _moved(source.network, self.embeddings):
                images = self.space.render(self.points, self.base)
            return StoredImages(images, labels, source.description, **own)
        latents = self.points
        if self.trail:
            latents, labels = torch.cat(list(self.trail)), labels.repeat(len(self.trail))
        with _moved(source.network, self.embeddings):  # the teacher takes a copy of the network
            return teacher_of(self.space.decode, latents, labels, source.description, **own)


def norms_of(latents: Tensor) -> Tensor:
    """Return mean, smallest and largest norm of latents (N, ...), as (3,)."""
    norms = torch.linalg.vector_norm(latents.detach().flatten(1), dim=-1)
    return torch.stack([norms.mean(), norms.min(), norms.max()])


def path_of(norms: Tensor, angles: Tensor, radius: float) -> dict[str, Any]:
    """Return the way of the latents at most at 101 steps, in plain values.

    Args:
        norms: (S, 3) mean, smallest and largest norm after each step, from step 0 on.
        angles: (S,) mean angle to the start, radians.
        radius: That of the sphere.
    """
    steps = torch.linspace(0, len(norms) - 1, min(len(norms), PATH_POINTS)).round().long()
    mean, smallest, largest = norms[steps.to(norms.device)].T.tolist()
    return {
        "step": steps.tolist(),
        "norm_mean": mean,
        "norm_min": smallest,
        "norm_max": largest,
        "angle_mean": angles[steps.to(angles.device)].tolist(),
        "radius": radius,
    }


@contextmanager
def _moved(network: nn.Module, embeddings: Sequence[Tensor]) -> Iterator[None]:
    """Have class embeddings at given values inside, back where they were after; none given: where they are."""
    parameters = class_embeddings(network) if embeddings else []
    before = [parameter.detach().clone() for parameter in parameters]
    at_values(parameters, list(embeddings))
    try:
        yield
    finally:
        at_values(parameters, before)
