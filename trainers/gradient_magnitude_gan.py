"""A GAN whose images shall move a network far, in the direction in which real ones do (eq. 4.5, Bradley 2020).

docs/methods/gan-distillation.md tells the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainers.gan import ConditionalGANTrainer


class GradientMagnitudeGAN(ConditionalGANTrainer):
    """Subtract ``weight *`` the magnitude of the generated images' gradient from the generator's loss.

    Args:
        weight: The factor of the term, lambda in the thesis.
        term: The term's other options; see :class:`~trainers.terms.gradients.GradientMagnitude`.
        terms: Further terms.
        **kwargs: See :class:`~trainers.gan.ConditionalGANTrainer`.
    """

    def __init__(
        self, *, weight: float = 0.1, term: Mapping[str, Any] | None = None, terms: Sequence[Any] = (), **kwargs: Any
    ) -> None:
        own = {
            "class_path": "trainers.terms.gradients.GradientMagnitude",
            "init_args": {"weight": weight, **(term or {})},
        }
        super().__init__(terms=[own, *terms], **kwargs)
