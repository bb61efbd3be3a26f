"""One evaluation of a teacher: what it depends on, where it is kept, and how it is judged, whoever asks for it."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.commands.further import measured_further
from gendistill.commands.kept import read_evaluation, write_evaluation
from gendistill.config.experiment import Experiment
from gendistill.errors import UserError
from gendistill.notes import note

if TYPE_CHECKING:
    from gendistill.data.real import RealData
    from gendistill.teacher import Teacher


@dataclass
class Part:
    """One evaluation: what is judged, how, and where it is kept.

    Attributes:
        name: What is judged.
        seed: Of the run.
        reference: How the teacher is opened: real data, or a run's directory.
        experiment: The run that makes it; None of real data.
        file: Where the evaluation is kept.
        what: All that it depends on but the data.
        data: What the data holds.
        job: How it is judged: the options of :func:`judged` in plain values.
    """

    name: str
    seed: int
    reference: str
    experiment: Experiment | None
    file: Path
    what: dict[str, Any]
    data: dict[str, Any]
    job: dict[str, Any]

    def known(self, *, said: bool = True) -> dict[str, Any] | None:
        """Return the result that is kept; None: there is none.

        Args:
            said: Whether to say that it is there.

        Raises:
            UserError: It was measured on other data.
        """
        from gendistill.data.fingerprint import require_unchanged

        known = read_evaluation(self.file)
        if known is not None and known.get("what") != self.what:
            note(f"'{self.file}' is of another evaluation than its name says; it is judged anew")
            known = None
        if known is None:
            return None
        if (before := known.get("data")) is not None:
            require_unchanged(before, self.data, f"'{self.file}' holds an evaluation", "choose another --root")
        if said:
            print(f"{self.name}, seed {self.seed}: done already", file=sys.stderr)
        result: dict[str, Any] = known["result"]
        return result

    def keep(self, result: dict[str, Any]) -> dict[str, Any]:
        """Keep a result with the seconds of making the teacher, and return it."""
        seconds, cpu = self._seconds()
        result = result | {"seconds": seconds, "cpu_seconds": {"making": cpu} | result.get("cpu_seconds", {})}
        self.show(result)
        write_evaluation(self.file, {"what": self.what, "data": self.data, "result": result})
        shutil.rmtree(self.file.with_suffix(".parts"), ignore_errors=True)
        return result

    def show(self, result: Mapping[str, Any]) -> None:
        """Let TensorBoard compare the run by what its teacher reached."""
        if self.experiment is None:
            return
        from gendistill.report.evaluation_events import write_evaluation_events
        from gendistill.runs.overview import EVALUATION

        options = self.experiment.options
        write_evaluation_events([result], Path(options.root) / options.name / EVALUATION, figures=False)

    def _seconds(self) -> tuple[float | None, float | None]:
        """Return the seconds of making the teacher, of the clock and of the processor."""
        if self.experiment is None:
            return None, None
        import torch

        from gendistill.runs.checkpoint import read_state
        from gendistill.runs.directory import RunDirectory

        options = self.experiment.options
        state = read_state(RunDirectory(options.root, options.name).state, torch.device("cpu"))
        cpu = state.get("cpu_seconds")  # runs of earlier versions did not count them
        return float(state["seconds"]), None if cpu is None else float(cpu)


def require_made(experiment: Experiment) -> None:
    """Refuse to judge what the directory of a run holds where it is of another run, or of one that is longer.

    Raises:
        UserError: It is: its teacher is not the one that is asked for.
    """
    from gendistill.runs.checkpoint import noted_step
    from gendistill.runs.configuration import require_same
    from gendistill.runs.directory import RunDirectory

    options = experiment.options
    directory = RunDirectory(options.root, options.name)
    require_same(directory, experiment.to_dict())
    if (step := noted_step(directory.state)) > options.steps:
        raise UserError(
            f"'{directory}' is at step {step:,}, beyond the {options.steps:,} that are asked for; give --run.steps "
            f"{step}, or choose another --root"
        )


@contextmanager
def going_on_in(file: Path) -> Iterator[None]:
    """Keep the finished parts of an evaluation beside its file, and go on from them."""
    from gendistill.evaluation.parts import kept_in

    with kept_in(file.with_suffix(".parts")):
        yield


def judged(job: Mapping[str, Any], teacher: Teacher, data: RealData) -> dict[str, Any]:
    """Judge a teacher.

    Args:
        job: ``path`` and ``name`` for the record, ``learning`` and ``fidelity`` (None leaves one out), ``learners``
            (further ones that are taught, too), ``further`` (see
            :func:`gendistill.commands.further.measured_further`) with ``seed``, ``device`` (a name), and ``progress``,
            whether to count updates on stderr.
        teacher: The teacher.
        data: The real data.

    Returns:
        See :func:`gendistill.evaluation.judging.judged`; beside it ``further`` where something is asked, and under
        ``cpu_seconds`` those of ``judging``, of all threads of this process.
    """
    from gendistill.counter import Counter
    from gendistill.evaluation.judging import judged as before_all_judges
    from gendistill.runs.device import choose_device

    device = {"device": choose_device(job["device"])}
    shown = {"progress": Counter("learners", "updates")} if job.get("progress") else {}
    learning, fidelity = job["learning"], job["fidelity"]
    began = time.process_time()
    result = before_all_judges(
        teacher,
        data,
        path=job["path"],
        name=job["name"],
        learning=None if learning is None else learning | device | shown,
        fidelity=None if fidelity is None else fidelity | device,
        others=job.get("learners") or (),
    )
    if job.get("further"):
        result["further"] = measured_further(job["further"], teacher, data, int(job["seed"]), device["device"])
    return result | {"cpu_seconds": {"judging": time.process_time() - began}}
