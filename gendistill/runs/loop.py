"""The loop: every method trains in it, none writes it again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

import torch

from gendistill.data.fingerprint import PARTS, contents, require_unchanged
from gendistill.data.real import RealData
from gendistill.errors import DivergenceError, UserError
from gendistill.json_file import check
from gendistill.links.exchanges import OWN
from gendistill.links.ledger import of_steps
from gendistill.links.record import write_links
from gendistill.making import KEY as MAKING
from gendistill.making import entry
from gendistill.notes import collected
from gendistill.plain import plain
from gendistill.privacy.promise import KEY as PRIVACY
from gendistill.runs.attributes import UNFIT, not_finite
from gendistill.runs.best import Best, KeepBest
from gendistill.runs.callbacks import Callback, Now, built
from gendistill.runs.checkpoint import load_state, save_state, settle
from gendistill.runs.configuration import as_stored, bound, differing, flatten, require_same
from gendistill.runs.context import RunContext
from gendistill.runs.device import choose_device
from gendistill.runs.directory import RunDirectory
from gendistill.runs.failure import again, exactly, failure, kept
from gendistill.runs.loggers import Logger, Loggers, TensorBoard
from gendistill.runs.metrics import Metrics
from gendistill.runs.observe import GlobalRandomness, untouched
from gendistill.runs.options import RunOptions
from gendistill.runs.processes import Processes, StoppedByAnother
from gendistill.runs.progress import Progress
from gendistill.runs.saved import STATE, notes_on_origin, software
from gendistill.runs.signals import Interrupted, StopSignals
from gendistill.runs.spent import Spent
from gendistill.runs.trainable import Trainable
from gendistill.runs.tune import threads_of
from gendistill.runs.tuning import Tuning
from gendistill.runs.watch import Watch
from gendistill.seeds import Streams
from gendistill.teacher import Teacher, save
from gendistill.teacher.clouds import plots
from gendistill.teacher.files import is_intact
from gendistill.teacher.sentences import listing
from gendistill.words import counted

ANOTHER_RUN = "choose another run.name, or set run.fresh to true to discard that run"


ENDED = 1000
"""Stands for a callback's wish to end the run where a signal's number would stand."""


def train(
    trainer: Trainable,
    data: RealData | Callable[[], RealData],
    options: RunOptions,
    config: Mapping[str, Any] | None = None,
    *,
    callbacks: Sequence[Any] = (),
    loggers: Sequence[Any] = (),
) -> RunContext:
    """Train, or continue what the run's directory holds; started again after its end it returns at once.

    Args:
        trainer: The method.
        data: The data set, on any device; or what reads it, where the trainer lets some processes only read it.
        options: Where, how and how long.
        config: The complete configuration, stored as ``config.yaml``; ``None`` stores the options alone.
        callbacks: What is done while it goes on, beside those of the options; see :mod:`gendistill.runs.callbacks`.
        loggers: Where curves and pictures go beside TensorBoard; see :mod:`gendistill.runs.loggers`.

    Returns:
        The run, after its last step, or where a callback ended it.

    Raises:
        UserError: The options do not fit the machine, the data, or the run that the directory holds, or that run was
            made from other data.
        DivergenceError: A metric or a weight became NaN or infinite; the last good state is kept.
        StorageError: A file could not be written; the last saved state is intact.
        Interrupted: A signal came; the state after the current step is saved.
        ProcessFailure: Memory ran out, or one of several processes failed, ended or hangs; the last state is kept.
    """
    processes = Processes.from_environment()
    device = choose_device(options.device, processes.local_rank)
    if options.cuda_graphs and device.type != "cuda":
        raise UserError(f"run.cuda_graphs is true, but the run is on {device.type}; set it to false, or choose a GPU")
    beside = Beside(
        built([*(options.callbacks or ()), *callbacks], Callback, "run.callbacks"),
        built([*(options.loggers or ()), *loggers], Logger, "run.loggers"),
        KeepBest.of(options.keep_best),
    )
    directory = RunDirectory(options.root, options.name)
    run = RunContext(options, directory, device, Streams(options.seed, device), processes)
    randomness = GlobalRandomness(options.seed, device)
    refused: list[BaseException] = []
    with ExitStack() as closing:
        closing.callback(lambda: directory.leave_as_found() if refused else None)
        closing.callback(directory.unlock)
        closing.enter_context(randomness.lent())
        try:
            OWN.begin()
            processes.connect(options.timeout)
            OWN.look = processes.partners.look if processes.world > 1 else OWN.look
            _Loop(trainer, run, randomness, closing, beside).train(data, plain(config or {"run": options.to_dict()}))
        except BaseException as error:
            # What was refused before its first step was no run.
            if isinstance(error, UserError) and not run.step and processes.main:
                refused.append(error)
            if (instead := failure(error, run)) is error:
                raise
            raise instead from error
    return run


def largest_share(data: RealData) -> float:
    """Return the accuracy of a guesser on the training images: the share of the largest class."""
    counts = torch.bincount(data.train.labels, minlength=data.description.num_classes)
    return float(counts.max()) / max(len(data.train), 1)


@dataclass(frozen=True)
class Beside:
    """What is done beside the steps, of which training does not notice anything."""

    callbacks: Sequence[Callback] = ()
    loggers: Sequence[Logger] = ()
    keep_best: KeepBest | None = None


def length_of(teacher: Teacher) -> int | None:
    """Return for how many updates of a learner rates were learned; None: none were."""
    return None if teacher.learning_rates is None else len(teacher.learning_rates)


class _Loop:
    """One call of :func:`train`."""

    def __init__(
        self,
        trainer: Trainable,
        run: RunContext,
        randomness: GlobalRandomness,
        closing: ExitStack,
        beside: Beside,
    ) -> None:
        self.trainer = trainer
        self.run = run
        self.randomness = randomness
        self.closing = closing
        self.processes = run.processes
        self.metrics = Metrics(run.processes)
        self.beside = beside
        self.best = Best(beside.keep_best, run.options.save_every)
        self.logger: Logger | None = None
        self.never_finite: set[str] = set()
        self.watch = Watch(1.0)
        self.of_text = False
        self.tuning = Tuning(trainer, run, randomness)
        self.contents: dict[str, Any] = {}
        """Of the data; of one process alone once it is known whose directory it is."""
        self.saved: dict[str, Any] = {}
        """The state that is continued, as the process that saves has looked at it."""
        self.fallen_back: str | None = None
        self.length: int | None = None
        """Steps that the run was to have when it was last given."""
        self.config: dict[str, Any] = {}
        self.counted: list[dict[str, Any]] = []
        """What all processes have sent up to the last saved state, as rows."""
        self.spent = Spent(run.device)
        self.hides = False
        """Whether the run is kept from its training images; then nothing is said of what it took, which tells."""

    def train(self, data: RealData | Callable[[], RealData], config: dict[str, Any]) -> None:
        """Prepare, then make the steps that are left."""
        run, options, main = self.run, self.run.options, self.processes.main
        if callable(data):
            # Who reads is a matter of the config: it must be the same one before anybody waits for another to read.
            self.processes.require_alike(flatten(config))
            data = self.trainer.read(data, self.processes)
        # Before anything else looks at it: a private method keeps images back.
        known = self.trainer.known_of(data)
        self.hides, data = known is not data, known
        if self.processes.world > 1:
            self.contents = contents(data)
            self.processes.require_alike(flatten(config) | flatten({"data": self.contents}))
        self.processes.on_main(lambda: self.claim(config))
        self.processes.on_main(lambda: self.know(data))
        self.of_text = data.description.embedding is not None
        self.watch = Watch(largest_share(data))
        self.data, self.config = data.to(run.device), config
        self.now = Now(run, self.trainer, self.data)
        said = [*self.know_choice(), *self.attach()]
        notes = self.resume()
        log = run.directory.log if main else None
        self.progress = Progress(options.steps, run.step, log, options.progress and main, options.name)
        self.closing.callback(self.progress.close)
        # On the screen they stand already; the data's own were said when it was loaded.
        for line in dict.fromkeys((*data.notes, *said)):
            self.progress.say(f"note: {line}", on_screen=False, once=True)
        if run.step >= options.steps:
            line = f"'{run.directory}' is finished at step {run.step}; a higher run.steps continues it"
            self.progress.say(line, above_bar=True, once=True)
            self.processes.on_main(self.mend_teacher)
            self.conclude()
            return
        if main:
            self.logger = Loggers([TensorBoard(run.directory), *self.beside.loggers])
            self.closing.callback(self.logger.close)
            self.logger.begin(run.directory.path, config, run.step if notes else None)
        for note in notes or [f"started on {run.device}, {counted(options.steps, 'step')}"]:
            self.progress.say(note, above_bar=bool(notes), once=True)
        with StopSignals(grace=2.0 if self.processes.world > 1 else 0.0) as signals:
            self.call("on_start", self.beside.callbacks)
            self.steps(signals)

    def claim(self, config: dict[str, Any]) -> None:
        """Make the directory this run's own, and see that the run that it holds is the same one."""
        directory = self.run.directory
        self.config = config
        directory.make()
        directory.lock()
        directory.sweep()
        if self.run.options.fresh:
            directory.put_aside()
            self.closing.callback(directory.put_back)  # nothing is there any more once the run has begun
        if directory.has_state:
            require_same(directory, config)
            length = ((directory.read_config() or {}).get("run") or {}).get("steps")
            self.length = length if isinstance(length, int) and length > 0 else None
            saved, self.fallen_back = settle(directory)
            if saved is not None:
                check(saved, STATE, f"the saved state in '{directory}'")
                self.saved = saved
                if saved.get("config") is not None and differing(as_stored(saved["config"]), config):
                    raise UserError(
                        f"the saved state in '{directory}' is of a run with other settings than its config.yaml says; "
                        f"put back the state that belongs to it, {ANOTHER_RUN}"
                    )
        directory.write_config(config)

    def know(self, data: RealData) -> None:
        """See that the run that the directory holds was made from this data, before anything is built from it."""
        self.contents = self.contents or contents(data)
        directory = self.run.directory
        if (known := self.saved.get("data")) is not None:
            require_unchanged(known, self.contents, f"'{directory}' holds a run", ANOTHER_RUN)

    def know_choice(self) -> list[str]:
        """Take what the run chose for speed, if it is known; return what was noted meanwhile."""
        state = load_state(self.run.directory, torch.device("cpu"), mapped=True)
        with collected() as said:
            self.tuning.begin(None if state is None else state.get("tuned"), state is not None)
        if self.tuning.chosen:
            self.processes.on_main(self.write_choice)
        self.closing.enter_context(threads_of(self.run.options))
        return list(said)

    def write_choice(self) -> None:
        """Let ``config.yaml`` say what was chosen, so that it alone repeats the run."""
        run = {**self.config.get("run", {}), "tune": self.tuning.word}
        self.run.directory.write_config({**self.config, "run": run})

    def attach(self) -> list[str]:
        """Attach the trainer; return what was noted meanwhile."""
        began = time.perf_counter()
        with collected() as said:
            self.trainer.attach(self.run, self.data)
        self.metrics = Metrics(self.trainer.sharing())
        self.tuning.building = max(0.0, time.perf_counter() - began - self.run.learned)  # which a trial takes as it is
        self.never_finite = set(not_finite(self.trainer.state_dict()))
        return list(said)

    def tune(self, signals: StopSignals) -> None:
        """Look for what is faster here, and begin the run anew with it."""
        self.progress.say("looking for what is faster on this machine (run.tune)")
        found = self.tuning.find(self.data, lambda: bool(signals.received))
        self.attach()
        self.watch = Watch(self.watch.chance)
        self.watch.begin(0, self.trainer.watched())
        self.closing.enter_context(threads_of(self.run.options))
        self.processes.on_main(self.write_choice)
        self.progress.again()
        for line in (found.sentence(), *found.lines):
            self.progress.say(line, above_bar=True)

    def resume(self) -> list[str]:
        """Put the saved state back; return what to tell of it, nothing for a new run."""
        run, seed = self.run, self.run.options.seed
        state = load_state(run.directory, run.device)
        if state is not None:
            run.step = run.saved = int(state["step"])
            run.seconds = float(state["seconds"])
            run.cpu_seconds = float(state.get("cpu_seconds", 0.0))
            run.peaks = {name: int(value) for name, value in (state.get("peaks") or {}).items()}
            # What all processes took before is counted once, by the main one.
            self.spent.take(run.cpu_seconds if self.processes.main else 0.0, run.peaks)
        if self.processes.highest(run.step) != run.step:
            raise UserError(
                f"process {self.processes.rank} does not see the state of the others in '{run.directory}'; put "
                "run.root on a file system that all machines share"
            )
        if state is None:
            self.watch.begin(run.step, self.trainer.watched())
            return []
        if bad := self.bad_values(state["trainer"]):
            raise UserError(
                f"the saved state in '{run.directory}' holds values that are NaN or infinite in '{bad[0]}'; put back "
                "the state before it (state.previous.pt), or set run.fresh to true to start anew"
            )
        self.trainer.load_state_dict(state["trainer"])
        self.metrics.load_state_dict(state["metrics"])
        run.metrics = dict(state["reported"])
        self.best.load_state_dict(state.get("kept_best") or {})
        if self.best.step == run.step:  # killed before it was kept as the best, or kept already
            self.processes.on_main(lambda: self.best.keep(run.directory))
        run.best = {name: (int(step), float(value)) for name, (step, value) in (state.get("best") or {}).items()}
        if self.processes.main:
            OWN.ledger.take(state.get("links") or [])
        if state.get("watch") is not None:
            self.watch.load_state_dict(state["watch"])
        else:
            self.watch.begin(run.step, self.trainer.watched())
        notes = [f"continued at step {run.step} of {run.options.steps} on {run.device}"]
        if self.fallen_back is not None:
            notes.append(f"the latest saved state was damaged; {self.fallen_back}")
        notes += notes_on_origin(state)
        if self.length not in (None, run.options.steps):
            notes += self.trainer.notes_on_length(run.step, cast(int, self.length), run.options.steps)
        if state.get("data") is None:
            notes.append("the saved state does not say what its data held; whether that is the same today is not known")
        for name, known in (state.get("other_data") or {}).items():
            what = f"'{run.directory}' holds a run that uses '{name}',"
            require_unchanged(known, self.trainer.other_data.get(name, {}), what, ANOTHER_RUN)
        if state["device"] == run.device.type:
            for name, part in (("streams", run.streams), ("global", self.randomness)):
                try:
                    part.load_state_dict(state[name])
                except UNFIT as error:
                    raise UserError(
                        f"the saved state in '{run.directory}' holds no random streams in '{name}' "
                        f"({' '.join(str(error).split())[:100]}); put back the state before it (state.previous.pt), or "
                        "set run.fresh to true to start anew"
                    ) from error
        else:
            run.streams.restart(list(state["streams"]), f"{run.step}")
            notes.append(
                f"saved on {state['device']}, continued on {run.device.type}: the random streams start anew from seed "
                f"{seed}"
            )
        return notes

    def steps(self, signals: StopSignals) -> None:
        """Make the steps that are left."""
        run, options, trainer = self.run, self.run.options, self.trainer
        began, began_at = time.perf_counter(), run.step
        self.started = began - run.seconds
        discarding = options.fresh
        while run.step < options.steps:
            now = time.perf_counter()
            values = {**trainer.train_step(trainer.next_batch()), **trainer.recorded()}
            run.step += 1
            if discarding:  # until here it could be refused
                self.processes.on_main(run.directory.discard)
                discarding = False
            if self.tuning.pays(time.perf_counter() - now):
                self.tune(signals)
                began, began_at = time.perf_counter(), 0
                continue
            self.metrics.add(run.step, values)
            self.progress.advance()
            last = run.step == options.steps
            if last or run.step % options.log_every == 0:
                self.finite_or_stop(self.metrics.fold)
                now = time.perf_counter()
                self.log((run.step - began_at) / (now - began), last=last)
                began, began_at = now, run.step
            elif self.metrics.full:
                self.finite_or_stop(self.metrics.fold)
            if options.sample_every and (last or run.step % options.sample_every == 0):
                self.finite_or_stop(self.metrics.fold)
                self.trainer.bring_together()
                self.processes.on_main(self.look)
            if options.evaluate_every and (last or run.step % options.evaluate_every == 0):
                self.finite_or_stop(self.metrics.fold)
                self.processes.on_main(self.measure)
            if best := self.best.due(run.step, last=last):
                self.finite_or_stop(self.metrics.fold)
                self.finite_or_stop(self.require_finite)
                self.processes.on_main(self.judge)
                best = bool(self.processes.highest(int(self.best.improved)))
            self.call("on_step", [one for one in self.beside.callbacks if one.every and run.step % one.every == 0])
            stop = self.processes.highest(signals.received or (ENDED if self.now.ends else 0))
            if last or stop or best or run.step % options.save_every == 0:
                self.finite_or_stop(self.metrics.fold)
                self.finite_or_stop(self.require_finite)
                self.trainer.bring_together()
                self.counted = self.processes.counted()
                self.count_spent()
                self.processes.on_main(self.save)
                run.saved = run.step
                if best:
                    self.processes.on_main(lambda: self.best.keep(run.directory))
                self.call("on_save", self.beside.callbacks)
            if stop == ENDED:
                self.progress.say(f"ended after step {run.step} of {options.steps}: {self.now.ends}", above_bar=True)
                break
            if stop and not last:
                self.interrupt(stop)
        self.conclude()
        self.call("on_end", self.beside.callbacks)

    def call(self, what: str, callbacks: Sequence[Callback]) -> None:
        """Call callbacks in the first process; training does not notice."""
        if not callbacks or not self.processes.main:
            return
        for one in callbacks:  # none of them notices another one either
            with untouched(self.trainer.modules().values(), self.run.streams), torch.enable_grad():
                getattr(one, what)(self.now)

    def judge(self) -> None:
        """See how good the teacher is on the validation split; training does not notice."""
        with untouched(self.trainer.modules().values(), self.run.streams):
            teacher = self.trainer.teacher()
            with torch.enable_grad():  # learners train on it
                name, value = self.best.look(self.run.step, lambda asked: asked.measure(teacher, self.data))
        if self.logger is not None:
            self.logger.log_scalars(self.run.step, {f"validation/{name}": value})
        so_far = ", the best so far" if self.best.improved else f"; the best is {self.best.value:.4g}"
        self.progress.say(f"step {self.run.step}/{self.run.options.steps}  validation {name} {value:.4g}{so_far}")

    def finite_or_stop(self, check: Callable[[], None]) -> None:
        """Call a check; when it finds the run diverged, say what is kept and what to try."""
        try:
            check()
        except DivergenceError as error:
            raise DivergenceError(
                f"{error}; {kept(self.run)}: try a lower learning rate under another run.name"
            ) from error

    def require_finite(self) -> None:
        """Refuse to save a state that holds NaN or infinity, beyond what it held when it was built."""
        bad = self.bad_values(self.trainer.state_dict())
        first = self.processes.first(bool(bad))
        if first is None:
            return
        if first != self.processes.rank:
            raise StoppedByAnother(self.processes.rank, first, name=self.processes.name(first))
        where = f" in {self.processes.name(first)}" if self.processes.world > 1 else ""
        raise DivergenceError(f"'{bad[0]}' was found NaN or infinite at step {self.run.step}{where}")

    def bad_values(self, state: dict[str, Any]) -> list[str]:
        """Return what holds NaN or infinity in a state of the trainer, beyond what held it when it was built."""
        return [name for name in not_finite(state) if name not in self.never_finite]

    def log(self, rate: float, *, last: bool) -> None:
        """Write the means since the last time, and look for what goes wrong without a NaN."""
        run = self.run
        run.metrics = self.metrics.flush()
        self.progress.report(run.step, run.metrics, rate)
        if self.logger is not None:
            scalars = {f"train/{name}": value for name, value in run.metrics.items()}
            for name, optimizer in self.trainer.optimizers().items():
                scalars[f"lr/{name}"] = float(optimizer.param_groups[0]["lr"])
            self.logger.log_scalars(run.step, scalars | {"speed/steps_per_second": rate})
        if self.processes.main:
            for sentence in self.watch.look(run.step, run.metrics, self.trainer.watched(), last=last):
                self.progress.say(f"warning at step {run.step}: {sentence}", always=True)

    def conclude(self) -> None:
        """Say at the end of a run what is wrong with what it made."""
        self.run.warnings, self.run.useless = self.watch.sentences, self.watch.useless
        if self.logger is not None and self.data.description.cloud is not None:
            self.logger.log_film("points")
        for sentence in self.watch.sentences if self.processes.main else ():
            self.progress.say(f"at the end: {sentence}", always=True)

    def look(self) -> None:
        """Make the picture grids, of a text the sentences in words, of points plots; training does not notice."""
        networks = self.trainer.modules()
        if self.logger is None:
            return
        with untouched(networks.values(), self.run.streams):
            if self.of_text:
                self.logger.log_text(self.run.step, {"sentences": listing(self.trainer.teacher())})
            elif self.data.description.cloud is not None:
                self.logger.log_images(self.run.step, plots(self.trainer.teacher(), self.run.streams["samples"]))
            else:
                self.logger.log_images(self.run.step, self.trainer.samples())
        if self.run.options.histograms:
            self.logger.log_histograms(self.run.step, networks.items())

    def measure(self) -> None:
        """Measure what was made so far; training does not notice."""
        with untouched(self.trainer.modules().values(), self.run.streams):
            self.run.take(self.trainer.measured())
        assert self.logger is not None  # of the main process, which measures
        self.logger.log_scalars(self.run.step, {f"measured/{name}": value for name, value in self.run.measured.items()})
        said = ", ".join(f"{name} {value:.4g}" for name, value in self.run.measured.items())
        self.progress.say(f"step {self.run.step:,}: {said}", above_bar=True)

    def save(self) -> None:
        """Save the teacher, then the state: a state at the last step then means that its teacher is there, too."""
        self.run.seconds = time.perf_counter() - self.started
        self.save_teacher()
        # Before the state: what is logged up to a saved step is on the disk, what is logged after it is taken out.
        if self.logger is not None:
            self.logger.flush()
        if self.counted:
            self.write_counts()
        save_state(
            self.run.directory,
            {
                "step": self.run.step,
                "tuned": self.tuning.word,
                "seconds": self.run.seconds,
                "cpu_seconds": self.run.cpu_seconds,
                "peaks": self.run.peaks,
                "device": self.run.device.type,
                "software": software(),
                "config": bound(self.config),
                "data": self.contents,
                "other_data": self.trainer.other_data,
                "trainer": self.trainer.state_dict(),
                "streams": self.run.streams.state_dict(),
                "global": self.randomness.state_dict(),
                "watch": self.watch.state_dict(),
                **({"kept_best": best} if (best := self.best.state_dict()) else {}),
                "metrics": self.metrics.state_dict(),
                "reported": self.run.metrics,
                **({"best": {name: list(one) for name, one in self.run.best.items()}} if self.run.best else {}),
                "links": of_steps(self.counted),
            },
        )

    def count_spent(self) -> None:
        """Take together what all processes have taken of processors and memory; the main one keeps it."""
        mine = (self.spent.cpu_seconds, self.spent.peaks())
        everybody = self.processes.everyone(mine, "control", to=0) or [mine]
        self.run.cpu_seconds = sum(cpu for cpu, _ in everybody)
        names = dict.fromkeys(name for _, peaks in everybody for name in peaks)
        self.run.peaks = {name: max(peaks.get(name, 0) for _, peaks in everybody) for name in names if not self.hides}

    def making(self) -> dict[str, Any]:
        """Return what the run has taken so far."""
        run, world = self.run, self.processes.world
        return {
            "steps": run.step,
            "seconds": round(run.seconds, 3),
            "cpu_seconds": round(run.cpu_seconds, 3),
            "gpu_seconds": round(run.seconds * world, 3) if run.device.type == "cuda" else None,
            "processes": world,
            **run.peaks,
        }

    def write_counts(self) -> None:
        """Log what all processes have sent, and let ``results.json`` say it beside what must be sent."""
        run = self.run
        if self.logger is not None:
            tags = {f"links/{row['link']}/{row['role']}/{row['kind']}": float(row["bytes"]) for row in self.counted}
            self.logger.log_scalars(run.step, {name.replace(" ", "-"): size for name, size in tags.items()})
        sent = {"steps": run.step, "processes": self.processes.world, "seconds": run.seconds, "rows": self.counted}
        write_links(run.directory.results, sent | {"expected": self.trainer.expected(run.step)})

    def mend_teacher(self) -> None:
        """Write the teacher of a finished run again, should it be lost or damaged."""
        directory = self.run.directory
        if directory.teacher.exists():
            if is_intact(directory.teacher):
                return
            self.progress.say(f"'{directory.teacher}' is damaged; it is written again", above_bar=True)
        self.save_teacher()

    def save_teacher(self) -> None:
        """Write ``teacher.safetensors``."""
        with untouched(self.trainer.modules().values(), self.run.streams):
            teacher = self.trainer.teacher()
            # Not of a teacher that another run made and this one hands on: it brings its own.
            loaded = {"options": dict(self.data.options)} if self.data.options else {}
            teacher.metadata.setdefault("data", loaded | {part: self.contents[part] for part in PARTS})
            self.watch.judge(teacher)
            if self.watch.sentences:
                teacher.metadata["warnings"] = self.watch.sentences
            if self.run.peaks and not self.hides and teacher.noted(PRIVACY, dict) is None:
                teacher.metadata[MAKING] = entry(teacher.budget(), self.making(), length_of(teacher))
            save(teacher, self.run.directory.teacher)

    def interrupt(self, signal_number: int) -> None:
        """End the run after a signal.

        Raises:
            Interrupted: Always.
        """
        run = self.run
        if not run.processes.main:
            raise StoppedByAnother(run.processes.rank, 0, 128 + signal_number)
        line = f"interrupted after step {run.step} of {run.options.steps}; give {again(run)} again to continue"
        self.progress.say(line, on_screen=False)
        raise Interrupted(signal_number, f"{line} (saved in '{run.directory}'){exactly(run)}")
