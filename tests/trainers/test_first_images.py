from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.seeds import stream
from trainers.first_images import first_images


def places(images: Tensor, data: RealData) -> list[int]:
    """Return which training image each one is."""
    real, _ = data.train.batch(torch.arange(len(data.train)), data.description.normalisation)
    return [int((real == image).flatten(1).all(1).nonzero()[0]) for image in images]


def test_real_images_have_their_classes_in_turn(tiny_data: RealData) -> None:
    found = places(first_images("real", 3, tiny_data, stream(0, "images"), lambda images: images), tiny_data)
    assert tiny_data.train.labels[found].tolist() == [0, 1, 2] * 3 and len(set(found)) == 9


@pytest.mark.parametrize("right_for", [30, 2])
def test_those_that_are_answered_rightly_come_first(tiny_data: RealData, right_for: int) -> None:
    real, labels = tiny_data.train.batch(torch.arange(96), tiny_data.description.normalisation)

    def answer(images: Tensor) -> Tensor:
        which = torch.tensor(places(images, tiny_data))
        # Only so many of each class's images are answered rightly, the ones that stand last.
        right = which >= 96 - 3 * right_for
        return torch.nn.functional.one_hot(torch.where(right, labels[which], (labels[which] + 1) % 3), 3).float()

    found = places(first_images("correct", 3, tiny_data, stream(0, "images"), answer), tiny_data)
    assert tiny_data.train.labels[found].tolist() == [0, 1, 2] * 3 and len(set(found)) == 9
    wrong = [place for place in found if place < 96 - 3 * right_for]
    # 30 of 32 a class are looked at: all three are found, or the two that there are unless they were not looked at.
    assert (not wrong) if right_for == 30 else 3 <= len(wrong) < 9
    assert not real.isnan().any()


@pytest.mark.parametrize("at_once", [1024, 20, 2])
def test_classes_are_asked_together(at_once: int, tiny_data: RealData, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that normalises its batch knows classes where they are mixed, and not within one class."""
    monkeypatch.setattr("trainers.first_images.AT_ONCE", at_once)
    batches = []

    def answer(images: Tensor) -> Tensor:
        batches.append(tiny_data.train.labels[places(images, tiny_data)].bincount(minlength=3))
        found = images[:, 0, :6].unflatten(1, (3, 2)).mean((2, 3))
        return found - found.mean(0)

    images, labels = tiny_data.train.batch(torch.arange(96), tiny_data.description.normalisation)
    right = [(answer(images[labels == k]).argmax(1) == k).float().mean() for k in range(3)]
    assert (answer(images).argmax(1) == labels).float().mean() > 0.95 > 0.8 > max(right)
    batches.clear()
    found = first_images("correct", 3, tiny_data, stream(0, "images"), answer)
    assert all(int(batch.max() - batch.min()) <= 1 for batch in batches)
    assert torch.stack(batches).sum(0).tolist() == [30] * 3 and len(batches) == {1024: 1, 20: 5, 2: 30}[at_once]
    assert (answer(found).argmax(1) == torch.tensor([0, 1, 2] * 3)).all()


def test_noise_is_standard_normal(tiny_data: RealData) -> None:
    noise = first_images("noise", 40, tiny_data, stream(0, "images"), lambda images: images)
    assert noise.shape == (120, 1, 8, 8) and abs(float(noise.mean())) < 0.05 and abs(float(noise.std()) - 1) < 0.05


def test_more_than_a_class_has_is_refused(tiny_data: RealData) -> None:
    with pytest.raises(UserError, match="33 real images of each class, but classes 'top' has 32"):
        first_images("correct", 33, tiny_data, stream(0, "images"), lambda images: images.flatten(1)[:, :3])
