from __future__ import annotations

import math

import pytest
import torch

from gendistill.errors import DivergenceError
from gendistill.runs.metrics import FOLD_AT, Metrics
from gendistill.runs.processes import Processes


def test_means_are_over_the_steps_that_have_the_metric() -> None:
    metrics = Metrics(Processes())
    for step in range(1, 7):
        values = {"a": torch.tensor(float(step))}
        if step % 3 == 0:
            values["b"] = torch.tensor([step], dtype=torch.float64)
        metrics.add(step, values)
    metrics.add(7, {"a": 0.5})
    assert metrics.flush() == {"a": pytest.approx((21 + 0.5) / 7), "b": 4.5}
    assert metrics.flush() == {}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_the_first_bad_metric_is_named_with_its_step(bad: float) -> None:
    metrics = Metrics(Processes())
    for step in range(1, 10):
        metrics.add(step, {"good": torch.tensor(1.0), "loss": torch.tensor(bad if step >= 5 else 1.0)})
    with pytest.raises(DivergenceError, match="'loss' became NaN or infinite at step 5"):
        metrics.fold()


def test_a_metric_keeps_no_graph() -> None:
    metrics = Metrics(Processes())
    weight = torch.ones(1, requires_grad=True)
    metrics.add(1, {"loss": (2 * weight).sum()})
    assert metrics.flush() == {"loss": 2.0}


def test_an_interval_continues_in_another_object() -> None:
    first, second = Metrics(Processes()), Metrics(Processes())
    first.add(1, {"a": torch.tensor(1.0)})
    first.fold()
    second.load_state_dict(first.state_dict())
    second.add(2, {"a": torch.tensor(3.0)})
    assert second.flush() == {"a": 2.0}


def test_much_waiting_is_full() -> None:
    metrics = Metrics(Processes())
    for step in range(FOLD_AT - 1):
        metrics.add(step, {"a": 0.0})
    assert not metrics.full
    metrics.add(FOLD_AT, {"a": 0.0})
    assert metrics.full
    metrics.fold()
    assert not metrics.full
