"""The parts of a replication: runs of several seeds, each judged once, every finished part kept."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.commands.kept import read_evaluation, write_evaluation
from gendistill.commands.output import to_json
from gendistill.config.base import read_config
from gendistill.config.command_line import Words, assemble
from gendistill.config.experiment import Experiment
from gendistill.config.merge import at_scale
from gendistill.config.plan import RUN, Plan, Reported, at_smoke, is_real, plan, reported
from gendistill.errors import UserError, did_you_mean
from gendistill.notes import note

if TYPE_CHECKING:
    from gendistill.data.real import RealData
    from gendistill.teacher import Teacher

# A replication that judges real data alone trains nothing: its options are those of any trainer.
ANY_TRAINER = "trainers.gan.ConditionalGANTrainer"
# Where a run goes and how often it saves says nothing about what comes of it.
PLACED = (
    "name", "root", "device", "save_every", "log_every", "sample_every", "histograms", "progress", "timeout", "fresh",
)  # fmt: skip


@dataclass
class Replications:
    """Where replications are described, and how they are run this time.

    Attributes:
        configs: Directory of the configs, one ``<id>.yaml`` each.
        scale: Named scale of the configs; None for their own settings.
        root: Directory that holds all runs.
        overrides: ``--key value`` for every config.
        seeds: Number of runs; None: what the replication says.
        jobs: Runs that train at once, each in a process of its own; with 1, in this one.
    """

    configs: Path
    scale: str | None = None
    root: Path = Path("checkpoints")
    overrides: list[tuple[str, str | None]] = field(default_factory=list)
    seeds: int | None = None
    jobs: int = 1

    def ids(self) -> list[str]:
        """Return all ids, sorted.

        Raises:
            UserError: There is no directory of configs, as in an installed package.
        """
        if not self.configs.is_dir():
            raise UserError(
                f"there is no folder '{self.configs}': replications are described by configs that come with a checkout "
                "of the project and not with the installed package; run in a checkout or give --configs DIR"
            )
        return sorted(path.stem for path in self.configs.glob("*.yaml"))

    def open(self, name: str) -> Replication:
        """Return the replication of an id.

        Raises:
            UserError: There is none, or its config does not fit.
        """
        known = self.ids()
        if name not in known:
            hint = did_you_mean(name, known) or "gendistill replicate --list names all of them"
            raise UserError(f"there is no replication '{name}'; {hint.rstrip()}")
        path = str(self.configs / f"{name}.yaml")
        config = at_scale(read_config(path), self.scale, path)
        if self.scale == "smoke":
            config["evaluation"] = at_smoke(config.get("evaluation"))
        return Replication(name, path, plan(config, path), reported(config, path), self)


@dataclass
class Replication:
    """One experiment of a source.

    Attributes:
        name: Its id.
        path: Its config.
        plan: How it is judged.
        reported: What the source says.
        of: Where it belongs.
    """

    name: str
    path: str
    plan: Plan
    reported: Reported | None
    of: Replications

    def experiment(self, seed: int) -> Experiment:
        """Return the run of one seed."""
        return self._assembled(*self._placed(seed))

    def command(self, seed: int) -> list[str]:
        """Return the words after ``gendistill`` that make the run of one seed."""
        words = ["train", "--config", self.path, *(["--scale", self.of.scale] if self.of.scale else [])]
        for option, value in (*self.of.overrides, *self._placed(seed)):
            words.append(option if value is None else f"{option}={value}")
        return words

    def _placed(self, seed: int) -> tuple[tuple[str, str | None], ...]:
        name = f"{self.folder}/{self.name}/seed-{seed}"
        placed = [("--run.root", str(self.of.root)), ("--run.name", name), ("--run.seed", str(seed))]
        if self.start is not None:
            placed.append((f"--trainer.{self.plan.starts_as}", str(self.start.directory / f"seed-{seed}")))
        return tuple(placed)

    @cached_property
    def start(self) -> Replication | None:
        """The replication whose runs this one's start from."""
        return None if self.plan.starts_from is None else self.of.open(self.plan.starts_from)

    def _assembled(self, *more: tuple[str, str | None]) -> Experiment:
        words = Words(configs=[self.path], scale=self.of.scale, overrides=[*self.of.overrides, *more])
        return assemble(words, ANY_TRAINER if is_real(self.plan.teacher) else None)

    @cached_property
    def maker(self) -> Replication:
        """The replication whose trainer makes what is judged here: itself, unless its plan names another."""
        named = self.plan.teacher
        if named == self.name:
            raise UserError(f"{self.path}: evaluation.teacher names the replication itself; write 'run'")
        return self if named == RUN or is_real(named) else self.of.open(named).maker

    @cached_property
    def folder(self) -> str:
        """Directory below the root that all replications of one scale on one data set share."""
        dataset = self._assembled().data.get("name", "digits")
        return f"replication/{self.of.scale or 'default'}/{Path(str(dataset).removeprefix('folder:')).name}"

    @property
    def directory(self) -> Path:
        """Where its results are."""
        return self.of.root / self.folder / self.name


