"""A GAN cut in two across four processes of which a random one is killed at a random moment, again and again.

Every time the run must end in time on every process with the block that died named in one sentence, go on with the same
command, and end with the state of the run that was left alone, to the bit. Processes are forked off this one, which
holds the store as torchrun does; both schedules by turns.

    python benchmarks/bpgan_kills.py --count 20 --seed 0
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
if str(HERE.parents[1]) not in sys.path:
    sys.path.insert(0, str(HERE.parents[1]))

from benchmarks import stores  # noqa: E402
from benchmarks.kills import differing, found, prepare  # noqa: E402

os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # as gendistill torchrun has it
THREADS = 1
WORLD = 4
LIMIT = 10
"""``--link-timeout``: seconds within which every process must have ended."""
NAMES = [f"the {role} block of pair {rank // 2} (process {rank})"
         for rank, role in enumerate(["discriminator", "generator"] * 2)]  # fmt: skip
SCHEDULES = ("sync", "pipelined")
CONFIG = HERE.parents[1] / "configs" / "bpgan" / "digits.yaml"


@dataclass
class Ended:
    """How the processes of a run have ended.

    Attributes:
        codes: Exit codes, negative for a signal.
        said: What they wrote to stderr, one after another.
        seconds: From the first step to the last one's end; before it, from the start.
        after: From the kill to the last one's end; None: nobody was killed.
    """

    codes: list[int]
    said: str
    seconds: float
    after: float | None


def words(folder: Path, schedule: str) -> list[str]:
    """Return the command of each process."""
    base = ["train", "--config", str(CONFIG), "--scale", "smoke", "--run.root", str(folder), "--run.name", "run"]
    length = ["--run.steps", "40", "--run.save_every", "4", "--run.log_every", "5", "--run.sample_every", "0"]
    shown = ["--run.progress", "false", "--run.device", "cpu", "--link-timeout", str(LIMIT)]
    return [*base, *length, *shown, "--trainer.schedule", schedule]


def together(command: Sequence[str], folder: Path, log: Path, kill: tuple[int, float, bool] | None = None) -> Ended:
    """Run a command in all processes, and kill one.

    Args:
        command: Of each.
        folder: Where what they say is kept.
        log: The run's, which begins with its first step.
        kill: Whom, after how many seconds, and whether they count from the first step on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    listener = stores.place()
    port = stores.port_of(listener)
    began, ranks, killed = time.monotonic(), [], None
    for rank in range(WORLD):
        ranks.append(os.fork())
        if ranks[-1] == 0:
            listener.close()
            _be(rank, command, folder / f"{rank}.txt", port)
    store = stores.store_at(listener)
    codes: dict[int, int] = {}
    told, trains = False, None
    while len(codes) < WORLD:
        if trains is None and log.exists():
            trains = time.monotonic()
        start = began if kill is None or not kill[2] else trains
        if kill is not None and killed is None and start is not None and time.monotonic() - start >= kill[1]:
            if ranks[kill[0]] not in codes:
                os.kill(ranks[kill[0]], signal.SIGKILL)
            killed = time.monotonic()
        process, status = os.waitpid(-1, os.WNOHANG)
        if process in ranks:
            codes[process] = os.waitstatus_to_exitcode(status)
        elif killed is not None and not told and time.monotonic() - killed > 0.1:
            told = True  # torchrun tells those that are left to end
            for rank in ranks:
                if rank not in codes:
                    os.kill(rank, signal.SIGTERM)
        elif not process:
            time.sleep(0.005)
        if time.monotonic() - began > 300:
            for rank in ranks:
                if rank not in codes:
                    os.kill(rank, signal.SIGKILL)
    del store  # it was held as long as they were at work
    now = time.monotonic()
    said = "".join((folder / f"{rank}.txt").read_text(errors="replace") for rank in range(WORLD))
    return Ended(
        [codes[rank] for rank in ranks], said, now - (trains or began), None if killed is None else now - killed
    )


def _be(rank: int, command: Sequence[str], errors: Path, port: int) -> None:
    """Be one of the processes; does not come back."""
    code = 99
    try:
        os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(WORLD)}
        os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
        os.environ["TORCHELASTIC_RESTART_COUNT"] = "0"
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        from gendistill.cli import program

        program(command)
    except SystemExit as leaving:
        code = int(leaving.code or 0)
    finally:
        sys.stderr.flush()
        os._exit(code)


