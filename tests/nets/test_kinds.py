"""What is a layer, and how its weights are drawn, whatever they are made of."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune

from gendistill.errors import UserError
from gendistill.nets.kinds import draw_xavier, layers
from gendistill.nets.learners import NORMALISATIONS, ConvNet
from gendistill.nets.resnet import ResNet
from gendistill.nets.weight_normalised import MeanOnlyBatchNorm, WeightNormConvNet
from gendistill.seeds import initialisation

pytestmark = pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")


class Scale(nn.Module):
    """A scale of one's own, with the dimensions of a filter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 4, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Filters(nn.Module):
    """Filters of one's own."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(4, 4, 3, 3)), nn.Parameter(torch.ones(4))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight, self.bias)


@pytest.mark.parametrize("normalisation", NORMALISATIONS)
def test_a_convnets_layers_are_its_convolutions_and_its_classifier(normalisation: str) -> None:
    net = ConvNet(3, (1, 8, 8), width=4, depth=2, normalisation=normalisation)
    assert [type(layer) for layer in layers(net)] == [nn.Conv2d, nn.Conv2d, nn.Linear]
    kept = {name: value.clone() for name, value in net.state_dict().items() if name.split(".")[1] in ("1", "5")}
    for layer in layers(net):
        draw_xavier(layer)
    assert all(torch.equal(value, net.state_dict()[name]) for name, value in kept.items())
    assert bool(kept) == (normalisation != "none")


def test_what_is_no_layer() -> None:
    no = [
        nn.LayerNorm((4, 3, 3)), nn.GroupNorm(2, 4), nn.BatchNorm2d(4), nn.BatchNorm1d(4), nn.RMSNorm((3, 3)),
        nn.InstanceNorm2d(4, affine=True), nn.Embedding(5, 3), nn.EmbeddingBag(5, 3), nn.PReLU(4), Scale(),
        MeanOnlyBatchNorm(4), nn.SyncBatchNorm(4), nn.LocalResponseNorm(2),
    ]  # fmt: skip
    assert layers(nn.Sequential(*no)) == []
    yes = [nn.Linear(2, 3), nn.ConvTranspose1d(2, 3, 2), nn.Bilinear(2, 3, 4), nn.GRU(2, 3), nn.LSTMCell(2, 3)]
    yes.append(Filters())
    assert layers(nn.Sequential(*no, *yes)) == yes
    assert len(layers(WeightNormConvNet(3, (1, 8, 8), widths=[3, 4], hidden=5))) == 4
    with torch.no_grad():
        zeros = nn.Linear(2, 3)
        zeros.weight.zero_()
    assert layers(zeros) == [zeros]
    assert not any("Norm" in type(layer).__name__ for layer in layers(ResNet(3, (3, 32, 32))))


def convolution() -> nn.Conv2d:
    return nn.Conv2d(6, 12, 3)


MADE: dict[str, Callable[[], nn.Module]] = {
    "plain": convolution,
    "weight norm": lambda: parametrizations.weight_norm(convolution()),
    "weight norm of columns": lambda: parametrizations.weight_norm(convolution(), dim=3),
    "hooked weight norm": lambda: torch.nn.utils.weight_norm(convolution()),
    "own weight norm": lambda: WeightNormConvNet(3, (6, 8, 8), widths=[12], weight_norm=True).convolutions[0],
    "pruned": lambda: prune.identity(convolution(), "weight"),
    "filters": Filters,
}


@pytest.mark.parametrize("kind", MADE)
def test_the_weight_that_a_layer_works_with_is_drawn(kind: str) -> None:
    """The answer to images is that of a plain layer with the weight drawn in the same way."""
    layer = MADE[kind]()
    channels = 4 if kind == "filters" else 6
    outputs = 4 if kind == "filters" else 12
    with initialisation(0, "weights"):
        draw_xavier(layer)
    with initialisation(0, "weights"):
        wanted = nn.init.xavier_normal_(torch.empty(outputs, channels, 3, 3))
    x = torch.randn(2, channels, 8, 8)
    padding = 1 if kind == "own weight norm" else 0
    torch.testing.assert_close(layer(x), nn.functional.conv2d(x, wanted, padding=padding), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("normalise", [parametrizations.spectral_norm, torch.nn.utils.spectral_norm])
def test_under_spectral_norm_what_is_normalised_is_drawn(normalise: Callable[[nn.Module], nn.Module]) -> None:
    layer = normalise(convolution())
    with initialisation(0, "weights"):
        draw_xavier(layer)
    with initialisation(0, "weights"):
        wanted = nn.init.xavier_normal_(torch.empty(12, 6, 3, 3))
    assert any(torch.equal(parameter, wanted) for parameter in layer.parameters())


def test_matrices_of_gates_have_each_the_variance_of_their_own_size() -> None:
    with initialisation(0, "weights"):
        cells = [nn.LSTM(40, 60), nn.GRUCell(40, 60), nn.MultiheadAttention(60, 2), nn.LSTM(40, 60, proj_size=20)]
        for cell in cells:
            for layer in layers(cell):
                draw_xavier(layer)
    for cell in cells:
        for name, parameter in cell.named_parameters():
            if "bias" in name:
                assert not parameter.any()
                continue
            rows = 20 if "hr" in name else 60
            wanted = (2 / (rows + parameter.shape[1])) ** 0.5
            assert abs(float(parameter.detach().std()) / wanted - 1) < 0.05, name


class Computed(nn.Linear):
    """A weight that is made in a way that nobody knows of."""

    def __init__(self) -> None:
        super().__init__(3, 4)
        half = self.weight.detach() / 2
        del self.weight
        self.root = nn.Parameter(half)
        self.weight = 2 * self.root


def test_a_weight_that_cannot_be_given_is_refused() -> None:
    with pytest.raises(UserError, match=r"Computed is computed.*put_weight\(value\).*weights to torch"):
        draw_xavier(Computed())
