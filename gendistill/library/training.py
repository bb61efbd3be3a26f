"""Training in a script or a notebook: the same runs as ``gendistill train`` makes."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from signal import SIGINT
from typing import Any

import torch

from gendistill import shipped
from gendistill.commands.train import run_experiment
from gendistill.config.base import read_config
from gendistill.config.experiment import DATA_TYPES, Experiment, check, trainer_class, trainer_path
from gendistill.config.keywords import held, sections
from gendistill.config.merge import at_scale, lay
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.library.opening import DataLike, data_of, load_data
from gendistill.plain import plain
from gendistill.runs.best import copy
from gendistill.runs.callbacks import Callback, Every, Now
from gendistill.runs.checkpoint import load_state, read_state
from gendistill.runs.directory import RunDirectory
from gendistill.runs.events import read_scalars
from gendistill.runs.loggers import Logger
from gendistill.runs.signals import Interrupted
from gendistill.teacher import Teacher
from gendistill.teacher import load as load_teacher
from gendistill.visible import visible

CPU = torch.device("cpu")
YAML = (".yaml", ".yml")


class Run:
    """A run: its directory, what was learned, and the curves on the way.

    Args:
        directory: Of a run that :func:`train` or ``gendistill train`` has made.

    Raises:
        UserError: It holds no run.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        """Where its files are: ``config.yaml``, ``state.pt``, ``teacher.safetensors``, event files and ``samples/``."""
        self._place = RunDirectory(self.directory.parent, self.directory.name)
        config = self._place.read_config()
        if config is None:
            raise UserError(f"'{directory}' holds no run; give the directory that gd.train was given")
        self.config: dict[str, Any] = config
        """The complete configuration, nested plain values; it alone repeats the run."""
        self.metrics: dict[str, float] = {}
        """Means of what was logged, over the last interval."""
        self.warnings: list[str] = []
        """What was wrong at the end without a NaN, as sentences."""
        self.useless: str | None = None
        """What makes the teacher useless; None: nothing."""
        self.step = 0
        """Completed steps."""
        self.seconds = 0.0
        """Seconds of training, over all parts of a run that was continued."""
        self._made_with: tuple[Experiment, RealData] | None = None
        state = load_state(self._place, CPU, mapped=True)
        if state is not None:
            self.step, self.seconds = int(state["step"]), float(state["seconds"])
            self.metrics = dict(state["reported"])
            self.warnings = list((state.get("watch") or {}).get("sentences") or [])

    @property
    def steps(self) -> int:
        """Length of the run in steps."""
        return int(self.config["run"]["steps"])

    @cached_property
    def teacher(self) -> Teacher:
        """What was learned.

        Raises:
            UserError: The run has not reached its first save.
        """
        if not self._place.teacher.is_file():
            raise UserError(f"run '{self.directory}' has no teacher yet; let it reach its first save")
        return load_teacher(self._place.teacher)

    @cached_property
    def data(self) -> RealData:
        """The real data of the run."""
        return data_of(self.directory, None) if self._made_with is None else self._made_with[1]

    @property
    def best(self) -> Teacher:
        """The teacher of the step that was best on the validation split, of a run with ``keep_best``.

        Raises:
            UserError: None was kept.
        """
        return load_teacher(self._require_best(self._place.best_teacher))

    @property
    def best_step(self) -> int:
        """The step of :attr:`best`.

        Raises:
            UserError: None was kept.
        """
        return int(self._best["step"])

    @property
    def best_value(self) -> float:
        """The validation metric of :attr:`best`.

        Raises:
            UserError: None was kept.
        """
        return float(self._best["value"])

    @property
    def _best(self) -> Mapping[str, Any]:
        found: dict[str, Any] = read_state(self._require_best(self._place.best_state), CPU, mapped=True)["kept_best"]
        return found

    def _require_best(self, path: Path) -> Path:
        if not path.is_file():
            raise UserError(f"run '{self.directory}' kept no best teacher; train it with keep_best=True")
        return path

    def curves(self) -> dict[str, list[tuple[int, float]]]:
        """Return everything that was logged as (step, value), by tag: ``train/loss``, ``validation/accuracy``, ..."""
        return read_scalars(self.directory)

    def resume(self, steps: int | None = None, *, progress: bool = True, **more: Any) -> Run:
        """Go on with the run, to the bit as if it had never stopped.

        Args:
            steps: The new length of the run, in all; None: as it was.
            progress: Show how far it is.
            **more: ``callbacks`` and ``loggers`` of :func:`train`.

        Returns:
            The run, further on.
        """
        if self._made_with is not None:
            experiment, data = self._made_with
        else:
            experiment = check(self.config, str(self._place.config))
            data = self.data
        run = {**experiment.run, "fresh": False, "progress": progress} | ({} if steps is None else {"steps": steps})
        run |= {"root": str(self.directory.parent), "name": self.directory.name}
        return _made(replace(experiment, run=run), data, None, **more)

    def branch(self, directory: str | Path) -> Run:
        """Copy the run as it was at its best step to another directory, from where :meth:`resume` goes on.

        Args:
            directory: A new or empty directory.

        Raises:
            UserError: No best one was kept, or the directory holds something.
        """
        place = RunDirectory(Path(directory).parent, Path(directory).name)
        self._require_best(self._place.best_state)
        if place.path.exists() and any(place.path.iterdir()):
            raise UserError(f"'{directory}' is not empty; choose another directory")
        place.make()
        place.write_config(self.config)
        for source, target in (
            (self._place.best_teacher, place.teacher),
            (self._place.best_state, place.state),
            (self._place.best_teacher, place.best_teacher),
            (self._place.best_state, place.best_state),
        ):
            copy(source, target)
        other = Run(directory)
        other._made_with = self._made_with
        return other

    def __repr__(self) -> str:
        trainer = str(self.config.get("trainer", {}).get("class_path", "trainer")).rpartition(".")[2]
        data = str(self.config.get("data", {}).get("name", "?"))
        metrics = ", ".join(f"{name} {value:.4g}" for name, value in list(self.metrics.items())[:4])
        parts = [
            f"{trainer} on '{visible(data, 60)}'",
            f"step {self.step:,} of {self.steps:,}",
            *([metrics] if metrics else []),
            *([f"best at step {self.best_step:,}"] if self._place.best_state.is_file() else []),
            *(f"warning: {visible(one, 160)}" for one in self.warnings[:1]),
            f"in '{visible(str(self.directory), 200)}'",
        ]
        return f"<Run of {'; '.join(parts)}>"


