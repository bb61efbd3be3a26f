from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gendistill.data.description import Description, symmetric
from gendistill.errors import UserError
from gendistill.teacher import StoredImages, load, save


def make(description: Description, count: int = 6, **options: object) -> StoredImages:
    images = torch.arange(count).view(-1, 1, 1, 1).expand(-1, 1, 4, 4).to(torch.float32).contiguous()
    labels = options.pop("labels", torch.arange(count) % 3)
    return StoredImages(images, labels, description, **options)  # type: ignore[arg-type]


def test_fixed_order_is_cyclic_and_later_steps_take_a_tenth_of_the_last_rate(
    description: Description, rng: torch.Generator
) -> None:
    teacher = make(description, order="fixed", learning_rates=torch.tensor([0.1, 0.2, 0.3]))
    shown = list(teacher.batches(4, 4, rng))
    assert [batch[0][:, 0, 0, 0].tolist() for batch in shown] == [
        [0, 1, 2, 3],
        [4, 5, 0, 1],
        [2, 3, 4, 5],
        [0, 1, 2, 3],
    ]
    assert [float(batch[2]) for batch in shown] == pytest.approx([0.1, 0.2, 0.3, 0.03])
    for images, labels, _ in shown:
        assert torch.equal(labels, images[:, 0, 0, 0].long() % 3)


def test_a_single_learned_rate_is_for_all_steps(description: Description) -> None:
    teacher = make(description, learning_rates=torch.tensor([0.5]))
    assert [float(teacher.rate(step) or 0) for step in (0, 1, 7)] == [0.5, 0.5, 0.5]
    assert teacher.schedules(3) == ([0.5, 0.5, 0.5], [0.0, 0.0, 0.0])


def test_schedules_are_the_rates_of_the_batches(description: Description, rng: torch.Generator) -> None:
    teacher = make(description, learning_rates=torch.tensor([0.4, 0.2]), momenta=torch.tensor([0.1, 0.9]))
    rates, momenta = teacher.schedules(4) or ([], [])
    assert rates == pytest.approx([float(rate) for _, _, rate in teacher.batches(4, 2, rng)])
    assert momenta == pytest.approx([0.1, 0.9, 0.9, 0.9])
    assert teacher.schedules(1) == (rates[:1], momenta[:1])
    assert make(description).schedules(4) is None


def test_shuffled_order_depends_on_the_generator_alone(description: Description) -> None:
    teacher = make(description)

    def order(seed: int) -> list[float]:
        batches = teacher.batches(6, 2, torch.Generator().manual_seed(seed))
        return torch.cat([images[:, 0, 0, 0] for images, _, _ in batches]).tolist()

    before = torch.get_rng_state()
    assert order(1) == order(1) != order(2)
    assert torch.equal(before, torch.get_rng_state())
    assert all(rate is None for _, _, rate in teacher.batches(2, 2, torch.Generator()))


def test_sample_is_balanced_by_the_most_likely_class_of_soft_labels(
    description: Description, rng: torch.Generator
) -> None:
    soft = torch.tensor([[0.9, 0.1, 0.0]] * 5 + [[0.1, 0.9, 0.0]] * 3 + [[0.3, 0.3, 0.4]] * 2)
    teacher = make(description, 10, labels=soft)
    images, labels = teacher.sample(6, rng)
    assert labels.shape == (6, 3)
    assert torch.bincount(labels.argmax(1)).tolist() == [2, 2, 2]
    assert len(images[:, 0, 0, 0].unique()) == 6
    assert teacher.label_counts == [5, 3, 2] and teacher.labels_are_soft


def test_budget_counts_bytes_and_distinct_images(description: Description) -> None:
    teacher = make(description, 6, learning_rates=torch.ones(2))
    teacher.images[3] = teacher.images[0]
    parts = {"image_bytes": 6 * 16 * 4 + 2 * 4, "label_bytes": 6 * 8, "labeller_bytes": 0}
    counts = {"images": 6, "distinct_images": 5, "decoded_images": 6, "bytes": 6 * 16 * 4 + 6 * 8 + 2 * 4}
    assert teacher.budget() == counts | parts


