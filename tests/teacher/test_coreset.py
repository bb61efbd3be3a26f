"""Coresets as teachers: which images, how many, of which part of the data."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gendistill.data.description import Normalisation
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.evaluation.extractors import Extractor
from gendistill.evaluation.learning import learning_curve
from gendistill.teacher import RealSubset, StoredImages, load, open_teacher, save
from gendistill.teacher.coreset import METHODS, coreset, feature_vectors


class RowMeans(Extractor):
    """The mean of every row of pixels."""

    name = "row means"

    def features(self, images: torch.Tensor, normalisation: Normalisation) -> torch.Tensor:
        return images.mean((1, 3))


@pytest.mark.parametrize("method", METHODS)
def test_as_many_images_of_every_class(tiny_data: RealData, method: str) -> None:
    teacher = open_teacher(f"real:{method}=4@pixels", tiny_data, seed=1)
    assert teacher.label_counts == [4, 4, 4] and teacher.distinct_images == 12
    assert teacher.metadata["source"] == {
        "dataset": "bands", "images": 12, "selection": method, "features": "pixels"
    }  # fmt: skip
    again, other = (open_teacher(f"real:{method}=4@pixels", tiny_data, seed=seed) for seed in (1, 2))
    assert torch.equal(teacher.everything()[0], again.everything()[0])
    drawn = method.startswith("kmeans")
    assert torch.equal(teacher.everything()[0], other.everything()[0]) == (not drawn)


def test_only_training_images_are_chosen_and_looked_at(tiny_data: RealData) -> None:
    rows = {tuple(image.flatten().tolist()) for image in tiny_data.train.images}
    blank = Split(torch.zeros_like(tiny_data.test.images), tiny_data.test.labels)
    for method in ("herding", "kcenter", "kmeans"):
        teacher = coreset(tiny_data, method, 5, features="pixels")
        assert isinstance(teacher, RealSubset)
        assert {tuple(image.flatten().tolist()) for image in teacher.images} <= rows
        elsewhere = coreset(replace(tiny_data, test=blank, validation=blank), method, 5, features="pixels")
        assert torch.equal(elsewhere.images, teacher.images)


def test_a_class_is_chosen_without_regard_to_others(tiny_data: RealData, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = coreset(tiny_data, "herding", 6, features="pixels")
    monkeypatch.setattr("gendistill.teacher.coreset.VALUES", 1)
    assert torch.equal(coreset(tiny_data, "herding", 6, features="pixels").images, whole.images)
    keep = tiny_data.train.labels != 1
    keep[1:3] = True  # one image of class 1
    fewer = replace(tiny_data, train=Split(tiny_data.train.images[keep], tiny_data.train.labels[keep]))
    assert torch.equal(coreset(fewer, "herding", 1, features="pixels").images[2], whole.images[12])


def test_every_image_is_in_the_largest_coreset(tiny_data: RealData) -> None:
    teacher = coreset(tiny_data, "kcenter", 32, features="pixels")
    assert teacher.distinct_images == 96


def test_mean_images_of_one_cluster_are_the_class_means(tiny_data: RealData, tmp_path: Path) -> None:
    teacher = coreset(tiny_data, "kmeans-mean", 1, features="pixels")
    assert type(teacher) is StoredImages
    images = tiny_data.description.normalisation.apply(tiny_data.train.images)
    for label in range(3):
        torch.testing.assert_close(teacher.images[label], images[tiny_data.train.labels == label].mean(0))
    save(teacher, tmp_path / "means.safetensors")
    assert torch.equal(load(tmp_path / "means.safetensors").everything()[0], teacher.images)


def test_features_of_the_trained_classifier_and_of_ones_own(tiny_data: RealData) -> None:
    assert feature_vectors(tiny_data, "classifier").shape == (96, 64)
    own = f"{RowMeans.__module__}.RowMeans"
    expected = tiny_data.description.normalisation.apply(tiny_data.train.images).mean((1, 3))
    torch.testing.assert_close(feature_vectors(tiny_data, own), expected)
    assert open_teacher("real:herding=2", tiny_data).metadata["source"]["features"] == "classifier"
    result = learning_curve(open_teacher(f"real:kmeans=3@{own}", tiny_data), tiny_data, updates=[5], seeds=1, lr=0.1)
    assert result["accuracy"]["mean"][0] > 0.5


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("real:herding=33@pixels", r"1\.\.32 images a class, got 33"),
        ("real:herding=0@pixels", "got 0"),
        ("real:herding", r"write real:herding=K or real:herding=K@pixels"),
        ("real:herd=3", "a coreset: real:herding=K, real:kcenter=K"),
        ("real:kmeans=3@pixel", "there is no extractor 'pixel'"),
    ],
)
def test_mistakes_are_told(tiny_data: RealData, reference: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        open_teacher(reference, tiny_data)
