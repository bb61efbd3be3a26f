"""What the numbers of a diagnosis mean: findings, each a sentence with what to try, and the verdict made of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scipy.stats import binomtest, mannwhitneyu, norm
from torch import Tensor

NEAR = 0.01
"""The share of control images that count as near by definition."""
ALARM = 0.05
"""A share of near images that must be exceeded for sure."""
MISSING = 0.25
"""Below this part of its fair share, and for sure below half of it, a class is called missing."""
COVERED = 0.5
"""Below this part of what real images of the same number cover, a class is called poorly covered."""
EVEN = 0.75
"""Below this part of the real images' effective number of classes, the classes are called uneven."""
AGREES = 0.7
"""Below this part of the classifier's accuracy on real images, labels and images do not belong together."""
PARTED = 0.99
"""Above this area under the curve a discriminator tells generated images from real ones."""
FOOLED = 0.25
"""Below this one it takes generated images for the real ones."""
PREFERS = 0.6
"""Above this one, and for sure, it tells images that it was trained on from those it never saw."""
CONFIDENCE = 0.99
SHOWN = 8
"""Classes that a sentence lists."""


def _for_sure_above(count: int, total: int, share: float) -> bool:
    """Return whether more than a share of all images would be so, of which ``count`` of ``total`` are."""
    return bool(binomtest(count, total, share, alternative="greater").pvalue < 1 - CONFIDENCE)


def _finding(
    key: str, sentence: str, value: float, control: float | None, advice: str, *, wrong: bool
) -> dict[str, Any]:
    found = {"key": key, "wrong": wrong, "sentence": sentence, "value": value, "control": control}
    return found | {"advice": advice if wrong else ""}


def of_repeats(found: Mapping[str, Any], total: int) -> list[dict[str, Any]]:
    """Return what is found of images that repeat each other: ``near`` of ``total`` generated images."""
    share = found["near"] / total
    sentence = (
        f"{100 * share:.1f} % of {total:,} generated images have a near copy among them, of real images "
        f"{100 * NEAR:.0f} % (nearer than {found['limit']:.3g} in pixels)"
    )
    advice = (
        "the generator repeats itself: try a smaller learning rate of the generator, more updates of the "
        "discriminator (n_dis), diff_augment, or several groups (docs/methods/mggan.md)"
    )
    return [_finding("repeats", sentence, share, NEAR, advice, wrong=_for_sure_above(found["near"], total, ALARM))]


