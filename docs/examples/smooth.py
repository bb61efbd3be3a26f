"""A term for the config of any trainer: neighbouring pixels shall be alike."""

from typing import ClassVar

from torch import Tensor

from trainers.batch import Batch
from trainers.terms.term import Term


class Smooth(Term):
    """Mean absolute difference of neighbouring pixels ("total variation"), of what a step has made."""

    by_group: ClassVar[bool] = True  # a mean over images: groups of images may come one after another

    def __call__(self, real: Batch, fake: Batch) -> Tensor:
        """Return the mean over images, a scalar; real images are not looked at."""
        across = fake.images[..., 1:] - fake.images[..., :-1]
        down = fake.images[..., 1:, :] - fake.images[..., :-1, :]
        return across.abs().mean() + down.abs().mean()
