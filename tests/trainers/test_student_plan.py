from __future__ import annotations

from typing import Any

import pytest
import torch

from gendistill.data.augment import DSA
from gendistill.data.description import Description
from trainers.student_plan import PlanOptions, StudentPlan

BANDS = Description("bands", ("a", "b"), (1, 8, 8))


def options(**given: Any) -> PlanOptions:
    standard: dict[str, Any] = {
        "experts": 3,
        "steps": 4,
        "batch": None,
        "min_start": 0,
        "max_start": 5,
        "first_max_start": None,
        "widen_steps": 0,
        "augment": "shift_scale",
        "augment_mode": "single",
        "siamese": False,
    }
    return PlanOptions(**(standard | given))


def plan(count: int = 6, seed: int = 0, **given: Any) -> StudentPlan:
    return StudentPlan(options(**given), count, BANDS, seed, torch.device("cpu"))


def test_every_expert_and_every_start_is_drawn() -> None:
    drawn = plan(min_start=1)
    lessons = [drawn.draw(0) for _ in range(200)]
    assert {lesson.expert for lesson in lessons} == {0, 1, 2}
    assert {lesson.start for lesson in lessons} == {1, 2, 3, 4}


def test_later_starts_come_with_the_steps() -> None:
    widening = options(min_start=1, max_start=10, first_max_start=2, widen_steps=16)
    assert [widening.bound(step) for step in (0, 1, 2, 8, 15, 16, 100)] == [2, 2, 3, 6, 9, 10, 10]
    drawn = plan(min_start=1, max_start=10, first_max_start=2, widen_steps=16)
    assert {drawn.draw(0).start for _ in range(50)} == {1}
    assert max(drawn.draw(16).start for _ in range(200)) == 9


def test_batches_go_through_all_images_before_any_comes_again() -> None:
    lesson = plan(batch=2, steps=6).draw(0)
    seen = [index.tolist() for index, _ in lesson.batches]
    assert sorted(sum(seen[:3], [])) == sorted(sum(seen[3:], [])) == list(range(6)) and seen[:3] != seen[3:]
    # What does not fill a batch begins the next one, in which no image is twice.
    for count, size in ((6, 4), (10, 3), (7, 6), (5, 2)):
        seen = []
        for index, _ in plan(count, batch=size, steps=20).draw(0).batches:
            assert len(set(index.tolist())) == len(index) == size
            seen += index.tolist()
            times = [seen.count(image) for image in range(count)]
            assert max(times) - min(times) <= 1
    assert [index.tolist() for index, _ in plan().draw(0).batches] == [list(range(6))] * 4


@pytest.mark.parametrize(("siamese", "rows"), [(True, 1), (False, 2)])
def test_every_step_is_augmented_anew(siamese: bool, rows: int) -> None:
    lesson = plan(batch=2, siamese=siamese, augment="rotate").draw(0)
    angles = [how.steps[0][1] for _, how in lesson.batches]
    assert all(angle.shape == (rows, 1) for angle in angles)
    assert len({float(angle[0]) for angle in angles}) == 4


def test_the_stream_goes_on_where_it_was() -> None:
    first, second = plan(), plan(seed=1)
    first.draw(0)
    second.load_state_dict(first.state_dict())
    one, other = first.draw(0), second.draw(0)
    assert (one.expert, one.start) == (other.expert, other.start)
    for (index, how), (again, same) in zip(one.batches, other.batches, strict=True):
        assert torch.equal(index, again)
        assert all(torch.equal(a[1], b[1]) for a, b in zip(how.steps, same.steps, strict=True))


def test_dsa_leaves_out_the_mirror_where_mirrored_images_are_none() -> None:
    digits = Description("mnist", tuple("0123456789"), (1, 28, 28))
    names = {
        data.name: StudentPlan(options(augment="dsa"), 6, data, 0, torch.device("cpu")).strategy
        for data in (BANDS, digits)
    }
    assert names == {"bands": DSA, "mnist": "color_crop_cutout_scale_rotate"}
