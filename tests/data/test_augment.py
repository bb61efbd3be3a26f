from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from gendistill.data.augment import DSA, Parameters, apply, augment, black, draw_parameters, parse
from gendistill.data.description import Normalisation
from gendistill.data.operations import OPERATIONS, Strength
from gendistill.errors import UserError

SHAPE = (3, 6, 8)
FILL = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)


def test_idcs_augmentation_colours_and_flips_always_and_cuts_out_last() -> None:
    seen = set()
    for seed in range(60):
        steps = draw_parameters(DSA, 4, SHAPE, generator(seed), mode="idc").steps
        names = [name for name, _ in steps]
        assert all(len(values) == 4 for _, values in steps)
        first, other, last = names[:4], names[4:-1], names[-1]
        assert first == ["flip", "brightness", "saturation", "contrast"] and last == "cutout"
        (chosen,) = other
        seen.add(chosen)
    assert seen == {"shift", "scale", "rotate"}
    plain = draw_parameters("color_crop", 1, SHAPE, generator(), mode="idc").steps
    assert [name for name, _ in plain] == ["brightness", "saturation", "contrast", "shift"]
    assert draw_parameters(None, 1, SHAPE, generator(), mode="idc").steps == ()
    alone = draw_parameters("flip_cutout", 1, SHAPE, generator(), mode="idc").steps
    assert [name for name, _ in alone] == ["flip", "cutout"]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pictures(count: int = 5) -> Tensor:
    return torch.randn(count, *SHAPE, generator=generator(9), dtype=torch.float64)


def bilinear(image: Tensor, row: float, column: float, fill: Tensor) -> Tensor:
    """One sample (C,) of an image (C, H, W) at a place in pixels; each neighbour outside counts as fill."""
    top, left = math.floor(row), math.floor(column)
    total = torch.zeros_like(fill)
    for y in (top, top + 1):
        for x in (left, left + 1):
            weight = (1 - abs(row - y)) * (1 - abs(column - x))
            inside = 0 <= y < image.shape[1] and 0 <= x < image.shape[2]
            total = total + weight * (image[:, y, x] if inside else fill)
    return total


def slow(name: str, image: Tensor, parameter: Tensor, fill: Tensor) -> Tensor:
    """The obvious way: one image, one pixel after another."""
    _, height, width = image.shape
    values = parameter.tolist()
    out = image.clone()
    if name == "brightness":
        return image + values[0]
    if name == "contrast":
        return image.mean() + values[0] * (image - image.mean())
    if name == "patches":
        rows = [y + values[y] for y in range(height)]
        columns = [x + values[height + x] for x in range(width)]
        return torch.stack([torch.stack([image[:, y, x] for x in columns], 1) for y in rows], 1)
    if name == "zoom":
        top, left, rows, columns = (values[0] * height, values[1] * width, values[2] * height, values[3] * width)
        assert all(abs(number - round(number)) < 1e-5 for number in (top, left, rows, columns))
        top, left, rows, columns = round(top), round(left), round(rows), round(columns)
        part = image[:, top : top + rows, left : left + columns]
        return F.interpolate(part[None], (height, width), mode="bilinear", align_corners=False)[0]
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    for y in range(height):
        for x in range(width):
            if name == "flip" and values[0]:
                out[:, y, x] = image[:, y, width - 1 - x]
            if name == "shift":
                row, column = y + values[0], x + values[1]
                inside = 0 <= row < height and 0 <= column < width
                out[:, y, x] = image[:, row, column] if inside else fill
            if name == "cutout":
                top, left, rows, columns = values
                if top <= y < top + rows and left <= x < left + columns:
                    out[:, y, x] = fill
            if name == "scale":
                row, column = middle_row + (y - middle_row) * values[1], middle_column + (x - middle_column) * values[0]
                out[:, y, x] = bilinear(image, row, column, fill)
            if name == "rotate":
                cosine, sine, dy, dx = math.cos(values[0]), math.sin(values[0]), y - middle_row, x - middle_column
                row, column = middle_row + sine * dx + cosine * dy, middle_column + cosine * dx - sine * dy
                out[:, y, x] = bilinear(image, row, column, fill)
            if name == "saturation":
                grey = image[:, y, x].mean()
                out[:, y, x] = grey + values[0] * (image[:, y, x] - grey)
    return out


