"""The operations of differentiable augmentation, each on a whole batch with its own parameter for every image.

An operation has two halves: one draws its parameters, the other applies them. Ranges follow Zhao and Bilen, "Dataset
Condensation with Differentiable Siamese Augmentation" (2021), section 3.2 and the published settings. Deviation: our
crop reaches both ends of its range, and parameters come from the caller's generator instead of the global one. ``zoom``
and ``patches`` are no part of DSA, but of how RDED (Sun et al. 2024) shows images that hold several crops.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional

from gendistill.errors import UserError, did_you_mean


@dataclass(frozen=True)
class Strength:
    """How far the operations reach; the defaults are those of DSA.

    Attributes:
        flip: Probability of a horizontal flip, 0..1.
        shift: Largest shift, as a fraction of the side.
        cutout: Side of the square that is cut out, as a fraction of the side.
        scale: Sampling steps are drawn from 1/scale..scale for each axis; 1 or more.
        rotate: Largest angle in degrees.
        brightness: Values move by up to half of it either way, in normalised units.
        saturation: The distance to the grey of a pixel is multiplied by 0..saturation.
        contrast: The distance to the mean of an image is multiplied by contrast..1+contrast.
        zoom: Area of the smallest crop that is enlarged to a whole image, as a part of the image's, above 0 and at
            most 1. RDED takes 1/f where an image holds f x f crops.
        patches: Rows and columns of patches that are shuffled, a whole number from 1: RDED's f.
    """

    flip: float = 0.5
    shift: float = 0.125
    cutout: float = 0.5
    scale: float = 1.2
    rotate: float = 15.0
    brightness: float = 1.0
    saturation: float = 2.0
    contrast: float = 0.5
    zoom: float = 0.5
    patches: float = 2

    def __post_init__(self) -> None:
        values = vars(self)
        wrong = next((name for name, value in values.items() if not value >= 0), None)
        if wrong is not None or self.flip > 1 or self.scale < 1 or max(self.shift, self.cutout) > 1:
            raise UserError(
                f"augmentation strengths {values} are out of range; flip, shift and cutout are in 0..1, scale is 1 or "
                "more, the others 0 or more"
            )
        if not 0 < self.zoom <= 1 or self.patches < 1 or self.patches != int(self.patches):
            raise UserError(
                f"augmentation strengths {values} are out of range; zoom is above 0 and at most 1, patches is a whole "
                "number from 1"
            )

    @classmethod
    def of(cls, given: Mapping[str, float] | None) -> Strength:
        """Return DSA's strengths but for those that are given, such as ``{"rotate": 45}``.

        Raises:
            UserError: A name is unknown, or a value is no number or out of range.
        """
        known = [field.name for field in fields(cls)]
        for name, value in (given or {}).items():
            if name not in known:
                raise UserError(f"strength names '{name}'; {did_you_mean(name, known)}choose among: {', '.join(known)}")
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise UserError(f"strength '{name}' is {value!r}, expected a number")
        return cls(**(given or {}))


TRIES = 10
"""Crops that are drawn until one fits, as in torchvision."""
WIDEST = 4 / 3
"""The largest ratio of a crop's width to its height, and of height to width, as there."""
Shape = tuple[int, int, int]
Draw = Callable[[int, Shape, torch.Generator, Strength], Tensor]
Apply = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        draw: (count, (C, H, W), generator, strength) -> parameters (count, ...).
        apply: (images (N, C, H, W), parameters (N or 1, ...), fill (1, C or 1, 1, 1)) -> images (N, C, H, W).
        identity: The row of parameters that leaves an image as it is, or one number for all of them.
    """

    draw: Draw
    apply: Apply
    identity: tuple[float, ...]


def _uniform(count: int, columns: int, low: float, high: float, generator: torch.Generator) -> Tensor:
    unit = torch.rand(count, columns, generator=generator, device=generator.device)
    return low + (high - low) * unit


def _integers(count: int, low: int, high: int, generator: torch.Generator) -> Tensor:
    return torch.randint(low, high + 1, (count,), generator=generator, device=generator.device)


def _spread(parameter: Tensor, images: Tensor) -> Tensor:
    """Return a parameter (N or 1, 1) as (N or 1, 1, 1, 1) in the images' dtype."""
    return parameter.to(images.dtype).view(-1, 1, 1, 1)


