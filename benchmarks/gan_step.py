"""Seconds of one GAN step: ours against the obvious way to write it, and against torch-mimicry's where it is installed.

The versions take turns in one process, so that whatever else the machine does meets all of them alike. The comparison
with torch-mimicry needs the package, see docs/methods/mimicry.md.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gendistill import mimicry
from gendistill.data.description import Description, symmetric
from gendistill.data.real import RealData, Split
from gendistill.losses.adversarial import discriminator_loss, generator_loss
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.options import RunOptions
from gendistill.seeds import Streams
from trainers.gan import ConditionalGANTrainer

THREADS = 1
CLASSES = 10
SHAPE = (3, 32, 32)
Step = Callable[[], None]


def random_data(count: int = 256) -> RealData:
    """Return noise in the shape of CIFAR-10; a step's cost does not depend on what the pictures show."""
    generator = torch.Generator().manual_seed(0)
    split = Split(
        torch.randint(0, 256, (count, *SHAPE), generator=generator, dtype=torch.uint8),
        torch.randint(CLASSES, (count,), generator=generator),
    )
    names = tuple(str(label) for label in range(CLASSES))
    return RealData(Description("noise", names, SHAPE, symmetric(3)), split, split, split)


def our_trainer(
    directory: str, batch_size: int, width: int, n_dis: int, shortcut_relu: bool = False
) -> ConditionalGANTrainer:
    """Return an attached trainer."""
    nets = "gendistill.nets.cgan_pd.CGANPD"
    trainer = ConditionalGANTrainer(
        batch_size=batch_size,
        n_dis=n_dis,
        generator={"class_path": f"{nets}Generator", "init_args": {"ngf": width}},
        discriminator={
            "class_path": f"{nets}Discriminator",
            "init_args": {"ndf": width, "shortcut_relu": shortcut_relu},
        },
    )
    options = RunOptions(root=directory, device="cpu", steps=1_000_000)
    run = RunContext(options, RunDirectory(directory, options.name), torch.device("cpu"), Streams(0))
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


def mimicry_step(trainer: ConditionalGANTrainer, width: int) -> Step:
    """Return torch-mimicry's own step on its own networks of the same size, with the data of ``trainer``."""
    package = mimicry.load()
    networks = package.nets.cgan_pd
    net_g = networks.CGANPDGenerator32(num_classes=CLASSES, ngf=width)
    net_d = networks.CGANPDDiscriminator32(num_classes=CLASSES, ndf=width)
    opt_g = torch.optim.Adam(net_g.parameters(), 2e-4, betas=(0.0, 0.9))
    opt_d = torch.optim.Adam(net_d.parameters(), 2e-4, betas=(0.0, 0.9))
    device = torch.device("cpu")

    def step() -> None:
        log = package.training.MetricLog()  # reads each metric at once
        for _ in range(trainer.n_dis):
            batch = trainer.next_batch()
            log = net_d.train_step(real_batch=batch, netG=net_g, optD=opt_d, log_data=log, global_step=0, device=device)
        net_g.train_step(real_batch=batch, netD=net_d, optG=opt_g, log_data=log, global_step=0, device=device)

    return step


def alternate(first: Step, second: Step, rounds: int) -> dict[str, float]:
    """Time two steps in turns.

    Args:
        first: Ours.
        second: The other.
        rounds: How often each is timed; once more before, untimed.

    Returns:
        Medians of both in wall-clock and CPU seconds, and the ratio of the medians (above 1: ours is faster).
    """
    wall: tuple[list[float], list[float]] = ([], [])
    cpu: tuple[list[float], list[float]] = ([], [])
    for turn in range(rounds + 1):
        order = ((0, first), (1, second)) if turn % 2 else ((1, second), (0, first))
        for which, step in order:
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            step()
            if turn:
                wall[which].append(time.perf_counter() - wall_start)
                cpu[which].append(time.process_time() - cpu_start)
    ours, other = statistics.median(wall[0]), statistics.median(wall[1])
    cpu_ours, cpu_other = statistics.median(cpu[0]), statistics.median(cpu[1])
    return {
        "ours_seconds": ours,
        "other_seconds": other,
        "ratio": other / ours,
        "ours_cpu_seconds": cpu_ours,
        "other_cpu_seconds": cpu_other,
        "cpu_ratio": cpu_other / cpu_ours,
    }


def measure(rounds: int = 15, batch_size: int = 16, width: int = 32, n_dis: int = 2) -> dict[str, Any]:
    """Measure the step of the 32x32 cGAN.

    Args:
        rounds: Timed calls of each version.
        batch_size: Images a batch.
        width: ``ngf`` and ``ndf``.
        n_dis: Discriminator updates a step.

    Returns:
        ``obvious`` and ``torch_mimicry``, each as :func:`alternate` returns it; the latter a sentence when the package
        is not installed.
    """
    setting = {"batch_size": batch_size, "width": width, "n_dis": n_dis}
    result: dict[str, Any] = {"setting": setting | {"rounds": rounds, "torch": torch.__version__}}
    with contextlib.ExitStack() as stack, torch.random.fork_rng():
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        ours, other = (our_trainer(directory, batch_size, width, n_dis) for _ in range(2))
        result["obvious"] = alternate(our_step(ours), obvious_step(other), rounds)
        if not mimicry.installed():
            result["torch_mimicry"] = "not measured: torch-mimicry is not installed"
        else:
            ours = our_trainer(directory, batch_size, width, n_dis, shortcut_relu=True)
            result["torch_mimicry"] = alternate(our_step(ours), mimicry_step(ours, width), rounds)
    return result
