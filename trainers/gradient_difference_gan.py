"""A GAN whose images shall teach a network what real ones teach it (eq. 4.4, Bradley 2020).

docs/methods/gan-distillation.md tells the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from trainers.gan import ConditionalGANTrainer


class GradientDifferenceGAN(ConditionalGANTrainer):
    """Add ``weight * || g(x, y) - g(G(z, y), y) ||`` to the generator's loss.

    Args:
        weight: The factor of the term, lambda in the thesis.
        term: The term's other options; see :class:`~trainers.terms.gradients.GradientDifference`.
        terms: Further terms.
        **kwargs: See :class:`~trainers.gan.ConditionalGANTrainer`.
    """

    def __init__(
        self, *, weight: float = 0.1, term: Mapping[str, Any] | None = None, terms: Sequence[Any] = (), **kwargs: Any
    ) -> None:
        own = {
            "class_path": "trainers.terms.gradients.GradientDifference",
            "init_args": {"weight": weight, **(term or {})},
        }
        super().__init__(terms=[own, *terms], **kwargs)
