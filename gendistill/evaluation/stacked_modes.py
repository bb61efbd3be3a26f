"""Modes of stacked digits: which of a thousand triples a generator shows, by a classifier of single channels."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gendistill.data.description import Normalisation
from gendistill.data.real import RealData
from gendistill.data.stacked import BASES, CHANNELS, DIGITS, channels_of, digits_of, number_of
from gendistill.errors import UserError
from gendistill.evaluation.classifier import ClassifierExtractor, trained_classifier
from gendistill.evaluation.extractors import extract
from gendistill.evaluation.modes import GENERATOR, TENTH, divergences, per_generator
from gendistill.seeds import stream
from gendistill.teacher.base import Teacher
from gendistill.teacher.clouds import members

COUNT = 26_000
"""Samples that are looked at, as in VEEGAN's and PacGAN's experiments."""
CHUNK = 2000


def stacked_modes(teacher: Teacher, data: RealData, *, count: int = COUNT, seed: int = 0) -> dict[str, Any]:
    """Return how many of the thousand triples of digits a teacher shows, and how evenly.

    Args:
        teacher: A teacher of stacked digits.
        data: The real ones. Their channels train the classifier, once; their test split is judged beside the teacher.
        count: Samples of each; fewer where there are fewer.
        seed: Of the draws.

    Returns:
        As of :func:`gendistill.evaluation.modes.point_modes`, ``of`` being ``stacked digits``, without ``high_quality``
        and ``wasserstein``; the divergences are between the histograms of predicted triples and the products of the
        training channels' shares. ``real`` is the floor that the classifier's errors and the number of samples leave,
        and ``channel_accuracy`` the classifier's on the test split's channels.

    Raises:
        UserError: The data are no stacked digits.
    """
    if data.description.name not in BASES:
        raise UserError(f"'{data.description.name}' is none of {', '.join(BASES)}, whose modes are known")
    channels = channels_of(data)
    with torch.enable_grad():
        classifier = trained_classifier(channels)
    normalisation = channels.description.normalisation
    shares = [torch.bincount(one, minlength=DIGITS).double() for one in digits_of(data.train.labels.cpu()).unbind(1)]
    one, two, three = (share / share.sum() for share in shares)
    fair = (one.view(-1, 1, 1) * two.view(1, -1, 1) * three.view(1, 1, -1)).flatten()
    views = []
    shown = {"whole": teacher} | {f"{GENERATOR}{number}": part for number, part in enumerate(members(teacher))}
    for name, part in shown.items():
        stored, generator = part.decoded_images, stream(seed, f"modes/{name}")
        asked = count if stored is None else min(count, stored)
        seen = []
        # Stored images are drawn in one go, without repetition; fresh ones in parts that memory holds.
        for size in [asked] if stored is not None else _parts(asked):
            images, _ = part.sample(size, generator, balanced=False)
            plain = part.description.normalisation.convert(images.float(), data.description.normalisation)
            seen.append(_triples(classifier, plain.flatten(0, 1)[:, None], normalisation))
        views.append({"name": name} | _scores(torch.cat(seen), fair))
    test = data.test.images[:count]
    predicted = torch.cat(
        [_triples(classifier, each.flatten(0, 1)[:, None], normalisation) for each in test.split(CHUNK)]
    )
    views.append({"name": "real"} | _scores(predicted, fair))
    correct = (digits_of(predicted) == digits_of(data.test.labels[:count].cpu())).double().mean()
    found = {"total": DIGITS**CHANNELS, "of": "stacked digits", "n": views[0]["n"], "views": views}
    return found | per_generator(views) | {"channel_accuracy": float(correct)}


def _parts(count: int) -> list[int]:
    return [min(CHUNK, count - start) for start in range(0, count, CHUNK)]


def _triples(classifier: ClassifierExtractor, channels: Tensor, normalisation: Normalisation) -> Tensor:
    """Return the predicted classes (N,) of single channels (3 N, 1, H, W), three in succession."""
    with torch.no_grad():
        features = extract(classifier, channels, normalisation)
        digits = classifier.probabilities(features.to(next(classifier.parameters()).device)).argmax(1).cpu()
    return number_of(digits.view(-1, CHANNELS))


def _scores(predicted: Tensor, fair: Tensor) -> dict[str, Any]:
    counts = torch.bincount(predicted, minlength=len(fair)).double()
    return {
        "n": len(predicted),
        "captured": int((counts > 0).sum()),
        "covered": int((counts >= TENTH * len(predicted) * fair).sum()),
        **divergences(counts, fair),
    }
