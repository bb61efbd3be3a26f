"""A term of a GAN's loss: one small object that the trainer calls with a real and a generated batch."""

from __future__ import annotations

import copy
import math
import re
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn

from gendistill.data.description import Normalisation
from gendistill.data.real import RealData
from gendistill.data.sampling import ClassSampler
from gendistill.errors import UserError, did_you_mean
from gendistill.nets.chance import Chance
from gendistill.runs.attributes import capture, holds_state, is_plain, restore
from gendistill.runs.context import RunContext
from gendistill.seeds import derive_seed
from trainers.batch import Batch
from trainers.class_sizes import taken_whole

Network = TypeVar("Network", bound=nn.Module)
NETWORKS = ("generator", "discriminator")
APPLY_TO = (*NETWORKS, "both")


class TermHost(Protocol):
    """What every term uses of the trainer that it belongs to, which is attached to its run and data."""

    @property
    def run(self) -> RunContext:
        """The run."""

    @property
    def data(self) -> RealData:
        """The data set, on the run's device."""

    @property
    def step(self) -> int:
        """Completed steps."""

    @property
    def device(self) -> torch.device:
        """Where networks and data are."""

    @property
    def normalisation(self) -> Normalisation:
        """How real images are normalised."""

    def initialised(self, name: str) -> AbstractContextManager[None]:
        """Return a context in which layers draw their initial weights from the run's seed and ``name``."""

    def place(self, module: Network) -> Network:
        """Move a network to the run's device and memory format, in place, and return it."""

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context for forward passes in the run's precision."""


class GANHost(TermHost, Protocol):
    """What terms use of a GAN, whose networks exist."""

    generator: Any
    discriminator: Any

    @property
    def labelled(self) -> bool:
        """Whether both networks are told the labels."""

    def record(self, name: str, value: Tensor) -> None:
        """Log a scalar of this step."""


