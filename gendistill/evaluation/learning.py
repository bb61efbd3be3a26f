"""How well a teacher teaches: the accuracy of fresh learners on real images after n updates on the teacher's batches.

The protocol, and what the numbers mean, is on the page docs/evaluation-learning.md.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from gendistill.data.real import RealData, Split
from gendistill.errors import UserError, did_you_mean
from gendistill.evaluation.curve import Curve
from gendistill.evaluation.ensemble import Separate
from gendistill.evaluation.epochs import FRESH, Generated, measuring_points, one_epoch, with_images
from gendistill.evaluation.lessons import Lessons, whose_normalisation
from gendistill.evaluation.optimisers import OPTIMISERS
from gendistill.evaluation.rates import Momentum, Rate, candidates, learned_rate
from gendistill.evaluation.scores import MEASURES, summary
from gendistill.evaluation.settings import LEARNED
from gendistill.evaluation.stacked import Stacked
from gendistill.evaluation.workers import Workers
from gendistill.initial import Initial
from gendistill.nets.learners import default_learner
from gendistill.seeds import initialisation, seed_list
from gendistill.teacher.base import Teacher
from gendistill.untrusted import Spec, said

SPLITS = ("test", "validation", "train")
SELECT = ("each", "last")


def learning_curve(
    teacher: Teacher,
    data: RealData,
    *,
    learner: Spec | None = None,
    updates: Sequence[int] = (10, 30, 100, 300, 1000),
    epochs: int | None = None,
    measure_every: int = 1,
    generated: Generated = FRESH,
    seeds: int | Sequence[int] = 5,
    batch_size: int = 64,
    optimizer: str = "sgd",
    lr: Rate | Sequence[Rate] | None = None,
    select: str = "each",
    measure: str = "accuracy",
    momentum: Momentum = 0.9,
    weight_decay: float = 5e-4,
    schedule: str = "constant",
    augment: str | None = None,
    augment_mode: str = "single",
    augment_strength: Mapping[str, float] | None = None,
    labels: str = "given",
    normalisation: str = "auto",
    split: str = "test",
    device: torch.device | str | None = None,
    batched: bool | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Train fresh learners on a teacher's batches and measure them on real images after chosen numbers of updates.

    All seeds and all learning rates are trained at once. Learners of one seed have the same initial weights and data
    order whatever the teacher and the rate, so that teachers can be compared seed by seed.

    Args:
        teacher: What teaches. It is moved to ``device``.
        data: The real data that judges.
        learner: Spec of the learner; by default the one whose first weights the teacher names, if it does, else
            :func:`gendistill.nets.learners.default_learner`. Where it is the one that the teacher names, learners start
            as the teacher says (:mod:`gendistill.initial`).
        updates: Numbers of updates to measure at, 0 allowed; sorted, doubles left out. The largest ends the training
            unless ``epochs`` does.
        epochs: Length of the training in epochs of the teacher, see :func:`gendistill.evaluation.epochs.one_epoch`;
            None: ``updates`` says it. With it, accuracy is also measured at ends of epochs.
        measure_every: Epochs between two measurements; 0: only after the last. Without ``epochs`` it means nothing.
        generated: For a teacher that makes images without end: so many of them, drawn once, ``"train"`` (as many as
            there are real training images), or ``"fresh"`` (new ones in every batch).
        seeds: How many learners (seeds 0, 1, ...), or their seeds.
        batch_size: Images an update; a curriculum has batches of its own.
        optimizer: ``sgd`` or ``adam``.
        lr: Learning rate, ``"grid"``, ``"teacher"``, ``"learned"``, a list of candidates, or None: the teacher's own
            rates where it learned some, else the grid; see :func:`gendistill.evaluation.rates.candidates`. Among
            several the one with the highest mean validation accuracy over the seeds is taken; the test split has no
            say.
        select: ``each``: the best rate is chosen for each number of updates by itself. ``last``: at the last number,
            for all. A schedule other than ``constant`` is laid out for the last number in both cases.
        measure: What the best rate is best in, on the validation split: ``accuracy``, or ``balanced``, the mean of the
            classes' accuracies, where classes are of unequal size. Both are reported in any case.
        momentum: SGD's momentum in [0, 1), or the lowest and highest of a cycle; see
            :func:`gendistill.evaluation.rates.momentum_schedule`.
        weight_decay: Not negative.
        schedule: ``constant``, ``cosine``, ``step`` or ``one-cycle``; see
            :func:`gendistill.evaluation.rates.schedule_factor`.
        augment: Strategy of :func:`gendistill.data.augment.augment` for the teacher's images, or None.
        augment_mode: ``single``: one of the strategy's names a batch, as in DSA. ``each``: one an image. ``all``: every
            name, in order.
        augment_strength: How far operations reach where not as far as DSA's, such as ``{"rotate": 45}``; see
            :class:`gendistill.data.operations.Strength`.
        labels: ``given``: cross-entropy with the teacher's labels, soft or hard. ``hard``: with their likeliest class.
        normalisation: In which learners see the teacher's and the real images: the ``data``'s, the ``teacher``'s, or
            ``auto``: the teacher's where it is whitened and the data is not, else the data's.
        split: Where accuracy is reported: ``test``, ``validation`` or ``train``.
        device: Where to train; by default where the data is.
        batched: Whether all learners go through one stacked forward pass; None: on a GPU yes, on a CPU no (there each
            core trains one learner, which is quicker).
        progress: Called with the updates done and their total.

    Returns:
        Plain values: ``learner`` (spec), ``initialisation`` (where learners start, in words, if the teacher says so),
        ``parameters``, ``updates``, ``accuracy`` (``mean``, sample ``std`` and
        ``runs``, each by number of updates; runs by seed; all fractions; std is None for one seed; ``balanced`` with
        the same three, and ``per_class``; see :func:`gendistill.evaluation.scores.summary`), ``split``,
        ``split_sizes`` (images of each split), ``class_names``, ``class_sizes`` (images of each in the reported split),
        ``measure``, ``seeds``, ``batch_size``, ``optimizer``, ``momentum``, ``weight_decay``, ``schedule``,
        ``augment``, ``augment_mode``, ``augment_strength``, ``labels``, ``normalisation`` (``data`` or ``teacher``),
        ``generated``, ``epoch`` (``images`` and ``updates`` of one), ``epochs``, ``lr_asked`` (the option, as it was
        given), ``lr`` (chosen, by number of updates), ``learned_rate`` (what ``learned`` stands for, if it was tried),
        ``selection`` (None, or candidates and their mean validation accuracy),
        ``learner_updates`` (of one learner), ``learners_trained``, ``images_seen`` (by one learner, by number of
        updates), ``seconds``.

    Raises:
        UserError: An option out of range, or a teacher that does not fit the data.
    """
    started = time.perf_counter()
    counts, seeds = _counts(updates, needed=epochs is None), _seeds(seeds)
    _among("optimizer", optimizer, OPTIMISERS)
    _among("select", select, SELECT)
    _among("measure", measure, MEASURES)
    reported = _split(data, split)
    device = data.train.labels.device if device is None else torch.device(device)
    data, teacher, reported = data.to(device), teacher.to(device), reported.to(device)
    normalisation = whose_normalisation(normalisation, teacher, data)
    if normalisation == "teacher":
        data = data.with_normalisation(teacher.description.normalisation)
    training_images = len(data.train)
    teacher = with_images(teacher, generated, training_images)
    epoch = one_epoch(teacher, max(batch_size, 1), training_images)
    if epochs is not None:
        counts = measuring_points(counts, epoch, epochs, measure_every)
    total = counts[-1]
    tried = candidates(
        lr,
        teacher,
        total,
        optimizer=optimizer,
        momentum=momentum,
        weight_decay=weight_decay,
        schedule=schedule,
    )
    if len(tried) > 1:
        _split(data, "validation")
    lessons = Lessons(
        teacher,
        data.description,
        seeds,
        total,
        batch_size,
        augment=augment,
        augment_mode=augment_mode,
        augment_strength=augment_strength,
        labels=labels,
    )
    spec, initial = _judge(teacher, data, learner)
    strategy = Stacked if (device.type != "cpu" if batched is None else batched) else Separate
    cores = torch.get_num_threads() if strategy is Separate and device.type == "cpu" else 1
    # Learners with dropout draw from torch's global generator, which is lent out here and put back untouched.
    with Workers(min(cores, len(seeds) * len(tried))) as workers, initialisation(seeds[0], "evaluation/dropout"):
        ensemble = strategy(
            spec, data.description, seeds, tried, optimizer=optimizer, device=device, workers=workers, initial=initial
        )
        curve = Curve(ensemble, len(seeds), data.validation, reported, each=select == "each", measure=measure)
        done = 0
        if counts[0] == 0:
            curve.measure()
        if progress is not None:
            progress(done, total)  # from here on time is that of updates
        for chunk in workers.ahead(lessons.chunks(counts)):
            ensemble.train(chunk, done)
            done += len(chunk[0])
            if progress is not None:
                progress(done, total)
            if done in counts:
                curve.measure()
    right, chosen = curve.chosen()
    return {
        "learner": said(spec),
        "initialisation": None if initial is None else initial.sentence(data.description),
        "parameters": ensemble.parameter_count,
        "updates": counts,
        "accuracy": summary(right, curve.sizes[1]),
        "split": split,
        "split_sizes": {name: len(getattr(data, name)) for name in reversed(SPLITS)},
        "class_names": list(data.description.class_names),
        "class_sizes": curve.sizes[1].tolist(),
        "measure": measure,
        "seeds": seeds,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "momentum": momentum if isinstance(momentum, int | float) else list(momentum),
        "weight_decay": weight_decay,
        "schedule": schedule,
        "augment": augment,
        "augment_mode": augment_mode,
        "augment_strength": dict(augment_strength) if augment_strength else None,
        "labels": labels,
        "normalisation": normalisation,
        "generated": generated,
        "epoch": {"images": epoch.images, "updates": epoch.updates},
        "epochs": epochs,
        "lr_asked": lr if lr is None or isinstance(lr, str | float | int) else list(lr),
        "lr": [tried[place].name for place in chosen],
        "learned_rate": learned_rate(teacher) if any(one.name == LEARNED for one in tried) else None,
        "selection": {"select": select, **curve.selection()} if len(tried) > 1 else None,
        "learner_updates": total,
        "learners_trained": len(seeds) * len(tried),
        "images_seen": [lessons.images_seen[count] for count in counts],
        "seconds": time.perf_counter() - started,
    }


