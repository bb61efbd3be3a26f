"""Half of a batch, chosen or mixed: what a condensed batch starts from, and what it must beat.

All batches are worked on at once. A selection keeps the classes' shares of its batch, up to rounding.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gendistill import coresets
from gendistill.errors import UserError, did_you_mean
from gendistill.finite import check_finite
from gendistill.seeds import stream
from gendistill.teacher.draw import stratified_order

SELECTIONS = ("random", "herding", "kcenter")


def batch_order(labels: Tensor, num_batches: int | None, batch_size: int, seed: int) -> Tensor:
    """Return which images each batch of one stratified epoch holds; depends on the seed alone, not on the device.

    Args:
        labels: (N,) class indices of the training images.
        num_batches: Batches T; None: as many whole ones as there are, the rest of N is left out.
        batch_size: Images of each, 1..N.
        seed: Of the order.

    Returns:
        (T, batch_size) int64 on the device of the labels.

    Raises:
        UserError: There are not so many images.
    """
    whole = len(labels) // max(batch_size, 1)
    wanted = whole if num_batches is None else num_batches
    if batch_size < 1 or not 1 <= wanted <= whole:
        raise UserError(
            f"{len(labels)} training images make {whole} batches of {batch_size}; asked for were "
            f"{'all' if num_batches is None else num_batches}; choose a smaller batch_size "
            "or num_batches"
        )
    batches = stratified_order(labels.cpu(), wanted, batch_size, stream(seed, "condensation/batches"))
    return torch.stack(list(batches)).to(labels.device)


def shares(classes: Tensor, num_classes: int, size: int, generator: torch.Generator) -> Tensor:
    """Return how many of ``size`` each class of each batch gets: its share of the batch, rounded up or down.

    Rounding is systematic sampling (Madow 1949): every row sums to ``size``, and on average over the draws each class
    gets exactly its share.

    Args:
        classes: (B, M) class indices.
        num_classes: Number of classes K.
        size: 1..M.
        generator: Draws, wherever it lives.

    Returns:
        (B, K) int64; never more than the batch has of a class.
    """
    counts = torch.nn.functional.one_hot(classes, num_classes).sum(1)
    # In whole numbers: a share that is one must not be rounded up by a rounding error.
    length = classes.shape[1]
    offset = torch.randint(length, (len(classes), 1), generator=generator, device=generator.device).to(classes.device)
    sums = (counts.cumsum(1) * size + offset) // length
    return sums.diff(dim=1, prepend=torch.zeros_like(offset))


def select(
    selection: str,
    classes: Tensor,
    num_classes: int,
    size: int,
    generator: torch.Generator,
    features: Tensor | None = None,
) -> Tensor:
    """Return which ``size`` images of each batch are chosen.

    Args:
        selection: ``random``, ``herding`` or ``kcenter``, within each class of each batch.
        classes: (B, M) class indices.
        num_classes: Number of classes K.
        size: 1..M.
        generator: Draws shares and random choices.
        features: (B, M, D) vectors for herding and k-center.

    Returns:
        (B, size) places in 0..M-1, class by class.

    Raises:
        UserError: Unknown selection, or no features.
    """
    if selection not in SELECTIONS:
        hint = did_you_mean(selection, SELECTIONS)
        raise UserError(f"there is no selection '{selection}'; {hint}choose one of {', '.join(SELECTIONS)}")
    if features is None and selection != "random":
        raise UserError(f"a selection by {selection} needs features")
    batches, length = classes.shape
    wanted = shares(classes, num_classes, size, generator).flatten()
    of_batch = torch.arange(batches, device=classes.device)[:, None] * num_classes
    members, valid = coresets.grouped((of_batch + classes).flatten(), batches * num_classes)
    longest = int(wanted.max())
    if selection == "random" or features is None:
        order = coresets.random_order(valid, longest, generator)
    else:
        choose = coresets.herding if selection == "herding" else coresets.k_center
        order = choose(features.flatten(0, 1)[members], valid, longest)
    taken = torch.arange(longest, device=classes.device) < wanted[:, None]
    return (members.gather(1, order)[taken] % length).view(batches, size)


def by_loss(losses: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Choose images with probabilities that grow with their loss, with weights that keep every mean right.

    Image i of a batch is chosen with probability ``pi_i = size * p_i`` where ``p_i`` is proportional to its loss plus
    the batch's mean loss (which keeps weights below 2), cut at 1; by systematic sampling, in the order of the places.
    Its weight ``size / (M pi_i)`` makes the weighted mean of any function over the chosen an unbiased estimate of its
    mean over the batch (Horvitz & Thompson 1952).

    Args:
        losses: (B, M), not negative.
        size: 1..M.
        generator: Draws, wherever it lives.

    Returns:
        (B, size) places in 0..M-1, ascending, and (B, size) weights.
    """
    length = losses.shape[1]
    inclusion = inclusion_probabilities(losses, size)
    offset = torch.rand((len(losses), 1), generator=generator, device=generator.device, dtype=torch.float64)
    sums = inclusion.cumsum(1)
    sums = sums * (size / sums[:, -1:])  # exactly `size` in the end, whatever was rounded on the way
    marks = torch.arange(size, device=losses.device) + offset.to(losses.device)
    places = torch.searchsorted(sums, marks, right=True).clamp(max=length - 1)
    weights = size / (length * inclusion.gather(1, places))
    return places, weights.to(losses.dtype)


