"""What a replication is, and its parts: runs of several seeds, each judged once, every finished part kept."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.commands.further import check_further
from gendistill.commands.output import to_json
from gendistill.commands.part import Part, going_on_in, judged, require_made
from gendistill.config.base import Known, read_config
from gendistill.config.command_line import AS_CONFIG, Words, assemble
from gendistill.config.experiment import Experiment
from gendistill.config.merge import at_scale
from gendistill.config.plan import RUN, Plan, Reported, at_smoke, is_real, plan, reported
from gendistill.errors import GendistillError, UserError, did_you_mean
from gendistill.words import counted

if TYPE_CHECKING:
    from gendistill.commands.cluster import Cluster
    from gendistill.data.real import RealData

# A replication that judges real data alone trains nothing: its options are those of any trainer.
ANY_TRAINER = "trainers.gan.ConditionalGANTrainer"
# Where a run goes and how often it saves says nothing about what comes of it.
PLACED = (
    "name", "root", "device", "save_every", "log_every", "sample_every", "histograms", "progress", "timeout", "fresh",
)  # fmt: skip

CHOSEN_HERE = {
    "run.root": "--root DIR says where all runs lie",
    "run.name": "they are named by what is replicated; --root DIR keeps them apart from others",
    "run.seed": "each run has its own, from 0; --seeds N says how many",
}
"""Options of a run that are not the person's to give where many are made, and what does that instead."""


