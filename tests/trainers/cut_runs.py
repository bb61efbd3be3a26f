"""GANs cut in two across processes that are forked off this one, which imports torch once.

With the project and this folder in PYTHONPATH ``python cut_runs.py FOLDER`` prints what the tests look at.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
import torch.distributed as dist
import torch.utils.tensorboard  # noqa: F401
from torch import Tensor, nn

import gendistill.data
from gendistill.data.real import RealData, Split
from gendistill.links.record import read_links
from gendistill.nets.base import BaseGenerator
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from trainers.bpgan import BPGANTrainer
from trainers.gan import GANTrainer

torch.set_num_threads(1)
NETS = "gendistill.nets."
SPECTRAL = {
    "generator": {"class_path": NETS + "sngan.SNGANGenerator", "init_args": {"nz": 6, "ngf": 8, "bottom_width": 4}},
    "discriminator": {"class_path": NETS + "sngan.SNGANDiscriminator", "init_args": {"ndf": 8}},
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


def cut(arguments: dict[str, Any], **options: Any) -> BPGANTrainer:
    return BPGANTrainer(base={"class_path": "trainers.gan.GANTrainer", "init_args": arguments}, **options)


def exactly() -> None:
    """Compute with float64 from now on: also what is converted to float32 on the way."""
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # type: ignore[method-assign, assignment]
    batch = Split.batch

    def exact(self: Split, *given: Any) -> tuple[Tensor, Tensor]:
        images, labels = batch(self, *given)
        return images.double(), labels

    Split.batch = exact  # type: ignore[method-assign, assignment]


def read() -> RealData:
    print(f"reads {os.environ.get('RANK', 'alone')}", flush=True)
    return gendistill.data.load("digits")


def options(folder: Path, name: str, steps: int, **more: Any) -> RunOptions:
    settings = {"save_every": steps, "log_every": 2, "sample_every": 0, "progress": False, "device": "cpu"}
    return RunOptions(name=name, root=str(folder), steps=steps, **settings | more)


def forked(world: int, work: Callable[[], None], folder: Path) -> list[str]:
    """Run work in so many processes, which meet at a store of this one; return what each has printed."""
    folder.mkdir(exist_ok=True)
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    children = []
    for rank in range(world):
        children.append(os.fork())
        if children[-1] == 0:
            code = 1
            try:
                if world > 1:
                    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
                    os.environ |= {"MASTER_ADDR": "localhost", "MASTER_PORT": str(store.port)}
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
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    if any(codes):
        raise RuntimeError(f"{folder.name}: {codes}")
    return [(folder / f"{rank}.txt").read_text() for rank in range(world)]


def farthest(whole: dict[str, Any], halves: dict[str, Any], pair: int = 0) -> float:
    """Return how far the weights of a pair are from those of a GAN in one piece."""
    parts = {"discriminator": halves["blocks"][f"discriminator {pair}"], "generator": halves["blocks"][f"generator {pair}"]}
    found = 0.0
    for name, part in parts.items():
        for key, value in part["gan"][name].items():
            found = max(found, float((value.double() - whole[name][key].double()).abs().max()))
    for key, value in parts["generator"]["gan"]["ema"]["module"].items():
        found = max(found, float((value.double() - whole["ema"]["module"][key].double()).abs().max()))
    return found


CASES: dict[str, tuple[int, dict[str, Any], dict[str, Any]]] = {
    "two, spectral": (2, SPECTRAL, {}),
    "two, penalty": (2, PENALTY, {}),
    "four, penalty": (4, PENALTY, {"generator_sync": "all_reduce"}),
    "five, penalty": (5, PENALTY, {"generator_sync": "all_reduce"}),
    "four, apart": (4, SPECTRAL, {"schedule": "pipelined"}),
    "three, pipelined": (3, SPECTRAL, {"schedule": "pipelined"}),
    "four, averages": (4, SPECTRAL, {"generator_sync": "average_every_n", "sync_every": 2, "fresh_fakes": False}),
}
STEPS = {"two, spectral": 20, "two, penalty": 20, "four, penalty": 20}


def state(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = torch.load(folder / name / "state.pt", weights_only=True)["trainer"]
    return found


def main(root: Path) -> None:
    """Run all cases."""
    found: dict[str, Any] = {}
    for name, arguments in (("spectral", SPECTRAL), ("penalty", PENALTY)):

        def whole(arguments: dict[str, Any] = arguments, name: str = name) -> None:
            exactly()
            train(GANTrainer(**arguments), read(), options(root, name, 20))

        forked(1, whole, root / f"out {name}")
    for case, (world, arguments, more) in CASES.items():
        steps = STEPS.get(case, 5)

        def halves() -> None:
            if case in STEPS:
                exactly()
            trainer = cut(arguments, **more)
            train(trainer, read, options(root, case, steps, save_every=steps))

        said = forked(world, halves, root / f"out {case}")
        found[case] = {"said": said, "links": read_links(root / case / "results.json")}
        if case in STEPS:
            found[case]["farthest"] = farthest(state(root, case.split()[1]), state(root, case))
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
