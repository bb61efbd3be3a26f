"""What one GAN step costs: ours against the obvious way to write it, and against torch-mimicry's where it is installed.

All versions take turns in one process, so that whatever else the machine does meets all of them alike; peak memory is
that of a process of its own. The comparison with torch-mimicry needs
``pip install --no-deps torch-mimicry==0.1.16 scikit-image imageio lazy_loader tifffile``.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill import mimicry
from gendistill.data.description import Description, symmetric
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.losses.adversarial import discriminator_loss, generator_loss
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.options import RunOptions
from gendistill.seeds import Streams
from trainers.gan import ConditionalGANTrainer

THREADS = 2
CLASSES = 10
SHAPE = (3, 32, 32)
Step = Callable[[], None]
Setting = Mapping[str, int]
SETTING: Setting = {"batch_size": 32, "width": 64, "n_dis": 2}

VERSIONS: dict[str, str] = {
    "torch_mimicry": "torch-mimicry's own step on its own networks, float32",
    "obvious": "the obvious step on the obvious networks, float32",
    "obvious step": "the obvious step on our networks, float32",
    "obvious networks": "our step on the obvious networks, float32",
    "contiguous": "our step, networks in torch's default memory format, float32",
    "ours": "our step as it is, float32",
    "ours, channels_last": "with run.channels_last: weights in that format too, float32",
    "ours, bfloat16": "with run.precision bfloat16",
}
"""What is compared. The obvious networks pool after the convolution and keep torch's default memory format."""


def random_data(count: int = 256) -> RealData:
    """Return noise in the shape of CIFAR-10; a step's cost does not depend on what the pictures show."""
    generator = torch.Generator().manual_seed(0)
    split = Split(
        torch.randint(0, 256, (count, *SHAPE), generator=generator, dtype=torch.uint8),
        torch.randint(CLASSES, (count,), generator=generator),
    )
    names = tuple(str(label) for label in range(CLASSES))
    return RealData(Description("noise", names, SHAPE, symmetric(3)), split, split, split)


def our_trainer(directory: str, setting: Setting, **options: Any) -> ConditionalGANTrainer:
    """Return an attached trainer of the same networks as torch-mimicry's, with options of the run."""
    nets, width = "gendistill.nets.cgan_pd.CGANPD", setting["width"]
    trainer = ConditionalGANTrainer(
        batch_size=setting["batch_size"],
        n_dis=setting["n_dis"],
        generator={"class_path": f"{nets}Generator", "init_args": {"ngf": width}},
        discriminator={"class_path": f"{nets}Discriminator", "init_args": {"ndf": width, "shortcut_relu": True}},
    )
    chosen = RunOptions(root=directory, device="cpu", steps=1_000_000, **options)
    run = RunContext(chosen, RunDirectory(directory, chosen.name), torch.device("cpu"), Streams(0))
    trainer.attach(run, random_data())
    return trainer


def our_step(trainer: ConditionalGANTrainer) -> Step:
    """Return our step with its data, as the loop calls it."""

    def step() -> None:
        trainer.train_step(trainer.next_batch())
        trainer.run.step += 1

    return step


def obvious_step(trainer: ConditionalGANTrainer) -> Step:
    """Return the usual way to write the same step, on the networks and optimisers of a trainer.

    The graph of the discriminator's fakes is built and thrown away, the generator's step computes gradients for the
    discriminator's weights, and every metric is read at once.
    """
    net_g, net_d = trainer.generator, trainer.discriminator
    opt_g, opt_d = trainer.generator_optimizer, trainer.discriminator_optimizer
    batch_size = trainer.batch_size

    def fakes() -> tuple[Tensor, Tensor]:
        labels = torch.randint(CLASSES, (batch_size,))
        return net_g(torch.randn(batch_size, net_g.nz), labels), labels

    def step() -> None:
        for _ in range(trainer.n_dis):
            images, labels = trainer.next_batch()
            net_d.zero_grad()
            out_real = net_d(images, labels)
            fake, fake_labels = fakes()
            out_fake = net_d(fake.detach(), fake_labels)
            loss = discriminator_loss("hinge", out_real, out_fake)
            loss.backward()
            opt_d.step()
            _ = loss.item(), out_real.sigmoid().mean().item(), out_fake.sigmoid().mean().item()
        net_g.zero_grad()
        fake, fake_labels = fakes()
        loss = generator_loss("hinge", net_d(fake, fake_labels))
        loss.backward()
        opt_g.step()
        _ = loss.item()
        trainer.ema.update(net_g)

    return step


def mimicry_step(trainer: ConditionalGANTrainer, setting: Setting) -> Step:
    """Return torch-mimicry's own step on its own networks of the same size, with the data of ``trainer``.

    Raises:
        UserError: It is not installed.
    """
    mimicry.load()
    from torch_mimicry.nets.cgan_pd.cgan_pd_32 import CGANPDDiscriminator32, CGANPDGenerator32
    from torch_mimicry.training.metric_log import MetricLog

    net_g = CGANPDGenerator32(num_classes=CLASSES, ngf=setting["width"])
    net_d = CGANPDDiscriminator32(num_classes=CLASSES, ndf=setting["width"])
    opt_g = torch.optim.Adam(net_g.parameters(), 2e-4, betas=(0.0, 0.9))
    opt_d = torch.optim.Adam(net_d.parameters(), 2e-4, betas=(0.0, 0.9))
    device = torch.device("cpu")

    def step() -> None:
        log = MetricLog()
        for _ in range(trainer.n_dis):
            batch = trainer.next_batch()
            log = net_d.train_step(real_batch=batch, netG=net_g, optD=opt_d, log_data=log, global_step=0, device=device)
        net_g.train_step(real_batch=batch, netD=net_d, optG=opt_g, log_data=log, global_step=0, device=device)

    return step


