"""The classifier that measures fidelity: accurate, repeatable, cached under what it was made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gendistill.data.description import Description, Normalisation, symmetric
from gendistill.data.load import load
from gendistill.data.real import RealData, Split
from gendistill.evaluation import classifier as module
from gendistill.evaluation.cache import read_tensors, write_tensors
from gendistill.evaluation.classifier import (
    ClassifierExtractor,
    classification_accuracy,
    trained_classifier,
    training_steps,
)
from gendistill.evaluation.extractors import extract
from gendistill.seeds import initialisation, stream


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "training_steps", lambda count, batch_size: 30)


def test_digits_are_recognised(tmp_path: Path) -> None:
    data = load("digits")
    classifier = trained_classifier(data, folder=tmp_path)
    normalisation = data.description.normalisation
    assert classifier.name == "digits classifier"
    assert classification_accuracy(classifier, data.test, normalisation) >= 0.97
    features = extract(classifier, data.test.images, normalisation)
    assert features.shape == (400, 64)
    probabilities = classifier.probabilities(features)
    assert float((probabilities.argmax(1) == data.test.labels).float().mean()) >= 0.97


def test_training_repeats_and_the_cache_is_used(
    tiny_data: RealData, tmp_path: Path, short: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    first = trained_classifier(tiny_data, folder=tmp_path / "a")
    again = trained_classifier(tiny_data, folder=tmp_path / "b")
    assert torch.equal(before, torch.random.get_rng_state())
    assert first.id == again.id
    other = trained_classifier(tiny_data, folder=tmp_path / "b", seed=1)
    assert other.id != first.id
    assert len(list((tmp_path / "b").iterdir())) == 2

    def refuse(*args: object, **kwargs: object) -> float:
        raise AssertionError("the classifier was trained again")

    monkeypatch.setattr(module, "train_classifier", refuse)
    cached = trained_classifier(tiny_data, folder=tmp_path / "a")
    assert cached.id == first.id and not cached.training
    changed = replace(tiny_data, train=Split(255 - tiny_data.train.images, tiny_data.train.labels))
    with pytest.raises(AssertionError, match="trained again"):
        trained_classifier(changed, folder=tmp_path / "a")


def test_training_is_announced_and_ends_with_its_accuracy(
    tiny_data: RealData, tmp_path: Path, short: None, capsys: pytest.CaptureFixture[str]
) -> None:
    trained_classifier(tiny_data, folder=tmp_path)
    said = capsys.readouterr()
    (path,) = tmp_path.iterdir()
    accuracy = float(read_tensors(path)[1]["validation_accuracy"])
    first, last = said.err.splitlines()
    assert first.startswith("training the bands classifier") and str(path) in first and not said.out
    assert last.startswith("trained the bands classifier in ")
    assert last.endswith(f"validation accuracy {100 * accuracy:.2f} %")
    # Nothing is said of one that is there.
    trained_classifier(tiny_data, folder=tmp_path)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("damage", ["cut", "not finite", "others"])
def test_a_damaged_cache_is_made_anew(
    tiny_data: RealData, tmp_path: Path, short: None, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    first = trained_classifier(tiny_data, folder=tmp_path)
    (path,) = tmp_path.iterdir()
    tensors, metadata = read_tensors(path)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:50])
    elif damage == "not finite":
        write_tensors(path, {**tensors, "head.bias": tensors["head.bias"] * torch.nan}, metadata)
    else:
        write_tensors(path, {"head.bias": tensors["head.bias"]}, metadata)
    capsys.readouterr()
    assert trained_classifier(tiny_data, folder=tmp_path).id == first.id
    assert "training the bands classifier" in capsys.readouterr().err
    assert trained_classifier(tiny_data, folder=tmp_path).id == first.id and capsys.readouterr().err == ""


def test_the_test_split_is_not_looked_at(tiny_data: RealData, tmp_path: Path, short: None) -> None:
    empty = Split(tiny_data.test.images[:0], tiny_data.test.labels[:0])
    first = trained_classifier(tiny_data, folder=tmp_path / "a")
    second = trained_classifier(replace(tiny_data, test=empty), folder=tmp_path / "b")
    assert first.id == second.id


def test_images_in_another_normalisation_give_the_same_features(tiny_data: RealData) -> None:
    with initialisation(0, "net"):
        classifier = ClassifierExtractor(tiny_data.description).eval()
    own, other = tiny_data.description.normalisation, symmetric(1)
    with torch.no_grad():
        expected = classifier.features(own.apply(tiny_data.test.images), own)
        features = classifier.features(other.apply(tiny_data.test.images), other)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape,width", [((1, 8, 8), 64), ((1, 28, 28), 128), ((3, 32, 32), 128), ((3, 64, 64), 128)])
def test_every_size_of_image(shape: tuple[int, int, int], width: int) -> None:
    normalisation = symmetric(shape[0])
    description = Description("images", tuple("abcde"), shape, normalisation)
    classifier = ClassifierExtractor(description).eval()
    features = extract(classifier, torch.zeros(2, *shape), normalisation)
    assert features.shape == (2, width)


def test_shifts_move_whole_pixels_and_bring_in_black() -> None:
    normalisation = Normalisation((0.4,), (0.5,))
    pixels = torch.rand(2, 1, 32, 32, generator=stream(0, "pixels"))
    moved = set()
    for seed in range(20):
        shifted = normalisation.invert(module._shifted(normalisation.apply(pixels), normalisation, stream(seed, "s")))
        offsets = torch.randint(-2, 3, (2,), generator=stream(seed, "s")).tolist()
        padded = torch.zeros(2, 1, 36, 36)
        padded[:, :, 2:34, 2:34] = pixels
        expected = padded[:, :, 2 + offsets[0] : 34 + offsets[0], 2 + offsets[1] : 34 + offsets[1]]
        torch.testing.assert_close(shifted, expected, atol=1e-6, rtol=0)
        moved.add(tuple(offsets))
    assert len(moved) > 5


def test_number_of_updates() -> None:
    assert [training_steps(count, 128) for count in (100, 1197, 5000, 60000)] == [400, 400, 1562, 2000]
