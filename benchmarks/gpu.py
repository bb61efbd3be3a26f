"""Everything that only a GPU can show, in order of worth, in one command of at most nine minutes.

    python benchmarks/gpu.py --data DIRECTORY --output results/gpu        a GPU; MNIST or CIFAR-10 below DIRECTORY
    python benchmarks/gpu.py --scale smoke --device cpu                   the same program in seconds, anywhere

Each part is a process of its own with a share of the time, and what it found is written as it is found: a part that
fails or hangs costs its share and no more. Without ``--data`` pictures are random, and nothing is judged.

- ``steps``: the second step of every trainer, against the CPU's numbers with the same draws, and what waits in it.
- ``speed``: steps a second at published shapes, in float32, bfloat16, channels-last, compiled, recorded.
- ``resume``: a run in two halves against a whole one, to the bit.
- ``nccl``: the exchange of gradients with one rank.
- ``methods``: GTN, DM, DSA and MTT at published widths for a share of the time, and how well what they made teaches.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

HERE = Path(__file__).resolve()
ROOT = HERE.parents[1]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

from benchmarks.dm_step import random_data  # noqa: E402
from benchmarks.stand_in import drawn_on_the_host  # noqa: E402
from benchmarks.waits import SETTINGS, advance, attach, files, small_data  # noqa: E402
from gendistill.config.command_line import assemble, take_apart  # noqa: E402
from gendistill.data.real import RealData  # noqa: E402
from gendistill.errors import GendistillError  # noqa: E402
from gendistill.files import atomic_write  # noqa: E402
from gendistill.runs.context import RunContext  # noqa: E402
from gendistill.runs.directory import RunDirectory  # noqa: E402
from gendistill.runs.options import RunOptions  # noqa: E402
from gendistill.seeds import Streams  # noqa: E402
from trainers.trainer import Trainer  # noqa: E402

SECONDS = 540
SHARES = {"steps": 0.2, "speed": 0.3, "resume": 0.06, "nccl": 0.04, "methods": 0.4}
NETS = "gendistill.nets"
CONFIGS = {
    "gan, Table 4.1": ("replication/bradley-4.1-gan.yaml", (3, 32, 32)),
    "gtn, MNIST": ("gtn/mnist.yaml", (1, 28, 28)),
    "dm, CIFAR-10": ("dm/cifar10.yaml", (3, 32, 32)),
    "dsa, CIFAR-10": ("dc/cifar10-dsa.yaml", (3, 32, 32)),
    "mtt, CIFAR-10": ("mtt/cifar10.yaml", (3, 32, 32)),
}
OPTIONS = {
    "mtt, CIFAR-10": {"experts": 1, "expert": {"updates": 2, "batch_size": 64}, "max_start_epoch": 2},
}
"""Experts are made before the steps that are timed; what they know takes no time."""
WAYS: dict[str, dict[str, Any]] = {
    "float32": {},
    "channels-last": {"channels_last": True},
    "bfloat16": {"precision": "bfloat16"},
    "bfloat16, channels-last": {"precision": "bfloat16", "channels_last": True},
    "compiled": {"compile": True, "channels_last": True},
}
METHODS = {
    "gtn": ("gtn/mnist.yaml", "mnist", ["--updates", "8,16,32", "--batch-size", "128"]),
    "dm": ("dm/mnist.yaml", "mnist", ["--protocol", "condensation-dsa"]),
    "dsa": ("dc/mnist-dsa.yaml", "mnist", ["--protocol", "condensation-dsa"]),
    "mtt": ("mtt/mnist.yaml", "mnist", ["--protocol", "condensation-mtt"]),
    "dm, CIFAR-10": ("dm/cifar10.yaml", "cifar10", ["--protocol", "condensation-dsa"]),
}
Found = Iterator[tuple[str, Any]]


def wait(device: torch.device) -> None:
    """Wait until the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def every_step(given: argparse.Namespace) -> Found:
    """Yield of every trainer how far its second step on the device is from the CPU's, and what waited in it."""
    device = torch.device(given.device)
    names = list(SETTINGS)[:: 15 if given.smoke else 1]
    for name in names:
        yield name, same_step(name, device)


