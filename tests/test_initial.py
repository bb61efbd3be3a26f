"""First weights that learners share: which layers, which values, drawn once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gendistill import initial
from gendistill.data.description import Description, Normalisation
from gendistill.errors import UserError
from gendistill.initial import Initial

DATA = Description("squares", ("a", "b", "c"), (1, 8, 8), Normalisation((0.5,), (0.5,)))
LEARNERS = "gendistill.nets.learners"


def spec(normalisation: str = "layer") -> dict[str, Any]:
    return {"class_path": f"{LEARNERS}.ConvNet", "init_args": {"width": 4, "depth": 2, "normalisation": normalisation}}


class Tokens(nn.Module):
    """A learner with something drawn that is no layer."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.token, self.table = nn.Parameter(torch.randn(4)), nn.Embedding(3, 4)
        self.head = nn.Linear(64, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.flatten(1)) + self.token.sum() + self.table.weight.sum()


@pytest.mark.parametrize("weights", ["torch", "xavier"])
@pytest.mark.parametrize("normalisation", ["layer", "instance", "batch"])
def test_layers_are_counted_without_normalisations(normalisation: str, weights: str) -> None:
    with pytest.raises(UserError, match="this learner has 3 layers: give 0 to 3, or all"):
        Initial.make(spec(normalisation), DATA, fixed_layers=4, seed=0, name="shared", weights=weights)
    plan = Initial.make(spec(normalisation), DATA, fixed_layers=2, seed=0, name="shared", weights=weights)
    one, other = (plan.build(DATA, seed, "learner") for seed in (1, 2))
    for place in (0, 4):
        assert torch.equal(one.blocks[place].weight, other.blocks[place].weight)
    assert not torch.equal(one.classifier.weight, other.classifier.weight)
    for place in (1, 5):  # scales and shifts as a new layer has them
        norm = one.blocks[place]
        assert bool((norm.weight == 1).all()) and not norm.bias.any()
    assert (not one.blocks[0].bias.any()) == (weights == "xavier")


def test_all_is_the_whole_network() -> None:
    plan = Initial.make({"class_path": f"{__name__}.Tokens"}, DATA, fixed_layers="all", seed=0, name="shared")
    one, other = (plan.build(DATA, seed, "learner").state_dict() for seed in (1, 2))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert "only layer" not in plan.sentence(DATA) and "fixed" in plan.sentence(DATA)
    free = Initial.make({"class_path": f"{__name__}.Tokens"}, DATA, fixed_layers=0, seed=0, name="shared")
    one, other = (free.build(DATA, seed, "learner").state_dict() for seed in (1, 2))
    assert not any(torch.equal(value, other[name]) for name, value in one.items())


def test_shared_weights_are_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Initial.make(spec(), DATA, fixed_layers=1, seed=0, name="shared")
    drawn: list[str] = []
    build = initial.build_learner

    def counted(given: Any, **options: Any) -> Any:
        drawn.append("network")
        return build(given, **options)

    monkeypatch.setattr(initial, "build_learner", counted)
    first = plan.build(DATA, 1, "learner")
    with torch.no_grad():
        first.blocks[0].weight.zero_()  # a learner's own: what is kept does not move with it
    second = plan.build(DATA, 1, "learner")
    assert len(drawn) == 3 and second.blocks[0].weight.any()
    again = Initial.make(spec(), DATA, fixed_layers=1, seed=0, name="shared").build(DATA, 1, "learner").state_dict()
    assert all(torch.equal(value, again[name]) for name, value in second.state_dict().items())
    assert plan == Initial(**plan.metadata()[initial.KEY]) and "_kept" not in plan.metadata()[initial.KEY]
