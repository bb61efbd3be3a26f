"""What a generator is asked for at each step of a learner's training, and how far the learner then moves.

Such et al. 2020, section 3: latents in a learned order, with a learned learning rate and momentum for each step.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from gendistill.errors import UserError

Kind = Literal["learned", "fixed", "fresh"]


class Curriculum(nn.Module):
    """Latents, labels, learning rates and momenta of T steps.

    Labels are dealt in turn, 0..K-1 and again, through all T*B images, so that every batch is balanced up to one.

    Args:
        steps: T, at least 1.
        batch_size: B, images a step, at least 2.
        nz: Length of a latent.
        num_classes: K.
        generator: Draws the latents; its device is where they live.
        kind: "learned" (a trained latent for every image of every step), "fixed" (drawn once and left) or "fresh"
            (drawn anew by every call of :meth:`draw`: no curriculum).
        learning_rate: Initial learning rate of every step; positive. Its logarithm is what is trained.
        momentum: Initial momentum of every step, in (0, 1). Its logit is what is trained.
        learn_learning_rates: Whether the learning rates are trained.
        learn_momenta: Whether the momenta are trained.

    Raises:
        UserError: An option is out of range.
    """

    labels: Tensor
    latents: Tensor | None

    def __init__(
        self,
        steps: int,
        batch_size: int,
        nz: int,
        num_classes: int,
        generator: torch.Generator,
        *,
        kind: Kind = "learned",
        learning_rate: float = 0.02,
        momentum: float = 0.5,
        learn_learning_rates: bool = True,
        learn_momenta: bool = True,
    ) -> None:
        super().__init__()
        if steps < 1 or batch_size < 2:
            raise UserError(f"a curriculum needs at least 1 step of at least 2 images, got {steps} of {batch_size}")
        if kind not in get_args(Kind):
            raise UserError(f"curriculum is '{kind}'; use one of: {', '.join(get_args(Kind))}")
        if learning_rate <= 0 or not 0 < momentum < 1:
            raise UserError(
                f"learning_rate must be positive and momentum between 0 and 1, both excluded; got {learning_rate} and "
                f"{momentum}"
            )
        self.shape = (steps, batch_size, nz)
        device = generator.device
        labels = torch.arange(steps * batch_size, device=device) % num_classes
        self.register_buffer("labels", labels.view(steps, batch_size))
        if kind == "fresh":
            self.latents = None
        elif kind == "fixed":
            self.register_buffer("latents", self.draw(generator))
        else:
            self.latents = nn.Parameter(self.draw(generator))
        rate, logit = math.log(learning_rate), math.log(momentum) - math.log1p(-momentum)
        self.log_learning_rates = nn.Parameter(torch.full((steps,), rate, device=device), learn_learning_rates)
        self.logit_momenta = nn.Parameter(torch.full((steps,), logit, device=device), learn_momenta)

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return standard normal latents (T, B, nz) on the generator's device."""
        return torch.randn(self.shape, generator=generator, device=generator.device)

    @property
    def learning_rates(self) -> Tensor:
        """(T,) learning rates."""
        return self.log_learning_rates.exp()

    @property
    def momenta(self) -> Tensor:
        """(T,) momenta."""
        return self.logit_momenta.sigmoid()

    def schedules(self) -> list[nn.Parameter]:
        """Return the trained ones among learning rates and momenta."""
        return [value for value in (self.log_learning_rates, self.logit_momenta) if value.requires_grad]
