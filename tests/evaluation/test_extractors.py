"""Choosing an extractor, and reading features from it batch by batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gendistill.data.description import Normalisation
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.choice import choose_extractor
from gendistill.evaluation.extractors import Extractor, extract


class Means(Extractor):
    """Rows of the image, weighted."""

    name = "means"
    batch_size = 7

    def __init__(self, image_shape: tuple[int, int, int], scale: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((image_shape[1],), scale))

    def features(self, images: Tensor, normalisation: Normalisation) -> Tensor:
        return normalisation.invert(images).mean((1, 3)) * self.weight


class Broken(Means):
    def features(self, images: Tensor, normalisation: Normalisation) -> Tensor:
        return images


class Infinite(Means):
    def features(self, images: Tensor, normalisation: Normalisation) -> Tensor:
        return super().features(images, normalisation) / 0


def test_dotted_path_with_arguments(tiny_data: RealData) -> None:
    spec = {"class_path": f"{__name__}.Means", "init_args": {"scale": 2.0}}
    extractor = choose_extractor(spec, tiny_data)
    assert isinstance(extractor, Means) and not extractor.training
    assert extractor.score_name("FD") == "FD[means]"
    normalisation = tiny_data.description.normalisation
    features = extract(extractor, tiny_data.test.images, normalisation)
    expected = tiny_data.test.images.float().mean((1, 3)) / 255 * 2
    torch.testing.assert_close(features, expected)
    floats = extract(extractor, normalisation.apply(tiny_data.test.images), normalisation)
    torch.testing.assert_close(floats, expected)


def test_id_follows_the_weights(tiny_data: RealData) -> None:
    shape = tiny_data.description.image_shape
    assert Means(shape).id == Means(shape).id
    assert Means(shape).id != Means(shape, 2.0).id
    assert Means(shape).id.startswith("means/")


def test_id_follows_the_code(tiny_data: RealData) -> None:
    shape = tiny_data.description.image_shape
    assert Broken(shape).id != Infinite(shape).id != Means(shape).id


@pytest.mark.parametrize(
    "choice,sentence",
    [
        ("inseption", "did you mean 'inception'"),
        ("gendistill.nets.learners.ConvNet", "is not a subclass of gendistill.evaluation.extractors.Extractor"),
        (f"{__name__}.Missing", "has no 'Missing'"),
    ],
)
def test_choices_that_name_nothing(choice: str, sentence: str, tiny_data: RealData) -> None:
    with pytest.raises(UserError, match=sentence):
        choose_extractor(choice, tiny_data)


@pytest.mark.parametrize("cls,sentence", [(Broken, r"must return features \(N, D\)"), (Infinite, "not finite")])
def test_extractors_that_misbehave(cls: type[Means], sentence: str, tiny_data: RealData) -> None:
    with pytest.raises(UserError, match=sentence):
        extract(cls(tiny_data.description.image_shape), tiny_data.test.images, tiny_data.description.normalisation)