@pytest.mark.parametrize("name", OPERATIONS)
def test_equals_the_slow_version_on_each_image(name: str) -> None:
    images = pictures()
    # Float64 parameters, so that both ways compute with the same numbers.
    parameters = draw_parameters(name, len(images), SHAPE, generator(1), strength=Strength(rotate=60, scale=2))
    parameters = Parameters(tuple((n, v.double() if v.is_floating_point() else v) for n, v in parameters.steps))
    ((_, values),) = parameters.steps
    assert len(values.unique(dim=0)) > 1
    result = apply(images, parameters, FILL)
    expected = torch.stack([slow(name, image, value, FILL) for image, value in zip(images, values, strict=True)])
    tolerance = 1e-5 if name == "zoom" else 1e-10  # fractions of a side were drawn in float32
    torch.testing.assert_close(result, expected, rtol=tolerance, atol=tolerance)
    assert not torch.equal(result, images)


@pytest.mark.parametrize("name", OPERATIONS)
def test_identity_parameters_change_nothing(name: str) -> None:
    images = pictures()
    drawn = OPERATIONS[name].draw(1, SHAPE, generator(), Strength())
    same = torch.tensor([OPERATIONS[name].identity], dtype=drawn.dtype)
    assert same.shape == drawn.shape or same.shape == (1, 1)
    same = same.expand_as(drawn)
    torch.testing.assert_close(apply(images, Parameters(((name, same),)), FILL), images)


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradients(name: str) -> None:
    images = pictures(2).requires_grad_()
    parameters = draw_parameters(name, 2, SHAPE, generator(2))
    assert torch.autograd.gradcheck(lambda x: apply(x, parameters, FILL), (images,))
    # Matching losses differentiate twice.
    assert torch.autograd.gradgradcheck(lambda x: apply(x, parameters, FILL).square(), (images,))


def test_a_quarter_turn_is_exact() -> None:
    image = torch.arange(9.0).view(1, 1, 3, 3)
    turned = apply(image, Parameters((("rotate", torch.tensor([[math.pi / 2]])),)))
    torch.testing.assert_close(turned, image.rot90(1, (2, 3)), atol=1e-5, rtol=0)


def test_one_row_of_parameters_is_shared_by_batches_of_any_size() -> None:
    images = pictures()
    shared = draw_parameters(f"{DSA}_zoom_patches", 1, SHAPE, generator(3), mode="all")
    alone = torch.cat([apply(image[None], shared) for image in images])
    torch.testing.assert_close(apply(images, shared), alone)


def test_repeat_gives_each_class_its_parameters() -> None:
    parameters = draw_parameters("brightness", 2, SHAPE, generator(3))
    ((_, values),) = parameters.steps
    result = apply(torch.zeros(6, *SHAPE), parameters.repeat(3))
    torch.testing.assert_close(result[:, 0, 0, 0], values[:, 0].repeat_interleave(3))


def test_ranges_of_dsa() -> None:
    ranges = {
        "scale": (1 / 1.2, 1.2),
        "rotate": (-math.radians(15), math.radians(15)),
        "brightness": (-0.5, 0.5),
        "saturation": (0.0, 2.0),
        "contrast": (0.5, 1.5),
    }
    for name, (low, high) in ranges.items():
        ((_, values),) = draw_parameters(name, 4000, SHAPE, generator(4)).steps
        assert low <= values.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < values.max() <= high
    ((_, flips),) = draw_parameters("flip", 4000, SHAPE, generator(4)).steps
    assert abs(flips.double().mean() - 0.5) < 0.03
    ((_, shifts),) = draw_parameters("crop", 4000, (3, 32, 16), generator(4)).steps
    assert shifts[:, 0].unique().tolist() == list(range(-4, 5))
    assert shifts[:, 1].unique().tolist() == list(range(-2, 3))
    ((_, squares),) = draw_parameters("cutout", 4000, (3, 8, 5), generator(4)).steps
    assert squares[:, 0].unique().tolist() == list(range(-2, 7))
    assert squares[:, 1].unique().tolist() == list(range(-1, 4))
    assert squares[0, 2:].tolist() == [4, 3]