def updates_to(result: Mapping[str, Any], accuracy: float) -> int | None:
    """Return the first measured number of updates whose mean accuracy reaches a target, None when none does.

    Args:
        result: What :func:`learning_curve` returned.
        accuracy: Target as a fraction in [0, 1].

    Raises:
        UserError: The target is not a fraction.
    """
    if not 0.0 <= accuracy <= 1.0:
        raise UserError(f"the accuracy to reach is {accuracy}; give a fraction between 0 and 1, such as 0.9")
    for count, mean in zip(result["updates"], result["accuracy"]["mean"], strict=True):
        if mean >= accuracy:
            return int(count)
    return None


def cross_architecture(
    teacher: Teacher, data: RealData, *, learners: Sequence[Spec] | None = None, **options: Any
) -> dict[str, dict[str, Any]]:
    """Return a learning curve for each of several kinds of learner, by name.

    Args:
        teacher: What teaches.
        data: The real data that judges.
        learners: Specs; by default the data set's default learner, an MLP and LeNet.
        **options: Options of :func:`learning_curve`.

    Returns:
        Results by ``Class(option=value, ...)``, in the given order.

    Raises:
        UserError: See :func:`learning_curve`.
    """
    home = "gendistill.nets.learners"
    standard: list[Spec] = [default_learner(data.description), f"{home}.MLP", f"{home}.LeNet"]
    chosen = standard if learners is None else learners
    return {learner_name(spec): learning_curve(teacher, data, learner=spec, **options) for spec in chosen}