def same_step(name: str, device: torch.device) -> dict[str, Any]:
    """Return the largest relative difference of a step's values, and the warnings of what waited."""
    data = small_data()
    with tempfile.TemporaryDirectory() as folder:
        paths = files(Path(folder), data)
        with drawn_on_the_host():
            here = attach(SETTINGS[name](*paths), data, Path(folder), torch.device("cpu"))
            wanted = [advance(here) for _ in range(2)][-1]
            there = attach(SETTINGS[name](*paths), data, Path(folder), device)
            advance(there)
            found = advance(there)
        own = attach(SETTINGS[name](*paths), data, Path(folder), device)
        advance(own)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            watch(device, "warn")
            advance(own)
            watch(device, "default")
    waits = sorted({f"{Path(one.filename).name}:{one.lineno}" for one in said if "synchroniz" in str(one.message)})
    apart = {key: apart_by(value.detach().cpu(), wanted[key]) for key, value in found.items()}
    worst = max(apart, key=lambda key: apart[key])
    return {"largest difference": apart[worst], "of": worst, "waits": waits}


def apart_by(one: Tensor, other: Tensor) -> float:
    """Return how far two scalars are from each other, relative to the larger, or to 1e-3."""
    a, b = float(one), float(other)
    return abs(a - b) / max(abs(a), abs(b), 1e-3)


def watch(device: torch.device, mode: str) -> None:
    """Let torch say what waits for a GPU."""
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode(mode)


def made(config: str, scale: str, data: RealData, device: torch.device, root: str, **options: Any) -> Trainer:
    """Return the trainer of a config, attached to random pictures."""
    run = {key: options.pop(key) for key in list(options) if hasattr(RunOptions, key)}
    experiment = assemble(take_apart(["--config", str(ROOT / "configs" / config), "--scale", scale]))
    experiment.init_args |= options
    if run.pop("compile", False):
        known = "compile" in experiment.to_dict()["trainer"]["init_args"]
        (experiment.init_args if known else run)["compile"] = True
    trainer: Trainer = experiment.build_trainer()
    chosen = RunOptions(root=root, steps=1000, **run)
    trainer.attach(RunContext(chosen, RunDirectory(root, "run"), device, Streams(0, device)), data.to(device))
    return trainer


def speeds(given: argparse.Namespace) -> Found:
    """Yield steps a second of every method in every way, and the ways' ratios to float32."""
    device, began = torch.device(given.device), time.monotonic()
    ways = dict(list(WAYS.items())[:2]) if given.smoke else WAYS
    for label, (config, shape) in list(CONFIGS.items())[:: 2 if given.smoke else 1]:
        data = random_data(20 if given.smoke else 600, shape)
        rates: dict[str, Any] = {}
        own = {"recorded": {"cuda_graphs": True}} if label.startswith("gtn") else {}
        for way, options in (ways | own).items():
            if time.monotonic() - began > given.seconds:
                return
            rates[way] = speed(label, config, given, data, device, options)
            yield label, dict(rates)


def speed(
    label: str, config: str, given: argparse.Namespace, data: RealData, device: torch.device, options: dict[str, Any]
) -> Any:
    """Return steps a second and the peak of the memory, or why there is none."""
    scale = "smoke" if given.smoke else "paper"
    more = {} if given.smoke else OPTIONS.get(label, {})
    try:
        with tempfile.TemporaryDirectory() as root:
            trainer = made(config, scale, data, device, root, **options, **more)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            for _ in range(1 if given.smoke else 3):
                advance(trainer)
            wait(device)
            times, until = [], time.monotonic() + (0.1 if given.smoke else 3.0)
            while len(times) < 2 or (time.monotonic() < until and len(times) < 50):
                started = time.perf_counter()
                advance(trainer)
                wait(device)
                times.append(time.perf_counter() - started)
    except (GendistillError, RuntimeError) as error:
        return {"failed": " ".join(str(error).split())[:200]}
    peak = torch.cuda.max_memory_allocated(device) / 2**20 if device.type == "cuda" else None
    return {"steps a second": round(1 / statistics.median(times), 3), "peak MiB": peak and round(peak)}


