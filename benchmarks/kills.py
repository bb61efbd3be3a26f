"""Kill commands that keep parts at random moments, give the same command again, and hold the result against one that
was left alone: weights and states to the bit, results but for times.

    python benchmarks/kills.py --count 5                     five kills or terminations of each command
    python benchmarks/kills.py --jobs nas,compare --seed 3   other moments, some commands
    python benchmarks/kills.py --jobs together --count 3     two processes under torchrun, one of which is killed

Each command runs in a process that is forked off this one, which has imported torch once. A trial is one folder: a few
interruptions one after another (SIGKILL, SIGTERM or SIGINT), then the command to its end. One JSON line a trial.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
ROOT = HERE.parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

THREADS = 1
TIMES = ("making", "peaks", "seconds", "cpu_seconds", "pilot_seconds")
CHECKSUMS = ("sha256", "sums")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
POLITE = SIGNALS[2:]
OF_RUN = ["--run.progress", "false", "--run.log_every", "3", "--run.sample_every", "0"]
MLP = "{class_path: gendistill.nets.learners.MLP, init_args: {width: 8}}"
JUDGED = ["--learner", MLP, "--updates", "5,150", "--seeds", "2", "--lr", "0.03,0.1", "--no-fidelity"]


def trained(config: str, *more: str, steps: int = 12, save_every: int = 2) -> list[str]:
    """Return the words that train a config in small."""
    length = ["--run.steps", str(steps), "--run.save_every", str(save_every)]
    return ["train", "--config", str(ROOT / "configs" / config), "--scale", "smoke", "--run.name", "run", *length,
            *OF_RUN, *more]  # fmt: skip


JOBS: dict[str, list[str]] = {
    "train gan": trained("quickstart/gan.yaml"),
    "train gtn": trained("quickstart/gtn.yaml"),
    "train dd": trained("dd/digits.yaml"),
    "train condensation": trained("condensation/digits.yaml"),
    "experts": trained("mtt/digits.yaml", "--trainer.experts", "2", "--trainer.max_start_epoch", "12", steps=4),
    "replicate": ["replicate", "ours-4.1-gan", "--configs", str(ROOT / "configs/replication"), "--scale", "smoke",
                  "--data.name", "digits", "--seeds", "2", "--run.steps", "6", "--run.save_every", "2",
                  "--run.progress", "false"],
    "sweep": ["sweep", str(ROOT / "configs/dd/digits-layers.yaml"), "--over", "trainer.fixed_layers=0,1", "--seeds",
              "1", "--scale", "smoke", "--run.steps", "4", "--run.save_every", "2", "--run.progress", "false"],
    "nas": ["nas", "real:ipc=3", "--space", "mlps", "--count", "6", "--updates", "4", "--no-baselines",
            "--truth-epochs", "1", "--output", "nas"],
    "compare": ["compare", "a=real:ipc=1", "b=real:ipc=2", "c=real:ipc=3", *JUDGED, "--output", "compared.json"],
    "evaluate": ["evaluate", "real:ipc=2", *JUDGED[:-1], "--count", "100", "--output", "evaluated.json"],
    "verify": ["verify", "real:ipc=2", "--suspects", "quick", "--learner", MLP, "--updates", "80", "--seeds", "2",
               "--output", "verified.json"],
}  # fmt: skip
TOGETHER = "together"


@dataclass
class Ended:
    """How a process has ended.

    Attributes:
        code: Its exit code, negative for the signal that killed it.
        said: What it wrote to stderr.
        seconds: Of the processor, so that a moment is one of the work and not of what else the machine does.
    """

    code: int
    said: str
    seconds: float


def forked(words: Sequence[str], folder: Path, after: float | None = None, number: int = 0) -> Ended:
    """Run ``gendistill`` in a folder, and send it a signal after so many CPU seconds unless it has ended."""
    folder.mkdir(parents=True, exist_ok=True)
    errors = folder / "stderr.txt"
    ours = signal.pthread_sigmask(signal.SIG_BLOCK, POLITE)
    process = os.fork()
    if process:
        signal.pthread_sigmask(signal.SIG_SETMASK, ours)
    else:
        code = 99
        try:
            # As a program starts: it dies of a signal until it listens.
            for one in POLITE:
                signal.signal(one, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_SETMASK, ours)
            code = _child(words, folder, errors)
        finally:
            os._exit(code)
    if after is not None and _is_at_work(process, after):
        os.kill(process, number)
    _, status, used = os.wait4(process, 0)
    said = errors.read_text(errors="replace")
    return Ended(os.waitstatus_to_exitcode(status), said, used.ru_utime + used.ru_stime)


def _is_at_work(process: int, seconds: float) -> bool:
    """Wait until a child has used so many CPU seconds, and return True, or until it has ended."""
    tick = os.sysconf("SC_CLK_TCK")
    while os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        if (int(fields[11]) + int(fields[12])) / tick >= seconds:
            return True
        time.sleep(0.002)
    return False


def _child(words: Sequence[str], folder: Path, errors: Path) -> int:
    from gendistill.cli import program
    from gendistill.evaluation import parts

    parts.EVERY = 0.0  # else so short a training would never keep its learners
    os.chdir(folder)
    os.environ["GENDISTILL_CACHE"] = str(folder / "cache")
    for file, path in ((1, os.devnull), (2, str(errors))):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), file)
    try:
        program(words)
    except SystemExit as leaving:
        sys.stderr.flush()
        return int(leaving.code or 0)


def found(folder: Path) -> dict[str, Any]:
    """Return all that a command has made and that must be the same however often it was interrupted."""
    import torch

    made: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if name.startswith("cache/"):
            continue
        if path.name.endswith(".safetensors"):
            made[name] = teacher_content(path)
        elif path.name == "state.pt":
            state = torch.load(path, weights_only=True)
            made[name] = _flat({key: value for key, value in state.items() if key not in (*TIMES, "reported")})
        elif path.suffix == ".json" and not path.name.startswith("."):
            values = json.loads(path.read_text())
            # Of values with times in them.
            told = {key: value for key, value in values.items() if key not in CHECKSUMS}
            made[name] = json.dumps(_timeless(told), sort_keys=True)
    return made


def teacher_content(path: Path) -> tuple[Any, bytes]:
    """Return what a safetensors file holds, header and bytes of tensors, but for what making a teacher took."""
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    noted = header.get("__metadata__") or {}
    if "gendistill_teacher" in noted:
        said = json.loads(noted["gendistill_teacher"])
        said.pop("sha256")
        said["metadata"].pop("making", None)
        noted["gendistill_teacher"] = said
    return header, content[8 + length :]


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(item) for key, item in value.items() if key not in TIMES}
    return [_timeless(item) for item in value] if isinstance(value, list) else value


def _flat(value: Any, where: str = "") -> dict[str, Any]:
    """Return a state with a place for each value, tensors as bytes."""
    import torch

    if isinstance(value, dict):
        return {place: item for key in value for place, item in _flat(value[key], f"{where}.{key}").items()}
    if isinstance(value, list | tuple):
        return {place: item for at, one in enumerate(value) for place, item in _flat(one, f"{where}.{at}").items()}
    if isinstance(value, torch.Tensor):
        return {where: (value.dtype, value.shape, value.contiguous().flatten().view(torch.uint8).numpy().tobytes())}
    return {where: value}


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return what differs between two folders."""
    return sorted(name for name in {**one, **other} if one.get(name) != other.get(name))


