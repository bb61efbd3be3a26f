from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from small_run import same
from torch import nn

from gendistill.runs.attributes import capture, find, holds_state, is_plain, not_finite, restore


def test_containers_are_restored_in_place() -> None:
    nets = [nn.Linear(2, 2), nn.Linear(2, 2)]
    leaf = torch.randn(3, requires_grad=True)
    value: dict[str, Any] = {"nets": nets, "leaf": leaf, "count": 3, "none": None, "pair": (torch.ones(2), 1.5)}
    state = torch.load(_through_a_file(capture(value)), weights_only=True)
    with torch.no_grad():
        for parameter in [*nets[0].parameters(), *nets[1].parameters(), leaf]:
            parameter.zero_()
    value["count"] = 0
    restored = restore(value, state)
    assert restored is value and value["nets"] is nets and value["leaf"] is leaf and value["count"] == 3
    assert leaf.requires_grad and isinstance(value["pair"], tuple)
    same(capture(value), state)


def _through_a_file(state: Any) -> Any:
    import io

    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    return buffer


def test_a_tensor_that_has_grown_is_replaced() -> None:
    assert torch.equal(restore(torch.zeros(2), torch.ones(3)), torch.ones(3))
    with pytest.raises(ValueError, match=r"the shape \(3,\), expected \(2,\)"):  # what is trained is another one then
        restore(torch.zeros(2, requires_grad=True), torch.ones(3))


def test_a_list_takes_the_saved_length() -> None:
    assert restore([1.0], [1.0, 2.0, 3.0]) == [1.0, 2.0, 3.0]
    assert restore([1.0, 2.0], []) == []


def test_a_generator_is_restored_where_its_kind_fits() -> None:
    generator = torch.Generator().manual_seed(1)
    state = capture(generator)
    drawn = torch.rand(4, generator=generator)
    assert torch.equal(torch.rand(4, generator=restore(generator, state)), drawn)
    restore(generator, torch.zeros(16, dtype=torch.uint8))  # of a GPU: it stays as it is


def test_what_is_state() -> None:
    for value in (nn.Linear(1, 1), torch.zeros(1), [torch.zeros(1)], {"a": (torch.Generator(),)}):
        assert holds_state(value) and not is_plain(value)
    for value in (1, "a", None, [1, (2.5, {"b": True})]):
        assert is_plain(value) and not holds_state(value)
    for value in (object(), nn.Linear, [print]):
        assert not is_plain(value) and not holds_state(value)


def test_objects_are_found_with_their_names() -> None:
    first, second = nn.Linear(1, 1), nn.Linear(1, 1)
    values = {"a": first, "b": [1, {"c": second}], "d": 3}
    assert dict(find(nn.Module, values)) == {"a": first, "b.1.c": second}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_bad_tensors_are_named(bad: float) -> None:
    net = nn.BatchNorm1d(2)
    state = {"net": net.state_dict(), "list": [torch.zeros(2), torch.zeros(0)], "whole": torch.tensor(3)}
    assert not_finite(state) == []
    net.running_mean[1] = bad  # type: ignore[index]
    state["list"][1] = torch.tensor(bad)
    assert not_finite(state) == ["net.running_mean", "list.1"]
