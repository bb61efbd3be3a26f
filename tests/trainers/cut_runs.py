"""GANs cut in two across processes that are forked off this one, which imports torch once.

With the project and this folder in PYTHONPATH ``python cut_runs.py FOLDER`` prints what the tests look at.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
import torch.utils.tensorboard
from torch import Tensor, nn

import gendistill.data
from benchmarks import stores
from gendistill.data.description import symmetric
from gendistill.data.real import RealData, Split
from gendistill.links.record import read_links
from gendistill.nets.base import BaseGenerator
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from trainers.bpgan import BPGANTrainer
from trainers.gan import ConditionalGANTrainer, GANTrainer

torch.set_num_threads(1)
NETS = "gendistill.nets."
SPECTRAL = {
    "generator": {"class_path": NETS + "sngan.SNGANGenerator", "init_args": {"nz": 6, "ngf": 4, "bottom_width": 4}},
    "discriminator": {"class_path": NETS + "sngan.SNGANDiscriminator", "init_args": {"ndf": 4}},
    "batch_size": 8, "n_dis": 2, "loss_type": "hinge",
}  # fmt: skip
PENALTY = {
    "generator": {"class_path": "cut_runs.PlainGenerator", "init_args": {"nz": 6}},
    "discriminator": {
        "class_path": NETS + "dcgan.DCGANDiscriminator", "init_args": {"ndf": 4, "bottom_width": 4, "norm": "none"},
    },
    "batch_size": 8, "n_dis": 2, "loss_type": "wasserstein", "gradient_penalty": 10.0,
}  # fmt: skip


class PlainGenerator(BaseGenerator):
    """A generator without batch norm, whose images do not depend on one another.

    Args:
        image_shape: (C, S, S).
        nz: Size of a latent.
        loss_type: See the GAN.
    """

    def __init__(self, image_shape: tuple[int, int, int], nz: int = 6, loss_type: str = "wasserstein") -> None:
        super().__init__(nz=nz, ngf=8, bottom_width=4, loss_type=loss_type)
        self.shape = image_shape
        size = image_shape[0] * image_shape[1] * image_shape[2]
        self.layers = nn.Sequential(nn.Linear(nz, 16), nn.ReLU(), nn.Linear(16, size), nn.Tanh())

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Map latents (N, nz) to images."""
        images: Tensor = self.layers(x)
        return images.view(-1, *self.shape)


def exactly() -> None:
    """Compute with float64 from now on: also what is converted to float32 on the way."""
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign, assignment]
    batch = Split.batch

    def exact(self: Split, *given: Any) -> tuple[Tensor, Tensor]:
        images, labels = batch(self, *given)
        return images.double(), labels

    Split.batch = exact  # type: ignore[method-assign, assignment]


def options(folder: Path, name: str, steps: int, **more: Any) -> RunOptions:
    settings = {"save_every": steps, "log_every": 2, "sample_every": 0, "progress": False, "device": "cpu"}
    return RunOptions(name=name, root=str(folder), steps=steps, **settings | more)


