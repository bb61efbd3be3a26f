"""A GAN cut in two across four or five processes, forked off this one, of which one dies.

With the project and this folder in PYTHONPATH ``python cut.py FOLDER`` prints, by case, each process's exit code, what
it said, and how many seconds it took.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import dying_gan  # noqa: F401
from several import rank_of

from benchmarks import stores

CONFIG = """
trainer:
  class_path: trainers.bpgan.BPGANTrainer
  init_args:
    base:
      class_path: dying_gan.DyingGAN
      init_args:
        generator: {class_path: gendistill.nets.dcgan.DCGANGenerator, init_args: {nz: 4, ngf: 2}}
        discriminator: {class_path: gendistill.nets.dcgan.DCGANDiscriminator, init_args: {ndf: 2}}
        batch_size: 8
        n_dis: 1
        loss_type: gan
data: {name: digits}
run: {steps: 6, save_every: 2, log_every: 3, sample_every: 0, progress: false}
"""
BASE = "--trainer.base.init_args."
SOON = ["--link-timeout", "20"]
PIPELINED = ["--trainer.schedule", "pipelined"]
CASES: dict[str, tuple[int, list[str]]] = {
    "generator killed": (4, ["killed", "3"]),
    "discriminator killed": (2, ["killed", "0", *PIPELINED]),
    "generator hangs": (2, ["hangs", "1", *SOON]),
    "discriminator stands still": (4, ["stands still", "2", *SOON]),
    "nan of a generator": (4, ["nan", "3"]),
    "nan of a discriminator": (3, ["nan", "0"]),
    "error": (2, ["error", "1"]),
}
AFTERWARDS = ("generator killed", "discriminator killed")


def launched(words: Sequence[Sequence[str]], folder: Path) -> Callable[[], list[list[Any]]]:
    """Start the processes; return what waits for them and says how each has ended."""
    folder.mkdir(exist_ok=True)
    listener = stores.place()
    port = stores.port_of(listener)
    began, ranks = time.monotonic(), []
    for number, given in enumerate(words):
        ranks.append(os.fork())
        if ranks[-1] == 0:
            listener.close()
            rank_of(number, given, folder / f"{number}.txt", port, len(words))
    keeper = stores.keeper(listener)  # one of several at a time

    def wait() -> list[list[Any]]:
        ended: dict[int, tuple[int, float]] = {}
        while len(ended) < len(ranks):
            assert time.monotonic() < began + 600, f"{folder}: a process does not end"
            time.sleep(0.02)
            for rank in set(ranks) - set(ended):
                process, status = os.waitpid(rank, os.WNOHANG)
                if process:
                    ended[rank] = os.waitstatus_to_exitcode(status), time.monotonic() - began
        os.kill(keeper, signal.SIGKILL)
        os.waitpid(keeper, 0)
        said = [(folder / f"{number}.txt").read_text() for number in range(len(ranks))]
        return [[ended[rank][0], said[number], ended[rank][1]] for number, rank in enumerate(ranks)]

    return wait


def main(root: Path) -> None:
    """Run all cases."""
    os.chdir(root)
    Path("config.yaml").write_text(CONFIG)
    base = ["train", "--config", "config.yaml", "--run.root", "runs"]
    heard: dict[str, Any] = {}

    def begin(name: str, world: int, more: Sequence[str], run: str | None = None) -> Callable[[], list[list[Any]]]:
        place = run or name
        return launched([[*base, "--run.name", place.replace(" ", "-").replace(",", ""), *more]] * world, Path(name))

    def case(*given: Any, **more: Any) -> list[list[Any]]:
        return begin(*given, **more)()

    def how(given: Sequence[str]) -> list[str]:
        return [f"{BASE}how", given[0], f"{BASE}rank", given[1], *given[2:]]

    # Those that wait in vain do so while the others are at work.
    waiting = {name: begin(name, world, how(given)) for name, (world, given) in CASES.items() if given[-2:] == SOON}
    for name, (world, given) in CASES.items():
        if name not in waiting:
            heard[name] = case(name, world, how(given))
    heard["other config"] = launched(
        [[*base, "--run.name", "other", f"{BASE}n_dis", str(1 + rank)] for rank in range(2)], Path("other")
    )()
    heard["no data"] = launched([[*base, "--run.name", "none", "--data.name", "folder:nowhere"]] * 2, Path("none"))()
    heard |= {name: wait() for name, wait in waiting.items()}
    os.environ["DIE_NOT"] = "1"
    for name in AFTERWARDS:
        world, given = CASES[name]
        heard[f"{name} again"] = case(f"{name} again", world, how(given), run=name)
        heard[f"{name} whole"] = case(f"{name} whole", world, how(given))
    heard["other number"] = case("other number", 2, how(CASES["generator killed"][1]), run="generator killed")
    print(json.dumps(heard))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
