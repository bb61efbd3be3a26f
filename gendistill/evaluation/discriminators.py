"""The discriminators that a run of a GAN ended with, and what they think of images."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.class_names import paths_of
from gendistill.data.description import Description
from gendistill.errors import UserError
from gendistill.objects import locate
from gendistill.runs.checkpoint import load_state
from gendistill.runs.directory import RunDirectory
from gendistill.teacher.network import build_network

CHUNK = 500


@dataclass(frozen=True)
class Judge:
    """A discriminator.

    Attributes:
        name: ``discriminator``, or that with the group's number.
        network: The network, in evaluation mode.
        packing: Images that it judges together.
        labelled: Whether it is told labels.
    """

    name: str
    network: nn.Module
    packing: int
    labelled: bool

    @torch.no_grad()
    def scores(self, images: Tensor, labels: Tensor) -> Tensor:
        """Return what it says of images: higher is more real.

        Args:
            images: (N, C, H, W), normalised as it was trained, on any device.
            labels: (N,) int64. The images of a pack are of one class where it is told labels.

        Returns:
            (N,) float64, or one value a pack.
        """
        images, labels = packs(images, labels, self.packing, alike=self.labelled)
        given = (lambda at: (images[at], labels[at])) if self.labelled else (lambda at: (images[at],))
        parts = [slice(start, start + CHUNK) for start in range(0, len(images), CHUNK)]
        return torch.cat([self.network(*given(at)).flatten().double().cpu() for at in parts])


def packs(images: Tensor, labels: Tensor, packing: int, *, alike: bool) -> tuple[Tensor, Tensor]:
    """Return images (N, C, H, W) as packs (N // m, m C, H, W) and each pack's label, what is left over is left out.

    Args:
        images: The images.
        labels: (N,) int64.
        packing: m.
        alike: Whether the images of a pack must be of one class.
    """
    if packing == 1:
        return images, labels
    index = torch.arange(len(labels), device=labels.device)
    groups = [index[labels == label] for label in labels.unique()] if alike else [index]
    chosen = torch.cat([group[: len(group) // packing * packing] for group in groups])
    return images[chosen].view(-1, packing * images.shape[1], *images.shape[2:]), labels[chosen][::packing]


def discriminators(run: str | Path, description: Description, device: torch.device | str = "cpu") -> list[Judge]:
    """Return the discriminators of a run, none where it is no directory of a GAN's run.

    What a run's files name leads to networks of this project alone, as with a teacher's file.

    Args:
        run: The run's directory.
        description: Of the data that it was trained on.
        device: Where they go.

    Raises:
        UserError: Its files are damaged, or do not belong together.
    """
    directory = RunDirectory(Path(run).parent, Path(run).name)
    if not Path(run).is_dir() or not directory.has_state:
        return []
    options, state = directory.read_config(), load_state(directory, torch.device("cpu"))
    if options is None or state is None:
        return []
    found = []
    for name, spec, tensors in _pairs(options.get("trainer"), state.get("trainer")):
        arguments = spec.get("init_args") or {}
        network = arguments.get("discriminator") or _default(spec, "default_discriminator")
        packing, channels = arguments.get("packing", 1), description.image_shape[0]
        if network is None or not isinstance(packing, int) or not 1 <= packing <= 1000:
            continue
        shape = (packing * channels, *description.image_shape[1:])
        made = build_network(network, tensors, description, "discriminator", image_shape=shape)
        labelled = hasattr(made, "num_classes") or bool(_default(spec, "labelled"))
        found.append(Judge(name, made.eval().to(device), packing, labelled))
    return found


def _pairs(spec: Any, state: Any) -> Iterator[tuple[str, Mapping[str, Any], Mapping[str, Tensor]]]:
    """Yield name, trainer's spec and weights of each discriminator."""
    if not isinstance(spec, Mapping) or not isinstance(state, Mapping):
        return
    arguments = spec.get("init_args") or {}
    seats = state.get("seats")
    if isinstance(seats, Sequence) and "base" in arguments:
        bases = arguments["base"]
        bases = list(bases) if isinstance(bases, Sequence) and not isinstance(bases, str) else [bases]
        for number, seat in enumerate(seats):
            base = bases[number % len(bases)]
            for _, one, tensors in _pairs({"class_path": base} if isinstance(base, str) else base, seat):
                yield f"discriminator {number}", one, tensors
        return
    held = state.get("discriminator")
    if isinstance(held, Mapping) and all(isinstance(value, Tensor) for value in held.values()):
        yield "discriminator", spec, held


def _default(spec: Mapping[str, Any], name: str) -> Any:
    """Return what a trainer has where its config says nothing; None: it is no trainer of this project."""
    path = spec.get("class_path")
    if not isinstance(path, str) or path not in paths_of(path.rpartition(".")[2]):
        return None
    try:
        return getattr(locate(path), name, None)
    except UserError:
        return None
