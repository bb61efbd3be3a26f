"""Sentences as tokens: words, a vocabulary, and rows of equal length."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from gendistill import budget
from gendistill.data.embedding import PAD, UNKNOWN
from gendistill.errors import UserError
from gendistill.spelling import option

TAG = re.compile(r"</?[a-zA-Z][^<>]{0,80}>")
"""Mark-up such as ``<br />``, which reviews from web pages are full of."""
WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
LONGEST = 400
"""Words of a sentence at most, where no length is asked for: what is usual for the IMDB reviews."""
FIT = 0.95


def tokenise(text: str) -> list[str]:
    """Return the words of a text in lower case, without mark-up and punctuation: ``It's <b>fine</b>.`` has two."""
    return [word.replace("’", "'") for word in WORD.findall(TAG.sub(" ", text).lower())]


def vocabulary(sentences: Iterable[Sequence[str]], limit: int) -> tuple[str, ...]:
    """Return the words that are there most often, most frequent first, those of equal frequency by the alphabet.

    Args:
        sentences: Words of the training sentences.
        limit: Words at most, at least 1.

    Raises:
        UserError: The limit is below 1, or there is no word.
    """
    if limit < 1:
        raise UserError(f"vocabulary is {limit}; give a number of words, at least 1")
    counts = Counter(word for sentence in sentences for word in sentence)
    if not counts:
        raise UserError("the training sentences hold no words")
    return tuple(sorted(counts, key=lambda word: (-counts[word], word))[:limit])


def usual_length(sentences: Sequence[Sequence[str]]) -> int:
    """Return the length that 95 % of the sentences do not exceed, at most 400 words."""
    lengths = sorted(len(sentence) for sentence in sentences)
    return max(1, min(LONGEST, lengths[int(FIT * (len(lengths) - 1))]))


def encode(sentences: Sequence[Sequence[str]], words: Sequence[str], length: int) -> Tensor:
    """Return sentences as tokens (N, 1, L, 1) int32: cut off after L words, filled up with the padding.

    Args:
        sentences: Words of each.
        words: All words that have a token, see :class:`gendistill.data.embedding.Embedding`.
        length: L, at least 1.

    Raises:
        UserError: The length is below 1.
    """
    if length < 1:
        raise UserError(f"length is {length}; give a number of words, at least 1")
    what = f"{len(sentences):,} sentences of {length:,} words"
    budget.check_memory(4 * len(sentences) * length, what, f"give a smaller {option('length')}")
    place = {word: token for token, word in enumerate(words)}
    unknown, pad = place[UNKNOWN], place[PAD]
    rows = torch.full((len(sentences), length), pad, dtype=torch.int32)
    for row, sentence in zip(rows, sentences, strict=True):
        tokens = [place.get(word, unknown) for word in sentence[:length]]
        row[: len(tokens)] = torch.tensor(tokens, dtype=torch.int32)
    return rows.view(len(sentences), 1, length, 1)


def decode(tokens: Iterable[int], words: Sequence[str]) -> str:
    """Return tokens as a line of words, the padding at the end left out."""
    line = [words[token] for token in tokens]
    while line and line[-1] == PAD:
        line.pop()
    return " ".join(line)
