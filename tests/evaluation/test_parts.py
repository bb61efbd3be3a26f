from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gendistill.data.real import RealData
from gendistill.evaluation import parts
from gendistill.evaluation.evaluate import evaluate
from gendistill.evaluation.learning import learning_curve
from gendistill.runs.signals import Told
from gendistill.teacher import StoredImages, Teacher

DROPOUT = {"class_path": "gendistill.nets.learners.LeNet"}
SMALL = {"class_path": "gendistill.nets.learners.MLP", "init_args": {"width": 8}}
WAYS: dict[str, dict[str, Any]] = {
    "sgd, rates": {"learner": SMALL, "lr": [0.01, 0.1], "updates": (0, 3, 20, 47), "seeds": 2},
    "adam, augmented": {"learner": SMALL, "lr": 0.01, "optimizer": "adam", "augment": "crop_flip", "updates": (50,)},
    "stacked": {"learner": SMALL, "lr": 0.1, "schedule": "cosine", "updates": (10, 60), "batched": True},
    "a diverging rate": {"learner": SMALL, "lr": [0.1, 1e30], "updates": (5, 40), "select": "last"},
}


def teacher_of(data: RealData) -> Teacher:
    generator = torch.Generator().manual_seed(1)
    return StoredImages(torch.randn(9, 1, 8, 8, generator=generator), torch.arange(9) % 3, data.description)


def without_time(result: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in json.loads(json.dumps(result)).items() if name != "seconds"}


def stopping(at: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done >= at:
            raise Told(15)

    return progress


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("at", [1, 22, 38])
def test_learners_go_on_from_where_they_are_kept(
    tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, at: int
) -> None:
    monkeypatch.setattr(parts, "EVERY", 0.0)
    teacher, options = teacher_of(tiny_data), {"batch_size": 4, **WAYS[way]}
    whole = learning_curve(teacher, tiny_data, **options)
    made: list[int] = []
    with parts.kept_in(tmp_path):
        with pytest.raises(Told):
            learning_curve(teacher, tiny_data, progress=stopping(at), **options)
        assert bool(list(tmp_path.glob("*.learners.safetensors"))) == (at > 1)
        again = learning_curve(teacher, tiny_data, progress=lambda done, total: made.append(done), **options)
    # It did go on, from a place that it had reached.
    assert made[0] == (0 if at == 1 else made[0]) and made[0] < at and (at == 1 or made[0] > 0)
    assert without_time(again) == without_time(whole)
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]


def test_a_finished_part_is_taken_and_one_of_anything_else_is_not(tiny_data: RealData, tmp_path: Path) -> None:
    teacher, options = teacher_of(tiny_data), {"learner": SMALL, "lr": 0.1, "updates": (2,), "seeds": 2}
    with parts.kept_in(tmp_path):
        first = learning_curve(teacher, tiny_data, **options)
        assert learning_curve(teacher, tiny_data, **options) == first  # seconds, too: it was read
        learning_curve(teacher, tiny_data, **{**options, "lr": 0.2})
        other = teacher_of(tiny_data)
        other.images[0] += 1.0  # type: ignore[attr-defined]
        learning_curve(other, tiny_data, **options)
        assert len(list(tmp_path.glob("learning-*.json"))) == 3


@pytest.mark.parametrize("content", ["", "[]", '{"what": 1}', "[" * 3000, '{"what": {}, "result": []}'])
def test_a_damaged_part_is_made_anew(tiny_data: RealData, tmp_path: Path, content: str) -> None:
    teacher, options = teacher_of(tiny_data), {"learner": SMALL, "lr": 0.1, "updates": (2,), "seeds": 2}
    with parts.kept_in(tmp_path):
        first = learning_curve(teacher, tiny_data, **options)
        (part,) = tmp_path.glob("*.json")
        part.write_text(content)
        part.with_suffix(".learners.safetensors").write_text(content)
        assert without_time(learning_curve(teacher, tiny_data, **options)) == without_time(first)


def test_an_evaluation_goes_on_with_the_part_that_was_not_finished(tiny_data: RealData, tmp_path: Path) -> None:
    teacher = teacher_of(tiny_data)
    learning = {"learner": SMALL, "lr": 0.1, "updates": (5,), "seeds": 2}
    whole = evaluate(teacher, tiny_data, learning=learning)
    with parts.kept_in(tmp_path):
        with pytest.raises(Told):
            evaluate(teacher, tiny_data, learning=learning | {"progress": stopping(1)})
        assert len(list(tmp_path.glob("fidelity-*.json"))) == 1
        again = evaluate(teacher, tiny_data, learning=learning)
    for result in (whole, again):
        result["learning"].pop("seconds")
        result["fidelity"].pop("seconds", None)
    assert again == whole


def test_nothing_is_kept_where_nobody_asked(tiny_data: RealData, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    learning_curve(teacher_of(tiny_data), tiny_data, learner=SMALL, lr=0.1, updates=(2,), seeds=1)
    assert not list(tmp_path.iterdir())
