"""What a latent search gives: a generator with the latents found, or the images where it left the latents."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gendistill.nets.learners import default_learner
from gendistill.teacher import GeneratorTeacher, StoredImages, Teacher
from trainers.latent_objectives.meta_loss import MetaLoss
from trainers.latent_objectives.trajectory import TrajectoryMatching
from trainers.latents.space import at_values, class_embeddings

if TYPE_CHECKING:
    from trainers.latent_search import LatentSearchTrainer

PATH_POINTS = 101


def teacher_at(search: LatentSearchTrainer, values: list[Tensor], trail: Sequence[Tensor] = ()) -> Teacher:
    """Return the teacher at given values of what is searched.

    Args:
        search: The search.
        values: Points (N, ...), then, if they move, the class embeddings.
        trail: Latents (N, nz) of every step, of which every image counts; none: the points' images.

    Returns:
        The generator with its latents; stored images where a layer's features were searched, which are larger than the
        images themselves.
    """
    source, labels = search.source, search.labels
    metadata = _metadata(search)
    if search.space.layer is not None:
        with torch.no_grad(), _moved(search, values):
            images = search.space.render(values[0], search.base)
        return StoredImages(images, labels, source.description, learning_rates=_rates(search), metadata=metadata)
    network: nn.Module = search.network
    if len(values) > 1:
        network = copy.deepcopy(network)
        at_values(class_embeddings(network), values[1:])
    latents = values[0]
    if trail:
        latents, labels = torch.cat(list(trail)), labels.repeat(len(trail))
    return GeneratorTeacher(
        network,
        source.description,
        latents=latents,
        labels=labels,
        learning_rates=_rates(search),
        batch_norm=source.batch_norm,
        metadata=metadata,
    )


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


def _metadata(search: LatentSearchTrainer) -> dict[str, Any]:
    return ({} if search.poison is None else search.poison.metadata()) | {
        "source": f"{type(search).__name__}, step {search.step}",
        "seed": search.run.options.seed,
        "generator": dict(search.source.metadata),
        "learner": search.probe_spec or default_learner(search.data.description),
        "path": path_of(search.norms, search.angles, float(search.latents[0].numel() ** 0.5)),
    }


def _rates(search: LatentSearchTrainer) -> Tensor | None:
    """Return the learning rates of the first objective that trains networks, None where none does."""
    teaching = (one for one in search.objectives if isinstance(one, (MetaLoss, TrajectoryMatching)))
    return next((one.learning_rates() for one in teaching), None)


class _moved:
    """Class embeddings at given values inside, back where they were after."""

    def __init__(self, search: LatentSearchTrainer, values: list[Tensor]) -> None:
        self.parameters = [] if len(values) == 1 else class_embeddings(search.network)
        self.values = values[1:]

    def __enter__(self) -> None:
        self.before = [parameter.detach().clone() for parameter in self.parameters]
        at_values(self.parameters, self.values)

    def __exit__(self, *error: object) -> None:
        at_values(self.parameters, self.before)
