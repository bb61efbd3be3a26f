"""A loss of your own on a GAN: generated batches shall be as bright as real ones."""

from typing import Any

from torch import Tensor

from trainers.batch import Made
from trainers.gan import ConditionalGANTrainer


class BrightnessGAN(ConditionalGANTrainer):
    """Add ``weight * (mean brightness of fakes - mean brightness of real images)^2`` to the generator's loss."""

    def __init__(self, *, weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight = weight

    def extra_loss(self, made: Made) -> Tensor:
        """Return the brightness term, from the mean over all processes: a square of parts is another number."""
        real = self.draw_real("brightness", 64)
        term = (self.mean_over_processes(made.images.mean()) - real.images.mean()).square()
        self.record("loss/brightness", term)
        return self.weight * term
