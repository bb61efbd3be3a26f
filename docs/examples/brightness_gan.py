"""A loss of your own on a GAN: generated batches shall be as bright as real ones."""

from typing import Any

from torch import Tensor

from trainers.gan import Batch, ConditionalGANTrainer


class BrightnessGAN(ConditionalGANTrainer):
    """Add ``weight * (mean brightness of fakes - mean brightness of real images)^2`` to the generator's loss."""

    def __init__(self, *, weight: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight = weight

    def generator_loss(self, fake: Batch) -> Tensor:
        """Return the adversarial loss plus the brightness term."""
        real_images, _ = self.next_batch()
        term = (fake.images.mean() - real_images.mean()).square()
        self.record("loss/brightness", term)
        return super().generator_loss(fake) + self.weight * term
