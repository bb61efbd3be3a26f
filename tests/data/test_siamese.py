"""Siamese augmentation by class: both sides alike, one operation a class, as often as its chances say."""

from __future__ import annotations

from collections import Counter

import pytest
import torch
from torch import Tensor

from gendistill.data.augment import DSA, Parameters, apply
from gendistill.data.siamese import Siamese, draw_siamese
from gendistill.errors import UserError

SHAPE = (3, 8, 8)


def pictures(classes: int, count: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(classes, count, *SHAPE, generator=generator, dtype=torch.float64)


def drawn(classes: int, seed: int = 0, strategy: str | None = DSA) -> Siamese:
    return draw_siamese(strategy, classes, SHAPE, torch.Generator().manual_seed(seed))


def one_by_one(change: Siamese, images: Tensor, first_class: int) -> Tensor:
    rows = []
    for row, some in enumerate(images):
        steps = change.drawn[change.chosen[first_class + row]].steps
        own = Parameters(tuple((name, value[first_class + row][None]) for name, value in steps))
        rows.append(apply(some, own))
    return torch.stack(rows)


@pytest.mark.parametrize(("first", "last"), [(0, 20), (5, 12), (7, 8)])
def test_classes_together_are_changed_as_one_after_another(first: int, last: int) -> None:
    change = drawn(20)
    assert len(set(change.chosen)) > 3
    for images in (pictures(20, 4), pictures(20, 1, seed=1)):
        expected = one_by_one(change, images[first:last], first)
        assert torch.equal(change(images[first:last], first), expected)
        assert not torch.equal(expected, images[first:last])


def test_equal_images_of_a_class_stay_equal() -> None:
    change, one = drawn(6, seed=3), pictures(6, 1)
    real, synthetic = change(one.expand(-1, 5, -1, -1, -1)), change(one)
    assert torch.equal(real, synthetic.expand_as(real))


def test_every_operation_is_equally_likely_for_every_class() -> None:
    chosen = [drawn(4, seed).chosen for seed in range(600)]
    for place in range(4):
        counts = Counter(row[place] for row in chosen)
        # 600 draws of 6 names: 100 each, standard deviation 9.1; 4.5 of them are allowed.
        assert set(counts) == set(range(6)) and all(abs(count - 100) < 41 for count in counts.values())
    together = sum(row[0] == row[1] for row in chosen)
    assert abs(together - 100) < 41  # classes do not share their choice


def test_it_can_be_differentiated() -> None:
    change, images = drawn(6, strategy="crop_scale_rotate_color"), pictures(6, 1)[:, :, :, :4, :4].clone()
    assert torch.autograd.gradcheck(change, (images.requires_grad_(),), fast_mode=True)


def test_idcs_colours_and_cuts_out_always_and_does_one_other_thing() -> None:
    change = draw_siamese(DSA, 40, SHAPE, torch.Generator().manual_seed(0), mode="idc")
    always = ["flip", "brightness", "saturation", "contrast"]
    names = [[name for name, _ in parameters.steps] for parameters in change.drawn]
    assert names == [[*always, other, "cutout"] for other in ("shift", "scale", "rotate")]
    assert set(change.chosen) == {0, 1, 2}
    images = pictures(40, 2)
    assert torch.equal(change(images), one_by_one(change, images, 0))
    whole = draw_siamese("color_crop_cutout", 2, SHAPE, torch.Generator().manual_seed(0), mode="idc")
    every = draw_siamese("color_crop_cutout", 2, SHAPE, torch.Generator().manual_seed(0), mode="all")
    assert whole.chosen == every.chosen == (0, 0) and torch.equal(whole(images[:2]), every(images[:2]))
    with pytest.raises(UserError, match="did you mean 'single'"):
        draw_siamese(DSA, 2, SHAPE, torch.Generator(), mode="singel")


@pytest.mark.parametrize("strategy", [None, "", "none"])
def test_without_a_strategy_nothing_is_done(strategy: str | None) -> None:
    images = pictures(2, 2)
    assert drawn(2, strategy=strategy)(images) is images


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UserError, match="names 'blurr'"):
        drawn(2, strategy="crop_blurr")
