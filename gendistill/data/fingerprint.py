"""What data holds, in a few digits, so that kept work goes on only with the data that it was begun with."""

from __future__ import annotations

import hashlib
import json
import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from gendistill.data.description import Normalisation
from gendistill.data.real import Elsewhere, RealData, Split
from gendistill.errors import UserError

PARTS = {"train": "training", "validation": "validation", "test": "test"}
"""The splits, and what their images are called."""

_KNOWN = WeakTensorKeyDictionary()
"""By a split's images: its labels, how often either was written to, and the digits."""


def fingerprint(data: RealData) -> str:
    """Return the SHA-256 of a data set: images and labels of its splits, class names, image shape, normalisation.

    Its name and where its files lie are not in it, so that the same images are the same wherever they are. A whitening
    and word vectors count to three digits: computed on another machine, their last ones differ.

    Args:
        data: The data, on any device.

    Returns:
        64 hexadecimal digits.
    """
    return hashlib.sha256(json.dumps(contents(data), sort_keys=True).encode()).hexdigest()


def contents(data: RealData) -> dict[str, Any]:
    """Return what a fingerprint is made of, in plain values, so that it can be said later what changed.

    Returns:
        For each split ``images`` (their number) and ``sha256`` (16 digits), and ``classes``, ``image_shape`` and
        ``normalisation``.
    """
    splits = {name: getattr(data, name) for name in PARTS}
    return {
        **{name: {"images": len(split), "sha256": split_fingerprint(split)} for name, split in splits.items()},
        "classes": list(data.description.class_names),
        "image_shape": list(data.description.image_shape),
        "normalisation": in_words(data.description.normalisation),
    }


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return in words what differs between the contents of two data sets; nothing where they are the same."""
    found = []
    for part, name in PARTS.items():
        counts = [contents[part]["images"] for contents in (before, now)]
        if counts[0] != counts[1]:
            found.append(f"{name} images ({counts[0]:,} then, {counts[1]:,} now)")
        elif before[part] != now[part]:
            found.append(f"{name} images (as many, {counts[0]:,}, with another content)")
    if before["classes"] != now["classes"]:
        found.append(f"classes ({_listed(before['classes'])} then, {_listed(now['classes'])} now)")
    if before["image_shape"] != now["image_shape"]:
        found.append(f"image shape ({tuple(before['image_shape'])} then, {tuple(now['image_shape'])} now)")
    # A measured mean follows from the images: it is the news only where they are the same.
    if not found and before["normalisation"] != now["normalisation"]:
        found.append(f"normalisation ({before['normalisation']} then, {now['normalisation']} now)")
    return found


def require_unchanged(before: Mapping[str, Any], now: Mapping[str, Any], what: str, way_out: str) -> None:
    """Refuse to go on with work that was begun with other data.

    Args:
        before: :func:`contents` of the data then.
        now: Those of the data now.
        what: What was kept, the beginning of the sentence.
        way_out: How to go on, its end.

    Raises:
        UserError: The data changed; the sentence says in which part.
    """
    try:
        found = changes(before, now)
    except (KeyError, TypeError, ValueError):
        found = ["what is noted of them, which cannot be read"]
    if found:
        raise UserError(f"{what} on data that changed since: {', '.join(found)}; {way_out}")


def split_fingerprint(split: Split) -> str:
    """Return 16 hexadecimal digits that name the images and labels of a split; computed once for the same tensors."""
    if isinstance(split, Elsewhere):
        return split.digits
    pair = split.images, split.labels
    # Tensors made in inference mode do not count what is written to them.
    versions = None if any(tensor.is_inference() for tensor in pair) else tuple(tensor._version for tensor in pair)
    known = _KNOWN.get(split.images)
    if known is not None and versions is not None and known[0]() is split.labels and known[1] == versions:
        return str(known[2])
    digits = tensors_fingerprint({"images": split.images, "labels": split.labels})
    _KNOWN[split.images] = (weakref.ref(split.labels), versions, digits)
    return digits


def tensors_fingerprint(tensors: Mapping[str, Tensor]) -> str:
    """Return 16 hexadecimal digits that differ when any name, shape, type or value of the tensors differs."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def text_fingerprint(text: str) -> str:
    """Return 16 hexadecimal digits that name a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def in_words(normalisation: Normalisation) -> str:
    """Return a normalisation in words; a whitening and word vectors by three digits."""
    mean, std = (", ".join(f"{value:.5g}" for value in values) for values in (normalisation.mean, normalisation.std))
    words = f"mean {mean}, std {std}"
    if normalisation.whitening is not None:
        strength = float(normalisation.whitening.matrix.diagonal().double().mean())
        words += f", whitened ({normalisation.whitening.size} values, mean factor {strength:.3g})"
    if normalisation.embedding is not None:
        vectors = normalisation.embedding.vectors
        spread = float(vectors.double().square().sum(1).sqrt().mean())
        words += (
            f", {len(vectors)} words ({text_fingerprint(chr(10).join(normalisation.embedding.words))}) of "
            f"{vectors.shape[1]} numbers, mean length {spread:.3g}"
        )
    return words


def _listed(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 6 else f"{', '.join(names[:5])}, ... ({len(names)})"
