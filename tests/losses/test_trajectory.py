from __future__ import annotations

import torch

from gendistill.losses.trajectory import ParameterDistance, parameter_distance, squared_distance
from gendistill.seeds import stream


def parameters(name: str) -> dict[str, torch.Tensor]:
    generator = stream(0, name)
    return {
        "weight": torch.randn(3, 4, generator=generator, dtype=torch.float64),
        "bias": torch.randn(3, generator=generator, dtype=torch.float64),
    }


def test_the_distance_is_that_of_the_flat_vectors() -> None:
    student, target, start = (parameters(name) for name in ("student", "target", "start"))
    one, other, first = (torch.cat([value.flatten() for value in named.values()]) for named in (student, target, start))
    torch.testing.assert_close(squared_distance(student, target), (one - other).square().sum())
    expected = (one - other).square().sum() / (first - other).square().sum()
    torch.testing.assert_close(parameter_distance(student, target, start), expected)


def test_it_is_one_at_the_start_and_nothing_at_the_target() -> None:
    target, start = parameters("target"), parameters("start")
    assert parameter_distance(start, target, start) == 1
    assert parameter_distance(target, target, start) == 0
    halfway = {name: (target[name] + start[name]) / 2 for name in target}
    torch.testing.assert_close(float(parameter_distance(halfway, target, start)), 0.25)


def test_the_outer_loss_looks_after_the_last_step_only() -> None:
    student, target, start = (parameters(name) for name in ("student", "target", "start"))
    loss = ParameterDistance(3, target, start)
    assert loss(1, student) is None and loss(2, student) is None
    found = loss(3, student | {"buffer": torch.ones(2)})  # what the target does not name is not compared
    assert found is not None
    torch.testing.assert_close(found, parameter_distance(student, target, start))
