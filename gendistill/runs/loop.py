"""The loop: every method trains in it, none writes it again."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from gendistill.data.real import RealData
from gendistill.errors import DivergenceError
from gendistill.runs.attributes import first_not_finite
from gendistill.runs.board import Board
from gendistill.runs.checkpoint import load_state, save_state
from gendistill.runs.configuration import flatten, plain, require_same
from gendistill.runs.context import RunContext
from gendistill.runs.device import choose_device
from gendistill.runs.directory import RunDirectory
from gendistill.runs.metrics import Metrics
from gendistill.runs.observe import GlobalRandomness, untouched
from gendistill.runs.options import RunOptions
from gendistill.runs.processes import Processes
from gendistill.runs.progress import Progress
from gendistill.runs.seeds import Streams
from gendistill.runs.signals import Interrupted, StopSignals


class Trainable(Protocol):
    """What the loop asks of a trainer."""

    def attach(self, run: RunContext, data: RealData) -> None:
        """Take the run and the data; make networks and optimisers."""

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Return this process's part of the next batch."""

    def train_step(self, batch: tuple[Tensor, Tensor]) -> Mapping[str, Tensor]:
        """Make one update and return named scalars."""

    def samples(self) -> Mapping[str, Tensor]:
        """Return picture grids by name."""

    def teacher(self) -> Any:
        """Return what was learned so far."""

    def modules(self) -> dict[str, nn.Module]:
        """Return the networks by name."""

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers by name."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that training changes."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a state back."""


def train(
    trainer: Trainable, data: RealData, options: RunOptions, config: Mapping[str, Any] | None = None
) -> RunContext:
    """Train, or continue what the run's directory holds; started again after its end it returns at once.

    Args:
        trainer: The method.
        data: The data set, on any device.
        options: Where, how and how long.
        config: The complete configuration, stored as ``config.yaml``; ``None`` stores the options alone.

    Returns:
        The run, after its last step.

    Raises:
        UserError: The options do not fit the machine, the data, or the run that the directory holds.
        DivergenceError: A metric or a weight became NaN or infinite; the last good state is kept.
        StorageError: A file could not be written; the last saved state is intact.
        Interrupted: A signal came; the state after the current step is saved.
    """
    processes = Processes.from_environment()
    device = choose_device(options.device, processes.local_rank)
    processes.connect(device)
    try:
        directory = RunDirectory(options.root, options.name)
        run = RunContext(options, directory, device, Streams(options.seed, device), processes)
        if processes.main:
            directory.make()
            directory.lock()
        processes.barrier()
        try:
            return _Loop(
                trainer, data, run, plain(config if config is not None else {"run": options.to_dict()})
            ).train()
        finally:
            directory.unlock()
    finally:
        processes.disconnect()


class _Loop:
    """One call of :func:`train`."""

    def __init__(self, trainer: Trainable, data: RealData, run: RunContext, config: dict[str, Any]) -> None:
        self.trainer = trainer
        self.data = data
        self.run = run
        self.config = config
        self.options = run.options
        self.directory = run.directory
        self.processes = run.processes
        self.metrics = Metrics(run.processes)
        self.randomness = GlobalRandomness(run.options.seed, run.device)

    def train(self) -> RunContext:
        """Prepare, make the steps, and leave everything closed."""
        with self.randomness.lent():
            resumed = self.prepare()
            options, run = self.options, self.run
            main = self.processes.main
            log = self.directory.log if main else None
            self.progress = Progress(options.steps, run.step, log, options.progress and main, options.name)
            self.board: Board | None = None
            try:
                if run.step >= options.steps:
                    self.progress.say(
                        f"'{self.directory}' is finished already at step {run.step}; run.steps above it extends it"
                    )
                    if main and not self.directory.teacher.exists():
                        self.save_teacher()
                    return run
                if main:
                    self.board = Board(self.directory, run.step if resumed else None)
                    if not resumed:
                        self.board.configuration(flatten(self.config))
                self.progress.say(f"{'continued at' if resumed else 'started at'} step {run.step} on {run.device}")
                grace = 2.0 if self.processes.world > 1 else 0.0
                with StopSignals(grace) as signals:
                    self.steps(signals)
                return run
            finally:
                self.progress.close()
                if self.board is not None:
                    self.board.close()

    def prepare(self) -> bool:
        """Build the trainer and put the saved state back; return whether there was one."""
        if self.processes.main:
            if self.options.fresh:
                self.directory.discard()
            if self.directory.state.exists() or self.directory.previous_state.exists():
                require_same(self.directory, self.config)
            self.directory.write_config(self.config)
        self.processes.barrier()
        self.trainer.attach(self.run, self.data.to(self.run.device))
        state = load_state(self.directory, self.run.device)
        if state is None:
            return False
        self.run.step = int(state["step"])
        self.trainer.load_state_dict(state["trainer"])
        self.run.streams.load_state_dict(state["streams"])
        self.randomness.load_state_dict(state["global"])
        self.metrics.load_state_dict(state["metrics"])
        return True

    def steps(self, signals: StopSignals) -> None:
        """Make the steps that are left."""
        options, run, trainer = self.options, self.run, self.trainer
        started, at = time.perf_counter(), run.step
        while run.step < options.steps:
            values = trainer.train_step(trainer.next_batch())
            run.step += 1
            self.metrics.add(run.step, values)
            self.progress.advance()
            if run.step % options.log_every == 0 or run.step == options.steps:
                self.guard(self.metrics.fold)
                now = time.perf_counter()
                self.log((run.step - at) / (now - started))
                started, at = now, run.step
            elif self.metrics.full:
                self.guard(self.metrics.fold)
            last = run.step == options.steps
            if options.sample_every and (run.step % options.sample_every == 0 or last):
                self.look()
            stop = self.processes.highest(signals.received)
            if run.step % options.save_every == 0 or last or stop:
                self.save()
            if stop and not last:
                raise Interrupted(
                    stop,
                    f"interrupted after step {run.step} of {options.steps}, which is saved in '{self.directory}'; give "
                    "the same command again to continue",
                )

    def guard(self, check: Any) -> None:
        """Call a check and add to its error what is kept."""
        try:
            check()
        except DivergenceError as error:
            self.diverged(str(error))

    def diverged(self, what: str) -> None:
        """Stop the run.

        Raises:
            DivergenceError: Always; it says what is kept.
        """
        kept = "no state was saved before"
        if self.directory.state.exists():
            kept = f"the last good state is kept in '{self.directory.state}'"
        raise DivergenceError(f"{what}; {kept}: lower the learning rate or choose float32, under another run.name")

    def log(self, rate: float) -> None:
        """Write the means since the last time."""
        means = self.metrics.flush()
        self.run.metrics = means
        self.progress.report(self.run.step, means, rate)
        if self.board is not None:
            rates = {
                f"lr/{name}": float(optimizer.param_groups[0]["lr"])
                for name, optimizer in self.trainer.optimizers().items()
            }
            scalars = {f"train/{name}": value for name, value in means.items()}
            self.board.scalars(self.run.step, scalars | rates | {"speed/steps_per_second": rate})

    def look(self) -> None:
        """Make the picture grids; training does not notice."""
        if self.board is None:
            return
        networks = self.trainer.modules()
        with untouched(networks.values(), self.run.streams):
            self.board.pictures(self.run.step, self.trainer.samples())
        if self.options.histograms:
            self.board.histograms(self.run.step, networks.items())

    def save(self) -> None:
        """Save the state and the teacher, if all is finite."""
        self.guard(self.metrics.fold)
        bad = first_not_finite(vars(self.trainer))
        if self.processes.highest(int(bad is not None)):
            self.diverged(f"'{bad or 'a weight'}' became NaN or infinite by step {self.run.step}")
        if self.processes.main:
            # The teacher first: a state at the last step then means that its teacher is there, too.
            self.save_teacher()
            save_state(
                self.directory,
                {
                    "step": self.run.step,
                    "trainer": self.trainer.state_dict(),
                    "streams": self.run.streams.state_dict(),
                    "global": self.randomness.state_dict(),
                    "metrics": self.metrics.state_dict(),
                },
            )
        self.processes.barrier()

    def save_teacher(self) -> None:
        """Write ``teacher.safetensors``."""
        from gendistill.teacher import save

        with untouched(self.trainer.modules().values(), self.run.streams):
            save(self.trainer.teacher(), self.directory.teacher)
