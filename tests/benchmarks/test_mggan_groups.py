from __future__ import annotations

from benchmarks.mggan_groups import measure


def test_groups_cost_what_as_many_runs_do() -> None:
    found = measure(groups=2, rounds=2, scale="smoke")
    assert found["groups"] == 2 and found["groups to runs"] > 0
    assert found["an exchange as a part of a step"] < 0.1
