"""Finding a poisoned teacher with a few clean images: what it teaches, what it says, what lies near it.

None of these needs to know which class is attacked. docs/methods/poisoning.md has what they found, and what not.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gendistill.data.real import RealData, Split
from gendistill.data.sampling import ClassSampler
from gendistill.errors import UserError
from gendistill.evaluation.classifier import trained_classifier
from gendistill.evaluation.ensemble import Ensemble
from gendistill.evaluation.poisoning import taught
from gendistill.finite import check_finite
from gendistill.seeds import stream
from gendistill.teacher.base import Teacher
from gendistill.teacher.fit import fitted

HALF = 0.5
SHOWN = 1000
"""Images drawn of a teacher that makes them without end."""


def detect(
    teacher: Teacher, data: RealData, *, clean_per_class: int = 10, neighbours: int = 5, seed: int = 0, **options: Any
) -> dict[str, Any]:
    """Run the detectors on a teacher.

    Args:
        teacher: The teacher.
        data: The real data: ``validation`` gives the small clean set, ``train`` the trusted model and the neighbours.
        clean_per_class: Clean images of each class, at least 2; as many as the smallest class has at most.
        neighbours: k of the neighbour check, odd by habit.
        seed: Chooses the clean images.
        **options: Options of :func:`gendistill.evaluation.poisoning.taught`.

    Returns:
        ``damage`` (see :func:`damage`), ``label_check`` and ``neighbour_check``: the share of the teacher's images, in
        all and by class of their labels (None: no image), whose label a trusted model, or the majority of the nearest
        real images in pixels, agrees with.

    Raises:
        UserError: Too few clean images.
    """
    return {
        "damage": damage(teacher, data, clean_per_class=clean_per_class, seed=seed, **options),
        "label_check": label_check(teacher, data),
        "neighbour_check": neighbour_check(teacher, data, neighbours=neighbours),
    }


def damage(
    teacher: Teacher, data: RealData, *, clean_per_class: int = 10, seed: int = 0, **options: Any
) -> dict[str, Any]:
    """Train learners on the teacher and look at every class of a small clean set by itself.

    An average hides one lost class among many; the least class does not. A class is flagged when its accuracy is below
    half of the median class's, and named together with what it is most often taken for.

    Args:
        teacher: The teacher.
        data: The real data; clean images come from ``validation``.
        clean_per_class: Clean images of each class, at least 2.
        seed: Chooses the clean images.
        **options: Options of :func:`gendistill.evaluation.poisoning.taught`; of ``updates`` the last counts.

    Returns:
        ``images``: clean images of each class. ``accuracy``: mean over the learners, by class. ``median``: of the
        classes. ``suspect``: the least class and what it is taken for, with the share, as ``class``, ``taken_for`` and
        ``share``. ``flagged``: whether it is below half of the median.

    Raises:
        UserError: Too few clean images.
    """
    description = data.description
    clean = clean_set(data.validation, description.num_classes, clean_per_class, seed, description.class_names)
    classes = range(data.description.num_classes)

    def confusion(ensemble: Ensemble, members: Sequence[int]) -> Tensor:
        """Return (M, K, K): the share of each class's clean images that is taken for each class."""
        rows = []
        for true in classes:
            images = clean.images[clean.labels == true]
            given = [Split(images, torch.full((len(images),), label, device=images.device)) for label in classes]
            rows.append(torch.stack([ensemble.accuracy(members, part) for part in given], 1))
        return torch.stack(rows, 1)

    shares = taught(teacher, data, confusion, **options).last().mean(0)
    accuracy = shares.diagonal()
    median = float(accuracy.quantile(HALF))
    worst = int(accuracy.argmin())
    mistaken = shares[worst].clone()
    mistaken[worst] = -1.0
    return {
        "images": len(clean) // len(classes),
        "accuracy": accuracy.tolist(),
        "median": median,
        "suspect": {"class": worst, "taken_for": int(mistaken.argmax()), "share": float(mistaken.max())},
        "flagged": bool(accuracy[worst] < HALF * median),
    }


def clean_set(split: Split, num_classes: int, per_class: int, seed: int, names: Sequence[str] = ()) -> Split:
    """Return a random part of a split with the same number of images of every class.

    Raises:
        UserError: Fewer than two were asked for, or are there.
    """
    missing = (torch.bincount(split.labels, minlength=num_classes) == 0).nonzero().flatten().tolist()
    called = list(names) or [str(label) for label in range(num_classes)]
    way_out = "leave the detectors out (--no-detect), or give data with more validation images"
    if missing:
        raise UserError(f"the validation split has no clean image of {called[missing[0]]}; {way_out}")
    sampler = ClassSampler(split.labels, num_classes, names)
    count = min(per_class, sampler.smallest)
    if count < 2:
        few = sampler.fewer_than(2) or f"asked for were {per_class}"
        raise UserError(f"a clean set needs at least 2 images of each class, {few}; {way_out}")
    index = sampler.draw(count, stream(seed, "detection/clean", split.labels.device)).flatten()
    return Split(split.images[index], split.labels[index])


def label_check(teacher: Teacher, data: RealData) -> dict[str, Any]:
    """Return how often a model trained on trusted real data agrees with the labels of the teacher's images."""
    images, labels = _shown(teacher, data)
    classifier = trained_classifier(data)
    predicted = []
    with torch.no_grad():
        for part in images.split(256):
            features = classifier.features(part, teacher.description.normalisation)
            predicted.append(classifier.forward_head(features).argmax(1))
    return _agreement(torch.cat(predicted), labels, data.description.num_classes)


@torch.no_grad()
def neighbour_check(teacher: Teacher, data: RealData, *, neighbours: int = 5) -> dict[str, Any]:
    """Return how often most of the nearest real training images, in pixels, agree with the teacher's labels."""
    images, labels = _shown(teacher, data)
    own, real = teacher.description.normalisation, data.description.normalisation
    pixels = own.convert(images, real).flatten(1)
    known = real.apply(data.train.images).flatten(1)
    count = min(neighbours, len(known))
    classes = data.description.num_classes
    nearest = torch.cat([torch.cdist(part, known).topk(count, largest=False).indices for part in pixels.split(256)])
    votes = torch.nn.functional.one_hot(data.train.labels[nearest], classes).sum(1)
    return _agreement(votes.argmax(1), labels, classes)


def _shown(teacher: Teacher, data: RealData) -> tuple[Tensor, Tensor]:
    """Return the teacher's images and their likeliest classes, on the data's device."""
    teacher, device = fitted(teacher, data.description), data.train.labels.device
    if teacher.decoded_images is not None and teacher.decoded_images <= SHOWN:
        images, labels = teacher.everything()
    else:
        images, labels = teacher.sample(SHOWN, stream(0, "detection/images", teacher.device))
    labels = labels.argmax(1) if labels.is_floating_point() else labels
    return check_finite("images", images).to(device), labels.to(device)


def _agreement(found: Tensor, labels: Tensor, classes: int) -> dict[str, Any]:
    right = (found == labels).double().cpu()
    by_class = [right[(labels == label).cpu()].tolist() for label in range(classes)]
    return {
        "agreement": float(right.mean()),
        "by_class": [statistics.fmean(one) if one else None for one in by_class],
    }