BAD = {
    "no images": (dict(images=torch.zeros(0, 1, 4, 4), labels=torch.zeros(0).long()), "at least one image"),
    "shape": (
        dict(images=torch.zeros(2, 3, 4, 4), labels=torch.zeros(2).long()),
        r"\(N, 1, 4, 4\), got \(2, 3, 4, 4\)",
    ),
    "type": (dict(images=torch.zeros(2, 1, 4, 4).double(), labels=torch.zeros(2).long()), "float32"),
    "not finite": (dict(images=torch.full((2, 1, 4, 4), torch.nan), labels=torch.zeros(2).long()), "'images' .*NaN"),
    "label too large": (dict(images=torch.zeros(2, 1, 4, 4), labels=torch.tensor([0, 3])), r"0\.\.2 .* got 0\.\.3"),
    "label negative": (dict(images=torch.zeros(2, 1, 4, 4), labels=torch.tensor([-1, 0])), r"0\.\.2"),
    "label count": (dict(images=torch.zeros(2, 1, 4, 4), labels=torch.zeros(3).long()), r"shape \(2,\)"),
    "soft label width": (dict(images=torch.zeros(2, 1, 4, 4), labels=torch.zeros(2, 4)), r"\(2, 3\), got float32"),
    "soft label finite": (dict(images=torch.zeros(2, 1, 4, 4), labels=torch.full((2, 3), torch.inf)), "'labels'"),
    "order": (dict(images=torch.zeros(2, 1, 4, 4), labels=torch.zeros(2).long(), order="random"), "shuffled, fixed"),
    "rates": (
        dict(images=torch.zeros(2, 1, 4, 4), labels=torch.zeros(2).long(), learning_rates=torch.ones(2, 2)),
        "'learning_rates' must be a float vector",
    ),
    "metadata": (
        dict(images=torch.zeros(2, 1, 4, 4), labels=torch.zeros(2).long(), metadata={"learner": object()}),
        "plain values",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_refused(case: str, description: Description) -> None:
    arguments, sentence = BAD[case]
    with pytest.raises(UserError, match=sentence):
        StoredImages(description=description, **arguments)  # type: ignore[arg-type]


def test_a_data_set_without_classes_is_refused() -> None:
    with pytest.raises(UserError, match="at least one class"):
        StoredImages(torch.zeros(1, 1, 2, 2), torch.zeros(1, 0), Description("none", (), (1, 2, 2), symmetric(1)))


def test_a_teachers_own_batch_size_holds_whatever_is_asked_for(
    description: Description, rng: torch.Generator, tmp_path: Path
) -> None:
    teacher = make(description, order="fixed", batch_size=2)
    save(teacher, tmp_path / "teacher.safetensors")
    opened = load(tmp_path / "teacher.safetensors")
    for one in (teacher, opened):
        assert [images[:, 0, 0, 0].tolist() for images, _, _ in one.batches(4, 5, rng)] == [
            [0, 1],
            [2, 3],
            [4, 5],
            [0, 1],
        ]
    assert "batch_size" not in make(description).header()


def test_reordering_shows_the_same_images_and_rates_shuffled(description: Description, rng: torch.Generator) -> None:
    teacher = make(description, 60, order="fixed", batch_size=3, learning_rates=torch.tensor([0.1, 0.2]))
    shown = list(teacher.reordered("shuffled").batches(20, 64, rng))
    seen = torch.cat([images[:, 0, 0, 0] for images, _, _ in shown])
    assert not torch.equal(seen, torch.arange(60.0)) and torch.equal(seen.sort().values, torch.arange(60.0))
    assert [float(rate) for _, _, rate in shown[:2]] == pytest.approx([0.1, 0.2])
    assert teacher.order == "fixed"
    with pytest.raises(UserError, match="stratified, shuffled, fixed"):
        teacher.reordered("backwards")  # type: ignore[arg-type]


def test_of_several_learners_that_a_teacher_was_made_with_the_first_is_named(description: Description) -> None:
    specs = [{"class_path": f"gendistill.nets.learners.{name}"} for name in ("LeNet", "MLP")]
    for noted, expected in ((specs, specs[0]), (specs[1], specs[1])):
        spec = make(description, metadata={"learner": noted}).noted_spec("learner")
        assert spec is not None and spec.class_path == expected["class_path"]
    assert make(description, metadata={"learner": []}).noted_spec("learner") is None