def inclusion_probabilities(losses: Tensor, size: int) -> Tensor:
    """Return the probability (B, M), float64, with which :func:`by_loss` chooses each image; rows sum to ``size``.

    Raises:
        UserError: A loss is not finite.
    """
    check_finite("losses", losses, "judge the images by networks whose weights are finite")
    wanted = losses.double() + losses.double().mean(1, keepdim=True)
    wanted = torch.where(wanted.sum(1, keepdim=True) > 0, wanted, torch.ones_like(wanted))
    probabilities = size * wanted / wanted.sum(1, keepdim=True)
    # What is cut at 1 goes to the others; once a place is at 1 it stays there, so this ends after at most M rounds.
    for _ in range(losses.shape[1]):
        full = probabilities >= 1
        if not bool((probabilities > 1).any()):
            break
        rest = torch.where(full, 0.0, wanted)
        left = size - full.sum(1, keepdim=True)
        scaled = left * rest / rest.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
        probabilities = torch.where(full, 1.0, scaled)
    return probabilities


def pairs(num_batches: int, length: int, size: int, generator: torch.Generator) -> Tensor:
    """Return ``size`` random pairs of different places of each batch; with ``size = M / 2`` every place is in one.

    Args:
        num_batches: Number of batches B.
        length: Images M of a batch, at least 2.
        size: Pairs, 1..M-1.
        generator: Draws; the pairs live on its device.

    Returns:
        (B, size, 2) places in 0..M-1.
    """
    order = torch.rand((num_batches, length), generator=generator, device=generator.device).argsort(1)
    second = (torch.arange(size, device=order.device) + size) % length
    return torch.stack([order[:, :size], order[:, second]], 2)


def sizes(batch_size: int, condensed_size: int, rounds: int) -> list[int]:
    """Return the sizes of a batch from the real one on: ``[64, 32, 16]`` for 64, 32 and two rounds.

    Raises:
        UserError: A batch does not get smaller, or a size is no whole number.
    """
    if not 1 <= condensed_size < batch_size:
        raise UserError(f"condensed_size is {condensed_size}; a batch of {batch_size} can have 1..{batch_size - 1}")
    found = [batch_size]
    for _ in range(rounds):
        size, rest = divmod(found[-1] * condensed_size, batch_size)
        if rest or size < 1:
            raise UserError(
                f"{rounds} rounds from {batch_size} to {condensed_size} do not come out in whole images: "
                f"{found[-1]} is followed by {found[-1] * condensed_size / batch_size:g}; choose other sizes "
                "or fewer rounds"
            )
        found.append(size)
    return found