def state_of(folder: Path) -> dict[str, Any]:
    """Return all that a run has made, but for times and for what was sent, of which a resumed run sends more."""
    made = found(folder)
    made = {name: value for name, value in made.items() if not name.endswith("results.json")}
    return {
        name: {place: item for place, item in value.items() if not place.startswith(".links")}
        if name.endswith("state.pt")
        else value
        for name, value in made.items()
    }


def faults(ended: Ended, victim: int, trains: bool = True) -> list[str]:
    """Return what is wrong with how a run ended of which a process was killed, in its steps or before them."""
    wrong = []
    others = [code for rank, code in enumerate(ended.codes) if rank != victim]
    # Before they train they die of what the launcher sends them; where all do, it speaks for them.
    early = -signal.SIGTERM in others and not ended.said
    allowed = {1} if trains else {1, -signal.SIGTERM}
    if ended.codes[victim] != -signal.SIGKILL or not set(others) <= allowed:
        wrong.append(f"exit codes {ended.codes}")
    if "Traceback" in ended.said:
        wrong.append("a traceback: " + ended.said[-800:])
    sentences = [line for line in ended.said.splitlines() if not re.match(r"error: process \d stops", line)]
    # Before all have compared what they were given a process has its number alone.
    names = (f"{name} has ended without a word" for name in (NAMES[victim], f"process {victim}"))
    if not early and (len(sentences) != 1 or not any(name in sentences[0] for name in names)):
        wrong.append(f"says {sentences}")
    if ended.after is None or ended.after > LIMIT:
        wrong.append(f"ended {ended.after} seconds after the kill")
    return wrong


def trials(count: int, seed: int, place: Path) -> list[dict[str, Any]]:
    """Kill so often, and return what came of each."""
    prepare()
    moments, results = random.Random(seed), []
    wanted, seconds = {}, {}
    for schedule in SCHEDULES:
        folder = place / f"whole-{schedule}"
        whole = together(words(folder, schedule), place / f"said-{schedule}", folder / "run" / "log.txt")
        if whole.codes != [0] * WORLD:
            raise RuntimeError(whole.said[-2000:])
        wanted[schedule], seconds[schedule] = state_of(folder), whole.seconds
    number = -1
    while len(results) < count:
        number += 1
        schedule = SCHEDULES[len(results) % 2]
        folder, victim, share = place / f"trial-{number}", moments.randrange(WORLD), moments.uniform(0.0, 0.9)
        # One in eight while they start, where the launcher alone can say it; the others in their steps.
        trains = number % 8 != 7
        moment = victim, share * seconds[schedule], trains
        log = folder / "run" / "log.txt"
        ended = together(words(folder, schedule), place / f"said-{number}", log, moment)
        if ended.codes == [0] * WORLD:  # it was at its end before the moment came: another one
            continue
        wrong = faults(ended, victim, trains)
        again = together(words(folder, schedule), place / f"again-{number}", log)
        if again.codes != [0] * WORLD:
            wrong.append(f"the same command again ended with {again.codes}: {again.said[-600:]}")
        elif names := differing(state_of(folder), wanted[schedule]):
            wrong.append(f"differs from the one that was left alone: {', '.join(names)}")
        named = NAMES[victim] in ended.said
        results.append({"schedule": schedule, "killed": NAMES[victim], "of its steps": trains, "at": round(share, 2),
                        "codes": ended.codes,
                        "ended after, seconds": None if ended.after is None else round(ended.after, 2),
                        "named": named, "faults": wrong})  # fmt: skip
        print(json.dumps(results[-1]), file=sys.stderr, flush=True)
    return results


def measure(count: int = 4, seed: int = 0) -> dict[str, Any]:
    """Return how often something was wrong, and how long the end took at most."""
    with tempfile.TemporaryDirectory() as place:
        results = trials(count, seed, Path(place))
    took = [one["ended after, seconds"] for one in results]
    return {
        "kills": count,
        "in their steps": sum(one["of its steps"] for one in results),
        "named with role and pair": sum(one["named"] for one in results),
        "link timeout, seconds": LIMIT,
        "ended after, seconds, at most": max(took),
        "faults": [fault for one in results for fault in one["faults"]],
    }


def main() -> int:
    """Kill as often as is asked for."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--count", type=int, default=20, help="kills")
    options.add_argument("--seed", type=int, default=0, help="of moments and victims")
    given = options.parse_args()
    figures = measure(given.count, given.seed)
    print(json.dumps(figures, indent=2))
    return int(bool(figures["faults"]))


if __name__ == "__main__":
    sys.exit(main())
