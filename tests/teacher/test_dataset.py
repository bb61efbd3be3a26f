"""Teachers as torch data sets: pixels, labels, decodes, generators."""

from __future__ import annotations

import pytest
import torch
from every_kind import KINDS, small_teacher
from torch import nn

from gendistill.data.description import Description
from gendistill.errors import UserError
from gendistill.notes import begin, collected
from gendistill.teacher import StoredImages


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_gives_pixels_and_labels(kind: str, description: Description, network: nn.Module) -> None:
    teacher = small_teacher(kind, description, network)
    found = teacher.as_dataset(9 if teacher.images_stored is None else None)
    pixels, labels = found.tensors
    assert len(found) == (9 if teacher.decoded_images is None else teacher.decoded_images) == len(pixels)
    assert tuple(pixels.shape[1:]) == description.image_shape and pixels.dtype == torch.float32
    assert float(pixels.min()) >= 0 and float(pixels.max()) <= 1
    soft = teacher.labels_are_soft or teacher.labeller is not None
    assert labels.dtype == (torch.float32 if soft else torch.int64)
    image, label = found[1]
    assert torch.equal(image, pixels[1]) and (torch.equal(label, labels[1]) if soft else label == int(labels[1]))
    assert found.targets.tolist() == (labels.argmax(1) if soft else labels).tolist()
    assert f"of '{description.name}'" in repr(found) and repr(teacher).startswith(f"<{type(teacher).__name__} of")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "fresh"])
def test_unclipped_pixels_are_what_learners_see(kind: str, description: Description, network: nn.Module) -> None:
    teacher = small_teacher(kind, description, network)
    images, _ = teacher.everything()
    found = teacher.as_dataset(clip=False)
    assert torch.allclose(description.normalisation.apply(found.images), images, atol=1e-5)


def test_clipping_says_how_far_pixels_went(description: Description) -> None:
    images = description.normalisation.apply(torch.tensor([0.5, 1.25, -0.1, 1.0]).view(4, 1, 1, 1).expand(4, 1, 4, 4))
    teacher = StoredImages(images, torch.tensor([0, 1, 2, 0]), description)
    begin()
    with collected() as said:
        clipped = teacher.as_dataset().images
    assert [float(one.mean()) for one in clipped] == pytest.approx([0.5, 1.0, 0.0, 1.0], abs=1e-6)
    assert len(said) == 1 and said[0].startswith(
        "50.0 % of the values lie outside [0, 1] and were clipped, by up to 0.25"
    )
    with collected() as said:
        teacher.as_dataset(clip=False)
    assert said == []


def test_labels_are_given_as_they_are_asked_for(description: Description, network: nn.Module) -> None:
    hard, soft = small_teacher("hard", description, network), small_teacher("soft", description, network)
    assert torch.equal(hard.as_dataset(labels="soft").labels, torch.eye(3)[hard.as_dataset().labels])
    assert torch.equal(soft.as_dataset(labels="hard").labels, soft.as_dataset().labels.argmax(1))
    told = small_teacher("labelled", description, network)
    assert told.as_dataset(labels="stored").labels.dtype == torch.int64
    assert torch.allclose(told.as_dataset().labels.sum(1), torch.ones(6))
    with pytest.raises(UserError, match="labels is 'hart'; did you mean 'hard'"):
        hard.as_dataset(labels="hart")


def test_a_generator_makes_as_many_as_are_asked_for(description: Description, network: nn.Module) -> None:
    fresh = small_teacher("fresh", description, network)
    with pytest.raises(UserError, match=r"without end; say how many you want, such as as_dataset\(1000\)"):
        fresh.as_dataset()
    with pytest.raises(UserError, match="count is 0"):
        fresh.as_dataset(0)
    assert torch.equal(fresh.as_dataset(5, seed=1).images, fresh.as_dataset(5, seed=1).images)
    assert not torch.equal(fresh.as_dataset(5, seed=1).images, fresh.as_dataset(5, seed=2).images)
    assert fresh.as_dataset(6).labels.bincount().tolist() == [2, 2, 2]


def test_a_transform_sees_each_image(description: Description, network: nn.Module) -> None:
    found = small_teacher("hard", description, network).as_dataset(transform=lambda image: image.flip(-1))
    assert torch.equal(found[2][0], found.images[2].flip(-1))
    loader = torch.utils.data.DataLoader(found, batch_size=4)
    assert [tuple(labels.shape) for _, labels in loader] == [(4,), (2,)]


def test_a_name_from_a_file_does_no_harm_where_it_is_shown(description: Description, network: nn.Module) -> None:
    teacher = small_teacher("hard", description, network)
    teacher.metadata["source"] = "\x1b[31mred\nline"
    shown = repr(teacher)
    assert "\x1b" not in shown and "\n" not in shown and "red" in shown
