"""How much of a teacher's worth is in its images and not in soft labels or augmentation: the scores of DD-Ranking.

With accuracies as fractions (Li et al. 2025, "DD-Ranking: Rethinking the Evaluation of Dataset Distillation"):

    HLR = acc(all real, hard labels) - acc(teacher, hard labels)          lower is better
    IOR = acc(teacher, its labels) - acc(random real, labels alike)       higher is better
    LRS = s(w IOR - (1 - w) HLR),  ARS = s(w d_aug + (1 - w) d_plain),  s(x) = (e^x - e^-1) / (e - e^-1)

where d is the lead over as many random real images, with and without augmentation. The package's version 0.2.0 puts
percentages into s, which is not its paper's definition; here they are fractions, so scores lie in [0, 1].
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.learning import learning_curve
from gendistill.evaluation.lessons import whose_normalisation
from gendistill.evaluation.victims import trained_learners
from gendistill.nets.learners import default_learner
from gendistill.seeds import stream
from gendistill.teacher.base import Teacher
from gendistill.teacher.fit import fitted
from gendistill.teacher.labeller import Labeller, labelled
from gendistill.teacher.stored_labels import with_stored_labels
from gendistill.teacher.subset import RealSubset


def squashed(value: float) -> float:
    """Map a difference of fractions in [-1, 1] to [0, 1] as DD-Ranking does.

    Raises:
        UserError: It is no such difference.
    """
    if not -1 <= value <= 1:
        raise UserError(f"a difference of fractions lies in [-1, 1], got {value}; divide percentages")
    return (math.exp(value) - math.exp(-1)) / (math.e - math.exp(-1))


def label_robust_score(
    real_hard: float, teacher_hard: float, teacher_any: float, random_any: float, weight: float = 0.5
) -> float:
    """Return LRS in [0, 1]; higher is better.

    Args:
        real_hard: Accuracy from all real images with hard labels; this and the others are fractions.
        teacher_hard: From the teacher with hard labels.
        teacher_any: From the teacher with its own labels.
        random_any: From as many random real images with labels of that kind.
        weight: Of the lead over random images, in [0, 1].

    Raises:
        UserError: A value is not a fraction.
    """
    _check_fractions(real_hard, teacher_hard, teacher_any, random_any, weight)
    return squashed(weight * (teacher_any - random_any) - (1 - weight) * (real_hard - teacher_hard))


def augmentation_robust_score(
    teacher_augmented: float, random_augmented: float, teacher_plain: float, random_plain: float, weight: float = 0.5
) -> float:
    """Return ARS in [0, 1]; higher is better.

    Args:
        teacher_augmented: Accuracy from the teacher with augmentation; this and the others are fractions.
        random_augmented: From as many random real images with the same augmentation.
        teacher_plain: From the teacher without augmentation.
        random_plain: From the random images without.
        weight: Of the lead with augmentation, in [0, 1].

    Raises:
        UserError: A value is not a fraction.
    """
    _check_fractions(teacher_augmented, random_augmented, teacher_plain, random_plain, weight)
    return squashed(weight * (teacher_augmented - random_augmented) + (1 - weight) * (teacher_plain - random_plain))


def robust_scores(
    teacher: Teacher,
    data: RealData,
    *,
    real_options: Mapping[str, Any] | None = None,
    labeller_updates: int = 300,
    seed: int = 0,
    **options: Any,
) -> dict[str, Any]:
    """Train learners in all the ways that LRS and ARS compare, and return the scores at the last number of updates.

    Random real images are as many of each class as the teacher's and go through the same options; learning rates are
    chosen for each training by itself, on the validation split. Where the teacher's labels are soft, a learner that was
    trained on all real images labels the random ones softly. ARS needs ``augment`` among the options.

    Args:
        teacher: A teacher with a number of images.
        data: The real data.
        real_options: What differs for training on all real images, such as ``updates``.
        labeller_updates: Updates of the learner that labels.
        seed: Draws the random images and trains that learner.
        **options: Those of :func:`gendistill.evaluation.learning.learning_curve`.

    Returns:
        ``accuracy`` (``real_hard``, ``teacher_hard``, ``teacher_any``, ``random_any``; with ``augment`` also
        ``teacher_plain``, ``random_plain``), ``hard_label_recovery`` (HLR), ``improvement_over_random`` (IOR), ``lrs``,
        ``ars`` (None without ``augment``), ``augment``, ``images``.

    Raises:
        UserError: A teacher that makes images without end, or see ``learning_curve``.
    """
    teacher = fitted(teacher, data.description)
    counts = teacher.label_counts
    if counts is None:
        raise UserError(
            "robust scores compare with as many random real images, this teacher makes images without end; export a "
            "number of them first, and judge those"
        )
    if whose_normalisation(options.get("normalisation", "auto"), teacher, data) == "teacher":
        data = data.with_normalisation(teacher.description.normalisation)
    random = _random(counts, data, seed)
    if teacher.labels_are_soft:
        random = _softly(random, data, options.get("learner"), labeller_updates, seed)
    if teacher.labeller is not None:  # random images get the same labels
        random = labelled(random, teacher.labeller)

    def last(shown: Teacher, **changed: Any) -> float:
        return float(learning_curve(shown, data, **(options | changed))["accuracy"]["mean"][-1])

    hard = {"labels": "hard"}
    accuracy = {
        "real_hard": last(RealSubset.all(data.train, data.description), **(hard | dict(real_options or {}))),
        "teacher_any": last(teacher),
        "random_any": last(random),
    }
    soft = teacher.labels_are_soft or teacher.labeller is not None
    accuracy["teacher_hard"] = last(labelled(teacher, None), **hard) if soft else accuracy["teacher_any"]
    ars = None
    if options.get("augment") not in (None, "", "none") or options.get("cutmix"):
        plainly: dict[str, Any] = {"augment": None, "cutmix": 0.0}
        accuracy |= {"teacher_plain": last(teacher, **plainly), "random_plain": last(random, **plainly)}
        ars = augmentation_robust_score(
            accuracy["teacher_any"], accuracy["random_any"], accuracy["teacher_plain"], accuracy["random_plain"]
        )
    names = ("real_hard", "teacher_hard", "teacher_any", "random_any")
    return {
        "accuracy": accuracy,
        "hard_label_recovery": accuracy["real_hard"] - accuracy["teacher_hard"],
        "improvement_over_random": accuracy["teacher_any"] - accuracy["random_any"],
        "lrs": label_robust_score(*(accuracy[name] for name in names)),
        "ars": ars,
        "augment": options.get("augment"),
        "images": sum(counts),
    }


def _random(counts: list[int], data: RealData, seed: int) -> Teacher:
    """Return random real images, as many of each class as ``counts`` says."""
    split, generator = data.train, stream(seed, "real-subset")
    order = torch.randperm(len(split), generator=generator).to(split.labels.device)
    chosen = []
    for label, count in enumerate(counts):
        members = order[split.labels[order] == label]
        if count > len(members):
            name = data.description.class_names[label]
            raise UserError(f"the teacher has {count} images of '{name}', the real data only {len(members)} to compare")
        chosen.append(members[:count])
    index = torch.cat(chosen)
    noted = {"source": {"dataset": data.description.name, "images": len(index), "selection": "random, as the teacher"}}
    return RealSubset(split.images[index], split.labels[index], data.description, metadata=noted)


def _softly(images: Teacher, data: RealData, learner: Any, updates: int, seed: int) -> Teacher:
    """Return the images with the probabilities that a learner trained on all real images gives them."""
    spec = {"class_path": learner} if isinstance(learner, str) else learner or default_learner(data.description)
    (network,) = trained_learners(spec, data, [seed], updates=updates)
    return with_stored_labels(images, Labeller(network, data.description.normalisation), corrected=False)


def _check_fractions(*values: float) -> None:
    for value in values:
        if not 0 <= value <= 1:
            raise UserError(f"accuracies and the weight must be fractions in [0, 1], got {value}; divide percentages")
