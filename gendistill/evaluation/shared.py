"""Which of a teacher's images are real ones: known by what they show, whatever the teacher is called."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor

from gendistill.data.description import Normalisation, as_stored
from gendistill.data.real import Split

CHUNK = 1000
"""Images that are brought back to pixels at a time."""


def digests(images: Tensor, normalisation: Normalisation, kept: torch.dtype = torch.uint8) -> list[bytes]:
    """Return 16 bytes an image that two images have in common when they show the same.

    Pictures and points are the same when all their pixels are, as they are stored; sentences when all their words'
    vectors are.

    Args:
        images: (N, C, H, W) float32 in ``normalisation``, or as they are stored: pixels, tokens.
        normalisation: Their own.
        kept: Type in which real images of their kind are stored.
    """
    found: list[bytes] = []
    for part in images.split(CHUNK):
        if normalisation.embedding is not None:
            part = normalisation.apply(part) + 0.0  # no zero with a sign of its own
        elif part.is_floating_point():
            # A value that is not finite belongs to no real image; which pixel it becomes does not matter.
            part = as_stored(normalisation.invert(part), kept)
        rows = part.detach().cpu().contiguous().flatten(1).view(torch.uint8).numpy()
        found += [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows]
    return found


def shared_images(names: Sequence[bytes], split: Split, normalisation: Normalisation) -> Tensor:
    """Return the pairs (S, 2) of places of a teacher's and a real image that show the same.

    Args:
        names: Digests of the teacher's images.
        split: Real images.
        normalisation: The real data's.
    """
    places: dict[bytes, list[int]] = {}
    for place, name in enumerate(digests(split.images, normalisation)):
        places.setdefault(name, []).append(place)
    pairs = [(mine, real) for mine, name in enumerate(names) for real in places.get(name, ())]
    return torch.tensor(pairs, dtype=torch.int64).view(-1, 2)