def train(
    trainer: Any,
    data: DataLike | None = None,
    *,
    steps: int | None = None,
    directory: str | Path | None = None,
    scale: str | None = None,
    keep_best: bool | str | Mapping[str, Any] | None = None,
    callbacks: Sequence[Callback | Callable[[Now], object] | str | Mapping[str, Any]] = (),
    loggers: Sequence[Logger | str | Mapping[str, Any]] = (),
    progress: bool = True,
    **options: Any,
) -> Run:
    """Train a teacher, or go on with what a directory holds: the run that ``gendistill train`` would make.

    Args:
        trainer: A trainer's class, its name (``"DistributionMatchingTrainer"``), its dotted path, an object of one, or
            a config: its path, or the name of one that comes with the project (``"gan/mnist-cgan-pd"``).
        data: Real data, its name or path; None: what the config says, else digits.
        steps: Length of the run in steps; None: what the config says, else 1000.
        directory: Where the run writes, and is continued from; None: where the config says (``run.name``), else a
            temporary directory, which goes with the run that is returned.
        scale: Which of a config's scales; None: the config as it stands.
        keep_best: Keep the best step by the validation split: True by the accuracy of fresh learners, a metric's name,
            or options of :class:`gendistill.runs.best.KeepBest` as a mapping. None: keep the last step alone.
        callbacks: What is done while it goes on: objects of :class:`gendistill.Callback`, or functions, each called
            with a :class:`gendistill.Now` whenever metrics are logged.
        loggers: Where curves and pictures go beside TensorBoard.
        progress: Show how far it is.
        **options: Options of the trainer, the run and the data, as configs have them. A network or a term is a class, a
            dotted path or ``class_path`` and ``init_args``; a run stands for its directory.

    Returns:
        The run, at its end or where a callback ended it. Its ``teacher`` is what was learned.

    Raises:
        UserError: Options, data or the run in the directory do not fit.
        DivergenceError: A metric or a weight became NaN or infinite; the last good state is kept.
        KeyboardInterrupt: Ctrl-C, or the notebook's stop. The state after the current step is saved, and the sentence
            says how to go on.
    """
    experiment = _experiment(trainer, steps, scale, keep_best, progress, options)
    if isinstance(data, RealData) and (
        own := [name for name in options if name in DATA_TYPES and name in experiment.data]
    ):
        raise UserError(f"{own[0]} is for data that is still to be loaded; give it where this data was loaded")
    if data is not None and experiment.data and not isinstance(data, RealData):
        data = experiment.data | ({"name": str(data)} if isinstance(data, str | Path) else dict(data))
    loaded = load_data(data) if data is not None else experiment.load_data()
    experiment = replace(experiment, data=_data_section(loaded, experiment))
    temporary = None
    if directory is not None:
        place = Path(directory)
        experiment.run |= {"root": str(place.parent), "name": place.name}
    elif "name" not in experiment.run:
        temporary = Path(tempfile.mkdtemp(prefix="gendistill-"))
        experiment.run |= {"root": str(temporary), "name": "run"}
    return _made(experiment, loaded, temporary, callbacks=callbacks, loggers=loggers)


