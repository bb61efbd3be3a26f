"""The objectives that a config names: words, dotted paths of classes and functions, and weighted lists of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gendistill.class_names import suggestion
from gendistill.errors import UserError, did_you_mean
from gendistill.objects import build, full_path, locate
from trainers.latent_objectives.matching import OfLatents
from trainers.latent_objectives.objective import SearchHost
from trainers.terms.class_wise import ClassWise
from trainers.terms.meta_loss import MetaLoss as GeneratorMetaLoss
from trainers.terms.own_function import OwnFunction
from trainers.terms.term import Term

ROOM = "trainers.latent_objectives"
WORDS = {
    "feature_matching": f"{ROOM}.FeatureMatching",
    "gradient_matching": f"{ROOM}.GradientMatching",
    "meta_loss": f"{ROOM}.MetaLoss",
    "thesis": f"{ROOM}.ThesisLoss",
    "confidence": f"{ROOM}.Confidence",
    "trajectory_matching": f"{ROOM}.TrajectoryMatching",
}
CLASSES = {path.rpartition(".")[2]: path for path in WORDS.values()}
"""The same by the names of their classes, which some terms of a GAN have, too."""


def build_objectives(spec: Any, **provided: Any) -> list[Term]:
    """Make the objectives of a search.

    Args:
        spec: A word of :data:`WORDS`, the dotted path of a class or function, ``{"class_path", "init_args", "weight"}``
            with such a path or word, or a list of these.
        **provided: Arguments for the classes that take them, where the spec does not give them.

    Returns:
        At least one, each with its weight.

    Raises:
        UserError: An unknown word, class or argument, or a value that is refused.
    """
    entries = list(spec) if isinstance(spec, Sequence) and not isinstance(spec, str) else [spec]
    if not entries:
        raise UserError("the list of latent objectives is empty; name at least one")
    return [_objective(entry, provided) for entry in entries]


def attach_objectives(objectives: Sequence[Term], trainer: SearchHost) -> None:
    """Give every objective its name and streams, and let it make what it needs."""
    names = [objective.name for objective in objectives]
    for position, objective in enumerate(objectives):
        if names.count(names[position]) > 1:
            objective.name = f"{names[position]}_{position}"
        objective.key = f"objectives/{position}/{names[position]}"
        objective.attach(trainer)
        objective.remember()


def _objective(entry: Any, provided: Mapping[str, Any]) -> Term:
    entry = {"class_path": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, Mapping) or not isinstance(entry.get("class_path"), str):
        raise UserError(f"a latent objective is {entry!r}; give a word, a dotted path, or class_path and init_args")
    given = dict(entry)
    weight = given.pop("weight", 1.0)
    if isinstance(weight, bool) or not isinstance(weight, (int, float)) or not math.isfinite(weight):
        raise UserError(f"the weight of a latent objective is {weight!r}; give a finite number")
    path = (WORDS | CLASSES).get(given["class_path"]) or full_path(given["class_path"], Term)
    if "." not in path:
        hint = did_you_mean(path, WORDS) or suggestion(path, Term)
        raise UserError(
            f"the latent objective is '{path}'; {hint}choose one of {', '.join(WORDS)}, or give the dotted path of "
            "your own class or function"
        )
    found = locate(path)
    if isinstance(found, type):
        # The class is the user's own word (see objects.build); mypy cannot build an abstract class.
        objective: Term = build(given | {"class_path": path}, Term, **provided)  # type: ignore[type-abstract]
        _check_kind(objective, path)
        objective.weight *= weight
        return objective
    if not callable(found):
        raise UserError(f"'{path}' is neither a class nor a function and cannot be a latent objective")
    return OwnFunction(found, given.get("init_args") or {}, float(weight), "objective")


def _check_kind(objective: Term, path: str) -> None:
    """Refuse terms of a GAN that order images from a generator in training."""
    own_images = isinstance(objective, ClassWise) and not isinstance(objective, OfLatents)
    if own_images or isinstance(objective, GeneratorMetaLoss):
        raise UserError(
            f"'{path}' trains a generator on fresh samples; a latent search takes {', '.join(WORDS.values())}"
        )
    if objective.apply_to == "discriminator":
        raise UserError(f"'{path}' is to apply to the discriminator, which a latent search does not have")