class Term(ABC):
    """What is added, times ``weight``, to the loss of the generator, of the discriminator, or of both.

    A subclass writes ``__call__`` and, where it needs networks or samplers of its own, ``attach``. Attributes with a
    ``state_dict``, tensors and counters are saved and restored with the run without being declared. Random numbers come
    from :attr:`stream`, initial weights from ``self.initialised(name)``; both are the term's own, so that the rest of
    the run does not notice the term.

    Args:
        weight: Factor before the term, finite; a negative one turns it round.
        apply_to: ``generator``, ``discriminator`` or ``both``.

    Attributes:
        name: Logged as ``term/<name>``; the class's name in lower case unless the class says otherwise.
        key: ``terms/<position>/<name>``, what the term's random streams are called after.
        trainer: The trainer that the term belongs to, from :meth:`attach` on. A class that needs more of it than
            :class:`TermHost` declares its own protocol, such as :class:`GANHost`.
        examined: Whether it was looked at in the discriminator's loss, to say once if it does nothing there.

    Raises:
        UserError: An option is out of range.
    """

    name: str = ""
    trainer: TermHost
    needs_labels: ClassVar[bool] = False
    """Whether generated images must have labels."""

    def __init__(self, weight: float = 1.0, apply_to: str = "generator") -> None:
        if not math.isfinite(weight):
            raise UserError(f"the weight of a term is {weight}; give a finite number")
        if apply_to not in APPLY_TO:
            hint = did_you_mean(str(apply_to), APPLY_TO)
            raise UserError(f"a term's apply_to is '{apply_to}'; {hint}choose one of {', '.join(APPLY_TO)}")
        self.weight = float(weight)
        self.apply_to = apply_to
        self.name = self.name or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(self).__name__).lower()
        self.key = f"terms/0/{self.name}"
        self.examined = False
        self._calls = (-1, 0)  # the step, and which call of it this is: no state, as a run stops between steps

    @abstractmethod
    def __call__(self, real: Batch, fake: Batch) -> Tensor:
        """Return the term, a scalar, before its weight.

        Args:
            real: Real images (B, C, H, W) in [-1, 1] with labels (B,), this process's part: in the discriminator's
                update the same as the loss has, in the generator's the last that the discriminator saw.
            fake: Generated images with their labels; with the generator's graph in the generator's update, without any
                in the discriminator's.
        """

    def attach(self, trainer: Any) -> None:
        """Take the trainer, whose networks exist; make networks and samplers of the term's own here.

        Args:
            trainer: The trainer, inside its ``build()``: what :attr:`trainer` is declared as.
        """
        self.trainer = trainer

    def learned_rates(self) -> Tensor | None:
        """Return learning rates of learners that the term trains, to be watched; by default there are none."""
        return None

    def acts_on(self, network: str) -> bool:
        """Return whether the term belongs to the loss of the ``generator`` or of the ``discriminator``."""
        return self.apply_to in (network, "both")

    # -- what terms use -----------------------------------------------------------------------------------------------

    @property
    def stream(self) -> torch.Generator:
        """The term's own random stream, on the run's device."""
        return self.trainer.run.streams[self.key]

    def initialised(self, name: str) -> AbstractContextManager[None]:
        """Return a context in which layers draw their initial weights from the run's seed, this term and ``name``."""
        return self.trainer.initialised(f"{self.key}/{name}")

    def seed_of(self, name: str) -> int:
        """Return the seed of what a network draws by itself while ``name`` is done: the term's, another at every step.

        Args:
            name: What is done; every process of a run has numbers of its own.
        """
        run = self.trainer.run
        return derive_seed(run.options.seed, f"{self.key}/{name}/{run.step}/{run.processes.rank}")

    def value(self, real: Batch, fake: Batch) -> Tensor:
        """Return the term, whatever networks draw by themselves meanwhile: the numbers are the term's own.

        Args:
            real: See :meth:`__call__`.
            fake: See there.
        """
        step, calls = self._calls
        self._calls = (self.trainer.step, calls + 1 if step == self.trainer.step else 0)
        with Chance(None, self.trainer.device).seeded(self.seed_of(f"draws/{self._calls[1]}")):
            return self(real, fake)

    def draw_real(self, per_class: int) -> Batch:
        """Draw ``per_class`` real images of every class from the training data with the term's own stream.

        A class with fewer shows all of them, and again from the first, until there are as many.

        Returns:
            Images (K * per_class, C, H, W), class by class, and their labels.

        Raises:
            UserError: ``per_class`` is below 1.
        """
        taken_whole(self.sampler, per_class, f"real_per_class of the term {self.name}", again=True)
        return self.real_images(self.sampler.draw(per_class, self.stream, repeat=True).flatten())

    def draw_alike(self, labels: Tensor) -> Batch:
        """Draw for each label (B,) a real image of that class, with repetition, with the term's own stream."""
        return self.real_images(self.sampler.draw_alike(labels, self.stream))

    def draw_any(self, count: int) -> Batch:
        """Draw ``count`` training images with repetition, each as likely as any other, with the term's own stream."""
        size, stream = len(self.trainer.data.train), self.stream
        return self.real_images(torch.randint(size, (count,), generator=stream, device=stream.device))

    def real_images(self, index: Tensor) -> Batch:
        """Return training images (B, C, H, W) at ``index`` (B,) as the trainer normalises them, and their labels."""
        images, labels = self.trainer.data.train.batch(index, self.trainer.normalisation)
        if self.trainer.run.options.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return Batch(images, labels)

    @property
    def sampler(self) -> ClassSampler:
        """Balanced draws from the training data; made once, and without state."""
        if not hasattr(self, "_sampler"):
            data = self.trainer.data
            names = data.description.class_names
            self._sampler = ClassSampler(data.train.labels, data.description.num_classes, names)
        return self._sampler

    # -- state --------------------------------------------------------------------------------------------------------

    def remember(self) -> None:
        """Note the plain values at the start of a run: they are state only once training changes them."""
        self._built_plain = {
            name: copy.deepcopy(value) for name, value in vars(self).items() if name != "trainer" and is_plain(value)
        }

    def state_dict(self) -> dict[str, Any]:
        """Return the state of every attribute that training changes."""
        state: dict[str, Any] = {}
        built = getattr(self, "_built_plain", {})
        for name, value in vars(self).items():
            if name in ("trainer", "_built_plain", "_calls"):
                continue
            if holds_state(value) or (is_plain(value) and (name not in built or built[name] != value)):
                state[name] = capture(value)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the state back.

        Raises:
            KeyError: The state lacks a part.
        """
        lacking = [name for name in self.state_dict() if name not in state]
        if lacking:
            raise KeyError(f"no {', '.join(lacking)} of the term '{self.name}'")
        for name, saved in state.items():
            setattr(self, name, restore(getattr(self, name, None), saved))