def forked(world: int, work: Callable[[], None], folder: Path) -> list[str]:
    """Run work in so many processes, which meet at a store of this one; return what each has printed."""
    folder.mkdir(exist_ok=True)
    listener = stores.place()
    port = stores.port_of(listener)
    children = []
    for rank in range(world):
        children.append(os.fork())
        if children[-1] == 0:
            code = 1
            listener.close()
            try:
                if world > 1:
                    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
                    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port)}
                    os.environ |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
                os.dup2(os.open(folder / f"{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
                work()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
    store = stores.store_at(listener)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    del store
    if any(codes):
        raise RuntimeError(f"{folder.name}: {codes}")
    return [(folder / f"{rank}.txt").read_text() for rank in range(world)]


LABELLED = {
    "generator": {"class_path": NETS + "dcgan.ConditionalDCGANGenerator", "init_args": {"nz": 4, "ngf": 2}},
    "discriminator": {"class_path": NETS + "dcgan.ConditionalDCGANDiscriminator", "init_args": {"ndf": 2}},
    "batch_size": 8, "n_dis": 1, "loss_type": "gan", "betas": [0.5, 0.999],
}  # fmt: skip
Case = tuple[dict[str, Any], dict[str, Any], int, int]
AVERAGES: dict[str, Any] = {"generator_sync": "average_every_n", "sync_every": 2}
CASES: dict[int, dict[str, Case]] = {
    # Arguments of the GAN, options of the cut, steps, pixels of the images (0: the digits).
    2: {
        "spectral": (SPECTRAL, {}, 20, 0),
        "penalty": (PENALTY, {}, 20, 0),
        "32 pixels": (LABELLED, {}, 2, 32),
        "64 pixels": (LABELLED, {}, 2, 64),
        "32 pixels, pipelined": (LABELLED, {"schedule": "pipelined"}, 2, 32),
        "64 pixels, pipelined": (LABELLED, {"schedule": "pipelined"}, 2, 64),
    },
    4: {
        "spectral": (SPECTRAL, {"generator_sync": "all_reduce"}, 5, 0),
        "32 pixels": (LABELLED, {"generator_sync": "all_reduce"}, 2, 32),
        "64 pixels": (LABELLED, {}, 2, 64),
        "32 pixels, pipelined": (LABELLED, {"schedule": "pipelined"} | AVERAGES, 2, 32),
        "64 pixels, pipelined": (LABELLED, {"schedule": "pipelined", "generator_sync": "all_reduce"}, 2, 64),
        "data parallel": (LABELLED, {}, 2, 32),
    },
    5: {"penalty": (PENALTY, {"generator_sync": "all_reduce"}, 5, 0)},
}
WHOLE = {"spectral": SPECTRAL, "penalty": PENALTY}


def pictures(size: int) -> RealData:
    data = gendistill.data.load("digits")
    images = (torch.arange(32 * 3 * size * size) % 251).to(torch.uint8).view(32, 3, size, size)
    split = Split(images, torch.arange(32) % 10)
    description = replace(data.description, name="pictures", image_shape=(3, size, size), normalisation=symmetric(3))
    return replace(data, description=description, train=split, validation=split, test=split)


def read(size: int) -> RealData:
    print(f"reads {os.environ.get('RANK', 'alone')}", flush=True)
    return pictures(size) if size else gendistill.data.load("digits")


def run(folder: Path, world: int, case: str, given: Case) -> None:
    """Train a case in this process, one of several."""
    arguments, more, steps, size = given
    chosen = options(folder, f"{world} {case}", steps)
    if case == "data parallel":
        train(ConditionalGANTrainer(**arguments), read(size), chosen)
        return
    kind = "trainers.gan.ConditionalGANTrainer" if arguments is LABELLED else "trainers.gan.GANTrainer"
    trainer = BPGANTrainer(base={"class_path": kind, "init_args": arguments}, **more)
    train(trainer, lambda: read(size), chosen)


def farthest(whole: dict[str, Any], halves: dict[str, Any]) -> float:
    """Return how far the weights of all pairs are from those of a GAN in one piece."""
    found = 0.0
    for name, part in halves["blocks"].items():
        gan = part["gan"]
        networks = [(gan[name.split()[0]], whole[name.split()[0]])]
        networks += [(gan["ema"]["module"], whole["ema"]["module"])] if "ema" in gan else []
        for one, other in networks:
            found = max([found, *(float((one[key] - value).abs().max()) for key, value in other.items())])
    return found


def state(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / name / "state.pt", weights_only=True)["trainer"]
    return found


def main(root: Path) -> None:
    """Run all cases."""
    exactly()
    lengths = {(name, given[2]) for cases in CASES.values() for name, given in cases.items() if name in WHOLE}

    def alone() -> None:
        for name, steps in sorted(lengths):
            train(GANTrainer(**WHOLE[name]), read(0), options(root, f"whole {name} {steps}", steps))

    forked(1, alone, root / "out 1")
    found: dict[str, Any] = {}
    for world, cases in CASES.items():

        def together(world: int = world, cases: dict[str, Case] = cases) -> None:
            for case, given in cases.items():
                run(root, world, case, given)

        said = forked(world, together, root / f"out {world}")
        for case, given in cases.items():
            name = f"{world} {case}"
            found[name] = {"links": read_links(root / name / "results.json"), "said": said}
            if case in WHOLE:
                found[name]["farthest"] = farthest(state(root, f"whole {case} {given[2]}"), state(root, name))
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
