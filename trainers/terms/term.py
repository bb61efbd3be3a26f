"""A term of a loss: one small object that any trainer calls with real images and with what it has made."""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Protocol, TypeVar

import torch
from torch import Tensor, nn

from gendistill.class_names import snake_case
from gendistill.data.sampling import ClassSampler
from gendistill.errors import UserError, did_you_mean
from gendistill.nets.chance import Chance
from gendistill.runs.attributes import capture, holds_state, is_plain, restore
from gendistill.seeds import derive_seed
from trainers.batch import Batch
from trainers.class_sizes import taken_whole
from trainers.real_images import RealHost, any_images, class_sampler, images_alike, images_at

Network = TypeVar("Network", bound=nn.Module)
NETWORKS = ("generator", "discriminator")
APPLY_TO = (*NETWORKS, "both")


class TermHost(RealHost, Protocol):
    """What every term uses of the trainer that it belongs to, which is attached to its run and data."""

    @property
    def step(self) -> int:
        """Completed steps."""

    @property
    def device(self) -> torch.device:
        """Where networks and data are."""

    def initialised(self, name: str) -> AbstractContextManager[None]:
        """Return a context in which layers draw their initial weights from the run's seed and ``name``."""

    def place(self, module: Network) -> Network:
        """Move a network to the run's device and memory format, in place, and return it."""

    def autocast(self) -> AbstractContextManager[Any]:
        """Return the context for forward passes in the run's precision."""

    def record(self, name: str, value: Tensor) -> None:
        """Log a scalar of this step."""


class GANHost(TermHost, Protocol):
    """What terms use of a GAN, whose networks exist."""

    generator: Any
    discriminator: Any

    @property
    def labelled(self) -> bool:
        """Whether both networks are told the labels."""


class Term(ABC):
    """What is added, times ``weight``, to the loss of a trainer; of a GAN's generator, discriminator, or both.

    A subclass writes ``__call__`` and, where it needs networks or samplers of its own, ``attach``. Attributes with a
    ``state_dict``, tensors and counters are saved and restored with the run without being declared. Random numbers come
    from :attr:`stream`, initial weights from ``self.initialised(name)``; both are the term's own, so that the rest of
    the run does not notice the term.

    Args:
        weight: Factor before the term, finite; a negative one turns it round.
        apply_to: Of a GAN: ``generator``, ``discriminator`` or ``both``. Elsewhere there is one loss.

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
    needs: ClassVar[tuple[str, ...]] = ()
    """Attributes of the trainer that it uses beside :class:`TermHost`'s, such as ``generator``."""
    by_group: ClassVar[bool] = False
    """Whether images may come in groups, one after another, of which the term is then the mean weighted by their size:
    memory that does not grow with the number of images, for what is a mean over images. A GAN's batch stays whole."""

    def __init__(self, weight: float = 1.0, apply_to: str = "generator") -> None:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise UserError(f"the weight of a term is {weight!r}; give a finite number")
        if apply_to not in APPLY_TO:
            hint = did_you_mean(str(apply_to), APPLY_TO)
            raise UserError(f"a term's apply_to is '{apply_to}'; {hint}choose one of {', '.join(APPLY_TO)}")
        self.weight = float(weight)
        self.apply_to = apply_to
        self.name = self.name or snake_case(type(self).__name__)
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

        Of other trainers ``fake`` is what a step has made, with its graph, and ``real`` as many real images of the same
        classes; of a latent search the step's real images.
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

    @property
    def host_stream(self) -> torch.Generator:
        """The same on the CPU, for numbers that the program itself goes by: a GPU is not waited for."""
        return self.trainer.run.streams.on_host(self.key)

    def initialised(self, name: str) -> AbstractContextManager[None]:
        """Return a context in which layers draw their initial weights from the run's seed, this term and ``name``."""
        return self.trainer.initialised(f"{self.key}/{name}")

    def seed_of(self, name: str) -> int:
        """Return the seed of what a network draws by itself while ``name`` is done: the term's, another at every step.

        Args:
            name: What is done; processes that share a batch have numbers of their own.
        """
        run = self.trainer.run
        rank = run.processes.rank if self.trainer.shares_batch else 0
        return derive_seed(run.options.seed, f"{self.key}/{name}/{run.step}/{rank}")

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

    def draw_alike(self, labels: Tensor, times: int = 1) -> Batch:
        """Draw for each label (B,) real images of that class, with repetition, with the term's own stream.

        Args:
            labels: This process's part where the batch is shared out; together the processes draw what one would.
            times: How many for each label; images ``i``, ``B + i``, ``2 B + i``, ... are for label ``i``.
        """
        return images_alike(self.trainer, self.sampler, labels, self.stream, times)

    def mean_over_processes(self, statistic: Tensor) -> Tensor:
        """Return a statistic's mean over the processes that share a batch; differentiable as often as wanted.

        A term that is not linear in the batch, such as a norm of a mean, calls this before it bends.
        """
        return self.means_over_processes([statistic])[0]

    def means_over_processes(self, statistics: Sequence[Tensor]) -> list[Tensor]:
        """Return the same of several statistics with one exchange."""
        return self.trainer.run.processes.means(statistics) if self.trainer.shares_batch else list(statistics)

    def gathered(self, rows: Tensor) -> Tensor:
        """Return what belongs to this process's images (B / P, ...) for those of all processes (B, ...).

        Differentiable as often as wanted.
        """
        return self.trainer.run.processes.gathered(rows) if self.trainer.shares_batch else rows

    @property
    def parts(self) -> int:
        """P, the parts that the batch is in: the processes that share it, else 1."""
        return self.trainer.run.processes.world if self.trainer.shares_batch else 1

    @property
    def draws(self) -> torch.Generator:
        """The stream of :meth:`draw_any`: the term's own."""
        return self.stream

    def draw_any(self, count: int) -> Batch:
        """Draw ``count`` training images with repetition, each as likely as any other, with the term's own stream."""
        return any_images(self.trainer, count, self.stream)

    def real_images(self, index: Tensor) -> Batch:
        """Return training images (B, C, H, W) at ``index`` (B,) as the trainer normalises them, and their labels."""
        return images_at(self.trainer, index)

    @property
    def sampler(self) -> ClassSampler:
        """Balanced draws from the training data; made once, and without state."""
        if not hasattr(self, "_sampler"):
            self._sampler = class_sampler(self.trainer)
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
