"""A GAN with a probe network: a network that stays random shall find generated images where it finds real ones."""

from typing import Any

from torch import Tensor

from gendistill.nets.learners import ConvNet
from trainers.batch import Made
from trainers.gan import ConditionalGANTrainer


class ProbeGAN(ConditionalGANTrainer):
    """Add ``weight * || mean f(fakes) - mean f(real images) ||^2`` for the features f of a random network."""

    def __init__(self, *, weight: float = 0.1, width: int = 16, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight = weight
        self.width = width

    def build(self) -> None:
        """Make the networks of the GAN, and the probe from a seed of its own; it is saved with them."""
        super().build()
        description = self.data.description
        with self.initialised("probe"):
            self.probe = ConvNet(description.num_classes, description.image_shape, width=self.width, depth=2)
        self.probe.requires_grad_(False)

    def extra_loss(self, made: Made) -> Tensor:
        """Return the distance of mean features, from the mean over all processes: its square comes after."""
        real = self.draw_real("probe", 64)
        found = self.mean_over_processes(self.probe.features(made.images).mean(0))
        term = (found - self.probe.features(real.images).mean(0)).square().sum()
        self.record("loss/probe", term)
        return self.weight * term
