from __future__ import annotations

import pytest
import torch

from gendistill.data.description import Description, symmetric
from gendistill.errors import UserError
from gendistill.evaluation.rates import candidates
from gendistill.teacher import StoredImages


def test_learned_rates_go_with_the_optimiser_that_they_were_learned_for() -> None:
    description = Description("tiny", ("a", "b"), (1, 4, 4), symmetric(1))
    rates = torch.tensor([0.5, 0.25])
    teacher = StoredImages(
        torch.zeros(2, 1, 4, 4), torch.arange(2), description, learning_rates=rates, metadata={"optimizer": "adam"}
    )
    assert [one.name for one in candidates(None, teacher, 2, optimizer="adam")] == ["teacher"]
    assert "teacher" not in [one.name for one in candidates(None, teacher, 2, optimizer="sgd")]
    with pytest.raises(UserError, match="are for adam, not sgd"):
        candidates("teacher", teacher, 2, optimizer="sgd")
