"""What a replication measures beside learning and fidelity: adaptation, attacks, found architectures, rankings."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.errors import UserError, did_you_mean

if TYPE_CHECKING:
    import torch

    from gendistill.data.real import RealData
    from gendistill.teacher import Teacher

Scores = dict[str, float | None]
GIVEN = ("teacher", "data", "seed", "device")
CELLS = {"class_path": "gendistill.nets.spaces.CellSpace"}
CONVNETS = {"class_path": "gendistill.nets.spaces.ConvNetSpace"}


def adaptation(
    teacher: Teacher,
    data: RealData,
    seed: int,
    device: torch.device,
    *,
    networks: int = 10,
    source: Mapping[str, Any] | None = None,
    source_root: str | None = None,
) -> Scores:
    """Measure how a teacher's images bring networks of another data set to this one.

    Args:
        teacher: Made with ``source``.
        data: What the networks are brought to.
        seed: Draws the random real images.
        device: Where the data is.
        networks: How many are brought.
        source: The data set they come from; None: the one that the teacher names.
        source_root: Where its files are; None: where those of ``data`` are.

    Returns:
        Accuracies ``before``, ``distilled`` and ``random real``; see
        :func:`gendistill.evaluation.adaptation.adaptation_report`.
    """
    from gendistill.evaluation.adaptation import adaptation_report

    root = source_root or data.options.get("root")
    found = adaptation_report(
        teacher, data, source=source, source_root=None if root is None else str(root), networks=networks, seed=seed
    )
    return {name: one["mean"] for name, one in found["accuracy"].items()}


def attack(
    teacher: Teacher,
    data: RealData,
    seed: int,
    device: torch.device,
    *,
    updates: int = 1,
    victims: int = 5,
    victim: str = "fresh",
    victim_updates: int = 300,
    batch_size: int = 64,
) -> Scores:
    """Measure what victims mistake for what.

    Args:
        teacher: A poisoned one, made here.
        data: What victims are tested on.
        seed: Of the run; victims have seeds of their own that no run's draws from.
        device: Where the data is.
        updates: Of the victims on the teacher.
        victims: How many.
        victim: ``fresh`` learners, or ``trained`` ones.
        victim_updates: Updates of that training.
        batch_size: Images an update; distilled images have batches of their own.

    Returns:
        ``attack success``, ``source accuracy`` and ``clean accuracy`` after the updates, and ``source before`` of
        trained victims; see :func:`gendistill.evaluation.poisoning.attack_report`.

    Raises:
        UserError: The teacher is not said to be poisoned.
    """
    from gendistill.evaluation.poisoning import SCORES, attack_report
    from gendistill.poison import Poison

    poison = Poison.noted(teacher, data.description)
    if poison is None:
        raise UserError("an attack is measured of a poisoned teacher; give trainer.init_args.poison, such as '7:1'")
    counts = [0, updates] if victim == "trained" else [updates]
    listed = range(seed * victims, (seed + 1) * victims)
    found = attack_report(
        teacher, data, poison, updates=counts, seeds=list(listed), victim=victim, victim_updates=victim_updates,
        batch_size=batch_size,
    )  # fmt: skip
    scores: Scores = {name.replace("_", " "): found[name]["mean"][-1] for name in SCORES}
    return scores | ({"source before": found["source_accuracy"]["mean"][0]} if len(counts) > 1 else {})


def architecture(
    teacher: Teacher,
    data: RealData,
    seed: int,
    device: torch.device,
    *,
    space: Mapping[str, Any] = CELLS,
    epochs: int = 10,
    lr: Sequence[float] = (0.03, 0.1),
    learners: int = 1,
    random: int = 0,
) -> Scores:
    """Train the architecture that a search has found on all real data, and random ones beside it.

    Args:
        teacher: That of a run of :class:`trainers.enas.ENASTrainer`.
        data: The data.
        seed: Draws the random architectures.
        device: Where to train.
        space: Spec of the space that was searched.
        epochs: Passes over the training images.
        lr: Rates, of which the validation split chooses one for each architecture.
        learners: For each rate.
        random: Random architectures that are trained in the same way.

    Returns:
        Test accuracies: ``found`` and, of random ones, the mean under ``random``.

    Raises:
        UserError: The run noted no architecture.
    """
    from gendistill.nas.truth import TrainedTruth
    from gendistill.nets.spaces import LearnerSpace
    from gendistill.objects import build
    from gendistill.seeds import stream

    name = teacher.noted("architecture", str)
    if name is None:
        raise UserError(
            "the run found no architecture; give a trainer that searches, such as trainers.enas.ENASTrainer"
        )
    kind: type[Any] = LearnerSpace
    found: LearnerSpace = build(space, kind)
    truth = TrainedTruth(found, data, epochs=epochs, batch_size=64, lr=list(lr), seeds=learners, device=device)
    scores: Scores = {"found": truth.train(name)["accuracy"]}
    if random:
        others = found.samples(random, stream(seed, "replication/random architectures"))
        scores["random"] = sum(truth.train(other)["accuracy"] for other in others) / len(others)
    return scores


def ranking(
    teacher: Teacher,
    data: RealData,
    seed: int,
    device: torch.device,
    *,
    space: Mapping[str, Any] = CONVNETS,
    count: int = 20,
    updates: int | None = None,
    epochs: int = 10,
    lr: Sequence[float] = (0.03, 0.1),
    pilots: int = 4,
) -> Scores:
    """Rank random architectures by a few updates on a teacher, and by training on all real data.

    Args:
        teacher: The teacher.
        data: The data.
        seed: Draws the architectures.
        device: Where to train.
        space: Spec of the space.
        count: Architectures.
        updates: On the teacher; None: the length of its curriculum, else 32.
        epochs: Passes over the real training images.
        lr: Rates on real images, of which the validation split chooses one for each architecture.
        pilots: Architectures by which a rate is chosen where the teacher has none.

    Returns:
        ``spearman`` and ``spearman of the top half`` of both rankings (None: not known), and ``times faster``, the
        seconds of all scores in those of all truths.
    """
    from gendistill.evaluation.workers import Workers
    from gendistill.nas.proxies import with_baselines
    from gendistill.nas.study import Study
    from gendistill.nas.truth import TrainedTruth
    from gendistill.nets.spaces import LearnerSpace
    from gendistill.objects import build

    kind: type[Any] = LearnerSpace
    found: LearnerSpace = build(space, kind)
    rates = teacher.learning_rates
    length = updates or (32 if rates is None else len(rates))
    proxies = with_baselines(
        "teacher", teacher, found, data, updates=length, batch_size=64, lr=["grid"], seeds=1, device=device, seed=seed
    )[:1]
    truth = TrainedTruth(found, data, epochs=epochs, batch_size=64, lr=list(lr), seeds=1, device=device)
    with tempfile.TemporaryDirectory(prefix="gendistill-ranking-") as scratch, Workers(1) as workers:
        ledger = Path(scratch) / "architectures.json"
        study = Study(found, proxies, ledger, {}, workers=workers, pilots=pilots, seed=seed)
        study.prepare()
        names = study.search("random", count)
        study.train(names, truth)
        results = study.results(names)
    one = results["rankings"]["teacher"]
    spent, took = results["truth"]["seconds"], one["seconds"]
    return {
        "spearman": one.get("all", {}).get("spearman", {}).get("value"),
        "spearman of the top half": one.get("top_half_by_score", {}).get("spearman", {}).get("value"),
        "times faster": spent / took if spent and took else None,
    }


MEASURES: dict[str, Callable[..., Scores]] = {
    "adaptation": adaptation,
    "attack": attack,
    "architecture": architecture,
    "ranking": ranking,
}
"""By name of :data:`gendistill.config.plan.FURTHER`."""


def check_further(further: Mapping[str, Any], source: str) -> None:
    """Refuse options that a measure does not have.

    Args:
        further: Options by measure.
        source: The config's name.

    Raises:
        UserError: Names the option and the nearest right one.
    """
    for name, options in further.items():
        accepted = [one for one in inspect.signature(MEASURES[name]).parameters if one not in GIVEN]
        for option in options or ():
            if option not in accepted:
                hint = did_you_mean(str(option), accepted)
                raise UserError(
                    f"{source}: evaluation.further.{name} has no option '{option}'; {hint}it takes: "
                    f"{', '.join(accepted)}"
                )


def measured_further(
    further: Mapping[str, Any], teacher: Teacher, data: RealData, seed: int, device: torch.device
) -> Scores:
    """Measure what a replication asks for beside learning and fidelity.

    Args:
        further: Options by measure.
        teacher: The teacher.
        data: The real data.
        seed: Of the run.
        device: Where to measure.

    Returns:
        Plain numbers by name; None: not known.

    Raises:
        UserError: The teacher is none of the kind that a measure is for.
    """
    scores: Scores = {}
    for name, options in further.items():
        scores |= MEASURES[name](teacher, data.to(device), seed, device, **options)
    return scores
