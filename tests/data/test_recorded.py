"""How data was loaded is remembered, checked, and loaded so again."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gendistill.data import load
from gendistill.data.load import NAMES, known_name
from gendistill.data.recorded import Recorded, agreed, load_recorded, remember
from gendistill.errors import UserError
from gendistill.spelling import data_words, in_one_spelling, of_command, require_one_spelling, typed, written

FOLDER = "my pics' $x"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a folder of three classes of pictures of mixed sizes, whose names have blanks and quotes."""
    monkeypatch.chdir(tmp_path)
    make(tmp_path / FOLDER)
    return tmp_path


def make(folder: Path, seed: int = 0) -> None:
    drawn = np.random.default_rng(seed)
    for number, name in enumerate(('a "cat"', "big dog", "it's")):
        (folder / name).mkdir(parents=True)
        for place in range(8):
            size = (*drawn.integers(8, 20, 2), 3)
            Image.fromarray(drawn.integers(0, 60, size).astype(np.uint8) + 60 * number).save(
                folder / name / f"pic {place}.png"
            )


def noted(**options: Any) -> dict[str, Any]:
    found = remember(load(**options))
    assert found is not None
    return found


def read(values: Any) -> Recorded:
    found = Recorded.read(values, "t")
    assert found is not None
    return found


def test_what_was_given_is_remembered_and_nothing_else(here: Path) -> None:
    found = noted(name=FOLDER, image_size=8, channels=1)
    assert found["options"] == {"name": FOLDER, "image_size": 8, "channels": 1}
    assert {part: found[part]["images"] for part in ("train", "validation", "test")} == {
        "train": 17, "validation": 3, "test": 4,
    }  # fmt: skip
    assert remember(load("Digits")) is not None and noted(name="Digits")["options"] == {"name": "digits"}
    data = load("digits")
    assert data.to("cpu").options == data.options


