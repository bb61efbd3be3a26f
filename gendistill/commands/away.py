"""Runs and evaluations of replications as units of work for other machines, and their results put in place."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gendistill.commands.cluster import Crew
from gendistill.commands.kept import read_evaluation
from gendistill.commands.output import to_json
from gendistill.commands.part import Part, require_made
from gendistill.commands.replication import Judge, Replication
from gendistill.commands.unit import PLACE, RUN, Unit
from gendistill.config.experiment import Experiment
from gendistill.config.plan import is_real
from gendistill.data.fingerprint import require_unchanged
from gendistill.errors import GendistillError, UserError
from gendistill.files import atomic_write
from gendistill.runs.checkpoint import noted_step
from gendistill.runs.configuration import as_stored, bound, require_same
from gendistill.runs.directory import RunDirectory
from gendistill.runs.events import call_session
from gendistill.yaml_file import dump_yaml

LATEST = "run/state.pt"
OF_A_RUN = (LATEST, *(f"{RUN}{name}" for name in ("teacher.safetensors", "config.yaml", "log.txt", "events.*")))
PICTURES = tuple(f"{RUN}samples/*.{ending}" for ending in ("png", "txt", "gif"))
JOB, RESULT, TEACHER = "job.json", "result.json", "teacher.safetensors"


@dataclass(frozen=True)
class _Run:
    """A run that is to be made.

    Attributes:
        maker: Whose.
        seed: Of the run.
        experiment: It, as it would be made here.
        until: The step at which it ends for now; None: its last.
    """

    maker: Replication
    seed: int
    experiment: Experiment
    until: int | None = None

    @property
    def goal(self) -> int:
        """The step at which it ends."""
        steps = int(self.experiment.options.steps)
        return steps if self.until is None else min(self.until, steps)

    @property
    def directory(self) -> RunDirectory:
        """Where it belongs."""
        return RunDirectory(self.experiment.options.root, self.experiment.options.name)

    def unit(self, data_root: str | None) -> Unit:
        """Return it as words, with its config and, where there is one, the run that it starts from."""
        config = self.experiment.to_dict()
        config["run"] |= {"root": PLACE, "name": RUN.rstrip("/"), "progress": False, "fresh": False}
        if data_root is not None:
            config["data"] |= {"root": data_root}
        files: dict[str, bytes] = {}
        overrides = [f"--run.root={PLACE}"]
        if (start := self.maker.start) is not None:
            files = {
                f"start/{name}": (start.directory / f"seed-{self.seed}" / name).read_bytes()
                for name in ("state.pt", "config.yaml", TEACHER)
            }
            overrides.append(f"--trainer.{self.maker.plan.starts_as}={PLACE}/start")
        elif self.directory.has_state:
            # What was begun here is gone on with there.
            require_same(self.directory, self.experiment.to_dict())
            own = (self.directory.state, self.directory.config, self.directory.teacher, self.directory.log)
            files = {f"{RUN}{path.name}": path.read_bytes() for path in own if path.is_file()}
        files["config.yaml"] = dump_yaml(config).encode()
        words = ("train", "--config", f"{PLACE}/config.yaml", *overrides)
        name = f"{self.maker.name} seed {self.seed}"
        return Unit(name, words, files, (*OF_A_RUN, *PICTURES), f"{RUN}log.txt", self.goal)

    def place(self, files: Mapping[str, bytes]) -> None:
        """Put a run that came back in its directory, its state last: with it the run is where it was to end.

        Raises:
            GendistillError: What came back is not that run, whole.
            UserError: The directory holds another run, or another process trains there.
        """
        import torch

        from gendistill.runs.checkpoint import load_state, read_state, save_state
        from gendistill.teacher import load

        config = self.experiment.to_dict()
        with tempfile.TemporaryDirectory(prefix="gendistill-arrived-") as scratch:
            arrived = RunDirectory(scratch, RUN.rstrip("/"))
            for name, content in files.items():
                _write(Path(scratch) / name, content)
            try:
                state = load_state(arrived, torch.device("cpu"))
                stored = arrived.read_config() or {}
                load(arrived.teacher)
            except UserError as error:
                raise GendistillError(f"what came back of '{self.directory}' cannot be used: {error}") from error
            if state is None or state["step"] < self.goal:
                raise GendistillError(f"what came back of '{self.directory}' is not finished; give the command again")
            # Said as it would be here: where the data and the run that it started from lie is of this machine.
            tuned = (stored.get("run") or {}).get("tune", config["run"].get("tune"))
            config["run"] |= {"tune": tuned}
            if state.get("config") is not None and state["config"] != (here := bound(as_stored(config))):
                unchecked = {key: value for key, value in state.items() if key not in ("format", "version", "checked")}
                save_state(arrived, unchecked | {"config": here})
                read_state(arrived.state, torch.device("cpu"), mapped=True)
            call_session(arrived.path, self.experiment.options.name)
            directory = self.directory
            directory.make()
            directory.lock()
            try:
                if directory.has_state:
                    require_same(directory, config)
                directory.put_aside()
                for name in sorted(files, key=lambda name: name == LATEST):
                    if name == f"{RUN}config.yaml":
                        directory.write_config(config)
                    else:
                        _write(directory.path / name.removeprefix(RUN), (Path(scratch) / name).read_bytes())
                directory.discard()
            finally:
                directory.put_back()  # where it was not discarded
                directory.unlock()


def do_away(
    crew: Crew, asked: Sequence[tuple[Judge, Sequence[Replication | str]]], until: Mapping[str, int] | None = None
) -> None:
    """Let a cluster do all runs and evaluations that are not done yet; afterwards all of them are read here.

    Args:
        crew: The workers.
        asked: Judges, and what each of them judges.
        until: By a replication's name the step at which its runs end, where that is before their last.

    Raises:
        GendistillError: See :meth:`gendistill.commands.cluster.Crew.run`.
    """
    root = crew.cluster.data_root
    for runs in _stages(asked, until or {}):
        units = [one.unit(root) for one in runs]
        known = {unit.digest: one for unit, one in zip(units, runs, strict=True)}
        crew.run(units, lambda unit, files, known=known: known[unit.digest].place(files))  # type: ignore[misc]
    parts: dict[str, tuple[Part, Any]] = {}
    units = []
    for judge, others in asked:
        given = judge.replication.experiment(0).to_dict()["data"]
        for part in (judge.part(other, seed) for other in others for seed in judge.seeds):
            if part.known(said=False) is None:
                unit = _evaluation(part, given | ({} if root is None else {"root": root}))
                parts[unit.digest] = (part, judge.data.options.get("root"))
                units.append(unit)
    crew.run(units, lambda unit, files: _keep(*parts[unit.digest], files))


def _stages(
    asked: Sequence[tuple[Judge, Sequence[Replication | str]]], until: Mapping[str, int]
) -> Iterator[list[_Run]]:
    """Yield runs that may be made at once, those that others start from first."""
    makers: dict[str, tuple[Replication, set[int]]] = {}
    for judge, others in asked:
        for other in others:
            if not isinstance(other, str) and not is_real(other.plan.teacher):
                maker = other.maker
                makers.setdefault(str(maker.directory), (maker, set()))[1].update(judge.seeds)
    levels: list[dict[str, tuple[Replication, set[int]]]] = []
    while makers:
        levels.insert(0, makers)
        starts: dict[str, tuple[Replication, set[int]]] = {}
        for maker, seeds in makers.values():
            if maker.start is not None:
                starts.setdefault(str(maker.start.directory), (maker.start, set()))[1].update(seeds)
        makers = starts
    done: set[Path] = set()
    for level in levels:
        runs = [
            _Run(maker, seed, maker.experiment(seed), until.get(maker.name))
            for maker, seeds in level.values()
            for seed in sorted(seeds)
        ]
        waiting = [one for one in runs if not _finished(one) and one.directory.path not in done]
        done.update(one.directory.path for one in waiting)
        yield waiting


def _finished(run: _Run) -> bool:
    # The log may tell of a step whose state was never saved.
    if run.directory.has_state:
        require_made(run.experiment)
    return run.directory.has_state and noted_step(run.directory.state) >= run.goal


def _evaluation(part: Part, data: Mapping[str, Any]) -> Unit:
    """Return an evaluation as words, with the teacher's file."""
    files = {}
    job = part.job | {"data": dict(data), "reference": part.reference, "seed": part.seed}
    if part.experiment is not None:
        files[TEACHER] = (Path(part.reference) / TEACHER).read_bytes()
        job["reference"] = None
    files[JOB] = to_json(job).encode()
    return Unit(f"judging {part.name} seed {part.seed}", ("judge-part", PLACE), files, (RESULT,))


def _keep(part: Part, root: Any, files: Mapping[str, bytes]) -> None:
    """Look at an evaluation that came back, and keep it."""
    with tempfile.TemporaryDirectory(prefix="gendistill-arrived-") as scratch:
        file = Path(scratch) / RESULT
        if RESULT in files:
            _write(file, files[RESULT])
        found = read_evaluation(file)
    if found is None or "result" not in found or "data" not in found:
        raise GendistillError(f"what came back of judging '{part.name}' is no result; look at the worker")
    require_unchanged(
        part.data, found["data"], f"'{part.name}' was judged", "give the worker the same data (--cluster-data-root)"
    )
    result = found["result"]
    if isinstance(result.get("data"), dict) and isinstance(result["data"].get("options"), dict):
        # Where the data lies is said of this machine.
        result["data"]["options"].pop("root", None)
        result["data"]["options"] |= {} if root is None else {"root": root}
    part.keep(result)


def _write(path: Path, content: bytes) -> None:
    def write(file: Any) -> None:
        file.write(content)

    with contextlib.suppress(FileExistsError):
        path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, write)
