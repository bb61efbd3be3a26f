"""Batched, differentiable augmentation: parameters are drawn once, explicitly, and applied as often as wanted.

Siamese augmentation (DSA, Zhao and Bilen 2021) is then nothing special: draw one set of parameters and apply it to the
real and to the synthetic images.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gendistill.data.cloud import SHAPE
from gendistill.data.description import Normalisation
from gendistill.data.operations import GROUPS, OPERATIONS, Strength
from gendistill.errors import UserError, did_you_mean

DSA = "color_crop_cutout_flip_scale_rotate"
"""The strategy of DSA, DM and MTT on colour images; digits are used without ``flip``."""

MODES = ("single", "each", "all", "idc")
ALWAYS = ("flip", "color")
"""What the mode ``idc`` does to every image, in this order, before one other operation; ``cutout`` comes last."""
DSA_STRENGTH = Strength()


@dataclass(frozen=True)
class Parameters:
    """What to do to a batch.

    Attributes:
        steps: The operations in order, each with a tensor of parameters, one row an image or one row for all.
    """

    steps: tuple[tuple[str, Tensor], ...]

    def repeat(self, times: int) -> Parameters:
        """Return parameters in which every row stands ``times`` times in succession: one set a class, K classes."""
        return Parameters(tuple((name, value.repeat_interleave(times, 0)) for name, value in self.steps))


def parse(strategy: str | None) -> list[tuple[str, ...]]:
    """Return the operations of each name in a strategy; a group such as ``color`` is several operations.

    Args:
        strategy: Names joined by ``_``, or None, ``""`` or ``"none"`` for nothing.

    Raises:
        UserError: A name is unknown.
    """
    if not strategy or strategy == "none":
        return []
    allowed = [*OPERATIONS, *GROUPS]
    for name in strategy.split("_"):
        if name not in allowed:
            raise UserError(
                f"augmentation '{strategy}' names '{name}'; {did_you_mean(name, allowed)}join names with '_' from: "
                f"{', '.join(allowed)}"
            )
    return [GROUPS.get(name, (name,)) for name in strategy.split("_")]


def draw_parameters(
    strategy: str | None,
    count: int,
    shape: tuple[int, int, int],
    generator: torch.Generator,
    *,
    mode: str = "single",
    strength: Strength = DSA_STRENGTH,
) -> Parameters:
    """Draw what to do to a batch.

    Args:
        strategy: See :func:`parse`.
        count: Number of images, or 1 for parameters that all images of any batch share.
        shape: (C, H, W) of the images in pixels.
        generator: Where parameters are drawn from. In the mode ``single`` the choice of the name is read by the
            program, which waits for a generator on a GPU; one on the CPU costs no wait.
        mode: ``single``: one name of the strategy, chosen with equal chances, for the whole call (DSA's mode "S").
            ``each``: one name for each image, chosen for it alone (DC's code on MNIST). ``all``: every name, in order.
            ``idc``: ``flip`` and ``color`` where they are named, one of the other names for the whole call, and
            ``cutout`` where it is named (the code of IDC, Kim et al. 2022, and of NCFM).
        strength: How far operations reach.

    Returns:
        The parameters, on the generator's device.

    Raises:
        UserError: Unknown name or mode.
    """
    if mode not in MODES:
        raise UserError(f"augmentation mode is '{mode}'; {did_you_mean(mode, MODES)}choose among: {', '.join(MODES)}")
    groups = parse(strategy)
    if mode == "idc" and groups:
        ways = [parse(way) for way in idc_strategies(str(strategy))]
        groups = ways[int(torch.randint(len(ways), (), generator=generator, device=generator.device))]
    if groups and shape == SHAPE:
        raise UserError(f"augmentation '{strategy}' is for pictures, and these are points of the plane; leave it out")
    if mode == "single" and groups:
        chosen = torch.randint(len(groups), (), generator=generator, device=generator.device)
        groups = [groups[int(chosen)]]
    drawn = [
        (place, name, OPERATIONS[name].draw(count, shape, generator, strength))
        for place, group in enumerate(groups)
        for name in group
    ]
    if mode == "each" and len(groups) > 1:
        turn = torch.randint(len(groups), (count, 1), generator=generator, device=generator.device)
        drawn = [
            (place, name, torch.where(turn == place, values, values.new_tensor(OPERATIONS[name].identity)))
            for place, name, values in drawn
        ]
    return Parameters(tuple((name, values) for _, name, values in drawn))


def idc_strategies(strategy: str) -> list[str]:
    """Return the strategies of which the mode ``idc`` takes one: each of all names in it, in order.

    Args:
        strategy: Names joined by ``_``, at least one.
    """
    names = strategy.split("_")
    first, last = [name for name in ALWAYS if name in names], [name for name in ("cutout",) if name in names]
    others = [[name] for name in names if name not in (*first, *last)]
    return ["_".join([*first, *other, *last]) for other in others or [[]]]


def apply(images: Tensor, parameters: Parameters, fill: float | Tensor = 0.0) -> Tensor:
    """Do to a batch what the parameters say; differentiable in the images.

    Args:
        images: (N, C, H, W), normalised.
        parameters: With N rows, or one row that all images share.
        fill: Value of what comes from outside the picture, one number or (C,). DSA fills with 0, the mean colour of
            normalised images; :func:`black` gives the value of black.

    Returns:
        (N, C, H, W).

    Raises:
        UserError: Parameters for another number of images.
    """
    # A number is written where it is needed; to copy one from the host would wait for a GPU.
    value = fill.to(images) if isinstance(fill, Tensor) else images.new_full((1,), fill)
    value = value.reshape(1, -1, 1, 1)
    for name, parameter in parameters.steps:
        if len(parameter) not in (1, len(images)):
            raise UserError(
                f"augmentation parameters are for {len(parameter)} images, the batch has {len(images)}; draw as many "
                "or one that all share"
            )
        images = OPERATIONS[name].apply(images, parameter.to(images.device, non_blocking=True), value)
    return images


def augment(
    images: Tensor,
    strategy: str | None,
    generator: torch.Generator,
    *,
    mode: str = "single",
    strength: Strength = DSA_STRENGTH,
    fill: float | Tensor = 0.0,
) -> Tensor:
    """Augment every image with its own parameters: :func:`draw_parameters`, then :func:`apply`.

    Args:
        images: (N, C, H, W), normalised.
        strategy: See :func:`parse`.
        generator: See :func:`draw_parameters`.
        mode: See :func:`draw_parameters`.
        strength: See :func:`draw_parameters`.
        fill: See :func:`apply`.

    Returns:
        (N, C, H, W).
    """
    count, channels, height, width = images.shape
    shape = (channels, height, width)
    return apply(images, draw_parameters(strategy, count, shape, generator, mode=mode, strength=strength), fill)


def black(normalisation: Normalisation) -> Tensor:
    """Return the value (C,) of a black pixel in normalised images; for whitened ones 0, since there is no one value."""
    if normalisation.whitening is not None:
        return torch.zeros(len(normalisation.mean))
    return normalisation.apply(torch.zeros(1, len(normalisation.mean), 1, 1)).flatten()