def test_single_mode_takes_one_name_and_every_name_has_its_turn() -> None:
    draws = generator(5)
    seen = {tuple(name for name, _ in draw_parameters(DSA, 2, SHAPE, draws).steps) for _ in range(200)}
    colour = ("brightness", "saturation", "contrast")
    assert seen == {colour, ("shift",), ("cutout",), ("flip",), ("scale",), ("rotate",)}


def test_each_mode_does_one_thing_to_each_image() -> None:
    names = ("shift", "brightness", "saturation", "contrast", "rotate")
    images = torch.randn(600, *SHAPE, generator=generator(9), dtype=torch.float64)
    drawn = draw_parameters("crop_color_rotate", 600, SHAPE, generator(5), mode="each")
    assert tuple(name for name, _ in drawn.steps) == names
    moved = torch.stack([(v != v.new_tensor(OPERATIONS[n].identity)).any(1) for n, v in drawn.steps], 1)
    groups = torch.stack([moved[:, 0], moved[:, 1:4].any(1), moved[:, 4]], 1)
    assert groups.sum(1).max() == 1  # a shift may be by nothing
    assert 150 < groups[:, 1].sum() < 250 and 150 < groups[:, 2].sum() < 250
    done = apply(images, drawn, FILL)
    for row in (int(groups[:, place].nonzero()[0]) for place in range(3)):
        alone = Parameters(tuple((n, v[row : row + 1]) for n, v in drawn.steps if moved[row, names.index(n)]))
        torch.testing.assert_close(done[row : row + 1], apply(images[row : row + 1], alone, FILL))


def test_all_mode_takes_every_operation_in_order() -> None:
    steps = draw_parameters("flip_color_crop", 2, SHAPE, generator(), mode="all").steps
    assert [name for name, _ in steps] == ["flip", "brightness", "saturation", "contrast", "shift"]


@pytest.mark.parametrize("strategy", [None, "", "none"])
def test_no_strategy_is_the_identity_and_draws_nothing(strategy: str | None) -> None:
    images, draws = pictures(), generator()
    before = draws.get_state()
    assert augment(images, strategy, draws) is images
    assert torch.equal(draws.get_state(), before)


def test_the_generator_alone_decides() -> None:
    images, before = pictures(), torch.random.get_rng_state()
    assert torch.equal(augment(images, DSA, generator(6), mode="all"), augment(images, DSA, generator(6), mode="all"))
    assert not torch.equal(
        augment(images, DSA, generator(6), mode="all"), augment(images, DSA, generator(7), mode="all")
    )
    assert torch.equal(torch.random.get_rng_state(), before)


def test_images_keep_their_dtype() -> None:
    images = pictures().bfloat16()
    assert augment(images, DSA, generator(), mode="all").dtype == torch.bfloat16


def test_black() -> None:
    normalisation = Normalisation((0.5, 0.2), (0.25, 0.1))
    torch.testing.assert_close(black(normalisation), torch.tensor([-2.0, -2.0]))


@pytest.mark.parametrize(
    ("strategy", "mode", "said"),
    [("color_flp", "single", "did you mean 'flip'"), ("flip", "singel", "did you mean 'single'")],
)
def test_unknown_words(strategy: str, mode: str, said: str) -> None:
    with pytest.raises(UserError, match=said):
        draw_parameters(strategy, 1, SHAPE, generator(), mode=mode)


def test_parameters_of_another_batch() -> None:
    with pytest.raises(UserError, match="for 2 images, the batch has 5"):
        apply(pictures(), draw_parameters("flip", 2, SHAPE, generator()))


@pytest.mark.parametrize(
    "wrong",
    [
        {"flip": 1.5},
        {"scale": 0.5},
        {"rotate": -1.0},
        {"shift": float("nan")},
        {"zoom": 0.0},
        {"zoom": 1.5},
        {"patches": 0.0},
        {"patches": 2.5},
    ],
)
def test_strength_out_of_range(wrong: dict[str, float]) -> None:
    with pytest.raises(UserError, match="out of range"):
        Strength(**wrong)


