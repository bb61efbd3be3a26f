"""How well an attack works: victims take steps on a teacher's batches and are asked what they take for what."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gendistill.data.real import RealData, Split
from gendistill.errors import UserError, did_you_mean
from gendistill.evaluation.ensemble import Separate
from gendistill.evaluation.learning import SPLITS
from gendistill.evaluation.lessons import Lessons
from gendistill.evaluation.rates import Rate, candidates
from gendistill.evaluation.victims import trained_learners
from gendistill.evaluation.workers import Workers
from gendistill.initial import Initial
from gendistill.nets.learners import default_learner
from gendistill.poison import Poison
from gendistill.seeds import initialisation
from gendistill.teacher.base import Teacher

VICTIMS = ("fresh", "trained")
SCORES = ("attack_success", "source_accuracy", "clean_accuracy")
Spec = str | Mapping[str, Any]


def attack_report(
    teacher: Teacher,
    data: RealData,
    poison: Poison,
    *,
    learner: Spec | None = None,
    updates: Sequence[int] = (1, 10, 100),
    seeds: int | Sequence[int] = 5,
    batch_size: int = 64,
    lr: Rate | Sequence[Rate] | None = None,
    victim: str = "fresh",
    victim_updates: int = 300,
    split: str = "test",
) -> dict[str, Any]:
    """Let victims learn from a teacher and say what they take the attacked class for.

    Args:
        teacher: Poisoned, or not: the same measures of an honest teacher and of real data are the comparison.
        data: The real data; on its device everything happens.
        poison: What is to be taken for what.
        learner: Spec of the victims; by default the one that the teacher names, or the data set's default.
        updates: Numbers of updates on the teacher to measure after, 0 allowed.
        seeds: How many victims (seeds 0, 1, ...), or their seeds. No trainer draws from these.
        batch_size: Images an update; a curriculum, and distilled images, have batches of their own.
        lr: As in :func:`gendistill.evaluation.learning.learning_curve`. Among several the one with the highest mean
            accuracy on true labels of the validation split after the last update is taken, which is how somebody who
            does not know of the attack would choose.
        victim: ``fresh`` learners, or ``trained`` ones: trained on the real training set first.
        victim_updates: Updates of that training.
        split: ``test``, ``validation`` or ``train``.

    Returns:
        Plain values: ``attack`` ("7:1"), ``learner``, ``initialisation``, ``victim``, ``updates``, ``seeds``,
        ``split``, ``lr``; and, each with ``mean``, sample ``std`` (None for one seed) and ``runs`` by number of
        updates, ``attack_success`` (share of the source class's images that are taken for the target),
        ``source_accuracy`` (share of them that are recognised) and ``clean_accuracy`` (share of all other images that
        are recognised).

    Raises:
        UserError: An option out of range, or a split without images of the source class or of others.
    """
    for name, given, allowed in (("victim", victim, VICTIMS), ("split", split, SPLITS)):
        if given not in allowed:
            raise UserError(f"{name} is '{given}'; {did_you_mean(given, allowed)}choose among: {', '.join(allowed)}")
    counts = sorted(set(updates))
    listed = list(range(seeds)) if isinstance(seeds, int) else list(seeds)
    if not counts or counts[0] < 0 or not listed:
        raise UserError(f"updates is {list(updates)} and seeds {seeds}; give numbers from 0, and at least one seed")
    initial = Initial.of(teacher)
    spec: dict[str, Any] = {"class_path": learner} if isinstance(learner, str) else dict(learner or {})
    if not spec:
        spec = default_learner(data.description) if initial is None else initial.learner
    if initial is not None and (initial.learner != spec or victim == "trained"):
        initial = None
    teacher = teacher.to(data.train.labels.device)
    tried = candidates(lr, teacher, counts[-1])
    parts = _parts(getattr(data, split), poison)
    pool = trained_learners(spec, data, listed, updates=victim_updates) if victim == "trained" else None
    lessons = Lessons(teacher, data.description, listed, counts[-1], batch_size)
    measured: list[list[list[float]]] = []
    with Workers(1) as workers, initialisation(listed[0], "evaluation/dropout"):
        device = data.train.labels.device
        ensemble = Separate(
            spec, data.description, listed, tried, optimizer="sgd", device=device, workers=workers, initial=initial
        )
        if pool is not None:
            with torch.no_grad():  # in place: the rows that are trained are these networks' own memory
                for place, network in enumerate(ensemble.networks):
                    network.load_state_dict(pool[place // len(tried)].state_dict())
        everyone, done = range(len(ensemble.networks)), 0
        if counts[0] == 0:
            measured.append([ensemble.accuracy(everyone, part).tolist() for part in parts])
        for chunk in lessons.chunks(counts):
            ensemble.train(chunk, done)
            done += len(chunk[0])
            if done in counts:
                measured.append([ensemble.accuracy(everyone, part).tolist() for part in parts])
        best = 0
        if len(tried) > 1:
            scores = ensemble.accuracy(everyone, data.validation).view(len(listed), len(tried)).mean(0)
            best = int(scores.argmax())
    report: dict[str, Any] = {
        "attack": f"{poison.source}:{poison.target}",
        "learner": spec,
        "initialisation": None if initial is None else initial.sentence(data.description),
        "victim": victim,
        "updates": counts,
        "seeds": listed,
        "split": split,
        "lr": tried[best].name,
    }
    for place, name in enumerate(SCORES):
        runs = [row[place][best :: len(tried)] for row in measured]
        report[name] = {
            "mean": [statistics.fmean(run) for run in runs],
            "std": [statistics.stdev(run) if len(run) > 1 else None for run in runs],
            "runs": runs,
        }
    return report


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
