"""The discriminators that a run of a GAN ended with, found in its files."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendistill.class_names import paths_of
from gendistill.data.description import Description
from gendistill.errors import UserError
from gendistill.evaluation.discriminators import Judge
from gendistill.losses.adversarial import LOSS_TYPES
from gendistill.objects import as_spec, laid_over, locate
from gendistill.runs.checkpoint import load_state
from gendistill.runs.directory import RunDirectory
from gendistill.teacher.network import build_network


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
        network, default = arguments.get("discriminator"), _default(spec, "default_discriminator")
        if default is not None:
            network = laid_over(network, as_spec(default))
        packing, channels = arguments.get("packing", 1), description.image_shape[0]
        if not network or not isinstance(packing, int) or not 1 <= packing <= 1000:
            continue
        shape = (packing * channels, *description.image_shape[1:])
        made = build_network(network, tensors, description, "discriminator", image_shape=shape)
        labelled = hasattr(made, "num_classes") or bool(_default(spec, "labelled"))
        loss_type = arguments.get("loss_type", _argument(spec, "loss_type"))
        known = loss_type if isinstance(loss_type, str) and loss_type in LOSS_TYPES else "ns"
        found.append(Judge(name, made.eval().to(device), packing, labelled, known))
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


def _trainer(spec: Mapping[str, Any]) -> Any:
    """Return a trainer's class; None: it is none of this project."""
    path = spec.get("class_path")
    if not isinstance(path, str) or path not in paths_of(path.rpartition(".")[2]):
        return None
    try:
        return locate(path)
    except UserError:
        return None


def _default(spec: Mapping[str, Any], name: str) -> Any:
    """Return what a trainer has where its config says nothing; None: it is no trainer of this project."""
    return getattr(_trainer(spec), name, None)


def _argument(spec: Mapping[str, Any], name: str) -> Any:
    """Return the default of one of a trainer's arguments; None: there is none, or it is no trainer of this project."""
    trainer = _trainer(spec)
    for one in trainer.__mro__ if isinstance(trainer, type) else ():
        made = vars(one).get("__init__")
        if made is not None and (found := inspect.signature(made).parameters.get(name)) is not None:
            return found.default
    return None