def command(given: argparse.Namespace, *words: str, seconds: float | None = None) -> str:
    """Run the program, in a process of its own but for the smoke scale; return what it printed.

    Raises:
        RuntimeError: It failed; the last lines of what it said.
    """
    if given.smoke:
        from gendistill.cli import main as program

        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            if program(list(words)):
                raise RuntimeError(f"'{words[0]}' failed")
        return printed.getvalue()
    call, environment = [sys.executable, "-m", "gendistill.cli", *words], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(call, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=seconds, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr[-500:])
    return done.stdout


def train_words(given: argparse.Namespace, root: str, name: str, config: str, steps: int) -> list[str]:
    """Return the words that train a config for some steps."""
    scale = "smoke" if given.smoke else "paper"
    words = ["train", "--config", str(ROOT / "configs" / config), "--scale", scale, "--run.root", root]
    words += ["--run.name", name, "--run.steps", str(steps), "--run.device", given.device, "--run.progress", "false"]
    return words


def resumed(given: argparse.Namespace) -> Found:
    """Yield whether a run of two halves ends where a whole one does."""
    from gendistill import teacher as teachers

    for method in ("dm", "dsa")[: 1 if given.smoke else 2]:
        with tempfile.TemporaryDirectory() as root:
            source = ["--data.name", "digits"]
            for name, ends in (("whole", [4]), ("halves", [2, 4])):
                for end in ends:
                    words = train_words(argparse.Namespace(**vars(given) | {"smoke": True}), root, name,
                                        METHODS[method][0], end)  # fmt: skip
                    command(given, *words, *source)
            one, other = (
                teachers.load(Path(root) / name / "teacher.safetensors").tensors() for name in ("whole", "halves")
            )
        apart = max(float((one[key].double() - other[key].double()).abs().max()) for key in one)
        yield method, {"same to the bit": all(torch.equal(one[key], other[key]) for key in one), "apart by": apart}


def one_rank(given: argparse.Namespace) -> Found:
    """Yield whether gradients go through the exchange of a GPU's processes, of which there is one."""
    import torch.distributed as dist

    from gendistill.runs.processes import Processes

    backend = "cpu:gloo,cuda:nccl" if given.device.startswith("cuda") else "gloo"
    with tempfile.TemporaryDirectory() as folder:
        dist.init_process_group(backend, init_method=f"file://{folder}/store", rank=0, world_size=1)
        try:
            parameter = torch.zeros(1000, device=given.device, requires_grad=True)
            parameter.grad = torch.arange(1000.0, device=given.device)
            alone = Processes()
            alone.world = 2  # so that it asks the group, which sums one and halves it
            alone.average_gradients([parameter])
            right = torch.equal(parameter.grad.cpu(), torch.arange(1000.0) / 2)
            yield backend, {"average": right, "highest": alone.highest(3) == 3}
        finally:
            dist.destroy_process_group()


def methods(given: argparse.Namespace) -> Found:
    """Yield how well teach what the methods made in their share of the time."""
    present = {name: way for name, way in METHODS.items() if given.smoke or has_data(given.data, way[1])}
    if not present:
        yield "skipped", "no data; give --data DIRECTORY with MNIST or CIFAR-10 below it"
        return
    chosen = dict(list(present.items())[:2]) if given.smoke else present
    share = given.seconds / len(chosen)
    for name, (config, dataset, judging) in chosen.items():
        with tempfile.TemporaryDirectory() as root:
            yield name, taught(given, root, config, dataset, judging, share)


