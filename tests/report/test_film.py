from __future__ import annotations

import io

import pytest
import torch
from PIL import Image

from gendistill.errors import UserError
from gendistill.report.film import gif, path_plot
from gendistill.report.pictures import png_size


def test_a_film_has_every_picture_at_its_time() -> None:
    frames = [torch.full((4, 1, 3, 3), 60 * turn, dtype=torch.uint8) for turn in range(4)]
    film = Image.open(io.BytesIO(gif(frames, columns=2, width=20, milliseconds=50)))
    assert film.n_frames == 4  # type: ignore[attr-defined]
    seen, times = [], []
    for turn in range(4):
        film.seek(turn)
        seen.append(film.convert("L").getpixel((0, 0)))
        times.append(film.info["duration"])
    assert seen == [0, 60, 120, 180]
    assert times == [50, 50, 50, 250]
    assert film.info["loop"] == 0


def test_colours_and_fractions_are_shown_alike() -> None:
    whole = (torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)) * 255).to(torch.uint8)
    assert gif([whole]) == gif([whole.float() / 255])


def test_no_pictures_are_no_film() -> None:
    with pytest.raises(UserError, match="at least one"):
        gif([])


def test_the_plot_of_a_path_is_a_picture() -> None:
    path = {"step": [0, 1], "norm_mean": [2.0, 2.0], "norm_min": [2.0, 1.9], "norm_max": [2.0, 2.1], "radius": 2.0,
            "angle_mean": [0.0, 0.3]}  # fmt: skip
    assert png_size(path_plot(path)) == (770, 506)
    assert path_plot(path) != path_plot({**path, "angle_mean": [0.0, 0.6]})


def test_a_film_says_its_steps_and_classes() -> None:
    frames = [torch.zeros(4, 1, 3, 3), torch.zeros(4, 1, 3, 3)]
    plain = Image.open(io.BytesIO(gif(frames[:1], 2, 120)))
    film = Image.open(io.BytesIO(gif(frames, 2, 120, steps=(0, 120), names=("cat", "dog"))))
    assert film.height > plain.height and film.width == plain.width
    pictures = []
    for turn in range(2):
        film.seek(turn)
        pictures.append(list(film.convert("L").getdata()))
    assert pictures[0] != pictures[1]  # the same images, and another step above them