def faults(ended: Ended, number: int) -> list[str]:
    """Return what is wrong with how a command ended that was sent a signal."""
    wanted = {0, -number, *([] if number == signal.SIGKILL else [128 + number])}
    said = [line for line in ended.said.splitlines() if line.startswith("error: ") or line.startswith("interrupted")]
    wrong = [] if ended.code in wanted else [f"exit code {ended.code} after signal {number}"]
    if "Traceback" in ended.said:
        wrong.append("a traceback: " + ended.said[-400:])
    if ended.code > 128 and len(said) != 1:
        wrong.append(f"{len(said)} sentences: {said}")
    return wrong


class Trials:
    """Trials of one command.

    Args:
        words: The command.
        place: Where its folders are.
        moments: Draws when and how it is interrupted.
        run: Runs it, see :func:`forked`.
    """

    def __init__(
        self, words: Sequence[str], place: Path, moments: random.Random, run: Callable[..., Ended] = forked
    ) -> None:
        self.words, self.place, self.moments, self.run = words, place, moments, run
        self.number = 0
        whole = run(words, place / "whole")
        if whole.code:
            raise RuntimeError(f"{words[0]} alone ended with {whole.code}: {whole.said[-2000:]}")
        self.seconds = whole.seconds
        self.wanted = found(place / "whole")

    def trial(self, interruptions: int = 2) -> dict[str, Any]:
        """Interrupt the command so often, then let it end.

        Returns:
            ``signals`` (each with its moment, as a share of the time that the whole takes, and the exit code),
            ``faults``, ``left`` (files of killed writers that nobody has swept).
        """
        self.number += 1
        folder = self.place / f"trial-{self.number}"
        wrong: list[str] = []
        told = []
        for _ in range(interruptions):
            share, number = self.moments.uniform(0.0, 0.9), self.moments.choice(SIGNALS)
            ended = self.run(self.words, folder, share * self.seconds, number)
            told.append([signal.Signals(number).name, round(share, 2), ended.code])
            wrong += faults(ended, number)
        last = self.run(self.words, folder)
        if last.code:
            wrong.append(f"the same command again ended with {last.code}: {last.said[-400:]}")
        elif names := differing(found(folder), self.wanted):
            wrong.append(f"differs from the one that was left alone: {', '.join(names)}")
        left = [str(path.relative_to(folder)) for path in folder.rglob("*.tmp")]
        if not wrong:
            shutil.rmtree(folder)
        return {"signals": told, "faults": wrong, "left": left}