def draw_flip(count: int, shape: Shape, generator: torch.Generator, strength: Strength) -> Tensor:
    """Return (count, 1) bool: flip or not."""
    return _uniform(count, 1, 0, 1, generator) < strength.flip


def apply_flip(images: Tensor, flipped: Tensor, fill: Tensor) -> Tensor:
    """Mirror the images whose flag (N or 1, 1) is set, left to right."""
    return torch.where(flipped.view(-1, 1, 1, 1), images.flip(3), images)


def draw_shift(count: int, shape: Shape, generator: torch.Generator, strength: Strength) -> Tensor:
    """Return (count, 2) int64: rows and columns to shift by."""
    reach = [int(side * strength.shift + 0.5) for side in shape[1:]]
    return torch.stack([_integers(count, -far, far, generator) for far in reach], 1)


def apply_shift(images: Tensor, offset: Tensor, fill: Tensor) -> Tensor:
    """Take pixel (y, x) from (y + offset[0], x + offset[1]); what comes from outside is ``fill``."""
    count, channels, height, width = images.shape
    rows = torch.arange(height, device=images.device) + offset[:, :1]
    columns = torch.arange(width, device=images.device) + offset[:, 1:]
    row_inside = (rows >= 0) & (rows < height)
    column_inside = (columns >= 0) & (columns < width)
    inside = (row_inside[:, :, None] & column_inside[:, None, :])[:, None]
    flat = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    flat = flat.flatten(1)[:, None].expand(count, channels, height * width)
    moved = images.flatten(2).gather(2, flat).view_as(images)
    return torch.where(inside, moved, fill)


