"""Siamese augmentation class by class: what is done to a class's real images is done to its synthetic ones, too."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gendistill.data.augment import DSA_STRENGTH, Parameters, apply, draw_parameters, idc_strategies
from gendistill.data.operations import Strength
from gendistill.errors import UserError, did_you_mean

SIAMESE_MODES = ("single", "all", "idc")


@dataclass(frozen=True)
class Siamese:
    """What to do to the images of each class; call it with the real and with the synthetic ones.

    The published code of Zhao and Bilen 2021 ("Dataset Condensation with Differentiable Siamese Augmentation") draws
    one operation and one set of parameters for each class anew. So does this, for all classes at a time; classes that
    got the same operation go through it together.

    Attributes:
        chosen: For each of the K classes the place in ``drawn`` of what is done to it; empty: nothing is done.
        drawn: Parameters of each name of the strategy, a row a class.
    """

    chosen: tuple[int, ...] = ()
    drawn: tuple[Parameters, ...] = ()

    def __call__(self, images: Tensor, first_class: int = 0) -> Tensor:
        """Return the images changed, differentiable in the images.

        Args:
            images: (k, M, C, H, W), normalised, row i of class ``first_class + i``.
            first_class: The class of the first row.

        Returns:
            (k, M, C, H, W).
        """
        if not self.chosen:
            return images
        chosen = self.chosen[first_class : first_class + len(images)]
        # Rows are taken apart and put together again without an index, for which a GPU would be waited for.
        rows, changed = images.unbind(), list[Tensor | None]([None] * len(images))
        for place, parameters in enumerate(self.drawn):
            here = [row for row, choice in enumerate(chosen) if choice == place]
            if not here:
                continue
            index = torch.tensor(here) + first_class
            own = Parameters(tuple((name, value[index]) for name, value in parameters.steps))
            some = images if len(here) == len(images) else torch.stack([rows[row] for row in here])
            found = apply(some.flatten(0, 1), own.repeat(images.shape[1])).view_as(some)
            if len(here) == len(images):
                return found
            for row, one in zip(here, found.unbind(), strict=True):
                changed[row] = one
        return torch.stack([one for one in changed if one is not None])


def draw_siamese(
    strategy: str | None,
    num_classes: int,
    shape: tuple[int, int, int],
    generator: torch.Generator,
    strength: Strength = DSA_STRENGTH,
    mode: str = "single",
) -> Siamese:
    """Draw for every class what is done to its images.

    Args:
        strategy: See :func:`gendistill.data.augment.parse`; None, ``""`` or ``"none"``: nothing is done.
        num_classes: Number of classes K.
        shape: (C, H, W) of the images in pixels.
        generator: Draws; on the CPU, so that the choice costs no wait for a GPU.
        strength: How far operations reach.
        mode: One of :data:`SIAMESE_MODES`. ``single``: one of the strategy's names, each equally likely, as DSA has it.
            ``all``: every name. ``idc``: ``flip``, ``color`` and ``cutout`` where they are named, and one of the others
            (the code of IDC, Kim et al. 2022, and of NCFM).

    Raises:
        UserError: A name or the mode is unknown.
    """
    if mode not in SIAMESE_MODES:
        hint = did_you_mean(mode, SIAMESE_MODES)
        raise UserError(f"siamese augmentation's mode is '{mode}'; {hint}choose among: {', '.join(SIAMESE_MODES)}")
    if not strategy or strategy == "none":
        return Siamese()
    names = {"single": strategy.split("_"), "all": [strategy], "idc": idc_strategies(strategy)}[mode]
    chosen = torch.randint(len(names), (num_classes,), generator=generator)
    drawn = [draw_parameters(name, num_classes, shape, generator, mode="all", strength=strength) for name in names]
    return Siamese(tuple(chosen.tolist()), tuple(drawn))