def has_data(root: str | None, dataset: str) -> bool:
    """Return whether a data set can be read."""
    from gendistill import data

    try:
        return root is not None and len(data.load(dataset, root).train) > 0
    except GendistillError:
        return False


def taught(
    given: argparse.Namespace, root: str, config: str, dataset: str, judging: Sequence[str], seconds: float
) -> dict[str, Any]:
    """Train for half of the time, judge in the other half."""
    source = ["--data.name", "digits"] if given.smoke else ["--data.root", given.data]
    try:
        started = time.monotonic()
        first = 2 if given.smoke else 20
        command(given, *train_words(given, root, "made", config, first), *source, seconds=seconds)
        took = time.monotonic() - started
        steps = first if given.smoke else max(first, int(first * (seconds / 2 - took) / max(took, 1e-3)))
        command(given, *train_words(given, root, "made", config, steps), *source, seconds=seconds)
        words = [
            "evaluate",
            f"{root}/made",
            "--no-fidelity",
            "--json",
            "--device",
            given.device,
            "--seeds",
            "1" if given.smoke else "3",
        ]
        words += (
            ["--dataset", "digits", "--updates", "2"]
            if given.smoke
            else ["--dataset", dataset, "--data-root", given.data, *judging]
        )
        learning = json.loads(command(given, *words, seconds=seconds))["learning"]
    except (RuntimeError, subprocess.TimeoutExpired) as error:
        return {"failed": str(error)[-300:]}
    found = {"steps": steps, "updates": learning["updates"], "accuracy": learning["accuracy"]["mean"]}
    return found | {"seconds": round(time.monotonic() - started, 1)}


PARTS: dict[str, Callable[[argparse.Namespace], Found]] = {
    "steps": every_step,
    "speed": speeds,
    "resume": resumed,
    "nccl": one_rank,
    "methods": methods,
}


def one_part(given: argparse.Namespace, name: str) -> None:
    """Run a part and write what it finds as it finds it."""
    path = Path(given.output) / f"{name}.json"
    found: dict[str, Any] = {}
    try:
        for key, value in PARTS[name](given):
            found[key] = value
            write(path, found)
            print(f"{name}: {key}: {json.dumps(value)}", flush=True)
    except Exception as error:  # whatever it was, the other parts go on
        found["failed"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        write(path, found)
        print(f"{name}: {found['failed']}", flush=True)


def write(path: Path, found: dict[str, Any]) -> None:
    """Write what was found so far."""
    text = json.dumps(found, indent=2) + "\n"
    atomic_write(path, partial(_write, text))


def _write(text: str, file: Any) -> None:
    file.write(text.encode())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts in order, each in its share of the time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", default=str(HERE.parent / "results" / "gpu"), help="folder of the JSON files")
    parser.add_argument("--data", help="folder with the data sets' files")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for everything")
    parser.add_argument("--scale", choices=("full", "smoke"), default="full")
    parser.add_argument("--only", nargs="*", choices=list(PARTS), default=list(PARTS), help="parts")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    given.smoke = given.scale == "smoke"
    if given.device.startswith("cuda") and not torch.cuda.is_available():
        print("torch sees no GPU here; --scale smoke --device cpu runs the same program in small", file=sys.stderr)
        return 2
    if given.part or given.smoke:
        for name in [given.part] if given.part else given.only:
            one_part(given, name)
        return 0
    ends = time.monotonic() + given.seconds
    for name in given.only:
        left = ends - time.monotonic()
        share = min(left, given.seconds * SHARES[name] / sum(SHARES[one] for one in given.only))
        words = ["--part", name, "--seconds", f"{share:.0f}", "--device", given.device, "--output", given.output]
        words += ["--data", given.data] if given.data else []
        try:
            subprocess.run([sys.executable, str(HERE), *words], timeout=max(share + 5, 5), check=False, cwd=ROOT)
        except subprocess.TimeoutExpired:
            print(f"{name}: its time was over; what it found until then is written", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
