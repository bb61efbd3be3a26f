from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gendistill import unroll
from gendistill.data.description import Description, Normalisation
from gendistill.data.embedding import PAD, UNKNOWN, Embedding
from gendistill.errors import UserError
from gendistill.nets.kinds import layers
from gendistill.nets.learners import Learner, default_learner
from gendistill.nets.text import BagOfWords, TextConvNet, TextGRU
from gendistill.seeds import initialisation

SHAPE = (1, 6, 4)
NETWORKS: list[type[TextConvNet] | type[BagOfWords] | type[TextGRU]] = [TextConvNet, BagOfWords, TextGRU]


def made(network: type[Learner], **options: int) -> Learner:
    with initialisation(0, network.__name__):
        return network(num_classes=3, image_shape=SHAPE, width=5, **options)  # type: ignore[call-arg]


def sentences(count: int = 2, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(count, *SHAPE, generator=torch.Generator().manual_seed(1)).to(dtype)


def test_filters_answer_as_the_slow_obvious_sum_says() -> None:
    network, x = made(TextConvNet), sentences()
    found = network.features(x)
    slow = []
    for convolution, size in zip(network.filters, (3, 4, 5), strict=True):
        padded = F.pad(x[:, 0], (0, 0, size // 2, size // 2))
        windows = [padded[:, place : place + size] for place in range(padded.shape[1] - size + 1)]
        weight = convolution.weight  # (W, D, size)
        answers = [torch.einsum("nsd,wds->nw", window, weight) + convolution.bias for window in windows]
        slow.append(torch.stack(answers).amax(0).clamp(min=0))
    assert torch.allclose(found, torch.cat(slow, 1), atol=1e-6)
    assert network(x).shape == (2, 3)


def test_a_sentence_of_one_word_is_long_enough_for_all_filters() -> None:
    assert TextConvNet(2, (1, 1, 4), width=3)(torch.randn(2, 1, 1, 4)).shape == (2, 2)


def test_a_bag_of_words_does_not_heed_their_order() -> None:
    network, x = made(BagOfWords), sentences()
    assert torch.allclose(network(x), network(x.flip(2)), atol=1e-6)
    assert not torch.allclose(made(TextConvNet)(x), made(TextConvNet)(x.flip(2)), atol=1e-3)


def test_the_gated_unit_is_torchs() -> None:
    network, x = made(TextGRU), sentences()
    reference = nn.GRU(4, 5, batch_first=True)
    with torch.no_grad():
        reference.weight_ih_l0.copy_(network.word.weight)
        reference.weight_hh_l0.copy_(network.state.weight)
        reference.bias_ih_l0.copy_(network.word.bias)
        reference.bias_hh_l0.copy_(network.state.bias)
    assert torch.allclose(network.states(x), reference(x[:, 0])[0], atol=1e-6)


@pytest.mark.parametrize("network", NETWORKS)
def test_distillation_through_a_text_learner_has_the_gradient_of_differences(network: type[Learner]) -> None:
    learner, real = made(network).double(), sentences(4, torch.float64)
    labels, truth = torch.tensor([0, 2]), torch.tensor([0, 1, 2, 1])
    rates = torch.full((2,), 0.1, dtype=torch.float64)

    def outer(x: torch.Tensor) -> torch.Tensor:
        def look(step: int, parameters: unroll.Parameters) -> torch.Tensor | None:
            return F.cross_entropy(unroll.call(learner, parameters, real), truth) if step == 2 else None

        return unroll.unrolled_loss(learner, [x, x], [labels] * 2, rates, torch.zeros_like(rates), look).loss

    assert torch.autograd.gradcheck(outer, sentences(2, torch.float64).requires_grad_(), eps=1e-5, atol=1e-6)


@pytest.mark.parametrize("network", NETWORKS)
def test_learners_can_be_stacked_and_their_layers_named(network: type[Learner]) -> None:
    learners, x = [made(network), made(network)], sentences()
    together = unroll.Together(learners)
    assert torch.allclose(together(x)[1], learners[1](x), atol=1e-6)
    assert layers(learners[0])[-1] is learners[0].classifier


def test_wrong_sizes_get_one_sentence() -> None:
    for network in NETWORKS:
        with pytest.raises(UserError, match="width is 0"):
            network(2, SHAPE, width=0)
    with pytest.raises(UserError, match="sizes"):
        TextConvNet(2, SHAPE, sizes=(3, 0))


@pytest.mark.parametrize(("size", "width"), [(16, 32), (100, 100)])
def test_sentences_have_a_learner_of_their_own(size: int, width: int) -> None:
    vectors = torch.ones(3, size)
    vectors[0] = 0
    words = Normalisation.of_words(Embedding((PAD, UNKNOWN, "a"), vectors))
    spec = default_learner(Description("text", ("no", "yes"), (1, 9, size), words))
    assert spec == {"class_path": "gendistill.nets.text.TextConvNet", "init_args": {"width": width}}
