"""Networks for points: shapes, parameters of the published recipes, maxout, the starts, refusals."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gendistill.errors import UserError
from gendistill.nets.points import (
    ConditionalPointDiscriminator,
    ConditionalPointGenerator,
    Maxout,
    PointDiscriminator,
    PointGenerator,
)


def test_the_published_networks() -> None:
    made, judge = PointGenerator(), PointDiscriminator()
    assert made.count_params()[0] == 256 * 128 + 128 + 128 * 128 + 128 + 128 * 2 + 2
    assert judge.count_params()[0] == 2 * 128 + 128 + 128 * 128 + 128 + 128 + 1
    made = PointGenerator(2, [400] * 4, normalisation="batch", init_std=0.02)
    judge = PointDiscriminator([200] * 3, maxout=5, init_std=0.02)
    assert made.count_params()[0] == 2 * 400 + 3 * 400 * 400 + 4 * 2 * 400 + 400 * 2 + 2
    assert judge.count_params()[0] == 5 * (2 * 200 + 200) + 2 * 5 * (200 * 200 + 200) + 200 + 1
    weights = torch.cat([layer.weight.flatten() for layer in made.modules() if isinstance(layer, nn.Linear)])
    assert weights.std().item() == pytest.approx(0.02, rel=0.02)
    assert all(not layer.bias.any() for layer in judge.modules() if isinstance(layer, nn.Linear))


def test_points_come_out_and_logits_and_nothing_is_squashed() -> None:
    made, judge = PointGenerator(5, [7]), PointDiscriminator([7])
    points = made(1e4 * torch.randn(6, 5))
    assert points.shape == (6, 2, 1, 1) and points.abs().max() > 10
    assert judge(points).shape == (6, 1)
    told, asked = ConditionalPointGenerator(3, 5, [7]), ConditionalPointDiscriminator(3, [7])
    latents, labels = torch.randn(3, 5), torch.arange(3)
    assert not torch.equal(told(latents, labels), told(latents, labels.flip(0)))
    assert not torch.equal(asked(points[:3], labels), asked(points[:3], labels.flip(0)))
    assert PointDiscriminator([7], image_shape=(6, 1, 1))(torch.randn(4, 6, 1, 1)).shape == (4, 1)


def test_maxout_is_the_largest_of_its_pieces() -> None:
    layer, x = Maxout(3, 4, 5), torch.randn(6, 3)
    every = x @ layer.linear.weight.T + layer.linear.bias
    slow = torch.stack([every[:, unit * 5 : unit * 5 + 5].max(1).values for unit in range(4)], 1)
    torch.testing.assert_close(layer(x), slow)


def test_batch_norm_is_torchs() -> None:
    made = PointGenerator(4, [6], normalisation="batch")
    reference = nn.Sequential(nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 2))
    reference.load_state_dict(dict(zip(reference.state_dict(), made.trunk.state_dict().values(), strict=True)))
    x = torch.randn(8, 4)
    for training in (True, False):
        torch.testing.assert_close(made.train(training)(x).flatten(1), reference.train(training)(x))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"widths": []}, "give the units of each hidden layer"),
        ({"widths": [0]}, "widths"),
        ({"activation": "reul"}, "did you mean 'relu'"),
        ({"normalisation": "layer"}, "choose among: none, batch"),
        ({"maxout": 1}, "number of pieces"),
        ({"maxout": 2, "normalisation": "batch"}, "do not go together"),
        ({"init_std": 0.0}, "above 0"),
        ({"image_shape": (1, 8, 8)}, "choose data such as ring:d2gan"),
        ({"image_shape": (3, 1, 1)}, "networks for points"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        PointDiscriminator(**options)  # type: ignore[arg-type]
