"""The first weights that learners start from, where a teacher was made for particular ones.

A learner's layers are counted from the image on. The first k have the same weights in every learner, drawn once from a
seed; the rest are drawn anew (Bradley 2020, section 3.2; k = all is the fixed initialisation of Wang et al. 2018,
k = 0 the random one). A teacher's metadata keep the seed, so that whoever evaluates it starts where it expects.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

import torch
from torch import nn

from gendistill.data.description import Description
from gendistill.errors import UserError, did_you_mean
from gendistill.nets.kinds import draw_xavier, layers
from gendistill.nets.learners import build_learner
from gendistill.plain import plain
from gendistill.seeds import initialisation
from gendistill.teacher.base import Teacher
from gendistill.untrusted import Spec, UntrustedSpec, said

KEY = "initialisation"
WEIGHTS = ("torch", "xavier")


@dataclass(frozen=True)
class Initial:
    """How the first weights of one kind of learner come about.

    Attributes:
        learner: Spec of the learner: plain, or as a teacher's file names it.
        fixed_layers: k, layers from the image on that all learners share; 0 to all.
        seed: With ``name``, the seed of the shared weights.
        name: Purpose of the shared weights' random stream.
        weights: ``torch``: as the layers draw them. ``xavier``: normal with variance 2 / (fan in + fan out) and zero
            biases, as the code of Wang et al. draws them.
        norm: Euclidean norm of the shared weights, by which a draw elsewhere is checked; 0 when there are none.
    """

    learner: dict[str, Any] | UntrustedSpec
    fixed_layers: int
    seed: int
    name: str
    weights: str = "torch"
    norm: float = 0.0

    @classmethod
    def make(
        cls,
        learner: Mapping[str, Any],
        description: Description,
        *,
        fixed_layers: int | str,
        seed: int,
        name: str,
        weights: str = "torch",
    ) -> Self:
        """Return how learners start, the number of layers checked against the network.

        Args:
            learner: Spec of the learner.
            description: The data set.
            fixed_layers: k, or ``all``.
            seed: Seed of the shared weights.
            name: Purpose of the shared weights.
            weights: ``torch`` or ``xavier``.

        Raises:
            UserError: An unknown word, or more layers than the learner has.
        """
        if weights not in WEIGHTS:
            raise UserError(
                f"initial weights are '{weights}'; {did_you_mean(weights, WEIGHTS)}use one of: {', '.join(WEIGHTS)}"
            )
        plan = cls(plain(dict(learner)), 0, seed, name, weights)
        shared = plan._drawn(description, seed, name)
        count = len(layers(shared))
        wanted = count if fixed_layers == "all" else fixed_layers
        if not isinstance(wanted, int) or isinstance(wanted, bool) or not 0 <= wanted <= count:
            raise UserError(
                f"fixed_layers is {fixed_layers!r}; this learner has {count} layers: give 0 to {count}, or all"
            )
        return cls(plan.learner, wanted, seed, name, weights, _norm(shared, wanted))

    @classmethod
    def of(cls, teacher: Teacher) -> Self | None:
        """Return what a teacher's metadata say of the learners that it was made for, None where they say nothing.

        Raises:
            UserError: The entry is damaged.
        """
        noted = teacher.metadata.get(KEY)
        return None if noted is None else cls.named(noted, f"the teacher's '{KEY}'")

    @classmethod
    def named(cls, noted: Any, where: str) -> Self:
        """Return what an entry of a file says, which is not trusted.

        Args:
            noted: The entry, as it was read.
            where: What to call it in a sentence.

        Raises:
            UserError: The entry is damaged.
        """
        kinds = {"fixed_layers": int, "seed": int, "name": str, "weights": str, "norm": float}
        values = dict(noted) if isinstance(noted, Mapping) else {}
        if isinstance(values.get("norm"), int):
            values["norm"] = float(values["norm"])
        wrong = [name for name, kind in kinds.items() if type(values.get(name)) is not kind]
        if not wrong:
            sound = {
                "fixed_layers": values["fixed_layers"] >= 0,
                "weights": values["weights"] in WEIGHTS,
                "norm": math.isfinite(values["norm"]),
            }
            wrong = [name for name, well in sound.items() if not well]
        if wrong:
            raise UserError(f"{where} cannot be read (wrong: {', '.join(wrong)}); make the teacher again")
        learner = UntrustedSpec(values.get("learner"), where)
        return cls(learner, **{name: values[name] for name in kinds})

    def for_learner(self, learner: Spec) -> Self | None:
        """Return how this learner starts, trusted as far as the spec is; None where the weights are of another one."""
        if said(learner) != said(self.learner):
            return None
        return replace(self, learner=learner if isinstance(learner, UntrustedSpec) else said(learner))

    def metadata(self) -> dict[str, Any]:
        """Return what the teacher's metadata must say; nothing for what every learner does anyway."""
        return {KEY: self.plain()} if self.fixed_layers or self.weights != "torch" else {}

    def plain(self) -> dict[str, Any]:
        """Return it in plain values."""
        return asdict(replace(self, learner=said(self.learner)))

    def sentence(self, description: Description) -> str:
        """Return in words where learners start."""
        count = len(layers(self._drawn(description, self.seed, self.name)))
        if self.fixed_layers == count:
            return "fixed: every learner starts from the one initialisation that the teacher was made for"
        drawn = "drawn anew" if self.weights == "torch" else f"drawn anew ({self.weights})"
        if not self.fixed_layers:
            return drawn
        return f"mixed: the first {self.fixed_layers} of {count} layers are the teacher's, the others {drawn}"

    def build(self, description: Description, seed: int, name: str) -> nn.Module:
        """Return a learner with its first weights.

        Args:
            description: The data set.
            seed: With ``name``, the seed of the layers that are drawn anew.
            name: Purpose of these weights.

        Raises:
            UserError: The shared weights cannot be drawn again here.
        """
        learner = self._drawn(description, seed, name)
        if not self.fixed_layers:
            return learner
        shared = self._shared(description)
        own = layers(learner)
        if self.fixed_layers == len(own):
            # All of it: also what is drawn and no layer, as an embedding or a token.
            learner.load_state_dict(shared[-1])
        else:
            for layer, weights in zip(own, shared[: self.fixed_layers], strict=False):
                layer.load_state_dict(weights)
        return learner

    def _shared(self, description: Description) -> list[dict[str, Any]]:
        """Return the shared weights of each layer, then those of the whole network; drawn once for a data set."""
        key = (description.num_classes, description.image_shape)
        # Not a field: neither compared nor written down.
        kept: dict[Any, list[dict[str, Any]]] = self.__dict__.setdefault("_kept", {})
        if key not in kept:
            shared = self._drawn(description, self.seed, self.name)
            norm = _norm(shared, self.fixed_layers)
            if not math.isclose(norm, self.norm, rel_tol=1e-4):
                raise UserError(
                    f"the initial weights that this teacher was made for cannot be drawn again here (norm {norm:.6g} "
                    f"for {self.norm:.6g}): torch {torch.__version__} draws others; use the version that made the "
                    "teacher"
                )
            kept[key] = [dict(module.state_dict()) for module in (*layers(shared), shared)]
        return kept[key]

    def _drawn(self, description: Description, seed: int, name: str) -> nn.Module:
        sizes: dict[str, Any] = {"num_classes": description.num_classes, "image_shape": description.image_shape}
        with initialisation(seed, name):
            learner = build_learner(self.learner, **sizes)
            if self.weights == "xavier":
                for layer in layers(learner):
                    draw_xavier(layer)
        return learner


def _norm(learner: nn.Module, count: int) -> float:
    values = [p.detach().double().square().sum() for layer in layers(learner)[:count] for p in layer.parameters()]
    return float(torch.stack(values).sum().sqrt()) if values else 0.0