def learner_name(spec: Spec) -> str:
    """Return a learner's spec as ``Class(option=value, ...)``."""
    plain = said(spec)
    options = ", ".join(f"{name}={value}" for name, value in (plain.get("init_args") or {}).items())
    return str(plain["class_path"]).rpartition(".")[2] + (f"({options})" if options else "")


def _judge(teacher: Teacher, data: RealData, learner: Spec | None) -> tuple[Spec, Initial | None]:
    """Return the learner's spec and, where the teacher was made for this learner's first weights, what they are."""
    initial = Initial.of(teacher)
    if learner is None:
        return (default_learner(data.description), None) if initial is None else (initial.learner, initial)
    return learner, None if initial is None else initial.for_learner(learner)


def _counts(updates: Sequence[int], *, needed: bool) -> list[int]:
    counts = sorted(set(updates))
    if not counts and not needed:
        return []
    if not counts or counts[0] < 0 or any(int(count) != count for count in counts):
        raise UserError(f"updates is {list(updates)}; give one or more whole numbers, each at least 0")
    return [int(count) for count in counts]


def _seeds(seeds: int | Sequence[int]) -> list[int]:
    listed = seed_list(seeds)
    if not listed or len(set(listed)) != len(listed):
        raise UserError(f"seeds is {seeds}; give a number of at least 1, or a list of different seeds")
    return listed


def _among(option: str, given: str, allowed: Sequence[str] | Mapping[str, Any]) -> None:
    if given not in allowed:
        raise UserError(f"{option} is '{given}'; {did_you_mean(given, allowed)}choose among: {', '.join(allowed)}")


def _split(data: RealData, name: str) -> Split:
    _among("split", name, SPLITS)
    split: Split = getattr(data, name)
    if not len(split):
        raise UserError(
            f"'{data.description.name}' has no {name} images; choose another split, or a single learning rate if the "
            "validation split is what is missing"
        )
    return split
