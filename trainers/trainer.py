"""The base of every method: a subclass writes ``build``, ``train_step`` and ``teacher``, and inherits the rest."""

from __future__ import annotations

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor, nn

from gendistill.data.description import Normalisation
from gendistill.data.real import RealData
from gendistill.data.sampling import ClassSampler, EpochSampler
from gendistill.errors import UserError
from gendistill.grids import Grid, grid_of_classes
from gendistill.nets.chance import Chance
from gendistill.runs.attributes import UNFIT, capture, find, holds_state, is_plain, restore
from gendistill.runs.context import RunContext
from gendistill.runs.processes import Processes
from gendistill.runs.watch import Watched
from gendistill.seeds import derive_seed, initialisation
from gendistill.teacher import Teacher
from gendistill.words import counted
from trainers.batch import Batch, Made
from trainers.class_sizes import lowered
from trainers.measured import Measured
from trainers.real_images import any_images, class_sampler, images_alike
from trainers.terms.assemble import attach_terms, build_terms
from trainers.terms.over_groups import over_groups
from trainers.terms.term import Term

Network = TypeVar("Network", bound=nn.Module)


class Trainer(ABC):
    """One way to make a teacher.

    What training changes lives in attributes made by :meth:`build`: networks, optimisers, schedulers, averages,
    tensors, counters, also in lists and dicts. All of them are saved and restored without being declared.

    Args:
        batch_size: Real images a step, over all processes.
        terms: What is added to the loss, each a dotted path or ``class_path`` and ``init_args``; see
            ``trainers/terms/``. Each is logged as ``train/term/<its name>``, before its weight.

    Raises:
        UserError: ``batch_size`` is not positive, or a term is refused.
    """

    takes_terms: ClassVar[bool] = False
    """Whether the method's steps add terms and :meth:`extra_loss` to what they descend."""
    typed: frozenset[str] = frozenset()
    """Options that a person has typed: these are never lowered to fit small data, but refused."""
    shares_batch: bool = False
    """Whether each process has made a part of the batch only, as with a GAN; otherwise all have the same images."""
    batch_unit: int = 1
    """What a batch of one process is a multiple of."""
    extra_loss_by_group: ClassVar[bool] = False
    """Whether :meth:`extra_loss` may be given the images in groups; see there."""
    run: RunContext
    data: RealData
    sampler: EpochSampler
    other_data: dict[str, dict[str, Any]]
    """What data sets besides the run's own hold (:func:`gendistill.data.fingerprint.contents`), by name; a run that is
    continued asks whether they changed. ``build`` adds to it."""

    given: dict[str, Any]
    """The arguments that it was made with, by name: what a config of it has as ``init_args``."""

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Note the arguments, so that a run of a trainer that was made by hand has a config, too."""
        made = super().__new__(cls)
        names = list(inspect.signature(cls.__init__).parameters)[1:]
        made.given = dict(zip(names, args, strict=False)) | kwargs
        return made

    def __init__(self, batch_size: int = 64, terms: Sequence[str | Mapping[str, Any]] | None = None) -> None:
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise UserError(f"batch_size is {batch_size!r}; give a whole number from 1")
        self.batch_size = batch_size
        self.terms = build_terms(terms or ())

    # To be written by a method.

    @abstractmethod
    def build(self) -> None:
        """Make networks (inside ``with self.initialised(name)``), optimisers and schedulers, as attributes."""

    @abstractmethod
    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Make one update.

        Args:
            batch: This process's images (B, C, H, W), normalised by :attr:`normalisation`, and labels (B,).

        Returns:
            Named scalars, as fresh tensors on the device; ``.item()`` would make the program wait for the GPU.
        """

    @abstractmethod
    def teacher(self) -> Teacher:
        """Return what was learned so far; called in eval mode without gradients."""

    def extra_loss(self, made: Made) -> Tensor | None:
        """Return what is added to the loss, a scalar with its weight in it; override it for a loss of your own.

        It is logged as ``train/loss/extra``. :meth:`draw_real` gives real images, :meth:`record` logs what it is made
        of. Where a batch is shared out among processes (:attr:`shares_batch`), a loss that is not linear in it calls
        :meth:`mean_over_processes` before it bends.

        Args:
            made: What the step has made: all of it, or with ``extra_loss_by_group = True`` a group of images at a time
                (a class's, an inner step's), where the method has groups. The loss is then the mean over groups,
                weighted by their size, and its graph is in memory for one group at a time: for what is a mean over
                images. The gradient reaches images, what learners are told and latents.

        Returns:
            A scalar; None adds nothing.
        """
        return None

    # What a trial may choose for speed, see gendistill.runs.tune.

    compiles: ClassVar[bool] = False
    """Whether ``run.compile`` changes anything."""

    def tunable(self, device: torch.device) -> dict[str, tuple[Any, ...]]:
        """Return the options whose value is a matter of speed and rounding alone, with the values to try.

        Args:
            device: Where the run will be; nothing else is known of it yet.
        """
        return {"run.channels_last": (True,)} | ({"run.compile": (True,)} if self.compiles else {})

    def tune(self, option: str, value: Any) -> None:
        """Set an argument that :meth:`tunable` names ``trainer.<option>``, before the trainer is attached.

        Raises:
            UserError: There is no such one.
        """
        raise UserError(f"run.tune sets trainer.{option} to {value!r}, which {type(self).__name__} does not have")

    def notes_on_length(self, step: int, before: int, now: int) -> list[str]:
        """Return what a person should know who goes on with a run to another length; a sentence each.

        Args:
            step: Completed steps.
            before: Steps that the run was to have.
            now: Steps that it is to have.
        """
        return []

    # What the loop calls.

    def known_of(self, data: RealData) -> RealData:
        """Return what the run may know of its data: all of it; a private method keeps images back.

        Args:
            data: The data set, as it was loaded; called once, before anything else looks at it.
        """
        return data

    reads_in_part: ClassVar[bool] = False
    """Whether some processes do without real data, so that not all of them read it."""

    def read(self, data: Callable[[], RealData], processes: Processes) -> RealData:
        """Return the data, read by those processes that need it.

        Args:
            data: Reads it.
            processes: Those of the run, which are given the same config.
        """
        return data()

    def sharing(self) -> Processes:
        """Return the processes, with this one, that share a batch out; a step's metrics are averaged over them."""
        return self.run.processes

    def bring_together(self) -> None:
        """Bring to the main process what it saves and shows; called in every process, before either."""
        return None

    def attach(self, run: RunContext, data: RealData) -> None:
        """Take the run and the data, and build.

        Args:
            run: The run.
            data: The data set, on the run's device.
        """
        self.run = run
        self.data = data
        self.other_data = {}
        self._records: dict[str, Tensor] = {}
        self._alike: ClassSampler | None = None
        self._measured: Measured | None = None
        self._check_terms()
        world = self.sharing().world
        if self.batch_size % world:
            raise UserError(f"batch_size {self.batch_size} does not divide among {world} processes; choose a multiple")
        unit, count = self.batch_unit * world, len(data.train)
        if most := count // unit * unit:
            lowered(self, "batch_size", most, f"'{data.description.name}' has {counted(count, 'training image')}")
        self.sampler = EpochSampler(len(data.train), self.batch_size, run.streams["data"])
        before = set(vars(self))
        self.build()
        for module in self.modules().values():
            self.place(module)
        attach_terms(self.terms, self)
        # Plain values of build() are state only once training changes them.
        self._built_plain = {
            name: copy.deepcopy(value) for name, value in vars(self).items() if name not in before and is_plain(value)
        }

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Draw the next batch, the same in every process, and return this process's part of it.

        Returns:
            Images (B, C, H, W) float32, normalised by :attr:`normalisation`, and labels (B,) int64.
        """
        index = self.run.processes.shard(self.sampler.next())
        images, labels = self.data.train.batch(index, self.normalisation)
        if self.run.options.channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        return images, labels

    def recorded(self) -> dict[str, Tensor]:
        """Return what :meth:`record` was given since the last call, by name; the loop logs it beside the step's own."""
        records = dict(self._records)
        self._records.clear()
        return records

    def expected(self, steps: int) -> dict[str, int]:
        """Return the bytes that so many steps of all processes must send, by kind; nothing where that is not known."""
        return {}

    def samples(self) -> Mapping[str, Tensor | Grid]:
        """Return picture grids by name; called in eval mode without gradients.

        Each is pixels in [0, 1] (N, C, H, W), or a :class:`~gendistill.grids.Grid` of them, which says what each is of.

        Every call finds all random streams where they were, so a grid always shows the same noise.
        """
        teacher = self.teacher()
        count = min(10 * self.data.description.num_classes, 100)
        images, labels = teacher.sample(count, self.run.streams["samples"])
        pixels = teacher.description.normalisation.invert(images).clamp(0, 1)
        return {"teacher": grid_of_classes(pixels, labels, teacher.description.class_names)}

    def measured(self) -> Mapping[str, float]:
        """Return how good the teacher is now, by name; called every ``run.evaluate_every`` steps, as :meth:`samples`.

        They are logged as ``measured/<name>``. By default Fréchet distances, or the modes of points.
        """
        if self._measured is None:
            self._measured = Measured(self)
        return self._measured.now()

    def watched(self) -> Watched:
        """Return what is to be watched beside NaN: learned rates, gradients, what is to move; by default nothing."""
        return Watched()

    def modules(self) -> dict[str, nn.Module]:
        """Return the networks by the attribute that holds them."""
        return dict(find(nn.Module, vars(self)))

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers by the attribute that holds them."""
        return dict(find(torch.optim.Optimizer, vars(self)))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of every attribute that training changes."""
        state: dict[str, Any] = {}
        for name, value in vars(self).items():
            if name in ("run", "data", "given", "_built_plain", "_records", "_measured"):
                continue
            changed = name in self._built_plain and value != self._built_plain[name]
            if holds_state(value) or (changed and is_plain(value)):
                state[name] = capture(value)
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the state back.

        Args:
            state: What :meth:`state_dict` returned, for the same method and options.

        Raises:
            UserError: The state is of another architecture, or lacks a part.
        """
        lacking = [name for name in self.state_dict() if name not in state]
        if lacking:
            raise UserError(
                f"the saved state lacks {', '.join(lacking)} of this trainer; choose another run.name, or set "
                "run.fresh to true to start anew"
            )
        for name, saved in state.items():
            try:
                setattr(self, name, restore(getattr(self, name, None), saved))
            except UNFIT as error:
                reason = " ".join(str(error).split())[:200]
                raise UserError(
                    f"the saved state does not fit '{name}' of this trainer ({reason}); choose another run.name, or "
                    "set run.fresh to true to start anew"
                ) from error

    # What a method uses.

    @property
    def steps(self) -> int:
        """Length of the run in steps."""
        return self.run.options.steps

    @property
    def step(self) -> int:
        """Completed steps."""
        return self.run.step

    @property
    def device(self) -> torch.device:
        """Where networks and data are."""
        return self.run.device

    @property
    def normalisation(self) -> Normalisation:
        """How :meth:`next_batch` maps pixels; by default as the data set's description says."""
        return self.data.description.normalisation

    def initialised(self, name: str) -> AbstractContextManager[None]:
        """Return a context in which layers draw their initial weights from the run's seed and ``name``."""
        return initialisation(self.run.options.seed, name)

    def seed_of(self, name: str) -> int:
        """Return the seed of what a network draws by itself while ``name`` is done; from the run's seed.

        Args:
            name: What is done, with the step and the place in it, so that no two draws are alike.
        """
        return derive_seed(self.run.options.seed, name)

    def place(self, module: Network) -> Network:
        """Move a network to the run's device and memory format, in place, and return it."""
        module.to(self.run.device, non_blocking=True)
        if self.run.options.channels_last:
            module.to(memory_format=torch.channels_last)
        return module

    def noise(self, *shape: int, stream: str = "noise") -> Tensor:
        """Draw normal noise for the whole batch, the same in every process, and return this process's part.

        Args:
            *shape: Shape over all processes, the batch first.
            stream: Which of the run's random streams to draw from.
        """
        drawn = torch.randn(*shape, generator=self.run.streams[stream], device=self.run.device)
        return self.run.processes.shard(drawn)

    def record(self, name: str, value: Tensor) -> None:
        """Log a scalar of this step as ``train/<name>``; of several in one step the last counts."""
        self._records[name] = value.detach()

    def draw_real(self, name: str, count: int) -> Batch:
        """Draw training images with repetition, each as likely as any other, the same in every process.

        They come from a random stream of their own: whether they are drawn or not, the rest of the run stays the same
        to the bit.

        Args:
            name: Of the stream; any that is yours.
            count: How many, at least 1.

        Returns:
            Images (count, C, H, W), normalised as the trainer's, and labels (count,).
        """
        if count < 1:
            raise UserError(f"draw_real was asked for {count} images; ask for at least 1")
        return any_images(self, count, self.run.streams[f"real/{name}"])

    def draw_alike(self, name: str, labels: Tensor) -> Batch:
        """Draw a training image of the class of each label (N,), with repetition; see :meth:`draw_real`.

        Args:
            name: Of the stream; any that is yours.
            labels: Those of what was made; where the batch is shared out, the processes draw together what one would.
        """
        if self._alike is None:
            self._alike = class_sampler(self)
        return images_alike(self, self._alike, labels, self.run.streams[f"real/{name}"])

    def mean_over_processes(self, statistic: Tensor) -> Tensor:
        """Return a statistic's mean over the processes that share the batch; differentiable as often as wanted.

        The mean of squares is not the square of the mean: what is not linear in the batch is computed from this mean.

        Args:
            statistic: Of any shape; a mean over this process's images, whose number is the same in all processes.
        """
        return self.run.processes.means([statistic])[0] if self.shares_batch else statistic

    def extra(self, made: Made, groups: Sequence[slice] = ()) -> Tensor | None:
        """Return the sum of :meth:`extra_loss` and of the terms, for a step that adds it to what it descends.

        Args:
            made: What the step has made.
            groups: Rows that may be looked at one group after another; together all rows. None: all at once.

        Returns:
            A scalar; None where nothing is asked.
        """
        own = self.own_loss(made, groups)
        parts = [] if own is None else [own]
        for term in self.terms:

            def value(some: Made, term: Term = term) -> Tensor:
                return term.value(self.draw_alike(term.key, some.classes), Batch(some.images, some.labels))

            found = over_groups(value, made, groups if term.by_group else (), self._records, f"the term {term.name}")
            assert found is not None
            self.record(f"term/{term.name}", found)
            parts.append(term.weight * found)
        return torch.stack(parts).sum() if parts else None

    def own_loss(self, made: Made, groups: Sequence[slice] = ()) -> Tensor | None:
        """Return :meth:`extra_loss`, whatever networks draw by themselves meanwhile; see :meth:`extra`."""
        if not self.has_own_loss:
            return None
        with Chance(None, self.device).seeded(self.seed_of(f"extra_loss/{self.step}")):
            loss = over_groups(
                self.extra_loss, made, groups if self.extra_loss_by_group else (), self._records, "extra_loss"
            )
        if loss is not None:
            self.record("loss/extra", loss)
        return loss

    def add_extra(
        self,
        made: Callable[[], Made],
        to: Iterable[Tensor],
        groups: Sequence[slice] = (),
        *,
        retain_graph: bool = False,
    ) -> None:
        """Add the gradient of :meth:`extra` to the gradients of tensors, for a step that gathers them by itself.

        Args:
            made: Returns what the step has made; called where something is asked.
            to: What its graph leads to, or leaves of the step's own.
            groups: See :meth:`extra`.
            retain_graph: Whether the step passes parts of the graph once more.
        """
        loss = self.extra(made(), groups) if self.terms or self.has_own_loss else None
        if loss is not None and loss.requires_grad:
            loss.backward(inputs=[tensor for tensor in to if tensor.requires_grad], retain_graph=retain_graph)

    @property
    def has_own_loss(self) -> bool:
        """Whether a subclass has written an :meth:`extra_loss`."""
        return type(self).extra_loss is not Trainer.extra_loss

    def _check_terms(self) -> None:
        if not self.takes_terms and (self.terms or self.has_own_loss):
            given = "terms" if self.terms else "an extra_loss"
            raise UserError(
                f"{type(self).__name__} was given {given}, which its steps do not add to anything; a GAN, a GTN and "
                "the trainers of stored images and of latents take them"
            )

    def autocast(self) -> torch.autocast:
        """Return the context for forward passes: bfloat16 where the run asks for it, else without effect."""
        enabled = self.run.options.precision == "bfloat16"
        return torch.autocast(self.run.device.type, dtype=torch.bfloat16, enabled=enabled)

    def compiled(self, module: nn.Module) -> Callable[..., Any]:
        """Return what calls a network, compiled where the run asks for it; not for what is differentiated twice."""
        return torch.compile(module.forward) if self.run.options.compile else module.__call__

    def update(self, loss: Tensor, optimizer: torch.optim.Optimizer, max_norm: float | None = None) -> None:
        """Make one optimiser step down a loss; only the optimiser's own parameters receive gradients.

        Args:
            loss: Scalar, the mean over this process's part of the batch.
            optimizer: Whose parameters to update.
            max_norm: Clip the gradient to this Euclidean norm; ``None`` leaves it.
        """
        parameters = list(trained(optimizer))
        optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=parameters)
        self.run.processes.average_gradients(parameters)
        if max_norm is not None:
            nn.utils.clip_grad_norm_(parameters, max_norm)
        optimizer.step()


def trained(optimizer: torch.optim.Optimizer) -> Iterable[Tensor]:
    """Yield the parameters that an optimiser trains."""
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if parameter.requires_grad:
                yield parameter
