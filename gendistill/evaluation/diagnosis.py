"""Has a generator collapsed, and how? Its images against real ones of the same number, class by class.

Everything is compared with a **control**: test images, which the generator never saw, of the same number. What repeats,
what is missing and what was memorised is so judged by what real images do by themselves.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gendistill.data.cloud import Cloud
from gendistill.data.description import Normalisation, as_pixels
from gendistill.data.real import RealData, Split
from gendistill.data.scatter import scatter
from gendistill.errors import UserError
from gendistill.evaluation.choice import choose_extractor
from gendistill.evaluation.discriminators import Judge
from gendistill.evaluation.extractors import extract
from gendistill.evaluation.symptoms import (
    NEAR,
    SHOWN,
    of_classes,
    of_coverage,
    of_discriminator,
    of_memory,
    of_repeats,
    verdict,
)
from gendistill.seeds import stream
from gendistill.teacher.base import Teacher
from gendistill.teacher.draw import draw_once
from gendistill.teacher.fit import fitted
from gendistill.teacher.generator import GeneratorTeacher

MOST = 2000
"""Images of the teacher, and of the control, that are looked at when nobody says how many."""
NEAREST = 5


@dataclass(frozen=True)
class Pictures:
    """What a page shows beside the numbers; pixels (N, C, H, W) in [0, 1].

    Attributes:
        repeated: Pairs of generated images that are nearest to each other, one after the other.
        memorised: Generated images and the training image nearest to each, one after the other.
        missed: Real images that no generated one is near, those of the poorest classes first.
        samples: Generated images, by class. Of points, a plot of them and of those missed, and no pairs.
    """

    repeated: Tensor
    memorised: Tensor
    missed: Tensor
    samples: Tensor


def diagnose(
    teacher: Teacher,
    data: RealData,
    *,
    count: int | None = None,
    extractor: str = "classifier",
    seed: int = 0,
    device: torch.device | str | None = None,
    judges: Sequence[Judge] = (),
) -> tuple[dict[str, Any], Pictures]:
    """Look for what goes wrong with generators: collapse, missing classes, repeated and memorised images.

    Args:
        teacher: A generator, or any other teacher.
        data: The real data; its training images are what the generator learned from.
        count: Images of the teacher and of the control; None: as many as there are test images, at most 2,000.
        extractor: Whose features classes and coverage are taken in; see
            :func:`gendistill.evaluation.choice.choose_extractor`. It must know the classes.
        seed: Of the draws.
        device: Where networks run; None: where the data is.
        judges: The discriminators of the run that made the generator, which are asked what they make of its images, of
            those they were trained on and of test images; see :mod:`gendistill.runs.discriminators`.

    Returns:
        Plain values: ``verdict`` (one sentence), ``collapsed`` (bool), ``findings`` (each ``key``, ``wrong`` (bool),
        ``sentence``, ``value``, ``control`` and ``advice``), ``classes`` (one row each: ``name``, ``share``, ``fair``,
        ``agreement``, ``recall``, ``coverage``, ``control_coverage``), ``entropy`` of the predicted labels in bits with
        ``control_entropy``, ``precision``, ``recall``, ``coverage`` with their controls, ``n``; and the pictures.

    Raises:
        UserError: The teacher does not fit the data, or there are too few images.
    """
    if data.description.embedding is not None:
        raise UserError(
            f"a diagnosis looks at pictures, and '{data.description.name}' holds sentences; gendistill evaluate tells "
            "how close they are to real ones, and gendistill tokens prints their words"
        )
    trained_as = teacher.description.normalisation
    teacher = fitted(teacher, data.description)
    if device is not None:
        data = data.to(device)
    most = min(len(data.test), MOST) if count is None else min(count, len(data.test))
    if teacher.images_stored is not None:
        most = min(most, teacher.images_stored)
    if most < 2 * NEAREST + 2:
        raise UserError(f"a diagnosis needs at least {2 * NEAREST + 2} test images and generated ones, not {most}")
    network = choose_extractor(extractor, data)
    normalisation, kinds = data.description.normalisation, data.description.num_classes
    shown, asked = teacher.sample(most, stream(seed, "diagnosis/teacher"))
    asked = (asked.argmax(1) if asked.is_floating_point() else asked).cpu()
    pixels = teacher.description.normalisation.invert(shown.float()).clamp(0, 1).cpu()
    control, train = _part(data.test, most, kinds, seed, "control"), data.train
    reference = _part(train, min(len(train), max(most, MOST)), kinds, seed, "reference")
    seen = {
        "made": _look(network, normalisation.apply(pixels.to(data.train.images.device)), normalisation),
        "control": _look(network, control.images, normalisation),
        "reference": _look(network, reference.images, normalisation),
    }
    if seen["made"][1] is None:
        raise UserError(f"the extractor '{network.name}' knows no classes; choose classifier")
    real_pixels = as_pixels(control.images.cpu())
    parts = {"made": (pixels, asked)} | {
        name: (as_pixels(part.images.cpu()), part.labels.cpu())
        for name, part in (("control", control), ("train", reference))
    }
    repeats = _repeats(pixels, real_pixels)
    memory = _memory(pixels, real_pixels, train)
    classes = _classes(data, asked, control, reference, seen, labelled=_labelled(teacher, seed))
    covered = _coverage(seen["reference"][0], seen["made"][0], seen["control"][0])
    result: dict[str, Any] = {"n": most, "extractor": network.id, "classes": classes["rows"], **covered["scores"]}
    result |= {"entropy": classes["entropy"], "control_entropy": classes["control_entropy"]}
    findings = [
        *of_repeats(repeats, most),
        *of_classes(classes),
        *of_coverage(result),
        *of_memory(memory, most),
        *(found for judge in judges for found in of_discriminator(judge.name, _told(judge, parts, trained_as))),
    ]
    result["findings"] = findings
    wrong = [finding for finding in findings if finding["wrong"]]
    result["collapsed"] = any(finding["key"] in ("repeats", "missing classes", "coverage") for finding in wrong)
    result["verdict"] = verdict(wrong)
    cloud = data.description.cloud
    if cloud is not None:
        return result, _plots(pixels, as_pixels(reference.images.cpu()[covered["uncovered"]]), cloud)
    return result, _pictures(pixels, asked, repeats, memory, reference, covered, classes, kinds)


def _part(split: Split, count: int, kinds: int, seed: int, name: str) -> Split:
    index = draw_once(split.labels.cpu(), kinds, count, stream(seed, f"diagnosis/{name}"))
    index = index.to(split.labels.device)
    return Split(split.images[index], split.labels[index])


@torch.no_grad()
def _labelled(teacher: Teacher, seed: int) -> bool:
    """Return whether a label of the teacher says what its image shows: not where a generator does not heed classes."""
    if not isinstance(teacher, GeneratorTeacher) or teacher.labels_are_soft or teacher.description.num_classes < 2:
        return True
    latents = teacher.fresh(4, stream(seed, "diagnosis/labels"))
    one, other = (torch.full((4,), label, dtype=torch.int64, device=teacher.device) for label in (0, 1))
    return not torch.equal(teacher.generate(latents, one), teacher.generate(latents, other))


def _told(judge: Judge, parts: Mapping[str, tuple[Tensor, Tensor]], trained_as: Normalisation) -> dict[str, Tensor]:
    """Return what a discriminator says of pixels, by name."""
    device = next(judge.network.parameters()).device
    return {
        name: judge.scores(trained_as.apply(pixels).to(device), labels.to(device))
        for name, (pixels, labels) in parts.items()
    }


@torch.no_grad()
def _look(network: Any, images: Tensor, normalisation: Any) -> tuple[Tensor, Tensor | None]:
    """Return features (N, D) and class probabilities (N, K)."""
    features = extract(network, images, normalisation)
    device = next((parameter.device for parameter in network.parameters()), features.device)
    probabilities = network.probabilities(features.to(device))
    return features, None if probabilities is None else probabilities.cpu()


def _nearest(one: Tensor, other: Tensor, *, same: bool = False) -> tuple[Tensor, Tensor]:
    """Return the distance (N,) of each image to its nearest in ``other`` (but for itself), and that one's number.

    The nearest is found by a product of matrices, which is fast and off by about the root of a float's precision: of a
    few numbers, such as points, it is too coarse, and of images only the place is taken from it.
    """
    flat, base = one.flatten(1), other.flatten(1)
    few = flat.shape[1] <= 64
    how = "donot_use_mm_for_euclid_dist" if few else "use_mm_for_euclid_dist_if_necessary"
    found, places = [], []
    for start in range(0, len(flat), 256):
        apart = torch.cdist(flat[start : start + 256], base, compute_mode=how)
        if same:
            rows = torch.arange(len(apart))
            apart[rows, rows + start] = math.inf
        places.append(apart.argmin(1))
        found.append((flat[start : start + 256].double() - base[places[-1]].double()).norm(dim=1))
    return torch.cat(found), torch.cat(places)


def _repeats(made: Tensor, real: Tensor) -> dict[str, Any]:
    apart, partner = _nearest(made, made, same=True)
    limit = _nearest(real, real, same=True)[0].quantile(NEAR)
    return {"apart": apart, "partner": partner, "near": int((apart < limit).sum()), "limit": float(limit)}


def _memory(made: Tensor, real: Tensor, train: Split) -> dict[str, Any]:
    known = as_pixels(train.images.cpu())
    apart, partner = _nearest(made, known)
    limit = _nearest(real, known)[0].quantile(NEAR)
    near = int((apart < limit).sum())
    return {"apart": apart, "partner": partner, "near": near, "limit": float(limit), "train": known}


def _classes(
    data: RealData, asked: Tensor, control: Split, reference: Split, seen: Mapping[str, Any], *, labelled: bool
) -> dict[str, Any]:
    """Return one row a class, and the entropies of the predicted labels."""
    kinds = data.description.num_classes
    told = {name: probabilities.argmax(1) for name, (_, probabilities) in seen.items()}
    # Labels are drawn balanced; a generator that heeds none should show classes as often as the data do.
    fair = torch.ones(kinds).double() if labelled else torch.bincount(data.train.labels.cpu(), minlength=kinds).double()
    fair /= fair.sum()
    share = torch.bincount(told["made"], minlength=kinds).double() / len(told["made"])
    truth, known = control.labels.cpu(), reference.labels.cpu()
    right = told["control"] == truth
    rows = []
    for number, name in enumerate(data.description.class_names):
        mine, real = told["made"] == number, truth == number
        row: dict[str, Any] = {"name": name, "share": float(share[number]), "fair": float(fair[number])}
        among = asked == number
        row["agreement"] = float((told["made"][among] == number).double().mean()) if labelled and among.any() else None
        row["control_agreement"] = float(right[real].double().mean()) if real.any() else None
        row |= _class_coverage(seen, mine, real, known == number)
        rows.append(row)
    return {
        "rows": rows,
        "labelled": labelled,
        "n": len(asked),
        "agreement": float((told["made"] == asked).double().mean()) if labelled else None,
        "control_agreement": float(right.double().mean()),
        "entropy": _entropy(share),
        "control_entropy": _entropy(torch.bincount(told["control"], minlength=kinds).double() / len(truth)),
    }


def _class_coverage(seen: Mapping[str, Any], mine: Tensor, real: Tensor, known: Tensor) -> dict[str, Any]:
    """Return recall and coverage of a class, and the coverage by as many real images; None where there are too few."""
    made, control, reference = (seen[name][0] for name in ("made", "control", "reference"))
    none: dict[str, Any] = {"recall": None, "coverage": None, "control_coverage": None}
    if int(known.sum()) < NEAREST + 2 or int(real.sum()) < 2:
        return none
    others = control[real]
    if int(mine.sum()) < 2:
        return none | {"recall": 0.0, "coverage": 0.0, "control_coverage": _coverage_of(reference[known], others)}
    found = _coverage(reference[known], made[mine], others)["scores"]  # of all that the class has of either
    return {name: found[name] for name in none}


def _coverage_of(real: Tensor, fake: Tensor) -> float:
    return float(_inside(real, fake, NEAREST).any(1).double().mean())


def _inside(centres: Tensor, others: Tensor, nearest: int) -> Tensor:
    """Return whether each of ``others`` (M,) lies in the ball of each of ``centres`` (N, M)."""
    within = torch.cdist(centres.double(), centres.double())
    reach = within.kthvalue(nearest + 1, dim=1).values  # the nearest of all is the image itself
    return torch.cdist(centres.double(), others.double()) < reach[:, None]


def _coverage(real: Tensor, made: Tensor, control: Tensor) -> dict[str, Any]:
    """Return precision, recall and coverage of made and of control images over the real ones."""
    scores: dict[str, float] = {}
    uncovered = torch.empty(0)
    for prefix, images in (("", made), ("control_", control)):
        inside = _inside(real, images, NEAREST)
        scores[f"{prefix}precision"] = float(inside.any(0).double().mean())
        scores[f"{prefix}coverage"] = float(inside.any(1).double().mean())
        around = min(NEAREST, len(images) - 1)
        scores[f"{prefix}recall"] = float(_inside(images, real, around).any(0).double().mean()) if around else 0.0
        if not prefix:
            uncovered = (~inside.any(1)).nonzero().flatten()
    return {"scores": scores, "uncovered": uncovered}


def _entropy(shares: Tensor) -> float:
    present = shares[shares > 0]
    return float(-(present * present.log2()).sum()) + 0.0


def _plots(pixels: Tensor, missed: Tensor, cloud: Cloud) -> Pictures:
    """Return the pictures of points: plots of what is generated and of what is missed; pairs of points show nothing."""
    none = pixels.new_empty(0, 3, 1, 1)
    return Pictures(none, none, scatter(missed, cloud) if len(missed) else none, scatter(pixels, cloud))


def _pictures(
    pixels: Tensor,
    asked: Tensor,
    repeats: Mapping[str, Any],
    memory: Mapping[str, Any],
    reference: Split,
    covered: Mapping[str, Any],
    classes: Mapping[str, Any],
    kinds: int,
) -> Pictures:
    first = repeats["apart"].argsort()[: 2 * SHOWN]
    pairs: list[int] = []
    for place in first.tolist():  # each pair once
        if place not in pairs:
            pairs += [place, int(repeats["partner"][place])]
    nearest = memory["apart"].argsort()[:SHOWN]
    beside = torch.stack((pixels[nearest], memory["train"][memory["partner"][nearest]]), 1).flatten(0, 1)
    missing = covered["uncovered"]
    worth = torch.tensor([(row["coverage"] or 0.0) / (row["control_coverage"] or 1.0) for row in classes["rows"]])
    missing = missing[worth[reference.labels.cpu()[missing]].argsort(stable=True)][: 4 * SHOWN]
    order = torch.cat([(asked == number).nonzero().flatten()[:10] for number in range(min(kinds, 10))])
    return Pictures(pixels[pairs[: 2 * SHOWN]], beside, as_pixels(reference.images.cpu()[missing]), pixels[order])
