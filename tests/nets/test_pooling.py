from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gendistill.nets.pooling import SMALL, AveragePool


@pytest.mark.parametrize("side", [(8, 8), (4, 4), (2, 2), (7, 5), (4, 16), (9, 9)])
def test_equals_torch_forwards_and_backwards_twice(side):
    pool = AveragePool(side)
    assert (pool.matrix is not None) == (side[0] * side[1] <= SMALL)
    images = torch.randn(2, 3, *side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    images.requires_grad_()
    torch.testing.assert_close(pool(images), F.avg_pool2d(images, 2))
    assert torch.autograd.gradcheck(pool, images)
    assert torch.autograd.gradgradcheck(lambda x: pool(x).pow(3), images)


def test_maps_of_another_size_are_pooled_too():
    images = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(AveragePool((8, 8))(images), F.avg_pool2d(images, 2))


def test_adds_nothing_to_the_state():
    assert not AveragePool((8, 8)).state_dict()