def test_the_same_data_come_again(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options in ({"name": FOLDER, "image_size": 8}, {"name": "digits", "whitening": 0.1}):
        before = load(**options)  # type: ignore[arg-type]
        again = load_recorded(read(remember(before)))
        assert again.train.images.equal(before.train.images)
        assert again.description.class_names == before.description.class_names
        assert (again.description.normalisation.whitening is None) == ("whitening" not in options)
    said = capsys.readouterr().err
    assert "data as 't' says: data 'my pics'\"'\"' $x' image_size 8" in said


def test_what_is_given_wins(here: Path) -> None:
    recorded = read(noted(name=FOLDER, image_size=8))
    assert load_recorded(recorded, {"image_size": 10}).description.image_shape[1:] == (10, 10)
    assert load_recorded(recorded, {"channels": 1}).description.image_shape == (1, 8, 8)
    assert load_recorded(recorded, {"name": "digits"}).description.name == "digits"
    (here / FOLDER).rename(here / "elsewhere")
    assert load_recorded(recorded, {"name": "elsewhere"}).description.image_shape == (3, 8, 8)
    whitened = read(noted(name="digits", whitening=0.1))
    assert load_recorded(whitened, {"name": "digits"}).description.normalisation.whitening is not None
    assert load_recorded(whitened.without("whitening")).description.normalisation.whitening is None
    assert load_recorded(whitened, {"whitening": "none"}).description.normalisation.whitening is None
    assert load_recorded(None, {"image_size": "none"}).description.name == "digits"


def test_a_place_that_is_gone_is_one_sentence_with_the_option(here: Path) -> None:
    recorded = read(noted(name=FOLDER, image_size=8))
    (here / FOLDER).rename(here / "elsewhere")
    with (
        written(of_command),
        pytest.raises(UserError, match=r"not there any more; say with --dataset where .*--image-size 8 stays"),
    ):
        load_recorded(recorded)
    moved = Recorded("'t'", {"name": "mnist", "root": "nowhere"})
    with written(of_command), pytest.raises(UserError, match="'mnist' in 'nowhere'.*say with --data-root"):
        load_recorded(moved)


@pytest.mark.parametrize("given", [{}, {"image_size": 10}, {"channels": 1, "whitening": 0.5}])
def test_a_file_shows_nothing_of_a_folder_that_its_writer_has_not_seen(here: Path, given: Mapping[str, Any]) -> None:
    make(here / "private", seed=1)
    values = noted(name=FOLDER, image_size=8)
    values["options"]["name"] = "private"
    with pytest.raises(UserError, match="images in 'private' are not those that 't' was made from"):
        load_recorded(read(values), given)
    for part in ("train", "validation", "test"):
        del values[part]
    with pytest.raises(UserError, match="a file alone chooses no place"):
        load_recorded(read(values), given)
    assert len(load_recorded(read(values), {**given, "name": "private"}).train) == 17


def test_a_file_starts_no_download(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENDISTILL_DATA", str(here / "data"))
    for name in ("cifar10", "stacked-mnist"):
        with pytest.raises(UserError, match="a file starts no download"):
            load_recorded(Recorded("'t'", {"name": name}))
    assert not (here / "data").exists()


@pytest.mark.parametrize(
    "options",
    [
        "digits", 5, {}, {"name": 3}, {"name": "x" * 5000}, {"name": "digits", "run": "rm"},
        {"name": "digits", "image_size": "8"}, {"name": "digits", "image_size": -1},
        {"name": "digits", "image_size": 10**9}, {"name": "digits", "whitening": float("nan")},
        {"name": "digits", "channels": True}, {"name": "digits", "root": ["x"]}, {"name": "digits", "root": None},
        {"name": "a\0b"},
    ],
)  # fmt: skip
def test_options_that_cannot_be_are_refused_in_a_sentence(options: Any) -> None:
    with pytest.raises(UserError, match="'t' "):
        Recorded.read({"options": options}, "t")


def test_what_says_nothing_is_passed_over() -> None:
    for values in (None, "x", 5, [], {}, {"train": {"images": 3, "sha256": "x"}}):
        assert Recorded.read(values, "t") is None


def test_several_that_say_the_same_agree(here: Path) -> None:
    folder, plain, whitened = (
        read(noted(**options))
        for options in ({"name": FOLDER, "image_size": 8}, {"name": "digits"}, {"name": "digits", "whitening": 0.1})
    )
    assert agreed([]) is None
    assert agreed([folder, folder]) == folder
    both = agreed([whitened, plain])
    assert both is not None and dict(both.options) == {"name": "digits"}
    with pytest.raises(UserError, match="was made from"):
        agreed([folder, plain])
    (here / FOLDER).rename(here / "moved")
    moved = read(noted(name="moved", image_size=8))
    assert agreed([folder, moved]) is not None


def test_names_are_forgiving(here: Path) -> None:
    for spelt, name in {
        "CIFAR-10": "cifar10", "cifar_10": "cifar10", "MNIST": "mnist", "Fashion-MNIST": "fashion-mnist",
        "FashionMNIST": "fashion-mnist", "STL-10": "stl10", "Stacked MNIST": "stacked-mnist", "SVHN": "svhn",
        "folder:MNIST": "folder:MNIST", "pictures": "pictures",
    }.items():  # fmt: skip
        assert known_name(spelt) == name
    assert [known_name(name) for name in NAMES] == list(NAMES)
    make(here / "MNIST")
    assert known_name("MNIST") == "MNIST" and load("MNIST", image_size=8).description.num_classes == 3
    (here / "MNIST" / "raw").mkdir()
    assert known_name("MNIST") == "mnist"


def test_an_option_has_one_meaning_in_every_spelling() -> None:
    spellings = ("--image-size", "--image_size", "--data.image_size", "--data.image-size")
    assert {in_one_spelling(word) for word in spellings} == {"--image-size"}
    assert {in_one_spelling(word) for word in ("--dataset", "--data", "--data.name")} == {"--dataset"}
    assert {in_one_spelling(word) for word in ("--data-root", "--data.root", "--data_root")} == {"--data-root"}
    require_one_spelling(["--image-size", "--image-size", "--dataset"])
    with pytest.raises(UserError, match="--image-size and --data.image_size are two spellings of one option"):
        require_one_spelling(["--image-size", "--data.image_size"])


def test_commands_are_quoted() -> None:
    words = typed("evaluate", "a b/it's", name="-x $y", root=None, image_size=8, seed=3)
    assert words == "gendistill evaluate 'a b/it'\"'\"'s' '--dataset=-x $y' --image-size 8"
    assert data_words({"text_column": "a b"}) == ["--text-column", "a b"]
