"""What batch condensation gives: stored images, or a generator with the latents found, and what they cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from gendistill.evaluation.condensation_metrics import image_gradients
from gendistill.teacher import GeneratorTeacher, StoredImages, Teacher

if TYPE_CHECKING:
    from trainers.batch_condensation import BatchCondensationTrainer


def condensed_teacher(condensation: BatchCondensationTrainer) -> Teacher:
    """Return the condensed batches: stored images, or the generator with its latents as a curriculum."""
    metadata = {
        "source": f"{type(condensation).__name__}, step {condensation.step}",
        "seed": condensation.run.options.seed,
        "condensation": card(condensation),
    }
    labels = torch.cat([part.detach() for part in condensation.labels])
    fixed, source = condensation.order == "fixed", condensation.source
    if source is None:
        return StoredImages(
            condensation.condensed()[0].flatten(0, 1),
            labels.flatten(0, 1),
            condensation.data.description,
            order=condensation.order,
            batch_size=labels.shape[1] if fixed else None,
            metadata=metadata,
        )
    return GeneratorTeacher(
        source.network,
        source.description,
        latents=torch.cat([part.detach() for part in condensation.values]),
        labels=labels,
        conditions=condensation.classes,
        shuffle="none" if fixed else "all",
        batch_norm=source.batch_norm,
        metadata=metadata,
    )


def card(condensation: BatchCondensationTrainer) -> dict[str, Any]:
    """Return what evaluation needs to find the real batches again, and what making the condensed ones cost."""
    sizes, batches = condensation.sizes, len(condensation.index)
    rounds, share = len(sizes) - 1, -(-batches // len(condensation.values))
    looks = share * len(condensation.probes) if condensation.optimise else 0
    return {
        "sizes": list(sizes[: condensation.round + 2]),
        "batches": batches,
        "start": condensation.start,
        "optimised": condensation.optimise,
        "image_gradients": image_gradients(sizes, condensation.steps // rounds, condensation.step, looks),
    }
