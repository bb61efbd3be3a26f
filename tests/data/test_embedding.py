from __future__ import annotations

import math

import pytest
import torch

from gendistill.data.description import Description, Normalisation, check_fits
from gendistill.data.embedding import PAD, UNKNOWN, Embedding
from gendistill.errors import UserError

WORDS = (PAD, UNKNOWN, "good", "bad", "film")
VECTORS = torch.tensor([[0.0, 0.0], [1.0, 1.0], [3.0, 0.0], [-3.0, 0.0], [0.0, 0.5]])


def table() -> Embedding:
    return Embedding(WORDS, VECTORS)


def test_tokens_become_rows_of_vectors() -> None:
    tokens = torch.tensor([[2, 4, 0], [3, 1, 2]], dtype=torch.int32).view(2, 1, 3, 1)
    embedded = table().apply(tokens)
    assert embedded.shape == (2, 1, 3, 2)
    assert torch.equal(embedded[0, 0], VECTORS[[2, 4, 0]]) and torch.equal(embedded[1, 0], VECTORS[[3, 1, 2]])


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_the_word_nearest_to_its_own_vector_is_itself(metric: str) -> None:
    generator = torch.Generator().manual_seed(0)
    words = (PAD, UNKNOWN, *(f"w{number}" for number in range(500)))
    vectors = torch.randn(502, 7, generator=generator)
    vectors[0] = 0
    own = Embedding(words, vectors)
    tokens, distances = own.nearest(vectors.view(2, 251, 7), metric=metric)
    assert torch.equal(tokens.flatten(), torch.arange(502))
    assert distances.abs().max() < 1e-6


def test_nearest_words_are_those_of_the_slow_search() -> None:
    generator = torch.Generator().manual_seed(1)
    own = Embedding((PAD, UNKNOWN, *"abcdefgh"), torch.cat((torch.zeros(1, 3), torch.randn(9, 3, generator=generator))))
    points = torch.randn(6, 3, generator=generator)
    tokens, distances = own.nearest(points, 3)
    for point, found, far in zip(points.tolist(), tokens.tolist(), distances.tolist(), strict=True):
        slow = sorted((math.dist(point, row), place) for place, row in enumerate(own.vectors.tolist()))[:3]
        assert found == [place for _, place in slow] and far == pytest.approx([value for value, _ in slow], rel=1e-5)


def test_cosine_asks_for_the_angle_and_euclid_for_the_place() -> None:
    point = torch.tensor([[0.0, 9.0], [0.2, 0.0]])
    assert table().nearest(point, metric="cosine")[0].flatten().tolist() == [4, 2]
    assert table().nearest(point)[0].flatten().tolist() == [1, 0]  # a short vector is nearest to the padding's


def test_a_scaled_table_has_a_mean_square_of_one_and_the_same_angles() -> None:
    raw = torch.randn(40, 5, generator=torch.Generator().manual_seed(2)) * 7
    scaled = Embedding.scaled((UNKNOWN, *(f"w{number}" for number in range(39))), raw)
    assert scaled.words[:2] == (PAD, UNKNOWN) and not scaled.vectors[0].any()
    assert scaled.vectors[1:].square().mean() == pytest.approx(1.0, rel=1e-5)
    assert torch.allclose(scaled.vectors[1:] / raw, (scaled.vectors[1, 0] / raw[0, 0]).expand(40, 5))


def test_tensors_bring_the_table_back_with_every_word() -> None:
    own = Embedding((PAD, UNKNOWN, "naïve", "it's", "日本"), VECTORS)
    again = Embedding.from_tensors(own.tensors())
    assert again == own and again.words == own.words and hash(again) == hash(own)
    assert own != table() and table() != Embedding(WORDS, VECTORS * 2)


@pytest.mark.parametrize(
    ("words", "vectors", "sentence"),
    [
        (WORDS[:4], VECTORS, "4 words"),
        (("a", *WORDS[1:]), VECTORS, "<pad>, <unk>"),
        ((*WORDS[:4], "good"), VECTORS, "each once"),
        (WORDS, VECTORS + 1, "that of <pad> is zero"),
        (WORDS, VECTORS / 0, "finite"),
    ],
)
def test_a_damaged_table_is_refused(words: tuple[str, ...], vectors: torch.Tensor, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        Embedding(words, vectors)


def test_wrong_questions_get_one_sentence() -> None:
    with pytest.raises(UserError, match="did you mean 'cosine'"):
        table().nearest(VECTORS, metric="cosin")
    with pytest.raises(UserError, match=r"1\.\.5"):
        table().nearest(VECTORS, 6)
    with pytest.raises(UserError, match="3 numbers, those of this embedding 2"):
        table().nearest(torch.zeros(1, 3))


def test_a_normalisation_of_words_embeds_tokens_and_leaves_vectors() -> None:
    words = Normalisation.of_words(table())
    tokens = torch.tensor([2, 0], dtype=torch.int32).view(1, 1, 2, 1)
    vectors = words.apply(tokens)
    assert torch.equal(vectors[0, 0], VECTORS[[2, 0]])
    assert torch.equal(words.apply(vectors), vectors) and torch.equal(words.invert(vectors), vectors)
    assert words.convert(vectors, Normalisation.of_words(table())) is vectors
    with pytest.raises(UserError, match="nothing in another"):
        words.convert(vectors, Normalisation.of_words(Embedding(WORDS, VECTORS * 2)))
    with pytest.raises(UserError, match="an embedding alone"):
        Normalisation((0.5,), (1.0,), None, table())


def test_a_description_of_a_text_knows_how_sentences_are_stored_and_survives_json() -> None:
    text = Description("text", ("no", "yes"), (1, 3, 2), Normalisation.of_words(table()))
    assert text.stored == ((1, 3, 1), torch.int32)
    values = text.to_dict()
    assert values["normalisation"]["embedding"] == {"words": 5, "values": 2, "sha256": table().sha256}
    assert Description.from_dict(values, embedding=table()) == text
    with pytest.raises(UserError, match="names a embedding, none is there|names a"):
        Description.from_dict(values)
    with pytest.raises(UserError, match="another embedding"):
        Description.from_dict(values, embedding=Embedding(WORDS, VECTORS * 2))
    with pytest.raises(UserError, match="3 values, its embedding has 2"):
        Description("text", ("no", "yes"), (1, 2, 3), Normalisation.of_words(table()))


def test_a_teacher_of_another_vocabulary_does_not_fit() -> None:
    def described(words: tuple[str, ...], factor: float = 1.0) -> Description:
        return Description("text", ("no", "yes"), (1, 3, 2), Normalisation.of_words(Embedding(words, VECTORS * factor)))

    check_fits(described(WORDS), described(WORDS, 2.0))  # other vectors of the same words can be put in their place
    with pytest.raises(UserError, match="another vocabulary"):
        check_fits(described(WORDS), described((*WORDS[:4], "story")))
    pictures = Description("pictures", ("no", "yes"), (1, 3, 2))
    with pytest.raises(UserError, match="another vocabulary"):
        check_fits(pictures, described(WORDS))
