"""What a trained classifier thinks of the images."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, cast

import torch.nn.functional as F
from torch import Tensor

from trainers.batch import Batch
from trainers.chunks import mapped, rows_apart
from trainers.latent_objectives.objective import Objective

TRAINED: dict[str, Any] = {"state": "pretrained", "steps": 300, "mode": "eval"}


class Confidence(Objective):
    """``- mean log p(y | G(z, y))`` for a classifier p that was trained on the real images.

    Alone it finds what the classifier is surest of, class by class the same few kinds of images; beside another
    objective it keeps images from being mislabelled.

    Args:
        probe: The classifier; None: one of the data set's default architecture, trained for 300 updates.
        **kwargs: See :class:`~trainers.latent_objectives.objective.Objective`.

    Raises:
        UserError: An option is out of range.
    """

    def __init__(self, *, probe: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(probe=TRAINED if probe is None else probe, **kwargs)

    def __call__(self, real: Batch, fake: Batch) -> Tensor:
        """Return the mean cross-entropy, a scalar; the real images are not looked at."""
        probe = self.probe()
        parameters = {name: value.detach() for name, value in probe.parameters.items()}
        answer, network = partial(probe.logits, parameters), probe.network
        logits = mapped(answer, fake.images, apart=rows_apart(network), network=network)
        return F.cross_entropy(logits, cast(Tensor, fake.labels))