@pytest.mark.parametrize(
    ("given", "said"), [({"rotat": 3}, "did you mean 'rotate'"), ({"rotate": "far"}, "expected a number")]
)
def test_strengths_by_name(given: dict[str, float], said: str) -> None:
    assert Strength.of({"rotate": 45}) == Strength(rotate=45) and Strength.of(None) == Strength()
    with pytest.raises(UserError, match=said):
        Strength.of(given)


def test_groups() -> None:
    assert parse("crop_color") == [("shift",), ("brightness", "saturation", "contrast")]


def test_crops_are_drawn_as_torchvision_draws_them() -> None:
    """Areas, ratios and places, by their means and ends over many draws, also where the image is no square."""
    from torchvision.transforms import RandomResizedCrop

    for shape, smallest in (((3, 32, 32), 0.5), ((3, 20, 40), 0.08), ((3, 10, 40), 0.9)):
        torch.manual_seed(0)
        theirs = torch.tensor(
            [RandomResizedCrop.get_params(torch.zeros(shape), [smallest, 1.0], [3 / 4, 4 / 3]) for _ in range(4000)]
        ).double()
        scale = torch.tensor([shape[1], shape[2], shape[1], shape[2]]).double()
        ((_, ours),) = draw_parameters("zoom", 4000, shape, generator(), strength=Strength(zoom=smallest)).steps
        ours = ours.double() * scale
        torch.testing.assert_close(ours, ours.round(), atol=1e-4, rtol=0)
        ours = ours.round()
        standard_errors = (theirs.var(0) + ours.var(0)).div(4000).sqrt()
        assert bool(((ours.mean(0) - theirs.mean(0)).abs() <= 4.5 * standard_errors + 1e-9).all())
        ends = (ours.aminmax(dim=0), theirs.aminmax(dim=0))
        assert bool(((ends[0].min - ends[1].min).abs() <= 2.01).all())
        assert bool(((ends[0].max - ends[1].max).abs() <= 2.01).all())


def test_a_crop_is_torchvisions() -> None:
    from torchvision.transforms.functional import resized_crop

    image = torch.rand(1, 3, 12, 12)
    crop = torch.tensor([[3 / 12, 1 / 12, 8 / 12, 6 / 12]])
    expected = resized_crop(image, 3, 1, 8, 6, [12, 12], antialias=True)
    torch.testing.assert_close(apply(image, Parameters((("zoom", crop),))), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("side", "parts"), [(8, 2), (9, 2), (10, 3), (3, 4)])
def test_patches_are_shuffled_as_rded_shuffles_them(side: int, parts: int) -> None:
    """Every order of rows and columns of patches occurs, and no other image: those that its code gives."""
    from itertools import permutations

    image = torch.arange(float(side * side)).view(1, 1, side, side)
    length = side // parts
    cuts = [(part * length, side if part == parts - 1 else (part + 1) * length) for part in range(parts)]

    def in_order(picture: Tensor, order: tuple[int, ...], axis: int) -> Tensor:
        return torch.cat([picture.narrow(axis, cuts[part][0], cuts[part][1] - cuts[part][0]) for part in order], axis)

    orders = list(permutations(range(parts)))
    wanted = {tuple(in_order(in_order(image, one, 3), two, 2).flatten().tolist()) for one in orders for two in orders}
    drawn = draw_parameters("patches", 600, (1, side, side), generator(), strength=Strength(patches=parts))
    seen = {tuple(one.flatten().tolist()) for one in apply(image.expand(600, -1, -1, -1), drawn)}
    assert seen == wanted or (len(wanted) > 100 and seen < wanted)


class Reads(TorchDispatchMode):
    """Notes what would wait for a GPU: values that are read, and tensors made from numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name in ("_local_scalar_dense", "lift_fresh", "nonzero"):
            self.seen.append(name)
        return func(*args, **(kwargs or {}))


def test_nothing_of_the_images_is_waited_for() -> None:
    images = torch.randn(6, 2, 3, 8, 8)
    parameters = draw_parameters(
        "shift_cutout_rotate_zoom_patches", 12, (3, 8, 8), torch.Generator().manual_seed(0), mode="all"
    )
    with Reads() as reads:
        apply(images.flatten(0, 1), parameters, 0.5)
        apply(images.flatten(0, 1), parameters, torch.zeros(3))
    assert not reads.seen
