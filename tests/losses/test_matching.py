from __future__ import annotations

import math

import pytest
import torch

from gendistill.errors import UserError
from gendistill.losses.matching import feature_matching, gradient_distance


def test_feature_matching_is_the_squared_distance_of_class_means() -> None:
    real = torch.tensor([[[1.0, 0.0], [3.0, 0.0]], [[0.0, 0.0], [0.0, 4.0]]])  # class means (2, 0) and (0, 2)
    synthetic = torch.tensor([[[2.0, 3.0]], [[4.0, 2.0]]])
    assert feature_matching(real, synthetic).item() == pytest.approx(9.0 + 16.0)


def test_feature_matching_does_not_mix_classes() -> None:
    real = torch.zeros(2, 1, 1)
    synthetic = torch.tensor([[[1.0]], [[-1.0]]])  # the mean over both classes agrees, the class means do not
    assert feature_matching(real, synthetic).item() == pytest.approx(2.0)


def test_cosine_is_taken_for_each_output_unit_and_skips_biases() -> None:
    real = [torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([1.0, 1.0])]
    synthetic = [torch.tensor([[0.0, 5.0], [0.0, -1.0]]), torch.tensor([-9.0, 9.0])]
    assert gradient_distance(real, synthetic).item() == pytest.approx(1.0 + 2.0, abs=1e-5)


def test_l2_and_mse_take_the_whole_difference() -> None:
    real = [torch.tensor([[1.0, 0.0]]), torch.tensor([2.0])]
    synthetic = [torch.tensor([[0.0, 0.0]]), torch.tensor([0.0])]
    assert gradient_distance(real, synthetic, "mse").item() == pytest.approx(5.0)
    assert gradient_distance(real, synthetic, "l2").item() == pytest.approx(math.sqrt(5.0))


def test_l2_has_a_finite_gradient_where_the_gradients_agree() -> None:
    synthetic = torch.ones(2, 2, requires_grad=True)
    gradient_distance([torch.ones(2, 2)], [synthetic], "l2").backward()
    assert synthetic.grad is not None and synthetic.grad.isfinite().all()


@pytest.mark.parametrize("distance", ["cosine_layerwise", "l2", "mse"])
def test_gradcheck(distance: str) -> None:
    generator = torch.Generator().manual_seed(0)
    real = torch.randn(3, 4, dtype=torch.float64, generator=generator)
    synthetic = torch.randn(3, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: gradient_distance([real], [s], distance), (synthetic,))


def test_an_unknown_distance_is_refused() -> None:
    with pytest.raises(UserError, match="cosine_layerwise"):
        gradient_distance([], [], "cosine")
