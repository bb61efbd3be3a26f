"""The first images of stored ones that show several: others of the same class in the same batch."""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor


def fill_cells(
    first: Tensor, classes: Tensor, images: Tensor, labels: Tensor, cells: int, generator: torch.Generator
) -> Tensor:
    """Return images (T, S * cells, ...), each of the first ones followed by others of its class in its batch.

    No image is taken twice before all of its class were; a class with one image alone shows that again.

    Args:
        first: (T, S, ...) images of a batch that were chosen.
        classes: (T, S) their classes.
        images: (T, M, ...) the whole batches.
        labels: (T, M) their classes, or soft labels (T, M, K).
        cells: Images that each of the first ones is to become.
        generator: Draws the others.
    """
    hard = (labels.argmax(-1) if labels.is_floating_point() else labels).cpu()
    chosen = (classes.argmax(-1) if classes.is_floating_point() else classes).cpu()
    taken = []
    for batch, (whole, kinds) in enumerate(zip(images, hard, strict=True)):
        order = torch.randperm(len(whole), generator=generator, device=generator.device).tolist()
        known = (whole.flatten(1)[None] == first[batch].flatten(1)[:, None]).all(-1).any(0).tolist()
        members: dict[int, list[int]] = {}
        # Those that stand first already come last.
        for place in chain((at for at in order if not known[at]), (at for at in order if known[at])):
            members.setdefault(int(kinds[place]), []).append(place)
        turns = dict.fromkeys(members, 0)
        rows = []
        for kind in chosen[batch].tolist():
            mine = members[kind]
            rows.append([mine[(turns[kind] + step) % len(mine)] for step in range(cells - 1)])
            turns[kind] += cells - 1
        taken.append(rows)
    index = torch.tensor(taken, device=images.device)  # (T, S, cells - 1)
    batches = torch.arange(len(images), device=images.device)[:, None, None]
    return torch.cat([first[:, :, None], images[batches, index]], 2).flatten(1, 2)
