"""The frequencies at which a trainer compares characteristic functions: drawn anew at each step, or learned as well."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from gendistill.declared import read_block
from gendistill.errors import UserError
from gendistill.losses.characteristic import characteristic_distance, waves
from gendistill.nets.frequencies import FrequencySampler
from gendistill.seeds import stream
from trainers.checks import check_counts
from trainers.trainer import Trainer


@dataclass
class CharacteristicPlan:
    """How characteristic functions are compared; :mod:`gendistill.losses.characteristic` has the equation.

    Attributes:
        frequencies: T, how many of them at each step. The published code takes 4096; from 1024 on little is gained.
        amplitude: The weight a of amplitudes, from 0.
        phase: The weight b of phases, from 0; not both 0.
        scale: What the distance is multiplied by; positive.
        learned: Whether a small network moves the frequencies to where the distance is largest: it takes a step up the
            distance after each step of the images.
        width: Of the network's hidden layers.
        lr: Its learning rate, by SGD; positive.
        reach: How far it may move a number of a frequency; positive.

    Raises:
        UserError: An option is out of range.
    """

    frequencies: int = 4096
    amplitude: float = 0.5
    phase: float = 0.5
    scale: float = 300.0
    learned: bool = False
    width: int = 256
    lr: float = 1e-3
    reach: float = 1.0

    def __post_init__(self) -> None:
        check_counts(**{"characteristic.frequencies": self.frequencies, "characteristic.width": self.width})
        weights = (self.amplitude, self.phase)
        if not all(0 <= weight < math.inf for weight in weights) or not any(weights):
            raise UserError(
                "characteristic.amplitude and characteristic.phase must be at least 0 and not both 0, got "
                f"{self.amplitude} and {self.phase}"
            )
        if not all(0 < value < math.inf for value in (self.scale, self.lr, self.reach)):
            raise UserError(
                f"characteristic's scale, lr and reach must be positive, got {self.scale}, {self.lr} and {self.reach}"
            )

    @classmethod
    def of(cls, spec: Mapping[str, Any] | None) -> Self | None:
        """Return what an option ``characteristic`` asks for; None: means are compared.

        Raises:
            UserError: An unknown key, or a value of a wrong type.
        """
        return None if spec is None else read_block(cls, spec, "characteristic")


class Characteristic:
    """A step's frequencies, and the network that moves them, if there is one.

    All classes of a step, and all processes, share them; each step draws others from the run's seed.

    Args:
        plan: The options.
        trainer: Inside its ``build()``.
        features: F, length of a feature vector.
    """

    def __init__(self, plan: CharacteristicPlan, trainer: Trainer, features: int) -> None:
        self.plan, self.trainer, self.features = plan, trainer, features
        self.sampler: FrequencySampler | None = None
        if plan.learned:
            with trainer.initialised("characteristic"):
                self.sampler = FrequencySampler(features, plan.width, plan.reach)
            self.sampler.to(trainer.device)
            self.optimizer = torch.optim.SGD(self.sampler.parameters(), lr=plan.lr)
        self.frequencies = self.made = torch.empty(0)

    def draw(self, step: int) -> None:
        """Draw the frequencies (T, F) of a step."""
        generator = stream(self.trainer.run.options.seed, f"characteristic/{step}")
        normal = torch.randn(self.plan.frequencies, self.features, generator=generator).to(self.trainer.device)
        self.made = normal if self.sampler is None else self.sampler(normal)
        self.frequencies = self.made.detach().requires_grad_(self.sampler is not None)

    @property
    def leaves(self) -> list[Tensor]:
        """What the distance's gradient is wanted of beside the images': the frequencies, where they are learned."""
        return [] if self.sampler is None else [self.frequencies]

    def of_images(self, features: Tensor) -> list[Tensor]:
        """Return what :meth:`distance` wants the class means of, for features (N, F)."""
        return waves(features, self.frequencies.to(features.dtype))

    def distance(self, real: list[Tensor], synthetic: list[Tensor]) -> Tensor:
        """Return the distance, summed over classes, of class means (K, T) of what :meth:`of_images` gives."""
        weights = {"amplitude": self.plan.amplitude, "phase": self.plan.phase}
        (a, b), (c, d) = real, synthetic
        return self.plan.scale * characteristic_distance((a, b), (c, d), **weights)

    def ascend(self) -> None:
        """Let the network take a step up the distance, whose gradient is that of :attr:`leaves`."""
        if self.sampler is None:
            return
        self.optimizer.zero_grad(set_to_none=True)
        self.made.backward(-self.frequencies.grad)  # type: ignore[operator]
        self.optimizer.step()
        self.frequencies = self.made = torch.empty(0)

    def state_dict(self) -> dict[str, Any]:
        """Return the network's state and its optimiser's; frequencies come of the seed."""
        if self.sampler is None:
            return {}
        return {"sampler": self.sampler.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the state back."""
        if self.sampler is not None:
            self.sampler.load_state_dict(state["sampler"])
            self.optimizer.load_state_dict(state["optimizer"])
