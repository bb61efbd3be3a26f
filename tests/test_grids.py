from __future__ import annotations

import numpy
import pytest
import torch

from gendistill.errors import UserError
from gendistill.grids import Grid, as_grid, drawn, font_of, grid_of_classes, shortened


def test_every_picture_is_in_its_place_and_enlarged_with_hard_edges() -> None:
    pixels = torch.rand(5, 1, 4, 3, generator=torch.Generator().manual_seed(0))
    image = numpy.asarray(drawn(Grid(pixels, 3), width=24))  # a factor of 2, gaps of 1
    assert image.shape == (2 * 8 + 1, 3 * 6 + 2, 3)
    for place, picture in enumerate(pixels):
        top, left = place // 3 * 9, place % 3 * 7
        wanted = (picture[0] * 255).round().to(torch.uint8).repeat_interleave(2, 0).repeat_interleave(2, 1)
        assert (image[top : top + 8, left : left + 6] == wanted.numpy()[:, :, None]).all()
    assert (image[9:, 14:] == 255).all() and (image[8] == 255).all()


def test_colours_stay_and_values_outside_are_clamped() -> None:
    picture = torch.zeros(1, 3, 2, 2)
    picture[0, 0], picture[0, 2] = 2.0, -1.0
    assert drawn(Grid(picture, 1), width=1).getpixel((0, 0)) == (255, 0, 0)


def test_columns_are_classes() -> None:
    labels = torch.tensor([2, 0, 1, 1, 0, 2])
    pixels = labels.view(-1, 1, 1, 1).float() / 10 + torch.arange(6).view(-1, 1, 1, 1) / 100
    grid = grid_of_classes(pixels, labels, ["a", "b", "c"])
    assert torch.allclose(grid.pixels.flatten(), torch.tensor([0.01, 0.12, 0.2, 0.04, 0.13, 0.25]))
    assert grid.columns == 3 and grid.headings == ("a", "b", "c") and grid.row_names == ()
    soft = torch.nn.functional.one_hot(labels, 3).float()
    assert torch.equal(grid_of_classes(pixels, soft, ["a", "b", "c"]).pixels, grid.pixels)


def test_of_uneven_classes_every_picture_is_shown_and_the_rest_is_paper() -> None:
    grid = grid_of_classes(torch.zeros(4, 1, 2, 2), torch.tensor([0, 2, 0, 0]), ["a", "b", "c"])
    assert grid.headings == ("a", "c") and grid.pixels.isnan().flatten(1).all(1).tolist() == [False] * 3 + [
        True, False, True,
    ]  # fmt: skip
    image = numpy.asarray(drawn(grid, width=6))
    assert (image[-2:, -2:] == 255).all() and (image[-2:, :2] == 0).all()


def test_many_classes_stand_under_their_names() -> None:
    names = [f"kind {number}" for number in range(30)]
    grid = grid_of_classes(torch.zeros(30, 1, 4, 4), torch.arange(30), names)
    assert grid.columns == 10 and grid.names == tuple(names) and not grid.headings and not grid.row_names
    plain = drawn(Grid(grid.pixels, 10), width=720)  # each has room for its name
    assert drawn(grid).height > plain.height and drawn(grid).width == plain.width


def test_rows_of_one_thing_have_its_name_before_them() -> None:
    grid = Grid(torch.zeros(4, 1, 4, 4), 2, ("cat", "cat", "dog", "dog"))
    assert grid.row_names == ("cat", "dog") and grid.headings == ()
    assert drawn(grid).width > drawn(Grid(grid.pixels, 2)).width


@pytest.mark.parametrize("names", [("0", "1"), ("an aeroplane over a field", "a dog")])
def test_a_title_and_headings_are_written_above(names: tuple[str, ...]) -> None:
    pixels = torch.zeros(4, 1, 4, 4)
    plain, headed = drawn(Grid(pixels, 2), width=40), drawn(Grid(pixels, 2, names * 2), "step 20", width=40)
    above = headed.height - plain.height
    assert headed.width == plain.width and above >= 20
    words = numpy.asarray(headed)[:above]
    assert (words < 128).any() and (numpy.asarray(headed)[above:] == numpy.asarray(plain)).all()


def test_pixels_alone_are_a_square_and_no_pictures_are_refused() -> None:
    assert as_grid(torch.zeros(10, 1, 2, 2)).columns == 4
    with pytest.raises(UserError, match="a grid shows images"):
        drawn(Grid(torch.zeros(0, 1, 2, 2), 1))
    with pytest.raises(UserError, match="a grid shows images"):
        drawn(Grid(torch.zeros(1, 2, 2, 2), 1))


def test_words_that_have_no_room_are_cut() -> None:
    font = font_of(12)
    assert shortened("word", font, 500) == "word" and shortened("word", font, 1) == ""
    assert font.getlength(shortened("a long sentence", font, 50)) <= 50
