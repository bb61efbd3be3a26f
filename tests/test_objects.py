from __future__ import annotations

import pytest
from torch import nn

from gendistill.declared import accepted_arguments
from gendistill.errors import UserError, did_you_mean
from gendistill.nets.learners import ConvNet
from gendistill.objects import build

CONVNET = "gendistill.nets.learners.ConvNet"


class Base:
    def __init__(self, *, size: int, rate: float = 0.1) -> None:
        self.size, self.rate = size, rate


class Derived(Base):
    def __init__(self, *, extra: str = "x", **kwargs: object) -> None:
        super().__init__(**kwargs)  # type: ignore[arg-type]
        self.extra = extra


class Closed(Derived):
    def __init__(self, only: int = 1) -> None:
        super().__init__(size=only)


class Fixed(Base):
    def __init__(self, **kwargs: object) -> None:
        super().__init__(size=3, **kwargs)  # type: ignore[arg-type]


def test_what_a_base_asks_for_may_be_given_by_the_class_itself() -> None:
    assert build(f"{__name__}.Fixed", Base).size == 3
    with pytest.raises(UserError, match="needs a value for: size"):
        build(f"{__name__}.Derived", Base)
    with pytest.raises(UserError, match="refuses its arguments"):
        build({"class_path": f"{__name__}.Fixed", "init_args": {"size": 4}}, Base)


def test_a_built_object_carries_the_spec_that_builds_it_again() -> None:
    first = build(
        {"class_path": CONVNET, "init_args": {"width": 8}}, nn.Module, num_classes=3, image_shape=(1, 8, 8), nz=5
    )
    second = build(first.spec, nn.Module)  # type: ignore[arg-type]
    assert isinstance(second, ConvNet)
    assert [p.shape for p in second.parameters()] == [p.shape for p in first.parameters()]
    assert "nz" not in first.spec["init_args"]  # type: ignore[index,operator]


def test_what_the_spec_says_wins_over_what_the_program_provides() -> None:
    spec = {"class_path": f"{__name__}.Base", "init_args": {"size": 7}}
    assert build(spec, Base, size=3).size == 7


def test_arguments_are_followed_through_kwargs_but_not_past_a_closed_signature() -> None:
    assert list(accepted_arguments(Derived)) == ["extra", "size", "rate"]
    assert list(accepted_arguments(Closed)) == ["only"]


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ("ConvNet", "not a dotted path"),
        ("gendistill.nets.learners.ConvNett", "did you mean 'ConvNet'"),
        ("gendistill.nowhere.Thing", "cannot be imported"),
        ("os.system", "not a subclass"),
        ({"class_path": CONVNET, "init_args": {"widht": 8}}, "did you mean 'width'"),
        ({"class_path": CONVNET}, "needs a value for: num_classes, image_shape"),
        ({"class": CONVNET}, "expected class_path and init_args"),
        ({"class_path": f"{__name__}.Base", "init_args": {"size": 1, "rate": 2, "colour": 3}}, "it takes: size, rate"),
    ],
)
def test_a_wrong_spec_gets_one_sentence(spec: object, sentence: str) -> None:
    base = Base if isinstance(spec, dict) and "test_objects" in str(spec) else nn.Module
    with pytest.raises(UserError, match=sentence) as caught:
        build(spec, base)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_did_you_mean_is_silent_when_nothing_is_near() -> None:
    assert did_you_mean("temprature", ["temperature", "rate"]) == "did you mean 'temperature'? "
    assert did_you_mean("xyz", ["temperature", "rate"]) == ""
