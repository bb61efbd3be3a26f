"""A loss of your own on distribution matching: synthetic images shall have the contrast of real ones."""

from typing import Any

from torch import Tensor

from trainers.batch import Made
from trainers.distribution_matching import DistributionMatchingTrainer


class ContrastDM(DistributionMatchingTrainer):
    """Add ``weight * (standard deviation of all synthetic pixels - that of as many real images' pixels)^2``."""

    def __init__(self, *, weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight = weight

    def extra_loss(self, made: Made) -> Tensor:
        """Return the term; all images come at once, as it is no mean over images."""
        real = self.draw_alike("contrast", made.classes)
        term = (made.images.std() - real.images.std()).square()
        self.record("loss/contrast", term)
        return self.weight * term