def draw_cutout(count: int, shape: Shape, generator: torch.Generator, strength: Strength) -> Tensor:
    """Return (count, 4) int64: first row, first column, rows and columns of the square; it may hang over the edge."""
    columns = []
    sizes = [int(side * strength.cutout + 0.5) for side in shape[1:]]
    for side, size in zip(shape[1:], sizes, strict=True):
        columns.append(_integers(count, 0, side - size % 2, generator) - size // 2)
    columns += [torch.full_like(columns[0], size) for size in sizes]
    return torch.stack(columns, 1)


def apply_cutout(images: Tensor, square: Tensor, fill: Tensor) -> Tensor:
    """Replace the square by ``fill``."""
    rows = torch.arange(images.shape[2], device=images.device) - square[:, 0:1]
    columns = torch.arange(images.shape[3], device=images.device) - square[:, 1:2]
    row_cut = (rows >= 0) & (rows < square[:, 2:3])
    column_cut = (columns >= 0) & (columns < square[:, 3:4])
    return torch.where((row_cut[:, :, None] & column_cut[:, None, :])[:, None], fill, images)


def draw_scale(count: int, shape: Shape, generator: torch.Generator, strength: Strength) -> Tensor:
    """Return (count, 2): sampling steps along x and y; above 1 the picture shrinks."""
    return _uniform(count, 2, 1 / strength.scale, strength.scale, generator)


def apply_scale(images: Tensor, steps: Tensor, fill: Tensor) -> Tensor:
    """Scale about the centre, bilinear."""
    zero = torch.zeros_like(steps[:, 0])
    return _affine(images, torch.stack([steps[:, 0], zero, zero, steps[:, 1]], 1), fill)


def draw_rotate(count: int, shape: Shape, generator: torch.Generator, strength: Strength) -> Tensor:
    """Return (count, 1): angles in radians."""
    largest = math.radians(strength.rotate)
    return _uniform(count, 1, -largest, largest, generator)


def apply_rotate(images: Tensor, angle: Tensor, fill: Tensor) -> Tensor:
    """Rotate about the centre, bilinear; positive angles turn anticlockwise as seen."""
    cosine, sine = angle[:, 0].cos(), angle[:, 0].sin()
    return _affine(images, torch.stack([cosine, -sine, sine, cosine], 1), fill)


def draw_brightness(count: int, shape: Shape, generator: torch.Generator, strength: Strength) -> Tensor:
    """Return (count, 1): what is added."""
    return _uniform(count, 1, -strength.brightness / 2, strength.brightness / 2, generator)


def apply_brightness(images: Tensor, added: Tensor, fill: Tensor) -> Tensor:
    """Add one number an image."""
    return images + _spread(added, images)


def draw_saturation(count: int, shape: Shape, generator: torch.Generator, strength: Strength) -> Tensor:
    """Return (count, 1): factors."""
    return _uniform(count, 1, 0, strength.saturation, generator)


def apply_saturation(images: Tensor, factor: Tensor, fill: Tensor) -> Tensor:
    """Scale each pixel's distance to the mean of its channels; grey images stay as they are."""
    mean = images.mean(1, keepdim=True)
    return (images - mean) * _spread(factor, images) + mean


def draw_contrast(count: int, shape: Shape, generator: torch.Generator, strength: Strength) -> Tensor:
    """Return (count, 1): factors."""
    return _uniform(count, 1, strength.contrast, 1 + strength.contrast, generator)


def apply_contrast(images: Tensor, factor: Tensor, fill: Tensor) -> Tensor:
    """Scale the distance to the mean of the whole image."""
    mean = images.mean((1, 2, 3), keepdim=True)
    return (images - mean) * _spread(factor, images) + mean


def draw_zoom(count: int, shape: Shape, generator: torch.Generator, strength: Strength) -> Tensor:
    """Return (count, 4): top, left, height and width of a crop, as fractions of the image's.

    As torchvision's ``RandomResizedCrop`` draws it: areas are uniform, ratios of width to height log-uniform between
    3/4 and 4/3, ten tries to fit, then the largest crop in the middle of an allowed ratio.
    """
    height, width = shape[1:]
    unit = torch.rand(4, count, TRIES, generator=generator, device=generator.device)
    area = height * width * (strength.zoom + (1 - strength.zoom) * unit[0])
    ratio = ((2 * unit[1] - 1) * math.log(WIDEST)).exp()
    rows, columns = (area / ratio).sqrt().round(), (area * ratio).sqrt().round()
    fits = (rows >= 1) & (rows <= height) & (columns >= 1) & (columns <= width)
    top, left = (unit[2] * (height - rows + 1)).floor(), (unit[3] * (width - columns + 1)).floor()
    tries = torch.stack([top / height, left / width, rows / height, columns / width], 2)
    first = fits.int().argmax(1)[:, None, None].expand(-1, 1, 4)
    most = min(height, round(width * WIDEST)), min(width, round(height * WIDEST))
    rest = [(height - most[0]) // 2 / height, (width - most[1]) // 2 / width, most[0] / height, most[1] / width]
    whole = torch.stack([tries.new_full((count,), value) for value in rest], 1)
    return torch.where(fits.any(1)[:, None], tries.gather(1, first)[:, 0], whole)


def apply_zoom(images: Tensor, crop: Tensor, fill: Tensor) -> Tensor:
    """Enlarge a crop to the whole image, bilinear, as if there were nothing beside it."""
    for axis in (2, 3):
        side = images.shape[axis]
        begin, length = side * crop[:, axis - 2, None], side * crop[:, axis, None]
        inside = torch.arange(side, device=images.device, dtype=crop.dtype)
        place = begin + (inside + 0.5) * (length / side) - 0.5
        place = torch.minimum(place.maximum(begin), begin + length - 1).clamp(0, side - 1)
        low = place.detach().floor()
        # A place that is whole but for rounding has a neighbour of no weight, which may lie outside.
        high = (low + 1).clamp(max=side - 1)
        view = (-1, 1, side, 1) if axis == 2 else (-1, 1, 1, side)
        share = (place - low).to(images.dtype).view(view)
        first, second = (images.gather(axis, at.long().view(view).expand_as(images)) for at in (low, high))
        images = first + (second - first) * share
    return images


def draw_patches(count: int, shape: Shape, generator: torch.Generator, strength: Strength) -> Tensor:
    """Return (count, H + W) int64: how far from each row, then from each column, the one that comes in its place is."""
    parts = int(strength.patches)
    moves = []
    for side in shape[1:]:
        order = torch.rand(count, parts, generator=generator, device=generator.device).argsort(1)
        length = side // parts
        lengths = torch.where(order == parts - 1, side - length * (parts - 1), length)
        ends = lengths.cumsum(1)
        places = torch.arange(side, device=generator.device).expand(count, side).contiguous()
        part = torch.searchsorted(ends, places, right=True)
        moves.append((order * length - (ends - lengths)).gather(1, part))
    return torch.cat(moves, 1)


def apply_patches(images: Tensor, moves: Tensor, fill: Tensor) -> Tensor:
    """Put the rows and the columns of patches in another order."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device) + moves[:, :height]
    columns = torch.arange(width, device=images.device) + moves[:, height:]
    images = images.gather(2, rows.view(-1, 1, height, 1).expand_as(images))
    return images.gather(3, columns.view(-1, 1, 1, width).expand_as(images))


def _affine(images: Tensor, matrix: Tensor, fill: Tensor) -> Tensor:
    """Sample images (N, C, H, W) bilinearly where the matrices send each pixel; outside is ``fill``.

    Written with gathers instead of ``grid_sample``, which torch 2.11 cannot differentiate twice. Places are computed in
    the matrix's precision, since bfloat16 has too few digits for them.

    Args:
        images: (N, C, H, W).
        matrix: (N or 1, 4): (xx, xy, yx, yy), in pixels from the centre.
        fill: (1, C or 1, 1, 1).
    """
    count, channels, height, width = images.shape
    y = torch.arange(height, device=images.device)[:, None] - (height - 1) / 2
    x = torch.arange(width, device=images.device)[None, :] - (width - 1) / 2
    xx, xy, yx, yy = matrix[:, :, None, None].unbind(1)
    # One pixel of fill all round; whatever lies further out is drawn onto that border.
    column = (xx * x + xy * y + (width + 1) / 2).clamp(0, width + 1)
    row = (yx * x + yy * y + (height + 1) / 2).clamp(0, height + 1)
    left, top = column.detach().floor().clamp(max=width), row.detach().floor().clamp(max=height)
    right_share, bottom_share = (column - left)[:, None], (row - top)[:, None]
    corner = (top * (width + 2) + left).long().flatten(1)[:, None]
    padded = functional.pad(images - fill, (1, 1, 1, 1)).flatten(2)

    def neighbour(down: int, right: int) -> Tensor:
        place = (corner + down * (width + 2) + right).expand(count, channels, height * width)
        return padded.gather(2, place).view_as(images)

    def between(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
        return first + (second - first) * share.to(images.dtype)

    upper = between(neighbour(0, 0), neighbour(0, 1), right_share)
    lower = between(neighbour(1, 0), neighbour(1, 1), right_share)
    return between(upper, lower, bottom_share) + fill


OPERATIONS: dict[str, Operation] = {
    "flip": Operation(draw_flip, apply_flip, (False,)),
    "shift": Operation(draw_shift, apply_shift, (0, 0)),
    "cutout": Operation(draw_cutout, apply_cutout, (0, 0, 0, 0)),
    "scale": Operation(draw_scale, apply_scale, (1, 1)),
    "rotate": Operation(draw_rotate, apply_rotate, (0,)),
    "brightness": Operation(draw_brightness, apply_brightness, (0,)),
    "saturation": Operation(draw_saturation, apply_saturation, (1,)),
    "contrast": Operation(draw_contrast, apply_contrast, (1,)),
    "zoom": Operation(draw_zoom, apply_zoom, (0, 0, 1, 1)),
    "patches": Operation(draw_patches, apply_patches, (0,)),
}

GROUPS: dict[str, tuple[str, ...]] = {"color": ("brightness", "saturation", "contrast"), "crop": ("shift",)}
"""Names of DSA that stand for one or more operations."""