def together(place: Path, count: int, moments: random.Random) -> list[dict[str, Any]]:
    """Kill one of two processes that train one model, or their launcher, at random moments."""
    words = trained("dm/mnist-fast.yaml", "--data.name", "digits", "--trainer.learner.init_args.depth", "1", steps=200)
    start = [sys.executable, "-m", "gendistill.cli", "torchrun", "--nproc-per-node=2", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    began = time.monotonic()

    def whole(folder: Path) -> subprocess.CompletedProcess[str]:
        folder.mkdir(exist_ok=True)
        return subprocess.run(start, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    alone = whole(place / "whole")
    if alone.returncode:
        raise RuntimeError(alone.stderr[-2000:])
    wanted, seconds, results = found(place / "whole"), time.monotonic() - began, []
    for number in range(count):
        folder = place / f"together-{number}"
        folder.mkdir()
        process = subprocess.Popen(
            start, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        share, victim = moments.uniform(0.3, 0.95), moments.choice([0, 1])
        time.sleep(share * seconds)
        ranks = _children(process.pid)
        if len(ranks) == 2:
            os.kill(ranks[victim], signal.SIGKILL)
        began = time.monotonic()
        said = process.communicate(timeout=120)[1]
        took = time.monotonic() - began
        wrong = []
        if "Traceback" in said:
            wrong.append("a traceback: " + said[-1500:])
        again = whole(folder)
        if again.returncode:
            wrong.append(f"the same command again: {again.stderr[-800:]}")
        elif names := differing(found(folder), wanted):
            wrong.append(f"differs from the one that was left alone: {', '.join(names)}")
        told = [["SIGKILL", round(share, 2), process.returncode]]
        said = " | ".join(said.split("\n"))[:400]
        results.append(
            {"job": TOGETHER, "signals": told, "faults": wrong, "left": [], "ended_after": round(took, 1), "said": said}
        )
    return results


def _children(process: int) -> list[int]:
    """Return the numbers of a process's children, oldest first."""
    return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def prepare() -> None:
    """Import what commands import, once and not in every process that is forked off this one."""
    import torch
    import torch._dynamo
    import torch.utils.tensorboard

    import gendistill.data

    for folder in ("gendistill/commands", "gendistill/evaluation", "gendistill/report", "gendistill/nas", "trainers"):
        for path in (ROOT / folder).glob("*.py"):
            importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
    gendistill.data.load("digits")
    torch.set_num_threads(THREADS)


def attempts(jobs: Sequence[str], count: int, each: int, seed: int, place: Path) -> Iterator[dict[str, Any]]:
    """Yield what came of every trial.

    Args:
        jobs: Commands, of :data:`JOBS` and :data:`TOGETHER`.
        count: Interruptions of each.
        each: Interruptions in one folder, one after another.
        seed: Of the moments and signals.
        place: Where folders are; those of trials without a fault are removed.
    """
    prepare()
    for job in jobs:
        moments = random.Random(f"{seed}/{job}")
        (folder := place / job.replace(" ", "-")).mkdir()
        if job == TOGETHER:
            yield from together(folder, count, moments)
            continue
        trials = Trials(JOBS[job], folder, moments)
        for share in [each] * (count // each) + [count % each]:
            if share:
                yield {"job": job, **trials.trial(share)}


def measure() -> dict[str, Any]:
    """Interrupt each command twice, and return how often and in how many trials something was wrong."""
    with tempfile.TemporaryDirectory() as place:
        lines = list(attempts(list(JOBS), 2, 2, 0, Path(place)))
    interruptions = sum(len(line["signals"]) for line in lines)
    return {"interruptions": interruptions, "faults": [fault for line in lines for fault in line["faults"]]}


def main() -> int:
    """Run the trials that are asked for."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--jobs", default=",".join(JOBS), help="commands; 'together' is another one")
    options.add_argument("--count", type=int, default=3, help="interruptions of each")
    options.add_argument("--each", type=int, default=2, help="interruptions in one folder, one after another")
    options.add_argument("--seed", type=int, default=0, help="of the moments and signals")
    given = options.parse_args()
    wrong = kills = 0
    place = Path(tempfile.mkdtemp(prefix="kills-"))
    for line in attempts(given.jobs.split(","), given.count, given.each, given.seed, place):
        print(json.dumps(line), flush=True)
        wrong += bool(line["faults"])
        kills += len(line["signals"])
    print(f"{kills} interruptions, {wrong} trials with faults" + (f", kept in {place}" if wrong else ""))
    if not wrong:
        shutil.rmtree(place)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
