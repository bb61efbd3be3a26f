"""One teacher before all judges."""

from __future__ import annotations

from typing import Any

import pytest

from gendistill.counter import Counter
from gendistill.data.real import RealData
from gendistill.evaluation.judging import judged
from gendistill.seeds import stream
from gendistill.teacher import RealSubset


class Told(Counter):
    """Progress that keeps what it was told, and of whom."""

    def __init__(self, what: str = "learners", said: list[tuple[str, int, int]] | None = None) -> None:
        super().__init__(what, "updates")
        self.said = [] if said is None else said

    def __call__(self, done: int, total: int) -> None:
        self.said.append((self.what, done, total))

    def about(self, what: str) -> Told:
        return Told(what, self.said)


@pytest.mark.parametrize("named", [True, False])
def test_every_judge_says_how_far_it_is_and_which_it_is(tiny_data: RealData, named: bool) -> None:
    teacher = RealSubset.random(tiny_data.train, tiny_data.description, generator=stream(0, "x"), images_per_class=2)
    told = Told()
    progress: Any = told if named else lambda done, total: told(done, total)
    learner = {"class_path": "gendistill.nets.learners.MLP", "init_args": {"width": 4, "depth": 1}}
    options = {"updates": [3], "seeds": 1, "lr": 0.05, "batch_size": 6, "progress": progress, "learner": learner}
    other = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 1}}
    judged(teacher, tiny_data, learning=options, fidelity=None, continual=1, robust=True, others=[other])
    names = list(dict.fromkeys(what for what, _, _ in told.said))
    wanted = ["learners", "ConvNet(width=4, depth=1)", "continual learning", "robust scores"]
    assert names == (wanted if named else ["learners"])
    assert told.said[0] == ("learners", 0, 3) and ("learners", 3, 3) in told.said
    ends = [what for what, done, total in told.said if done == total]
    assert ends.count("learners") == (1 if named else len(ends)) and len(ends) > 5