def of_classes(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what is found of classes that are missing or rare, and of labels."""
    rows, total = found["rows"], found["n"]
    missing = [
        row
        for row in rows
        if row["share"] < MISSING * row["fair"]
        and binomtest(round(row["share"] * total), total, row["fair"] / 2, alternative="less").pvalue
        < (1 - CONFIDENCE) / len(rows)
    ]
    kinds, real_kinds = (2.0 ** found[name] for name in ("entropy", "control_entropy"))
    uneven = kinds < EVEN * real_kinds
    names = ", ".join(
        f"{row['name']} ({100 * row['share']:.1f} % where {100 * row['fair']:.1f} % is fair)" for row in missing
    )
    most = max(rows, key=lambda row: row["share"] - row["fair"])
    sentence = f"missing classes: {names}; " if missing else "every class is there; "
    sentence += (
        f"predicted labels are as varied as {kinds:.1f} equal classes, those of real images as {real_kinds:.1f} (2 to "
        "the power of the entropy)"
    )
    if uneven:
        sentence += f"; {100 * most['share']:.0f} % are {most['name']}"
    advice = "it makes few or none of these: condition on labels, or try several groups (docs/methods/mggan.md)"
    made = [
        _finding("missing classes", sentence, float(len(missing)), 0.0, advice, wrong=bool(missing) or uneven),
    ]
    if found["agreement"] is not None:
        agreement, control = found["agreement"], found["control_agreement"]
        words = (
            f"{100 * agreement:.1f} % of the images are what their label says, as the classifier sees it, of real ones "
            f"{100 * control:.1f} %"
        )
        low = _for_sure_below(agreement, total, AGREES * control)
        advice = "labels and images do not belong together: train longer, or use a stronger conditioning"
        made.append(_finding("labels", words, agreement, control, advice, wrong=low))
    return made


def _for_sure_below(share: float, total: int, limit: float) -> bool:
    return bool(binomtest(round(share * total), total, min(limit, 1.0), alternative="less").pvalue < 1 - CONFIDENCE)


def of_coverage(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what is found of how much the generated images cover, over all and class by class."""
    poor = [
        row
        for row in result["classes"]
        if row["coverage"] is not None and row["coverage"] < COVERED * row["control_coverage"]
    ]
    whole = result["coverage"] < COVERED * result["control_coverage"]
    sentence = (
        f"generated images cover {100 * result['coverage']:.0f} % of the training images, as many real ones "
        f"{100 * result['control_coverage']:.0f} %; recall {100 * result['recall']:.0f} % against "
        f"{100 * result['control_recall']:.0f} %"
    )
    if poor:
        poor = sorted(poor, key=lambda row: row["coverage"] / row["control_coverage"])
        listed = ", ".join(
            f"{row['name']} ({100 * row['coverage']:.0f} where real ones cover {100 * row['control_coverage']:.0f} %)"
            for row in poor[:SHOWN]
        )
        more = f" and {len(poor) - SHOWN} more" if len(poor) > SHOWN else ""
        sentence += f"; poorest: {listed}{more}"
    advice = (
        "it shows a part of what real images show: train longer, look at the discriminator's loss for collapse, try "
        "diff_augment or several groups; where fidelity counts more than variety this may be wanted"
    )
    return [_finding("coverage", sentence, result["coverage"], result["control_coverage"], advice, wrong=whole)]


def of_memory(found: Mapping[str, Any], total: int) -> list[dict[str, Any]]:
    """Return what is found of training images that are repeated: ``near`` of ``total`` generated images."""
    share = found["near"] / total
    sentence = (
        f"{100 * share:.1f} % of the generated images lie as near to a training image as {100 * NEAR:.0f} % of the "
        f"test images do (nearer than {found['limit']:.3g} in pixels)"
    )
    advice = "it repeats training images: use more data, diff_augment, or stop earlier"
    return [_finding("memorised", sentence, share, NEAR, advice, wrong=_for_sure_above(found["near"], total, ALARM))]


def of_discriminator(name: str, told: Mapping[str, Tensor]) -> list[dict[str, Any]]:
    """Return what a discriminator says of generated images, of those it was trained on and of test images.

    Args:
        name: What it is called.
        told: Its scores (N,) of ``made``, ``train`` and ``control`` images; higher is more real.
    """
    parted, remembered = (auc(told[one], told[other]) for one, other in (("control", "made"), ("train", "control")))
    sure = remembered - float(norm.ppf(CONFIDENCE)) * auc_error(remembered, len(told["train"]), len(told["control"]))
    sentence = (
        f"the {name} tells generated images from test images with an area under the curve of {parted:.3f} (0.5: not at "
        f"all), and those it was trained on from test images with {remembered:.3f}"
    )
    won, fooled, remembers = parted > PARTED, parted < FOOLED, sure > PREFERS
    advice = [
        *(["it takes generated images for real and real ones for generated: the generator sits where it has not looked "
           "for long; more updates of it (n_dis), a larger rate of it, or packing"] if fooled else []),
        *(["it has won, and the generator learns little from it: a gradient penalty (r1), diff_augment, fewer updates "
           "of it (n_dis) or a smaller rate"] if won else []),
        *(["it remembers the training images: diff_augment, or a narrower discriminator"] if remembers else []),
    ]  # fmt: skip
    return [_finding("discriminator", sentence, parted, 0.5, "; ".join(advice), wrong=won or fooled or remembers)]


def auc(one: Tensor, other: Tensor) -> float:
    """Return the chance that a score of ``one`` (N,) is above one of ``other`` (M,), ties counted half."""
    return float(mannwhitneyu(one.numpy(), other.numpy()).statistic) / (len(one) * len(other))


def auc_error(area: float, ones: int, others: int) -> float:
    """Return the standard error of an area under the curve (Hanley and McNeil 1982)."""
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    square = area**2
    variance = area * (1 - area) + (ones - 1) * (first - square) + (others - 1) * (second - square)
    return float((variance / (ones * others)) ** 0.5)


WORDS = {
    "repeats": "it repeats its own images",
    "missing classes": "classes are missing or rare",
    "coverage": "it covers little of what real images show",
    "labels": "its images are not what their labels say",
    "memorised": "it repeats training images",
    "discriminator": "its discriminator judges wrongly, or too well",
}


def verdict(wrong: list[dict[str, Any]]) -> str:
    """Return one sentence of the findings that say that something is wrong."""
    if not wrong:
        return "no sign of collapse: nothing here is worse than with real images of the same number, within the limits"
    words = list(dict.fromkeys(WORDS[finding["key"]] for finding in wrong))
    collapsed = any(finding["key"] in ("repeats", "missing classes", "coverage") for finding in wrong)
    head = "signs of collapse: " if collapsed else "look at this: "
    return head + (words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}")
