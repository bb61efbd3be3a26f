from __future__ import annotations

from typing import Any

import pytest
import torch

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.continual import continual_learning, only, remembered
from gendistill.evaluation.learning import learning_curve
from gendistill.seeds import stream
from gendistill.teacher import RealSubset, StoredImages

QUICK: dict[str, Any] = {"updates": [3, 12], "seeds": 2, "lr": 0.05, "batch_size": 16}


@pytest.fixture
def memory(tiny_data: RealData) -> RealSubset:
    generator = stream(0, "test")
    return RealSubset.random(tiny_data.train, tiny_data.description, generator=generator, images_per_class=4)


def test_memory_and_real_images_of_some_classes_are_numbered_anew(tiny_data: RealData, memory: RealSubset) -> None:
    real, part = only(tiny_data, [0, 2]), remembered(memory, [0, 2])
    assert real.description.class_names == part.description.class_names == ("top", "bottom")
    assert len(real.test) == 40 and part.label_counts == [4, 4]
    kept = tiny_data.test.labels != 1
    assert torch.equal(real.test.images, tiny_data.test.images[kept])
    assert torch.equal(real.test.labels, tiny_data.test.labels[kept] // 2)
    images, labels = memory.everything()
    assert torch.equal(part.everything()[0], images[labels != 1])
    soft = StoredImages(images, torch.rand(12, 3) + 2 * torch.eye(3)[labels], tiny_data.description,
                        learning_rates=torch.tensor([0.1, 0.2]))  # fmt: skip
    some = remembered(soft, [1])
    kept = soft.labels[labels == 1]
    torch.testing.assert_close(some.labels, kept.sum(1, keepdim=True))
    assert some.learning_rates is None
    two = remembered(soft, [0, 2])
    # Every image weighs as much as before, and the classes seen stand to each other as before.
    torch.testing.assert_close(two.labels.sum(1), soft.labels[labels != 1].sum(1))
    before = soft.labels[labels != 1][:, [0, 2]]
    torch.testing.assert_close(two.labels[:, 0] / two.labels[:, 1], before[:, 0] / before[:, 1])
    learned = StoredImages(images, 2 * torch.eye(3)[labels] - 0.1, tiny_data.description)
    assert torch.equal(remembered(learned, [1]).labels, learned.labels[labels == 1][:, [1]])  # no distributions


def test_the_last_stage_is_learning_of_all_classes(tiny_data: RealData, memory: RealSubset) -> None:
    found = continual_learning(memory, tiny_data, stages=2, orders=2, **QUICK)
    assert found["classes_seen"] == [2, 3] and found["images_kept"] == [8, 12]
    assert len(found["accuracy"]["runs"]) == 4 and len(found["orders"]) == 2
    # Stored as floats and shown alike, all classes together are the ordinary learning curve.
    everything = learning_curve(StoredImages(*memory.everything(), tiny_data.description), tiny_data, **QUICK)
    for run, expected in zip(found["accuracy"]["runs"], everything["accuracy"]["runs"][-1] * 2, strict=True):
        assert run[-1] == expected
    by_order = torch.tensor(found["accuracy"]["runs"]).view(2, 2, 2)  # orders, learners, stages
    assert found["accuracy"]["std"] == pytest.approx(by_order.var(1).mean(0).sqrt().tolist())
    assert found["accuracy"]["std_orders"] == pytest.approx(by_order.mean(1).std(0).tolist())
    assert found["accuracy"]["average"] == pytest.approx(sum(found["accuracy"]["mean"]) / 2)
    assert continual_learning(memory, tiny_data, stages=2, orders=2, **QUICK) == found


def test_what_cannot_be_staged_is_refused(tiny_data: RealData, memory: RealSubset) -> None:
    for options in ({"stages": 3}, {"stages": 0}, {"stages": 1, "orders": 0}):
        with pytest.raises(UserError, match="stages of 2 classes or more"):
            continual_learning(memory, tiny_data, **options)
    lacking = RealSubset(memory.images[:4], torch.zeros(4, dtype=torch.int64), tiny_data.description)
    with pytest.raises(UserError, match="none of some"):
        continual_learning(lacking, tiny_data, stages=2)