@dataclass
class Judge:
    """Makes and judges the teachers of one replication.

    Attributes:
        replication: Which.
        data: The real data.
    """

    replication: Replication
    data: RealData

    @property
    def seeds(self) -> range:
        """The seeds of the runs."""
        return range(self.replication.of.seeds or self.replication.plan.seeds)

    def run(self, other: Replication, seed: int) -> dict[str, Any]:
        """Make the teacher of a replication and judge it by this one's plan; what is done already is read.

        Returns:
            A result of :func:`gendistill.evaluation.evaluate.evaluate` with ``seconds``, those of making the teacher.
        """
        if is_real(other.plan.teacher):
            return self.real(other.plan.teacher, seed)
        from gendistill.commands.train import run_experiment
        from gendistill.runs.checkpoint import read_state
        from gendistill.runs.directory import RunDirectory
        from gendistill.teacher import open_teacher

        maker = other.maker
        experiment = maker.experiment(seed)
        config = experiment.to_dict()
        config["run"] = {key: value for key, value in config["run"].items() if key not in PLACED}
        options = experiment.options
        directory = RunDirectory(options.root, options.name)

        def make() -> tuple[Teacher, float]:
            import torch

            if maker.start is not None:
                run_experiment(maker.start.experiment(seed))
            run_experiment(experiment)
            seconds = float(read_state(directory.state, torch.device("cpu"))["seconds"])
            return open_teacher(directory.path, self.data), seconds

        return self._kept(other.name, seed, {"config": config}, make, directory.path)

    def real(self, reference: str, seed: int) -> dict[str, Any]:
        """Judge real data by this replication's plan; what is done already is read."""
        from gendistill.teacher import open_teacher

        # How the data was read says what real data is; a run's own config says it of a run.
        given = self.replication.experiment(seed).to_dict()["data"]
        read = {key: value for key, value in given.items() if key not in ("name", "root") and value is not None}
        made = {"reference": reference} | ({"data": read} if read else {})
        return self._kept(reference, seed, made, lambda: (open_teacher(reference, self.data, seed=seed), None))

    def _kept(self, name: str, seed: int, made: dict[str, Any], make: Any, path: Path | None = None) -> dict[str, Any]:
        from gendistill import __version__
        from gendistill.data.fingerprint import contents, require_unchanged
        from gendistill.evaluation.evaluate import evaluate
        from gendistill.evaluation.parts import kept_in
        from gendistill.runs.counter import Counter
        from gendistill.runs.device import choose_device

        judged = self.replication.plan
        learning = None if judged.learning is None else dict(judged.learning)
        if learning is not None:
            each = int(learning.pop("seeds", 1))
            learning["seeds"] = list(range(seed * each, (seed + 1) * each))
        fidelity = None if judged.fidelity is None or is_real(name) else {"seed": seed} | judged.fidelity
        what = {"version": __version__, "seed": seed, "learning": learning, "fidelity": fidelity, **made}
        what["dataset"] = self.data.description.name
        held = contents(self.data)
        text = json.dumps(json.loads(to_json(what)), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        kept = self.replication.of.root / self.replication.folder / "evaluations"
        file = kept / f"{name.replace(':', '-').replace('=', '-')}-seed-{seed}-{digest}.json"
        known = read_evaluation(file)
        if known is not None and known.get("what") != json.loads(text):
            note(f"'{file}' is of another evaluation than its name says; it is judged anew")
            known = None
        if known is not None:
            if (before := known.get("data")) is not None:
                require_unchanged(before, held, f"'{file}' holds an evaluation", "choose another --root")
            print(f"{name}, seed {seed}: done already", file=sys.stderr)
            result: dict[str, Any] = known["result"]
            return result
        print(f"{name}, seed {seed}", file=sys.stderr)
        teacher, seconds = make()
        device = {"device": choose_device(self.replication.experiment(seed).options.device)}
        with kept_in(parts := file.with_suffix(".parts")):
            result = evaluate(
                teacher,
                self.data,
                path=path or name,
                name=name,
                learning=None if learning is None else learning | device | {"progress": Counter("learners", "updates")},
                fidelity=None if fidelity is None else fidelity | device,
            )
        result |= {"seconds": seconds}
        write_evaluation(file, {"what": what, "data": held, "result": result})
        shutil.rmtree(parts, ignore_errors=True)
        return result


def beside(replication: Replication, images: int | None, training_images: int) -> list[tuple[str, str | Replication]]:
    """Return what is shown beside a replication's teacher: names, and real data or other replications.

    Args:
        replication: The replication.
        images: Images that its teacher shows; None where that is not known.
        training_images: Size of the real training set, of which ``real:subset=same`` must be a part.
    """
    found: list[tuple[str, str | Replication]] = []
    for name, reference in replication.plan.beside.items():
        if reference == "real:subset=same":
            if images is not None and images < training_images:
                found.append((name, f"real:subset={images}"))
        else:
            found.append((name, reference if is_real(reference) else replication.of.open(reference)))
    return found


def train_side_by_side(judge: Judge, replications: Sequence[Replication]) -> None:
    """Train the runs of several replications, as many at once as there are jobs; finished ones are left alone.

    Raises:
        GendistillError: A run failed; the others have saved their states.
    """
    from gendistill.commands.side_by_side import Lane, run_side_by_side
    from gendistill.runs.directory import RunDirectory
    from gendistill.runs.progress import last_step

    makers = {one.maker.name: one.maker for one in replications if not is_real(one.plan.teacher)}
    starts = {one.start.name: one.start for one in makers.values() if one.start is not None}
    if starts:
        train_side_by_side(judge, list(starts.values()))
    waiting: list[tuple[list[str], int, Path]] = []
    for one in makers.values():
        if one.name in starts:
            continue
        for seed in judge.seeds:
            options = one.experiment(seed).options
            log = RunDirectory(options.root, options.name).log
            if last_step(log) < options.steps:
                waiting.append((one.command(seed), options.steps, log))
    jobs = min(judge.replication.of.jobs, len(waiting))
    shares = [waiting[place::jobs] for place in range(jobs)]

    def lane(number: int, share: Sequence[tuple[list[str], int, Path]]) -> Lane:
        commands, lengths, logs = zip(*share, strict=True)
        return Lane(f"job {number}", commands, sum(lengths), lambda: sum(map(last_step, logs)))

    if shares:
        run_side_by_side([lane(number, share) for number, share in enumerate(shares, 1)])


def seeds_of(judge: Judge, other: Replication | str) -> Sequence[dict[str, Any]]:
    """Return the results of all seeds of real data or of a replication."""
    return [judge.real(other, seed) if isinstance(other, str) else judge.run(other, seed) for seed in judge.seeds]
