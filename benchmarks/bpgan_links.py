"""Time of an iteration cut in two and data parallel, over links of 10, 100 and 1,000 Mbit/s.

Each process is in a network namespace of its own; what it sends is shaped by a token bucket (tbf; of 32 kB at 10
Mbit/s, for a larger one refills while the other side sends, which flatters). All are on one machine, so that they share
its cores: look at the differences between rates. Latency cannot be shaped where the kernel has no netem: ``--delay``
sleeps at each message between blocks instead, and is called so. It needs root, ``ip`` and ``tc``; elsewhere it says so
and ends.

    python benchmarks/bpgan_links.py --processes 2 --batch 16 --steps 2
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
if str(HERE.parents[1]) not in sys.path:
    sys.path.insert(0, str(HERE.parents[1]))

THREADS = 1
RATES = {"10 Mbit/s": ("10mbit", "32kb"), "100 Mbit/s": ("100mbit", "128kb"), "1,000 Mbit/s": ("1gbit", "1500kb")}
MODES = ("data parallel", "sync", "pipelined")
SIZES = (32, 64)
PATHS = ("/usr/sbin", "/sbin")
NETS = "gendistill.nets.dcgan.DCGAN"


def why_not() -> str | None:
    """Return why links cannot be shaped here; None: they can."""
    missing = [tool for tool in ("ip", "tc") if shutil.which(tool, path=_environment()["PATH"]) is None]
    if missing:
        return f"there is no {' and no '.join(missing)} here, which shape the links"
    if os.geteuid() != 0:
        return "only root may make network namespaces; run it as root on a machine for tests"
    name = f"bp{os.getpid()}x"
    try:
        _do("ip", "netns", "add", name)
        _do("ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", "lo", "root", "tbf", "rate", "1gbit", "burst",
            "1mb", "latency", "50ms")  # fmt: skip
    except subprocess.CalledProcessError as error:
        return f"network namespaces or token buckets are not allowed here ({' '.join(error.stderr.split())[:100]})"
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False, env=_environment())
    return None


def _environment() -> dict[str, str]:
    """Return the environment in which the tools are found that a user's path may leave out."""
    return {**os.environ, "PATH": os.pathsep.join([os.environ.get("PATH", ""), *PATHS])}


def _do(*given: str) -> str:
    return subprocess.run(given, check=True, capture_output=True, text=True, env=_environment()).stdout


class Network:
    """Namespaces on one bridge, each with its shaped device; removed at the end.

    Args:
        count: How many.
    """

    def __init__(self, count: int) -> None:
        self.names = [f"bp{os.getpid()}n{place}" for place in range(count)]
        self.bridge = f"bp{os.getpid() % 100000}b"

    def __enter__(self) -> Network:
        # The bridge is in a namespace, too, so that nothing of the machine's own network is touched.
        _do("ip", "netns", "add", self.bridge)
        _do("ip", "-n", self.bridge, "link", "add", "br0", "type", "bridge")
        _do("ip", "-n", self.bridge, "link", "set", "br0", "up")
        for place, name in enumerate(self.names):
            _do("ip", "netns", "add", name)
            _do("ip", "-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", f"p{place}", "netns",
                self.bridge)  # fmt: skip
            _do("ip", "-n", self.bridge, "link", "set", f"p{place}", "master", "br0", "up")
            _do("ip", "-n", name, "addr", "add", f"{self.address(place)}/24", "dev", "eth0")
            _do("ip", "-n", name, "link", "set", "eth0", "up")
            _do("ip", "-n", name, "link", "set", "lo", "up")
        return self

    def __exit__(self, *_: object) -> None:
        for name in (*self.names, self.bridge):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False, env=_environment())

    @staticmethod
    def address(place: int) -> str:
        """Return the address of a namespace."""
        return f"10.231.7.{place + 1}"

    def shape(self, rate: str, burst: str) -> None:
        """Let every namespace send at a rate."""
        for name in self.names:
            _do("ip", "netns", "exec", name, "tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", rate,
                "burst", burst, "latency", "400ms")  # fmt: skip

    def sent(self) -> int:
        """Return the bytes that all devices have sent, with what the transport adds."""
        found = (json.loads(_do("ip", "-n", name, "-s", "-j", "link", "show", "eth0"))[0] for name in self.names)
        return sum(int(one["stats64"]["tx"]["bytes"]) for one in found)


def measure() -> dict[str, Any]:
    """Return the figures of two and of four processes; why not, where links cannot be shaped."""
    if (reason := why_not()) is not None:
        return {"skipped": reason}
    return {f"{processes} processes": shaped(processes) for processes in (2, 4)}


