"""How experts are trained on real data, and what tells one kind of expert from another."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from gendistill.data.augment import MODES, parse
from gendistill.data.fingerprint import split_fingerprint, text_fingerprint
from gendistill.data.real import RealData
from gendistill.declared import require_types
from gendistill.errors import UserError, did_you_mean
from gendistill.evaluation.protocols import named_strategy
from gendistill.plain import plain


@dataclass(frozen=True)
class Recipe:
    """How an expert is trained; the defaults are those of Cazenavette et al. 2022.

    Attributes:
        lr: Learning rate of SGD; positive.
        momentum: In [0, 1).
        weight_decay: At least 0.
        batch_size: Real images an update.
        updates: Updates between two snapshots, an "expert epoch"; None: one pass over the data.
        augment: Strategy of :func:`gendistill.data.augment.augment`, ``dsa`` (see
            :func:`gendistill.evaluation.protocols.named_strategy`) or None.
        augment_mode: ``single`` (one name of the strategy a batch), ``each`` (one an image) or ``all``.
        seed: Seed of first weights, order and augmentation; with an expert's number all that it depends on.
    """

    lr: float = 0.01
    momentum: float = 0.0
    weight_decay: float = 0.0
    batch_size: int = 256
    updates: int | None = None
    augment: str | None = None
    augment_mode: str = "single"
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.lr < math.inf or not 0 <= self.momentum < 1 or not self.weight_decay >= 0:
            raise UserError(
                "an expert's lr must be positive, its momentum lie in [0, 1) and its weight_decay be at least 0; got "
                f"{self.lr}, {self.momentum} and {self.weight_decay}"
            )
        for name, value, least in (
            ("batch_size", self.batch_size, 1),
            ("updates", self.updates, 1),
            ("seed", self.seed, 0),
        ):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise UserError(f"an expert's {name} is {value!r}; give a whole number from {least}")
        if self.augment != "dsa":
            parse(self.augment)
        if self.augment_mode not in MODES:
            raise UserError(f"an expert's augment_mode is '{self.augment_mode}'; choose among: {', '.join(MODES)}")

    @classmethod
    def of(cls, options: Mapping[str, Any] | None) -> Self:
        """Return the recipe of a config's options.

        Raises:
            UserError: An option is unknown or out of range.
        """
        known = list(cls.__dataclass_fields__)
        for name in options or {}:
            if name not in known:
                raise UserError(
                    f"expert has no option '{name}'; {did_you_mean(str(name), known)}it takes: {', '.join(known)}"
                )
        require_types(cls, options or {}, "expert")
        return cls(**(options or {}))

    def updates_per_epoch(self, images: int) -> int:
        """Return the updates between two snapshots for a training set of so many images."""
        return self.updates or -(-images // self.batch_size)


def identity(learner: Mapping[str, Any], data: RealData, recipe: Recipe) -> dict[str, Any]:
    """Return in plain values all that an expert depends on besides its number.

    Args:
        learner: Spec of the network.
        data: The real data; ``train`` is what experts learn.
        recipe: How they learn it.
    """
    known: dict[str, Any] = json.loads(
        json.dumps(
            {
                "learner": plain(dict(learner)),
                "description": data.description.to_dict(),
                "train": split_fingerprint(data.train),
                "recipe": asdict(recipe) | {"augment": named_strategy(recipe.augment, data.description)},
            }
        )
    )
    return known


def folder_name(known: Mapping[str, Any]) -> str:
    """Return the name of the folder in which experts of this identity are kept where the user names none."""
    return f"{known['description']['name']}-{text_fingerprint(json.dumps(known, sort_keys=True))}"
