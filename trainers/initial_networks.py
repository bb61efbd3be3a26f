"""What a GAN starts from: new networks, those of a run's saved state, or the generator of a teacher's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from gendistill.data.classes import ClassFit, compare_classes, differences, listed
from gendistill.errors import UserError
from gendistill.nets.ema import EMA
from gendistill.nets.reordered import ReorderedGenerator
from gendistill.objects import build
from gendistill.runs.checkpoint import load_state
from gendistill.runs.directory import RunDirectory
from gendistill.teacher import GeneratorTeacher
from gendistill.teacher.reference import open_teacher
from gendistill.weights import checked

if TYPE_CHECKING:
    from trainers.gan import GANTrainer

STATES = ("state.pt", "state.previous.pt")


def new_network(trainer: GANTrainer, name: str, spec: Mapping[str, Any], needed: Sequence[str]) -> Any:
    """Return a new network on the run's device, its weights drawn from the run's seed and ``name``.

    Args:
        trainer: Whose data set and loss the network is for.
        name: ``generator`` or ``discriminator``.
        spec: ``class_path`` and ``init_args``.
        needed: Attributes that the network must have.

    Raises:
        UserError: An unknown class or argument, or an attribute is missing.
    """
    with trainer.initialised(name):
        network = build(
            spec,
            nn.Module,
            num_classes=trainer.data.description.num_classes,
            image_shape=trainer.data.description.image_shape,
            loss_type=trainer.loss_type,
        )
    for attribute in needed:
        if not hasattr(network, attribute):
            raise UserError(
                f"the {name} {type(network).__name__} has no '{attribute}'; derive it from a base in "
                "gendistill.nets.base"
            )
    return trainer.place(network)


def start_from(reference: str, trainer: GANTrainer) -> None:
    """Give a trainer the weights of a trained GAN, in place.

    A run's directory (or its ``state.pt``) gives the generator, the discriminator and the average of the generator. A
    teacher's file, or a run's directory without a state, gives the generator, which also becomes the average; the
    discriminator then starts anew. Optimisers start anew always.

    Args:
        reference: The directory or the file.
        trainer: A trainer that has made its networks.

    Raises:
        UserError: There is no such file, it is of another method, or its networks are built otherwise than the
            trainer's.
    """
    path = Path(reference).expanduser()
    directory = path.parent if path.name in STATES else path
    run = RunDirectory(directory.parent, directory.name)
    if not run.has_state:
        _from_teacher(reference, trainer)
        return
    whole: Any = load_state(run, torch.device("cpu")) or {}
    _check_classes(whole.get("data"), reference, trainer)
    state: Any = whole.get("trainer", {})
    lacking = [name for name in ("generator", "discriminator", "ema") if not isinstance(state.get(name), dict)]
    if lacking:
        raise UserError(
            f"initial_generator '{reference}' is a run without {' and '.join(lacking)}, so no GAN; give the directory "
            "of a GAN's run, or a generator teacher's .safetensors file"
        )
    _fill(trainer.generator, state["generator"], reference, "generator")
    _fill(trainer.discriminator, state["discriminator"], reference, "discriminator")
    average, updates = (state["ema"].get(part) for part in ("module", "updates"))
    if not isinstance(average, dict) or not isinstance(updates, int):
        raise UserError(f"initial_generator '{reference}' holds no average of a generator; give another run of a GAN")
    _fill(trainer.ema.module, average, reference, "generator")
    trainer.ema.updates = updates


def _check_classes(known: Any, reference: str, trainer: GANTrainer) -> None:
    """Refuse a conditional GAN whose classes are not those of the run, as far as its state says what they were."""
    if not trainer.labelled or not isinstance(known, dict):
        return
    before, now = list(known.get("classes", ())), trainer.data.description.class_names
    fit = compare_classes(before, now) if len(before) == len(now) else ClassFit(True)  # else the networks do not fit
    if not fit.same or fit.order is not None:
        own, others = (listed(before), listed(now)) if fit.same else differences(before, now)
        raise UserError(
            f"initial_generator '{reference}' was trained with the classes {own}, the classes of "
            f"'{trainer.data.description.name}' are {others}; start from a GAN of the same classes in the same order"
        )


def _from_teacher(reference: str, trainer: GANTrainer) -> None:
    try:
        teacher = open_teacher(reference, trainer.data)
    except UserError as error:
        raise UserError(f"initial_generator: {error}") from error
    if not isinstance(teacher, GeneratorTeacher):
        raise UserError(
            f"initial_generator '{reference}' is a teacher of kind '{teacher.kind}', which has no network; give a "
            "generator's file, or the directory of a GAN's run"
        )
    if isinstance(teacher.network, ReorderedGenerator):
        raise UserError(
            f"initial_generator '{reference}' was trained with the classes in another order than those of "
            f"'{trainer.data.description.name}'; bring the data's classes into its order"
        )
    if teacher.description.normalisation != trainer.normalisation:
        raise UserError(
            f"initial_generator '{reference}' makes images of another range than [-1, 1]; give a GAN's generator"
        )
    _fill(trainer.generator, teacher.network.state_dict(), reference, "generator")
    trainer.ema = EMA(trainer.generator, trainer.ema_decay)


def _fill(network: nn.Module, weights: Any, reference: str, name: str) -> None:
    weights = checked(weights, reference, network.state_dict().keys())
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"initial_generator '{reference}' does not fit the {name} {type(network).__name__} of this run ({reason}); "
            f"give trainer.{name} the class and init_args of that run"
        ) from error
