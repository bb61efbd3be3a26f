"""What a GAN starts from: new networks, those of a run's saved state, or the generator of a teacher's file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from gendistill.data.classes import compare_classes, differences, listed
from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.nets.ema import EMA
from gendistill.nets.reordered import ReorderedGenerator
from gendistill.notes import note
from gendistill.objects import build
from gendistill.regular import expanded
from gendistill.runs.checkpoint import load_state
from gendistill.runs.directory import RunDirectory
from gendistill.spelling import network_of_trainer
from gendistill.teacher import GeneratorTeacher
from gendistill.teacher.reference import open_teacher
from gendistill.weights import checked
from trainers.trainer import Trainer

STATES = ("state.pt", "state.previous.pt")


def new_network(
    trainer: Trainer,
    name: str,
    spec: Mapping[str, Any],
    needed: Sequence[str],
    *,
    loss_type: str,
    image_shape: tuple[int, ...] | None = None,
    drawn_as: str | None = None,
) -> Any:
    """Return a new network on the run's device, its weights drawn from the run's seed and ``name``.

    Args:
        trainer: Whose data set the network is for.
        name: ``generator`` or ``discriminator``.
        spec: ``class_path`` and ``init_args``.
        needed: Attributes that the network must have.
        loss_type: Offered to the network, with the sizes of the data set.
        image_shape: Of what it makes or sees; None: the data set's.
        drawn_as: What its weights are drawn as; None: ``name``.

    Raises:
        UserError: An unknown class or argument, or an attribute is missing.
    """
    spec = _fitting(trainer, name, spec)
    with trainer.initialised(drawn_as or name), network_of_trainer(name):
        network = build(
            spec,
            nn.Module,
            num_classes=trainer.data.description.num_classes,
            image_shape=image_shape or trainer.data.description.image_shape,
            loss_type=loss_type,
        )
    for attribute in needed:
        if not hasattr(network, attribute):
            raise UserError(
                f"the {name} {type(network).__name__} has no '{attribute}'; derive it from a base in "
                "gendistill.nets.base"
            )
    return trainer.place(network)


def _fitting(trainer: Trainer, name: str, spec: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a spec without a first width of maps that is for images of another size, unless a person typed it."""
    given = dict(spec.get("init_args") or {})
    width, size = given.get("bottom_width"), trainer.data.description.image_shape[1]
    doubled = [width << times for times in range(1, 16)] if type(width) is int and width > 0 else [size]
    if (
        size in doubled
        or size % 2
        or any(option.startswith(name) and "bottom_width" in option for option in trainer.typed)
    ):
        return spec
    note(f"--trainer.{name}.init_args.bottom_width is {width}, which leads to no image of {size} pixels: left out")
    return {**spec, "init_args": {key: value for key, value in given.items() if key != "bottom_width"}}


@dataclass(frozen=True)
class Beginning:
    """The weights of a trained GAN, as state dicts.

    Attributes:
        reference: Where they are from.
        generator: Of the generator.
        discriminator: Of the discriminator; None: it starts anew.
        ema: State of the average of the generator; None: the generator itself is the average.
    """

    reference: str
    generator: Mapping[str, Any]
    discriminator: Mapping[str, Any] | None = None
    ema: dict[str, Any] | None = None

    def fill(self, network: nn.Module, name: str) -> None:
        """Give a network its weights, in place.

        Args:
            network: The network.
            name: ``generator`` or ``discriminator``.

        Raises:
            UserError: It is built otherwise than the one that had them, or a weight is NaN or infinite.
        """
        self._fill(network, name, getattr(self, name))

    def fill_average(self, average: EMA) -> None:
        """Give the average of the generator its weights, and how many updates it has seen.

        Raises:
            UserError: See :meth:`fill`.
        """
        weights, updates = ((self.ema or {}).get(part) for part in ("module", "updates"))
        if not isinstance(weights, Mapping) or not isinstance(updates, int):
            raise UserError(
                f"initial_generator '{self.reference}' holds no average of a generator; give another run of a GAN"
            )
        self._fill(average.module, "generator", weights)
        average.updates = updates

    def _fill(self, network: nn.Module, name: str, weights: Mapping[str, Any]) -> None:
        weights = checked(weights, self.reference, network.state_dict().keys())
        try:
            network.load_state_dict(weights)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"initial_generator '{self.reference}' does not fit the {name} {type(network).__name__} of this run "
                f"({reason}); give trainer.{name} the class and init_args of that run"
            ) from error


def start_from(reference: str, data: RealData, normalisation: Normalisation, *, labelled: bool) -> Beginning:
    """Return the weights of a trained GAN.

    A run's directory (or its ``state.pt``) gives the generator, the discriminator and the average of the generator. A
    teacher's file, or a run's directory without a state, gives the generator, which also becomes the average; the
    discriminator then starts anew. Optimisers start anew always.

    Args:
        reference: The directory or the file.
        data: The data set.
        normalisation: The range of the images that the generator is to make.
        labelled: Whether its networks are told the classes.

    Raises:
        UserError: There is no such file, or it is of another method, or of other classes.
    """
    path = expanded(reference)
    directory = path.parent if path.name in STATES else path
    run = RunDirectory(directory.parent, directory.name)
    if not run.has_state:
        return Beginning(reference, _of_teacher(reference, data, normalisation))
    whole: Any = load_state(run, torch.device("cpu")) or {}
    if labelled:
        _check_classes(whole.get("data"), reference, data.description)
    state: Any = whole.get("trainer", {})
    lacking = [name for name in ("generator", "discriminator", "ema") if not isinstance(state.get(name), dict)]
    if lacking:
        raise UserError(
            f"initial_generator '{reference}' is a run without {' and '.join(lacking)}, so no GAN; give the directory "
            "of a GAN's run, or a generator teacher's .safetensors file"
        )
    return Beginning(reference, state["generator"], state["discriminator"], state["ema"])


def _check_classes(known: Any, reference: str, description: Description) -> None:
    """Refuse a conditional GAN whose classes are not those of the run, as far as its state says what they were."""
    before = list(known.get("classes", ())) if isinstance(known, Mapping) else []
    now = description.class_names
    if len(before) != len(now):  # not known, or the networks do not fit, which is said then
        return
    fit = compare_classes(before, now)
    if not fit.same or fit.order is not None:
        own, others = (listed(before), listed(now)) if fit.same else differences(before, now)
        raise UserError(
            f"initial_generator '{reference}' was trained with the classes {own}, the classes of '{description.name}' "
            f"are {others}; start from a GAN of the same classes in the same order"
        )


def _of_teacher(reference: str, data: RealData, normalisation: Normalisation) -> Mapping[str, Any]:
    try:
        teacher = open_teacher(reference, data)
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
            f"'{data.description.name}'; bring the data's classes into its order"
        )
    if teacher.description.normalisation != normalisation:
        raise UserError(
            f"initial_generator '{reference}' makes images of another range than [-1, 1]; give a GAN's generator"
        )
    return teacher.network.state_dict()
