"""Networks that were trained on another data set, for which images were distilled that adapt them to this one.

Wang et al. 2018, section 4.3. The networks are trained on the source in the source's own normalisation, its images
brought to the target's shape (:mod:`gendistill.data.conversion`), and then see the target in the target's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import nn

from gendistill.data.classes import compare_classes, differences
from gendistill.data.conversion import like
from gendistill.data.description import Description
from gendistill.data.load import check_named_by_file, load
from gendistill.data.real import RealData
from gendistill.errors import UserError, did_you_mean
from gendistill.evaluation.victims import trained_learners
from gendistill.initial import Initial
from gendistill.notes import note
from gendistill.spelling import source_option, written_of_source
from gendistill.teacher.base import Teacher
from gendistill.untrusted import UntrustedSpec, said

KEY = "pretraining"
PARTS = ("source", "training")
LARGEST_SIDE = 1024
"""Pixels of a side that a file may ask pictures to be brought to."""
MOST_UPDATES = 1_000_000
"""Updates that a file may ask networks to be trained for."""
ARGUMENTS = ("name", "root", "image_size", "channels", "background")


@dataclass(frozen=True)
class Pretraining:
    """Where the networks of a pool come from; a teacher's metadata keep it.

    Attributes:
        source: The data set they are trained on, as arguments of :func:`gendistill.data.load`; never its root.
        learner: Spec of the networks: plain, or as a teacher's file names it.
        training: ``updates`` of each on the source and their ``lr``, as :func:`trained_learners` takes them.
        networks: Size of the pool; 1: one network of known weights.
        first_seed: Seeds of the pool: ``first_seed``, ``first_seed + 1``, ...
        initial: First weights before that training; None: as usual.
    """

    source: dict[str, Any]
    learner: dict[str, Any] | UntrustedSpec
    training: dict[str, Any]
    networks: int
    first_seed: int
    initial: Initial | None = None

    @classmethod
    def of(cls, teacher: Teacher) -> Self | None:
        """Return what a teacher's metadata say, None where they say nothing.

        Raises:
            UserError: The entry is damaged.
        """
        noted = teacher.metadata.get(KEY)
        if noted is None:
            return None
        where = f"the teacher's '{KEY}'"
        values = noted if isinstance(noted, Mapping) else {}
        source, training = ({**one} if isinstance(one := values.get(key), Mapping) else {} for key in PARTS)
        updates, lr = (training.get(name, 0) for name in ("updates", "lr"))
        sound = {
            "source": isinstance(source.get("name"), str) and set(source) <= set(ARGUMENTS),
            "updates": type(updates) is int and 1 <= updates <= MOST_UPDATES,
            "lr": type(lr) in (int, float) and 0 < lr < math.inf,
            **{key: type(values.get(key)) is int and 0 <= values[key] < 2**63 for key in ("networks", "first_seed")},
        }
        if wrong := [name for name, well in sound.items() if not well]:
            raise UserError(f"{where} cannot be read (wrong: {', '.join(wrong)}); make the teacher again")
        initial = values.get("initial")
        return cls(
            source,
            UntrustedSpec(values.get("learner"), where),
            {"updates": updates, "lr": float(lr)},
            values["networks"],
            values["first_seed"],
            None if initial is None else Initial.named(initial, where),
        )

    def metadata(self) -> dict[str, Any]:
        """Return what the teacher's metadata must say."""
        plain = {name: getattr(self, name) for name in self.__dataclass_fields__}
        initial = None if self.initial is None else self.initial.plain()
        return {KEY: plain | {"learner": said(self.learner), "initial": initial}}

    @property
    def known(self) -> bool:
        """Whether the images were made for the one network that they meet again in evaluation."""
        return self.networks == 1

    def pool(self, data: RealData, progress: Callable[[int, int], None] | None = None) -> list[nn.Module]:
        """Return the networks that images are distilled for, trained on the source in the target's shape."""
        return self.trained(data, [self.first_seed + place for place in range(self.networks)], progress)

    def trained(
        self, data: RealData, seeds: Sequence[int], progress: Callable[[int, int], None] | None = None
    ) -> list[nn.Module]:
        """Return a network a seed, trained on the source in the target's shape ``data``.

        Args:
            data: The source.
            seeds: Of the networks.
            progress: Called with the updates that each has made, and their number.
        """
        return trained_learners(self.learner, data, seeds, initial=self.initial, progress=progress, **self.training)


def named_source(plan: Pretraining, root: str | None) -> dict[str, Any]:
    """Return the data set that a teacher's file names, after a look at it: no file chooses a folder or a download.

    Args:
        plan: What the file says.
        root: Where the user says that the source's files are.

    Raises:
        UserError: It is no public data set whose files are there.
    """
    way_out = f"name it with {source_option()}"
    check_named_by_file(plan.source["name"], root, way_out)
    if set(plan.source) != {"name"} and plan.source["name"] != "mhist":
        raise UserError(f"the file says more of the data set '{plan.source['name']}' than its name; {way_out}")
    sound = {"image_size": _size, "channels": _size, "background": lambda value: isinstance(value, str)}
    for key, value in plan.source.items():
        if key != "name" and value is not None and not (key in sound and sound[key](value)):
            raise UserError(f"the file gives the {key} of its source as {value!r}; {way_out}")
    return dict(plan.source)


def _size(value: Any) -> bool:
    return type(value) is int and 1 <= value <= LARGEST_SIDE


def load_source(
    source: Mapping[str, Any], target: Description, device: torch.device | str, root: str | None = None
) -> RealData:
    """Load the data set that networks are trained on first, in the image shape of the one they are adapted to.

    Args:
        source: ``name``, and where needed ``root``, ``image_size``, ``channels`` and ``background``, of
            :func:`gendistill.data.load`.
        target: The data set they are adapted to.
        device: Where the images go.
        root: Where the source's files are, if ``source`` does not say it.

    Raises:
        UserError: An unknown key, no name, files that are missing, or another number of classes than the target's.
            Classes that come in another order are mapped; those with other names stand for the target's one by one.
    """
    for key in source:
        if key not in ARGUMENTS:
            hint = did_you_mean(str(key), ARGUMENTS)
            raise UserError(f"source has no key '{key}'; {hint}it may have: {', '.join(ARGUMENTS)}")
    if not source.get("name"):
        raise UserError("source names no data set; give source: {name: usps}, or another of docs/data.md")
    given = {"root": root} | {key: value for key, value in source.items() if value is not None}
    with written_of_source():
        found = like(load(device=device, **given), target)
    own, name = found.description, f"'{target.name}'"
    fit = compare_classes(own.class_names, target.class_names, (own.name, target.name))
    if fit.order is not None:
        note(f"the classes of '{own.name}' {fit.note}; they are mapped to those of {name}")
        return found.in_order(torch.tensor(fit.order), target.class_names)
    if not fit.same:
        first, second = differences(own.class_names, target.class_names)
        note(f"the classes of '{own.name}' ({first}) are taken for those of {name} ({second}) one by one")
    elif fit.note is not None:
        note(f"the classes of '{own.name}' {fit.note}")
    return found