def _experiment(
    trainer: Any,
    steps: int | None,
    scale: str | None,
    keep_best: bool | str | Mapping[str, Any] | None,
    progress: bool,
    options: Mapping[str, Any],
) -> Experiment:
    """Return the experiment that a call describes."""
    config: dict[str, Any] = {}
    source, cls = "gd.train", None
    if isinstance(trainer, Mapping):
        config = dict(trainer)
    elif isinstance(trainer, str | Path) and shipped.config(trainer).suffix in YAML:
        source = str(trainer)
        config = read_config(trainer)
    elif isinstance(trainer, str):
        config = {"trainer": {"class_path": trainer}}
    elif isinstance(trainer, type):
        cls = trainer
    elif isinstance(given := getattr(trainer, "given", None), Mapping):
        cls = type(trainer)
        config = {"trainer": {"init_args": held(given, f"an argument of {cls.__name__}")}}
    else:
        raise UserError(
            f"trainer is {trainer!r}; give a trainer's class, its name, an object of one or a config's path or name"
        )
    config = at_scale(config, scale, source)
    named = cls or trainer_class(trainer_path((config.get("trainer") or {}).get("class_path")), f"{source}: trainer")
    # A class that was given is named in no file: its section holds arguments alone.
    found = sections(named, options)
    run = found["run"] | {"progress": progress} | ({} if steps is None else {"steps": steps})
    if keep_best:
        asked = keep_best if isinstance(keep_best, Mapping) else {} if keep_best is True else {"metric": keep_best}
        run["keep_best"] = held(asked, "keep_best")
    overlay = {"trainer": {"init_args": found["init_args"]}, "data": found["data"], "run": run}
    experiment = check(lay(config, overlay), source, cls)
    experiment.typed = frozenset(_dotted(found["init_args"]))
    return experiment


def _dotted(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        yield name
        if isinstance(value, Mapping):
            yield from (f"{name}.{key}" for key in value)


def _data_section(data: RealData, experiment: Experiment) -> dict[str, Any]:
    """Return what a config says of data that is loaded; of data of one's own making its name."""
    known = plain(dict(data.options)) or {"name": data.description.name}
    return {key: value for key, value in known.items() if key != "seed"} or dict(experiment.data)


def _made(
    experiment: Experiment,
    data: RealData,
    temporary: Path | None,
    *,
    callbacks: Sequence[Any] = (),
    loggers: Sequence[Any] = (),
) -> Run:
    """Run an experiment, and return what came of it."""
    every = experiment.options.log_every
    own = [Every(every, one) if callable(one) and not isinstance(one, type | Callback) else one for one in callbacks]
    directory = Path(experiment.options.root) / experiment.options.name
    try:
        with as_keyboard_interrupt():
            context = run_experiment(experiment, None, data, callbacks=own, loggers=loggers)
    except BaseException:
        if temporary is not None and not RunDirectory(temporary, "run").has_state:
            shutil.rmtree(temporary, ignore_errors=True)
        raise
    run = Run(directory)
    run._made_with = (experiment, data)
    run.metrics, run.warnings, run.useless = dict(context.metrics), list(context.warnings), context.useless
    if temporary is not None:
        weakref.finalize(run, shutil.rmtree, temporary, ignore_errors=True)
    return run


@contextlib.contextmanager
def as_keyboard_interrupt() -> Iterator[None]:
    """Let Ctrl-C inside raise what Python raises for it, with the sentence on what is kept and how to go on."""
    try:
        yield
    except Interrupted as stop:
        if stop.signal_number != SIGINT:
            raise
        raise KeyboardInterrupt(str(stop)) from None
