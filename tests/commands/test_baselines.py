from __future__ import annotations

import torch

from gendistill.commands.baselines import baselines
from gendistill.data.load import load
from gendistill.teacher import StoredImages


def test_as_many_real_images_as_any_teacher_stores() -> None:
    data = load("digits")

    def stored(images: int) -> tuple[str, StoredImages]:
        return "t", StoredImages(torch.zeros(images, 1, 8, 8), torch.arange(images) % 10, data.description)

    assert baselines([stored(20)], data) == ["real:ipc=2", "real:herding=2", "real:kcenter=2"]
    assert len(baselines([stored(20), stored(10), stored(20)], data)) == 6
    assert baselines([stored(25)], data) == []  # not as many of each class
    assert baselines([stored(2000)], data) == []  # more than there are real ones


def test_a_teacher_with_a_labeller_is_held_against_real_images_with_its_labels() -> None:
    data = load("digits")
    teacher = StoredImages(torch.zeros(20, 1, 8, 8), torch.arange(20) % 10, data.description)
    teacher.labeller = object()  # type: ignore[assignment]
    plain = ["real:ipc=2", "real:herding=2", "real:kcenter=2"]
    assert baselines([("runs/rded", teacher)], data) == [*plain, *(f"{one},labels=runs/rded" for one in plain)]
    for by in ("runs/rded", "runs/rded@stored"):
        assert baselines([(f"x,labels={by}", teacher)], data) == [*plain, *(f"{one},labels={by}" for one in plain)]
    # An object of a script has no name to give; real images with a labeller are that column already.
    assert baselines([(None, teacher)], data) == baselines([("real:ipc=2,labels=x", teacher)], data) == plain
