"""Two processes that train one model, forked off this one, which imports torch once.

Their parent holds the store, as torchrun does.

With the project and this folder in PYTHONPATH ``python several.py FOLDER`` prints, by case, each process's exit code
and what it said.
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

import dying  # noqa: F401
import torch
import torch._dynamo
import torch.distributed as dist
import torch.utils.tensorboard

import gendistill.cli as cli
import gendistill.data
import gendistill.runs.loop
from benchmarks import stores

torch.set_num_threads(1)
gendistill.data.load("digits")
CONFIG = """
trainer:
  class_path: dying.Dying
  init_args:
    images_per_class: 1
    learner: {class_path: gendistill.nets.learners.MLP, init_args: {width: 4}}
    real_batch: 2
data: {name: digits}
run: {steps: 8, save_every: 2, log_every: 3, sample_every: 0, progress: false}
"""
CASES: dict[str, list[list[str]]] = {
    "killed": [["--trainer.how", "killed"]] * 2,
    "first killed": [["--trainer.how", "killed", "--trainer.rank", "0"]] * 2,
    "killed before a save": [["--trainer.how", "killed", "--trainer.at", "1"]] * 2,
    "error": [["--trainer.how", "error"]] * 2,
    "error in both": [["--trainer.how", "all"]] * 2,
    "memory": [["--trainer.how", "memory"]] * 2,
    "left": [["--trainer.how", "left"]] * 2,
    "nan": [["--trainer.how", "nan"]] * 2,
    "hangs": [["--trainer.how", "hangs", "--run.timeout", "20"]] * 2,
    "launcher": [["--trainer.how", "launcher"]] * 2,
    "other config": [["--run.seed", "0"], ["--run.seed", "1"]],
    "other data": [[], ["--other", "data"]],
    "a mistake": [["--trainer.real_batch", "0"]] * 2,
}
AFTERWARDS = ("killed", "hangs", "launcher")
"""Cases whose run is given again and goes on to its end."""


def rank_of(number: int, words: Sequence[str], errors: Path, port: int, world: int = 2) -> None:
    """Be one of the processes; does not come back."""
    code = 99
    try:
        os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": str(world)}
        os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "TORCHELASTIC_USE_AGENT_STORE": "True"}
        os.environ["TORCHELASTIC_RESTART_COUNT"] = "0"
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if "--other" in words:
            words = words[:-2]
            load = gendistill.data.load

            def changed(*given: Any, **options: Any) -> Any:
                data = load(*given, **options)
                data.train.images[0] += 1
                return data

            gendistill.data.load = changed  # type: ignore[assignment]
        cli.program(words)
    except SystemExit as leaving:
        code = int(leaving.code or 0)
        if dist.is_initialized():
            dist.destroy_process_group()
    finally:
        sys.stderr.flush()
        os._exit(code)


def launched(words: Sequence[Sequence[str]], folder: Path) -> Callable[[], list[list[Any]]]:
    """Start both processes below one of their own, their launcher; return what waits for them."""
    folder.mkdir(exist_ok=True)
    reading, writing = os.pipe()
    launcher = os.fork()
    if launcher == 0:
        os.setsid()
        listener = stores.place()
        port = stores.port_of(listener)
        ranks = []
        for number in (0, 1):
            ranks.append(os.fork())
            if ranks[-1] == 0:
                listener.close()
                rank_of(number, words[number], folder / f"{number}.txt", port)
        store = stores.store_at(listener)
        os.write(writing, json.dumps(ranks).encode())
        codes = {}
        while len(codes) < 2:
            ended, status = os.waitpid(-1, 0)
            codes[ended] = os.waitstatus_to_exitcode(status)
            if len(codes) == 1 and "hangs" in words[0]:
                time.sleep(0.5)
                os.kill(next(rank for rank in ranks if rank != ended), signal.SIGKILL)
        del store
        (folder / "codes.json").write_text(json.dumps([codes[rank] for rank in ranks]))
        os._exit(0)
    ranks = json.loads(os.read(reading, 100))

    def wait() -> list[list[Any]]:
        os.waitpid(launcher, 0)
        deadline = time.monotonic() + 600
        while any(Path(f"/proc/{rank}").exists() for rank in ranks):  # those that outlive their launcher
            assert time.monotonic() < deadline, "a process outlives its launcher"
            time.sleep(0.05)
        file = folder / "codes.json"
        codes = json.loads(file.read_text()) if file.exists() else [None, None]
        return [[code, (folder / f"{number}.txt").read_text()] for number, code in enumerate(codes)]

    return wait


def main(root: Path) -> None:
    """Run all cases one after another, and the one that hangs beside them."""
    os.chdir(root)
    Path("config.yaml").write_text(CONFIG)
    heard: dict[str, Any] = {}
    base = ["train", "--config", "config.yaml", "--run.root", "runs"]
    begun = {}
    for case in sorted(CASES, key=lambda case: case != "hangs"):  # which waits, while the others are at work
        given = [[*base, "--run.name", case.replace(" ", "-"), *more] for more in CASES[case]]
        begun[case] = launched(given, Path(case.replace(" ", "-")))
        if case != "hangs":
            heard[case] = begun[case]()
    heard["hangs"] = begun["hangs"]()
    for name in ("whole", *AFTERWARDS):
        given = [[*base, "--run.name", name]] * 2 if name == "whole" else []
        if name in AFTERWARDS:
            # The same config: how it dies is part of it, and it is past the place or dies no more at it.
            given = [[*base, "--run.name", name, *CASES[name][0]]] * 2
            os.environ["DIE_NOT"] = "1"
        heard[f"{name} again"] = launched(given, Path(name))()
    print(json.dumps(heard))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
