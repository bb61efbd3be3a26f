"""How well an attack works: victims take steps on a teacher's batches and are asked what they take for what."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.data.real import RealData, Split
from gendistill.errors import UserError, did_you_mean
from gendistill.evaluation.ensemble import Ensemble, Separate
from gendistill.evaluation.learning import SPLITS
from gendistill.evaluation.lessons import Lessons
from gendistill.evaluation.private_teachers import require_test, without_choice
from gendistill.evaluation.rates import Rate, candidates
from gendistill.evaluation.victims import trained_learners
from gendistill.evaluation.workers import Workers
from gendistill.initial import Initial
from gendistill.nets.learners import default_learner
from gendistill.poison import Poison
from gendistill.seeds import initialisation, seed_list
from gendistill.teacher.base import Teacher
from gendistill.untrusted import Spec, said

VICTIMS = ("fresh", "trained")
SCORES = ("attack_success", "source_accuracy", "clean_accuracy")
Measure = Callable[[Ensemble, Sequence[int]], Tensor]
"""What is asked of members of an ensemble; returns a row for each of them."""


@dataclass
class Taught:
    """What victims were asked after each number of updates.

    Attributes:
        facts: ``learner``, ``initialisation``, ``victim``, ``updates``, ``seeds``, ``lr``.
        measured: For each number of updates, a row for each victim.
    """

    facts: dict[str, Any]
    measured: list[Tensor] = field(default_factory=list)

    def last(self) -> Tensor:
        """Return what was measured after the last update, a row for each victim."""
        return self.measured[-1]


def taught(
    teacher: Teacher,
    data: RealData,
    measure: Measure,
    *,
    learner: Spec | None = None,
    updates: Sequence[int] = (1, 10, 100),
    seeds: int | Sequence[int] = 5,
    batch_size: int = 64,
    lr: Rate | Sequence[Rate] | None = None,
    momentum: float = 0.9,
    victim: str = "fresh",
    victim_updates: int = 300,
    networks: Sequence[nn.Module] | None = None,
) -> Taught:
    """Let victims learn from a teacher and measure something of them after chosen numbers of updates.

    Args:
        teacher: What teaches.
        data: The real data; on its device everything happens.
        measure: What to measure.
        learner: Spec of the victims; by default the one that the teacher names, or the data set's default.
        updates: Numbers of updates on the teacher to measure after, 0 allowed.
        seeds: How many victims (seeds 0, 1, ...), or their seeds. No trainer draws from these.
        batch_size: Images an update; a curriculum, and distilled images, have batches of their own.
        lr: As in :func:`gendistill.evaluation.learning.learning_curve`. Among several the one with the highest mean
            accuracy on true labels of the validation split after the last update is taken, which is how somebody who
            does not know of an attack would choose.
        momentum: Of rates that are not the teacher's, in [0, 1).
        victim: ``fresh`` learners, or ``trained`` ones: trained on the real training set first.
        victim_updates: Updates of that training.
        networks: The trained victims, one a seed, where they were trained elsewhere. They stay as they are.

    Raises:
        UserError: An option out of range.
    """
    if victim not in VICTIMS:
        raise UserError(f"victim is '{victim}'; {did_you_mean(victim, VICTIMS)}choose among: {', '.join(VICTIMS)}")
    counts = sorted(set(updates))
    listed = seed_list(seeds)
    if not counts or counts[0] < 0 or not listed:
        raise UserError(f"updates is {list(updates)} and seeds {seeds}; give numbers from 0, and at least one seed")
    spec, initial = _victim(teacher, data, learner)
    if victim == "trained":
        initial = None
    device = data.train.labels.device
    teacher = teacher.to(device)
    tried = candidates(without_choice(teacher, lr), teacher, counts[-1], momentum=momentum)
    pool = networks
    if pool is None and victim == "trained":
        pool = trained_learners(spec, data, listed, updates=victim_updates)
    lessons = Lessons(teacher, data.description, listed, counts[-1], batch_size)
    everyone = range(len(listed) * len(tried))
    rows: list[Tensor] = []
    with Workers(1) as workers, initialisation(listed[0], "evaluation/dropout"):
        ensemble = Separate(
            spec, data.description, listed, tried, optimizer="sgd", device=device, workers=workers, initial=initial,
            temperature=lessons.temperature,
        )  # fmt: skip
        if pool is not None:
            with torch.no_grad():  # in place: the rows that are trained are these networks' own memory
                for place, network in enumerate(ensemble.networks):
                    network.load_state_dict(pool[place // len(tried)].state_dict())
        if counts[0] == 0:
            rows.append(measure(ensemble, everyone))
        done = 0
        for chunk in lessons.chunks(counts):
            ensemble.train(chunk, done)
            done += len(chunk[0])
            if done in counts:
                rows.append(measure(ensemble, everyone))
        best = 0
        if len(tried) > 1:
            scores = ensemble.accuracy(everyone, data.validation).view(len(listed), len(tried)).mean(0)
            best = int(scores.argmax())
    facts = {
        "learner": said(spec),
        "initialisation": None if initial is None else initial.sentence(data.description),
        "victim": victim,
        "updates": counts,
        "seeds": listed,
        "lr": tried[best].name,
    }
    return Taught(facts, [row[best :: len(tried)] for row in rows])


def attack_report(
    teacher: Teacher, data: RealData, poison: Poison, *, split: str = "test", **options: Any
) -> dict[str, Any]:
    """Let victims learn from a teacher and say what they take the attacked class for.

    Args:
        teacher: Poisoned, or not: the same measures of an honest teacher and of real data are the comparison.
        data: The real data.
        poison: What is to be taken for what.
        split: Where it is measured: ``test``, ``validation`` or ``train``.
        **options: Options of :func:`taught`.

    Returns:
        Plain values: ``attack`` ("7:1"), ``split``, the facts of :class:`Taught`; and, each with ``mean``, sample
        ``std`` (None for one seed) and ``runs`` by number of updates, ``attack_success`` (share of the source class's
        images that are taken for the target), ``source_accuracy`` (share of them that are recognised) and
        ``clean_accuracy`` (share of all other images that are recognised).

    Raises:
        UserError: An option out of range, or a split without images of the source class or of others.
    """
    if split not in SPLITS:
        raise UserError(f"split is '{split}'; {did_you_mean(split, SPLITS)}choose among: {', '.join(SPLITS)}")
    require_test(teacher, split)
    parts = _parts(getattr(data, split), poison)

    def scores(ensemble: Ensemble, members: Sequence[int]) -> Tensor:
        return torch.stack([ensemble.accuracy(members, part) for part in parts], 1)

    found = taught(teacher, data, scores, **options)
    report: dict[str, Any] = {"attack": f"{poison.source}:{poison.target}", "split": split, **found.facts}
    for place, name in enumerate(SCORES):
        runs = [row[:, place].tolist() for row in found.measured]
        report[name] = {
            "mean": [statistics.fmean(run) for run in runs],
            "std": [statistics.stdev(run) if len(run) > 1 else None for run in runs],
            "runs": runs,
        }
    return report


def _victim(teacher: Teacher, data: RealData, learner: Spec | None) -> tuple[Spec, Initial | None]:
    """Return the victims' spec and, if the teacher was made for their first weights, what these are."""
    initial = Initial.of(teacher)
    if learner is not None:
        return learner, None if initial is None else initial.for_learner(learner)
    if initial is not None:
        return initial.learner, initial
    return teacher.noted_spec("learner") or default_learner(data.description), None


def _parts(split: Split, poison: Poison) -> tuple[Split, Split, Split]:
    """Return the source class labelled as the target, as itself, and all other classes: their accuracies are scores."""
    source = split.labels == poison.source
    if not bool(source.any()) or bool(source.all()):
        raise UserError(
            f"an attack on class {poison.source} needs real images of this class and of others in the split that is "
            "measured; choose another split"
        )
    images, labels = split.images[source], split.labels[source]
    return Split(images, poison(labels)), Split(images, labels), Split(split.images[~source], split.labels[~source])