def require_free(options: Iterable[str], command: str) -> None:
    """Refuse options of a run that the command gives to each run itself, and would not heed.

    Args:
        options: As typed, with or without dashes.
        command: ``replicate`` or ``sweep``.

    Raises:
        UserError: One is such an option; the sentence says what does it.
    """
    for option in options:
        name = option.lstrip("-").replace("-", "_")
        name = name if "." in name else f"run.{name}"
        if name in CHOSEN_HERE:
            raise UserError(f"gendistill {command} gives {option} to each of its runs itself: {CHOSEN_HERE[name]}")


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
        cluster: The cluster whose workers do runs and evaluations; None: they are done here.
        read: Configs that were read before, by file.
    """

    configs: Path
    scale: str | None = None
    root: Path = Path("checkpoints")
    overrides: list[tuple[str, str | None]] = field(default_factory=list)
    seeds: int | None = None
    jobs: int = 1
    cluster: Cluster | None = None
    read: Known = field(default_factory=dict, repr=False, compare=False)

    def ids(self) -> list[str]:
        """Return all ids, sorted.

        Raises:
            UserError: There is no directory of configs.
        """
        if not self.configs.is_dir():
            raise UserError(
                f"there is no folder '{self.configs}' of configs that describe replications; leave --configs out to "
                "take those of the project"
            )
        return sorted(path.stem for path in self.configs.glob("*.yaml"))

    def is_part(self, name: str) -> bool:
        """Return whether a name is that of a config in a folder, ``FOLDER/NAME``: a row of a larger table."""
        return re.fullmatch(r"[\w.-]*\w/[\w.-]*\w", name) is not None and (self.configs / f"{name}.yaml").is_file()

    def open(self, name: str) -> Replication:
        """Return the replication of an id.

        Raises:
            UserError: There is none, or its config does not fit.
        """
        alone = Path(name).name == name and (self.configs / f"{name}.yaml").is_file()
        if not alone and not self.is_part(name):
            known = self.ids()
            hint = did_you_mean(name, known) or "gendistill replicate --list names all of them"
            raise UserError(f"there is no replication '{name}'; {hint.rstrip()}")
        path = str(self.configs / f"{name}.yaml")
        config = at_scale(read_config(path, self.read), self.scale, path)
        if self.scale == "smoke":
            config["evaluation"] = at_smoke(config.get("evaluation"))
        found = Replication(name, path, plan(config, path), reported(config, path), self)
        check_further(found.plan.further, path)
        return found


@dataclass
class Replication:
    """One experiment of a source.

    Attributes:
        name: Its id.
        path: Its config.
        plan: How it is judged.
        reported: What the source says.
        of: Where it belongs.
        own: Further ``--key value`` of its runs, in a table that shows them with others.
    """

    name: str
    path: str
    plan: Plan
    reported: Reported | None
    of: Replications
    own: list[tuple[str, str | None]] = field(default_factory=list)

    def experiment(self, seed: int) -> Experiment:
        """Return the run of one seed."""
        return self._assembled(*self._placed(seed))

    def command(self, seed: int) -> list[str]:
        """Return the words after ``gendistill`` that make the run of one seed."""
        count = self.plan.processes
        together = ["torchrun", f"--nproc-per-node={count}"] if count > 1 else []
        words = [*together, "train", "--config", self.path, *(["--scale", self.of.scale] if self.of.scale else [])]
        words += [option if value is None else f"{option}={value}" for option, value in self.of.overrides]
        words += [f"{AS_CONFIG}={option}={value}" for option, value in self.own]
        return [*words, *(f"{option}={value}" for option, value in self._placed(seed)[len(self.own) :])]

    def _placed(self, seed: int) -> tuple[tuple[str, str | None], ...]:
        name = f"{self.folder}/{self.name}/seed-{seed}"
        placed = [*self.own, ("--run.root", str(self.of.root)), ("--run.name", name), ("--run.seed", str(seed))]
        if self.start is not None:
            placed.append((f"--trainer.{self.plan.starts_as}", str(self.start.directory / f"seed-{seed}")))
        return tuple(placed)

    @cached_property
    def start(self) -> Replication | None:
        """The replication whose runs this one's start from."""
        return None if self.plan.starts_from is None else self.of.open(self.plan.starts_from)

    def _assembled(self, *more: tuple[str, str | None]) -> Experiment:
        # What a person has typed is meant, and refused where it does not fit the data; what a table says is lowered.
        given, typed = self.of.overrides, [option for option, _ in self.of.overrides]
        words = Words(configs=[self.path], scale=self.of.scale, overrides=[*given, *more], typed=typed)
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

    def run(self, other: Replication | str, seed: int) -> dict[str, Any]:
        """Make a teacher and judge it by this replication's plan; what is done already is read.

        Args:
            other: The replication that makes it, or what names real data.
            seed: Of the run.

        Returns:
            A result of :func:`gendistill.evaluation.evaluate.evaluate` with ``seconds``, those of making the teacher.
        """
        from gendistill.commands.train import run_experiment
        from gendistill.teacher import open_teacher

        part = self.part(other, seed)
        if (known := part.known()) is not None:
            return known
        print(f"{part.name}, seed {seed}", file=sys.stderr)
        if part.experiment is not None:
            maker = None if isinstance(other, str) else other.maker
            if maker is not None and maker.start is not None:
                run_experiment(maker.start.experiment(seed))
            if maker is not None and maker.plan.processes > 1:
                make_together(maker, seed)
            else:
                run_experiment(part.experiment)
            require_made(part.experiment)
        teacher = open_teacher(part.reference, self.data, seed=seed)
        with going_on_in(part.file):
            result = judged(part.job | {"progress": True}, teacher, self.data)
        return part.keep(result)

    def part(self, other: Replication | str, seed: int) -> Part:
        """Return the evaluation of the teacher of a replication, or of real data; see :meth:`run`."""
        from gendistill import __version__
        from gendistill.data.fingerprint import contents

        reference = other if isinstance(other, str) else other.plan.teacher
        experiment = None
        made: dict[str, Any]
        if isinstance(other, str) or is_real(reference):
            name = reference
            # How the data was read says what real data is; a run's own config says it of a run.
            given = self.replication.experiment(seed).to_dict()["data"]
            read = {key: value for key, value in given.items() if key not in ("name", "root") and value is not None}
            made = {"reference": reference} | ({"data": read} if read else {})
        else:
            name, experiment = other.name, other.maker.experiment(seed)
            config = experiment.to_dict()
            config["run"] = {key: value for key, value in config["run"].items() if key not in PLACED}
            made = {"config": config}
            if other.maker.plan.processes > 1:
                made["processes"] = other.maker.plan.processes
            reference = str(Path(experiment.options.root) / experiment.options.name)
        planned = self.replication.plan
        learning = None if planned.learning is None else dict(planned.learning)
        if learning is not None:
            each = int(learning.pop("seeds", 1))
            learning["seeds"] = list(range(seed * each, (seed + 1) * each))
        fidelity = None if planned.fidelity is None or is_real(name) else {"seed": seed} | planned.fidelity
        # Real data is no distilled set: it adapts, attacks and ranks nothing.
        further = {} if is_real(name) else {one: how for one, how in planned.further.items() if how is not None}
        what = {"version": __version__, "seed": seed, "learning": learning, "fidelity": fidelity, **made}
        what |= {"further": further} if further else {}
        what |= {"learners": planned.learners} if planned.learners and learning is not None else {}
        what["dataset"] = self.data.description.name
        text = json.dumps(json.loads(to_json(what)), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest()[:8]
        kept = self.replication.of.root / self.replication.folder / "evaluations"
        plain_name = re.sub("[:=/]", "-", name)
        file = kept / f"{plain_name}-seed-{seed}-{digest}.json"
        job: dict[str, Any] = {
            "path": reference,
            "name": name,
            "learning": learning,
            "fidelity": fidelity,
            "further": further,
            "learners": planned.learners if learning is not None else [],
        }
        job["seed"] = seed
        job["device"] = self.replication.experiment(seed).options.device
        return Part(name, seed, reference, experiment, file, json.loads(text), contents(self.data), job)


def make_together(replication: Replication, seed: int) -> None:
    """Make the run of one seed in several processes, which are not this one.

    Raises:
        GendistillError: It failed; its own sentence is on stderr.
    """
    done = subprocess.run(
        [sys.executable, "-m", "gendistill.cli", *replication.command(seed)], stdout=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        raise GendistillError(
            f"the run of {counted(replication.plan.processes, 'process')} ended with exit code {done.returncode}; its "
            f"sentence stands above, and the same command goes on ({replication.name}, seed {seed})"
        )


def beside(replication: Replication, images: int | None, training_images: int) -> list[tuple[str, str | Replication]]:
    """Return what is shown beside a replication's teacher: names, and real data or other replications.

    Args:
        replication: The replication.
        images: Images that its teacher shows; None where that is not known.
        training_images: Size of the real training set, of which ``real:subset=same`` must be a part.
    """
    found: list[tuple[str, str | Replication]] = []
    count = str(replication.plan.images_per_class)
    # Rows of several tables are made on the data of the table that shows them.
    of_table: list[tuple[str, str | None]] = [
        ("--data.name", str(replication.experiment(0).data.get("name", "digits")))
    ]
    for name, reference in replication.plan.sized.items():
        one = replication.of.open(reference)
        own = [*of_table, ("--trainer.images_per_class", count)]
        found.append((name, replace(one, name=f"{reference}-{count}", own=own)))
    for name, reference in replication.plan.beside.items():
        if reference == "real:subset=same":
            if images is not None and images < training_images:
                found.append((name, f"real:subset={images}"))
        elif is_real(reference):
            found.append((name, reference))
        else:
            one = replication.of.open(reference)
            found.append((name, replace(one, own=of_table) if replication.of.is_part(reference) else one))
    return found


def train_side_by_side(
    judge: Judge, replications: Sequence[Replication], until: Mapping[str, int] | None = None
) -> None:
    """Train the runs of several replications, as many at once as there are jobs; finished ones are left alone.

    Args:
        judge: Says which seeds, and how many jobs.
        replications: Those that make the runs.
        until: By a replication's name the step at which its runs end, where that is before their last.

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
            goal = min(options.steps, (until or {}).get(one.name, options.steps))
            if last_step(log) < goal:
                waiting.append((one.command(seed), goal, log))
    jobs = min(judge.replication.of.jobs, len(waiting))
    shares = [waiting[place::jobs] for place in range(jobs)]

    def lane(number: int, share: Sequence[tuple[list[str], int, Path]]) -> Lane:
        commands, lengths, logs = zip(*share, strict=True)
        return Lane(f"job {number}", commands, sum(lengths), lambda: sum(map(last_step, logs)))

    if shares:
        run_side_by_side([lane(number, share) for number, share in enumerate(shares, 1)])


def seeds_of(judge: Judge, other: Replication | str) -> Sequence[dict[str, Any]]:
    """Return the results of all seeds of real data or of a replication."""
    return [judge.run(other, seed) for seed in judge.seeds]