def shaped(
    processes: int = 2, batch: int = 16, steps: int = 2, sizes: tuple[int, ...] = SIZES, delay: float = 0.0
) -> dict[str, Any]:
    """Return seconds an iteration and bytes, by size, rate and mode.

    Args:
        processes: How many; each has a namespace.
        batch: Images a step, over all processes.
        steps: Iterations that are measured, after one that is not.
        sizes: Of the images, in pixels.
        delay: Seconds that each message between blocks waits.
    """
    figures: dict[str, Any] = {"processes": processes, "images a step": batch, "added delay a message, s": delay}
    with tempfile.TemporaryDirectory() as root, Network(processes) as network:
        workers = []
        for rank, name in enumerate(network.names):
            environment = _environment() | {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes), "MASTER_PORT": "29555",
                "MASTER_ADDR": network.address(0), "GLOO_SOCKET_IFNAME": "eth0", "OMP_NUM_THREADS": "1",
                "PYTHONPATH": str(HERE.parents[1]), "CUDA_VISIBLE_DEVICES": "", "TORCH_CPP_LOG_LEVEL": "ERROR",
            }  # fmt: skip
            words = ["ip", "netns", "exec", name, sys.executable, str(HERE), "--worker", root]
            workers.append(
                subprocess.Popen(words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            )
        try:
            for size in sizes:
                for rate, shaping in RATES.items():
                    network.shape(*shaping)
                    for mode in MODES:
                        order = {"size": size, "mode": mode, "batch": batch, "steps": steps, "delay": delay}
                        before = network.sent()
                        for worker in workers:
                            assert worker.stdin is not None
                            worker.stdin.write(json.dumps(order) + "\n")
                            worker.stdin.flush()
                        told = [json.loads(worker.stdout.readline()) for worker in workers if worker.stdout]
                        found = {
                            "seconds an iteration": round(max(one["seconds"] for one in told), 3),
                            "bytes an iteration, counted": round(sum(one["bytes"] for one in told) / steps),
                            "bytes in all, of the devices": network.sent() - before,
                        }
                        figures[f"DCGAN-{size}, {rate}, {mode}"] = found
                        print(f"DCGAN-{size}, {rate}, {mode}: {json.dumps(found)}", file=sys.stderr, flush=True)
        finally:
            for worker in workers:
                assert worker.stdin is not None
                worker.stdin.close()
                try:
                    worker.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    worker.kill()
    return figures


def expected_kinds() -> tuple[str, ...]:
    """Return the kinds of what training itself sends."""
    return ("fakes", "feedback", "gradients", "statistics")


def work(root: str) -> None:
    """Be one process: make the steps that each line of stdin asks for, and say how long they took."""
    import torch

    from gendistill.data import load
    from gendistill.data.description import symmetric
    from gendistill.data.real import Split
    from gendistill.links.exchanges import OWN
    from gendistill.links.ledger import total
    from gendistill.runs.context import RunContext
    from gendistill.runs.directory import RunDirectory
    from gendistill.runs.options import RunOptions
    from gendistill.runs.processes import Processes
    from gendistill.seeds import Streams
    from trainers.bpgan import BPGANTrainer
    from trainers.gan import GANTrainer

    torch.set_num_threads(THREADS)
    processes = Processes.from_environment()
    processes.connect(600.0)
    digits = load("digits")
    for line in sys.stdin:
        order = json.loads(line)
        size = order["size"]
        images = torch.randint(0, 256, (4 * order["batch"], 3, size, size), dtype=torch.uint8)
        split = Split(images, torch.arange(len(images)) % 10)
        description = replace(digits.description, name="noise", image_shape=(3, size, size), normalisation=symmetric(3))
        data = replace(digits, description=description, train=split, validation=split, test=split)
        arguments: dict[str, Any] = {
            "generator": {"class_path": f"{NETS}Generator", "init_args": {"nz": 100, "ngf": 64, "bottom_width": 4}},
            "discriminator": {"class_path": f"{NETS}Discriminator", "init_args": {"ndf": 64, "bottom_width": 4}},
            "batch_size": order["batch"], "loss_type": "gan", "n_dis": 1, "lr_decay": "none",
        }  # fmt: skip
        OWN.begin()
        trainer: Any
        if order["mode"] == "data parallel":
            trainer = GANTrainer(**arguments)
        else:
            base = {"class_path": "trainers.gan.GANTrainer", "init_args": arguments}
            trainer = BPGANTrainer(base=base, schedule=order["mode"], fresh_fakes=False, link_delay=order["delay"])
        options = RunOptions(root=root, steps=order["steps"] + 1, device="cpu")
        directory = RunDirectory(root, "run")
        trainer.attach(RunContext(options, directory, torch.device("cpu"), Streams(0), processes), data)
        times = []
        for step in range(order["steps"] + 1):
            processes.barrier()
            if step == 1:  # the first one is not counted
                before = sum(total(OWN.ledger.rows(), kind=kind) for kind in expected_kinds())
            began = time.perf_counter()
            trainer.train_step(trainer.next_batch())
            trainer.run.step += 1
            processes.barrier()
            times.append(time.perf_counter() - began)
        counted = sum(total(OWN.ledger.rows(), kind=kind) for kind in expected_kinds()) - before
        print(json.dumps({"seconds": statistics.mean(times[1:]), "bytes": counted}), flush=True)


def main() -> int:
    """Measure what is asked for, or be one of the processes."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--processes", type=int, default=2)
    options.add_argument("--batch", type=int, default=16, help="images a step, over all processes")
    options.add_argument("--steps", type=int, default=2, help="iterations that are measured, after one that is not")
    options.add_argument("--delay", type=float, default=0.0, help="seconds that each message between blocks waits")
    options.add_argument("--worker", help=argparse.SUPPRESS)
    given = options.parse_args()
    if given.worker:
        work(given.worker)
        return 0
    if (reason := why_not()) is not None:
        print(f"skipped: {reason}")
        return 0
    print(json.dumps(shaped(given.processes, given.batch, given.steps, delay=given.delay), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
