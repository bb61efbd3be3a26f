from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gendistill.nets.pooling import SMALL, AveragePool


@pytest.mark.parametrize("side", [(8, 8), (4, 4), (2, 2), (7, 5), (4, 16), (9, 9), (16, 8), (10, 7)])
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


@pytest.mark.parametrize("shape", [(3, 4, 32, 32), (2, 5, 14, 14), (2, 3, 15, 9), (1, 2, 65, 2)])
def test_large_maps_are_pooled_as_torch_pools_them_to_the_bit(shape):
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(shape, generator=generator, requires_grad=True)
    ours, theirs = AveragePool(shape[-2:])(maps), F.avg_pool2d(maps, 2)
    assert torch.equal(ours, theirs)
    weight = torch.randn(ours.shape, generator=generator, requires_grad=True)
    found = [torch.autograd.grad((y * weight).sum(), maps, create_graph=True)[0] for y in (ours, theirs)]
    assert torch.equal(*found)
    direction = torch.randn(shape, generator=generator)
    torch.testing.assert_close(*(torch.autograd.grad((one * direction).sum(), weight)[0] for one in found))


def test_large_maps_of_stacked_networks():
    maps = torch.randn(3, 2, 4, 12, 12, generator=torch.Generator().manual_seed(0))
    pool = AveragePool((12, 12))

    def slope(x):
        return torch.func.grad(lambda y: pool(y).pow(2).sum())(x)

    for function in (pool, slope):
        for place in (0, 1, 2):
            expected = torch.stack([function(x) for x in maps.unbind(place)], place)
            assert torch.equal(torch.func.vmap(function, place, place)(maps), expected)


@pytest.mark.parametrize("change", [lambda x: x.bfloat16(), lambda x: x.to(memory_format=torch.channels_last)])
def test_what_torch_does_well_is_left_to_it(change):
    maps = change(torch.randn(2, 4, 12, 12, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(AveragePool((12, 12))(maps), F.avg_pool2d(maps, 2))