@contextlib.contextmanager
def usual(pooling: bool) -> Iterator[None]:
    """Let the networks keep torch's default memory format inside, and pool after a convolution where asked."""
    nets = "gendistill.nets"
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch(f"{nets}.cgan_pd.quick_format", lambda x, network: x))
        if pooling:
            stack.enter_context(mock.patch(f"{nets}.resblocks.pooled_conv", lambda conv, x: F.avg_pool2d(conv(x), 2)))
        yield


def within(context: Callable[[], contextlib.AbstractContextManager[None]], step: Step) -> Step:
    """Return a step that is made inside a context."""

    def wrapped() -> None:
        with context():
            step()

    return wrapped


def make(version: str, directory: str, setting: Setting) -> Step:
    """Return the step of one of :data:`VERSIONS`.

    Raises:
        UserError: torch-mimicry is asked for and not installed.
    """
    options: dict[str, dict[str, Any]] = {
        "ours, channels_last": {"channels_last": True},
        "ours, bfloat16": {"precision": "bfloat16"},
    }
    trainer = our_trainer(directory, setting, **options.get(version, {}))
    if version == "torch_mimicry":
        return mimicry_step(trainer, setting)
    step = obvious_step(trainer) if version in ("obvious", "obvious step") else our_step(trainer)
    if version in ("obvious", "obvious networks"):
        return within(lambda: usual(pooling=True), step)
    return within(lambda: usual(pooling=False), step) if version == "contiguous" else step


def in_turns(steps: Mapping[str, Step], rounds: int) -> dict[str, dict[str, float]]:
    """Return the median wall-clock and CPU seconds of each step, made in turns after one untimed round."""
    wall: dict[str, list[float]] = {name: [] for name in steps}
    cpu: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(rounds + 1):
        for name in list(steps) if turn % 2 else list(steps)[::-1]:
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            steps[name]()
            if turn:
                wall[name].append(time.perf_counter() - wall_start)
                cpu[name].append(time.process_time() - cpu_start)
    return {
        name: {"seconds": statistics.median(wall[name]), "cpu_seconds": statistics.median(cpu[name])} for name in steps
    }


def peak_memory(version: str, setting: Setting, steps: int = 3) -> dict[str, float]:
    """Return the MiB that a process of its own held at most over a few steps: in all, and beyond what it began with."""
    given = json.dumps([version, dict(setting), steps, torch.get_num_threads()])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, __file__, given], env=environment, check=True, stdout=subprocess.PIPE, text=True
    )
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure_memory(version: str, setting: Setting, steps: int, threads: int) -> dict[str, float]:
    """Do the work of :func:`peak_memory` in this process; where there is torch-mimicry, every version imports it."""
    torch.set_num_threads(threads)
    if mimicry.installed():
        mimicry.load()
    with tempfile.TemporaryDirectory() as directory:
        step = make(version, directory, setting)
        before = most_memory()
        for _ in range(steps):
            step()
        peak = most_memory()
    return {"peak_mib": peak, "beyond_start_mib": peak - before}


def most_memory() -> float:
    """Return the MiB that this process held at most so far."""
    status = Path("/proc/self/status")
    if status.exists():
        # Linux hands ru_maxrss down from the process that started this one, which may have been the larger.
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(rounds: int = 9, setting: Setting = SETTING) -> dict[str, Any]:
    """Measure the step of the 32x32 cGAN.

    Args:
        rounds: Timed calls of each version.
        setting: ``batch_size``; ``width`` (``ngf`` and ``ndf``); ``n_dis``, the discriminator's updates a step.

    Returns:
        ``versions``: for each of :data:`VERSIONS` what it is, its seconds and CPU seconds, its peak memory, and how
        many times as fast as torch-mimicry and as the obvious version it is. Versions that cannot be measured are a
        sentence instead.
    """
    found: dict[str, Any] = {}
    with contextlib.ExitStack() as stack, torch.random.fork_rng():
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        steps: dict[str, Step] = {}
        for version in VERSIONS:
            try:
                steps[version] = make(version, directory, setting)
            except UserError as error:
                found[version] = f"not measured: {error}"
        timed = in_turns(steps, rounds)
    for version, times in timed.items():
        found[version] = {"what": VERSIONS[version], **times, **peak_memory(version, setting)}
        for other in ("torch_mimicry", "obvious"):
            if other in timed and other != version:
                found[version][f"times_as_fast_as_{other}"] = timed[other]["seconds"] / times["seconds"]
                found[version][f"cpu_times_as_fast_as_{other}"] = timed[other]["cpu_seconds"] / times["cpu_seconds"]
    return {"setting": {**setting, "rounds": rounds, "image": list(SHAPE)}, "versions": found}


if __name__ == "__main__":
    print(json.dumps(measure_memory(*json.loads(sys.argv[1]))))
