"""A loss of your own on a GTN: the images that a learner sees at one step shall differ from each other."""

from typing import Any, ClassVar

from torch import Tensor

from trainers.batch import Made
from trainers.gtn import GTNTrainer


class VariedGTN(GTNTrainer):
    """Subtract ``weight *`` the pixels' mean standard deviation over a step's batch from the meta-loss."""

    extra_loss_by_group: ClassVar[bool] = True  # a group is an inner step's batch, one graph at a time

    def __init__(self, *, weight: float = 0.1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.weight = weight

    def extra_loss(self, made: Made) -> Tensor:
        """Return the term of one inner step; the trainer takes the mean over steps."""
        spread = (made.images.var(0) + 1e-6).sqrt().mean()
        self.record("images/spread", spread)
        return -self.weight * spread
