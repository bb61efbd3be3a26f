"""The sections of a replication: ``evaluation``, how it is judged, and ``reported``, what the source says it gave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gendistill.config.typed import check_value
from gendistill.declared import declared_types
from gendistill.errors import UserError, did_you_mean
from gendistill.objects import full_path, full_paths, locate

RUN = "run"
FURTHER = ("adaptation", "attack", "architecture", "ranking")
"""What a replication may measure beside learning and fidelity; ``gendistill/commands/further.py`` does."""


@dataclass(frozen=True)
class Plan:
    """How a replication is judged.

    Args:
        seeds: Number of runs, seeded 0, 1, ...; each trains learners of its own.
        processes: How many make one run together, as torchrun starts them; 1: it is made in this one.
        teacher: ``run``: what the config's trainer makes; the id of a replication: what its trainer made, judged in
            another way; or real data: ``real``, ``real:subset=K``, ``real:ipc=K``, or a coreset such as
            ``real:herding=K``.
        starts_from: Id of the replication whose run of the same seed this trainer starts from.
        starts_as: The trainer's option that takes that run: ``initial_generator``, or a latent search's ``generator``.
        beside: What is shown beside it, by name: real data as above, ``real:subset=same`` (as many random real images
            as the teacher shows), or the id of another replication, which is run at the same scale.
        images_per_class: Stored images a class of the rows in ``sized``.
        sized: Rows like those of ``beside``, before them: ids of replications whose trainer takes ``images_per_class``,
            which are run with that many.
        learning: Options of the learning evaluator, and ``protocol``; None leaves it out.
        learners: Further learners that are taught and tested in the same way, each as ``learning.learner`` takes it;
            tables show them beside the first.
        fidelity: Options of the fidelity evaluator; None leaves it out. Real data is not asked for it.
        further: What else is measured, by name of :data:`FURTHER`, with its options; None for one leaves it out.

    Raises:
        UserError: No seed, or an option that an evaluator does not have.
    """

    seeds: int = 3
    processes: int = 1
    teacher: str = RUN
    starts_from: str | None = None
    starts_as: str = "initial_generator"
    beside: dict[str, str] = field(default_factory=dict)
    images_per_class: int | None = None
    sized: dict[str, str] = field(default_factory=dict)
    learning: dict[str, Any] | None = field(default_factory=dict)
    learners: list[Any] = field(default_factory=list)
    fidelity: dict[str, Any] | None = None
    further: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from gendistill.evaluation.evaluate import check_options

        if self.seeds < 1:
            raise UserError(f"evaluation.seeds is {self.seeds}; give at least 1")
        for name, options in self.further.items():
            if name not in FURTHER:
                hint = did_you_mean(name, FURTHER)
                raise UserError(f"there is no measure '{name}'; {hint}evaluation.further takes: {', '.join(FURTHER)}")
            if options is not None and not isinstance(options, Mapping):
                raise UserError(f"evaluation.further.{name} is {options!r}; write its options as keys and values")
        if self.sized and (self.images_per_class is None or self.images_per_class < 1):
            raise UserError("evaluation.sized needs evaluation.images_per_class, such as 10")
        if self.processes < 1:
            raise UserError(f"evaluation.processes is {self.processes}; give at least 1")
        check_options(self.learning, self.fidelity)
        if self.learning is not None and self.learning.get("learner") is not None:
            object.__setattr__(self, "learning", self.learning | {"learner": _learner(self.learning["learner"])})
        if self.learners and self.learning is None:
            raise UserError(
                "evaluation.learners names further learners, but evaluation.learning is null; leave one out"
            )
        object.__setattr__(self, "learners", [_learner(one) for one in self.learners])


@dataclass(frozen=True)
class Reported:
    """What the source reports.

    Args:
        source: Where it stands, such as ``Bradley 2020, Table 4.1``.
        accuracy: Test accuracy at the end, a fraction.
        accuracy_std: Its standard deviation, a fraction.
        fid: Fréchet Inception Distance.
        scores: Other numbers, by the names that ``evaluation.further`` gives them.
        ahead: What it says of an order: by a row's name those that it is ahead of; ``run`` is the row itself.
        claim: What it says in words.
        gpu: Whether a run at the published scale takes a GPU, or days.
        lacks: What of the experiment this project does not have, in words; None: nothing.

    Raises:
        UserError: An accuracy that is no fraction, or an order that is not written as one.
    """

    source: str
    accuracy: float | None = None
    accuracy_std: float | None = None
    fid: float | None = None
    scores: dict[str, float | None] = field(default_factory=dict)
    ahead: dict[str, list[str]] = field(default_factory=dict)
    claim: str | None = None
    gpu: bool = False
    lacks: str | None = None

    def __post_init__(self) -> None:
        if self.accuracy is not None and not 0.0 <= self.accuracy <= 1.0:
            raise UserError(f"reported.accuracy is {self.accuracy}; write it as a fraction, such as 0.7513")
        # None takes away what a config stands on.
        object.__setattr__(self, "scores", {name: one for name, one in self.scores.items() if one is not None})


def _learner(learner: Any) -> Any:
    """Return a learner that can be found, its class by its dotted path."""
    from torch import nn

    spec = full_path(learner, nn.Module) if isinstance(learner, str) else full_paths(learner)
    path = spec.get("class_path") if isinstance(spec, Mapping) else spec
    locate(str(path), nn.Module)
    return spec


SMOKE: dict[str, Any] = {"updates": [5, 10], "seeds": 2}
"""How learners are trained at the scale ``smoke`` where a config does not say."""


def at_smoke(section: Any) -> Any:
    """Return the section ``evaluation`` of a config at the scale ``smoke``, small where it does not say how large."""
    values = {} if section is None else section
    if not isinstance(values, Mapping):
        return section
    learning = values.get("learning", {})
    silent = isinstance(learning, Mapping) and not {"updates", "epochs", "protocol"} & set(learning)
    return {"seeds": 2, **values} | ({"learning": SMOKE | dict(learning)} if silent else {})


def is_real(reference: str) -> bool:
    """Tell whether a reference means real data."""
    return reference == "real" or reference.startswith("real:")


def plan(config: Mapping[str, Any], source: str) -> Plan:
    """Return the checked section ``evaluation``.

    Raises:
        UserError: An unknown key or a value that does not fit; the sentence names file and key.
    """
    made: Plan = _section(config, "evaluation", Plan, source)
    return made


def reported(config: Mapping[str, Any], source: str) -> Reported | None:
    """Return the checked section ``reported``, None where there is none.

    Raises:
        UserError: An unknown key or a value that does not fit; the sentence names file and key.
    """
    made: Reported | None = _section(config, "reported", Reported, source) if config.get("reported") else None
    return made


def _section(config: Mapping[str, Any], name: str, kind: type, source: str) -> Any:
    values = config.get(name)
    values = {} if values is None else values
    if not isinstance(values, Mapping):
        raise UserError(f"{source}: {name} must hold keys and values, got {values!r}")
    types = declared_types(kind)
    for key in values:
        if key not in types:
            hint = did_you_mean(str(key), types) or f"it may be: {', '.join(types)}"
            raise UserError(f"{source}: unknown key '{name}.{key}'; {hint.rstrip()}")
    checked = {key: check_value(value, types[key], f"{source}: {name}.{key}") for key, value in values.items()}
    if kind is Reported and "source" not in checked:
        raise UserError(f"{source}: reported needs a source, such as 'Bradley 2020, Table 4.1'")
    try:
        return kind(**checked)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
