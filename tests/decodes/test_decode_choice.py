from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.decodes import Decode, Formation, Identity, Palette
from gendistill.decodes.choice import decode_from_file, decode_of
from gendistill.errors import UserError

FORMATION = "gendistill.decodes.formation.Formation"


@pytest.mark.parametrize(
    ("choice", "kind", "cells"),
    [
        (None, Identity, 1), ("none", Identity, 1), ("identity", Identity, 1), (3, Formation, 9), ("2", Formation, 4),
        ("formation", Formation, 4), ("Formation", Formation, 4), ("multi-formation", Formation, 4),
        ({"factor": 3}, Formation, 9),
        ({"class_path": "Formation", "init_args": {"factor": 2}}, Formation, 4),
        ({"class_path": FORMATION}, Formation, 4),
        ("palette", Palette, 1), ({"colours": 4}, Palette, 1),
    ],
)  # fmt: skip
def test_short_and_long_forms(choice: Any, kind: type[Decode], cells: int) -> None:
    found = decode_of(choice)
    assert type(found) is kind and found.cells == cells


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("formatoin", "did you mean 'formation'"), ({"facter": 2}, r"give a formation's factor \({factor: 2}\)"),
        ({"factor": 0}, "give a whole number from 1"), (True, "choose one of identity"),
        ([2], "choose one of identity"),
        ({"class_path": "gendistill.nets.learners.ConvNet"}, "is not a subclass of gendistill.decodes.base.Decode"),
        ({"class_path": FORMATION, "init_args": {"facter": 2}}, "did you mean 'factor'"),
    ],
)  # fmt: skip
def test_what_is_none_is_refused_in_one_sentence(choice: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        decode_of(choice)


OF_A_USER = """
from gendistill.decodes import Decode

class Mine(Decode):
    def __init__(self, times: float) -> None:
        self.times = times

    def cell(self, values, places, labels):
        return values * self.times

    def encode(self, images):
        return images / self.times
"""


def test_a_file_names_decodes_of_the_project_or_of_modules_that_were_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(decode_from_file(Formation(2).built_by()), Formation)
    theirs = {"class_path": "users_own_decode.Mine", "init_args": {"times": 2.0}}
    (tmp_path / "users_own_decode.py").write_text(OF_A_USER)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(UserError, match="from outside this project; import 'users_own_decode' yourself"):
        decode_from_file(theirs)
    module = importlib.import_module("users_own_decode")
    found = decode_from_file(theirs)
    assert isinstance(found, module.Mine) and found.built_by() == theirs
    for spec in (None, [], {"class_path": 3}, {"class_path": "os.system"}, {"class_path": "Formation"}):
        with pytest.raises(UserError):
            decode_from_file(spec)
    with pytest.raises(UserError, match="a file names no other class of this project"):
        decode_from_file({"class_path": "gendistill.teacher.generated.Generated", "init_args": {"generator": "x"}})


class Mine(Decode):
    """Images in other units."""

    def __init__(self, times: float) -> None:
        self.times = times

    def cell(self, values: Tensor, places: Tensor, labels: Tensor) -> Tensor:
        return values * self.times

    def encode(self, images: Tensor) -> Tensor:
        return images / self.times


def test_arguments_are_kept_by_their_names() -> None:
    assert Mine(2.0).built_by() == {"class_path": f"{__name__}.Mine", "init_args": {"times": 2.0}}

    class Forgets(Mine):
        def __init__(self, factor: int = 3) -> None:
            super().__init__(2.0)

    with pytest.raises(UserError, match="must keep its argument 'factor' as an attribute"):
        Forgets().built_by()


def test_a_palette_shows_the_nearest_colours_and_lets_gradients_through(tiny_data: RealData) -> None:
    decode = Palette(4).attach(tiny_data, torch.device("cpu"))
    own = tiny_data.description.normalisation
    images = own.apply(tiny_data.train.images[:6]).requires_grad_()
    labels = tiny_data.train.labels[:6]
    shown = decode(images, labels)
    colours = own.apply(decode.table[..., None, None]).flatten()
    slow = colours[(images[..., None] - colours).abs().argmin(-1)]
    torch.testing.assert_close(shown, slow)
    (gradient,) = torch.autograd.grad(shown.sum(), images)
    assert torch.equal(gradient, torch.ones_like(images))
    packed = decode.packed(images)
    assert packed.dtype == torch.uint8 and packed.shape == (6, 1, 8, 8) and int(packed.max()) < 4
    torch.testing.assert_close(decode.unpacked(packed), shown.detach())
    # The two halves of the pixels, dark and bright, have colours of their own.
    assert float(decode.table.min()) < 60 / 255 < 180 / 255 < float(decode.table.max())


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [("2.5", "decode is '2.5'; choose one of"), ({"factr": 2}, r"decode is \{'factr': 2\}; did you mean 'factor'")],
)
def test_what_names_no_decode_is_told_what_does(choice: object, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        decode_of(choice)  # type: ignore[arg-type]
