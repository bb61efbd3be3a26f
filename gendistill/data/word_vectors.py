"""Where word vectors come from: learned on the training sentences, or read from a file in GloVe's form."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill import budget
from gendistill.data.embedding import UNKNOWN, Embedding
from gendistill.data.split import SPLIT_SEED
from gendistill.errors import UserError
from gendistill.regular import regular
from gendistill.spelling import option

LONGEST = 10**6
"""Characters of a line: vectors of 4,096 numbers take a twentieth."""
STEPS, RATE = 100, 0.01
"""Of the classifier: its Adam moves a number of a vector by 1 at most, which starts as normal noise of deviation 1. So
vectors keep what tells words apart, and words that speak for a class move its way."""


def learned(
    sentences: Sequence[Sequence[str]], labels: Tensor, words: Sequence[str], size: int, *, seed: int = SPLIT_SEED
) -> Embedding:
    """Learn word vectors with a linear classifier of their mean, on the training sentences and their labels.

    All sentences are looked at in every step, so that the seed alone decides; torch's arithmetic may differ in the last
    digit between machines, which is why teachers carry the vectors that they were made with.

    Args:
        sentences: Words of the training sentences.
        labels: (N,) their classes.
        words: The vocabulary.
        size: Numbers of a vector, at least 1.
        seed: Where vectors and weights start.

    Raises:
        UserError: The size is below 1.

    Source:
        Joulin et al. 2017, "Bag of Tricks for Efficient Text Classification" (fastText), without n-grams.
    """
    if size < 1:
        raise UserError(f"embedding is {size}; give the numbers of a word's vector, at least 1, or a file of vectors")
    table = (UNKNOWN, *words)
    # Vectors, their gradient and Adam's two moments.
    advice = f"give a smaller {option('embedding')} or {option('vocabulary')}"
    budget.check_memory(4 * 4 * size * len(table), f"{len(table):,} word vectors of {size:,} numbers", advice)
    generator = torch.Generator().manual_seed(seed)
    vectors = torch.randn(len(table), size, generator=generator).requires_grad_()
    weights = (torch.randn(size, int(labels.max()) + 1, generator=generator) / size**0.5).requires_grad_()
    counts = _shares(sentences, table)
    classes = labels.cpu()
    optimizer = torch.optim.Adam([vectors, weights], RATE)
    for _ in range(STEPS):
        loss = F.cross_entropy(torch.sparse.mm(counts, vectors @ weights), classes)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
    return Embedding.scaled(table, vectors.detach())


def _shares(sentences: Sequence[Sequence[str]], table: Sequence[str]) -> Tensor:
    """Return the share of each word in each sentence, sparse (N, V).

    Sentences are not filled up to the longest: one of a million words would make all of them as long.
    """
    place = {word: token for token, word in enumerate(table)}
    unknown, count = place[UNKNOWN], len(sentences)
    columns = torch.tensor([place.get(word, unknown) for sentence in sentences for word in sentence])
    lengths = torch.tensor([len(sentence) for sentence in sentences])
    rows = torch.repeat_interleave(torch.arange(count), lengths)
    shares = torch.sparse_coo_tensor(
        torch.stack((rows, columns)), 1.0 / lengths[rows].float(), (count, len(table)), check_invariants=False
    )
    return shares.coalesce()


def read_glove(path: Path, words: Sequence[str]) -> Embedding:
    """Read the vectors of a vocabulary from a file in GloVe's form: a word and its numbers on each line.

    A first line of two numbers, as word2vec writes, is the number of words and of a vector's numbers, and compared with
    them. Words without a vector are left out of the table; the vector of the unknown word is the mean of those that are
    there.

    Args:
        path: The file, UTF-8.
        words: The vocabulary.

    Raises:
        UserError: The file cannot be read, a line has another number of values than the first, its first line says
            something else than what follows, or no word is there.

    Source:
        Pennington, Socher, Manning 2014, "GloVe: Global Vectors for Word Representation".
    """
    wanted, found = set(words), {}
    size = lines = 0
    noted: list[int] | None = None
    try:
        with regular(path).open(encoding="utf-8") as file:
            for number, line in enumerate(iter(partial(file.readline, LONGEST), ""), 1):
                if len(line) == LONGEST:
                    raise UserError(
                        f"line {number} of '{path}' is longer than any word and its numbers; is it another file?"
                    )
                parts = line.rstrip().split(" ")
                if number == 1 and len(parts) == 2 and all(part.isdecimal() for part in parts):
                    noted = [int(part) for part in parts]
                    continue
                lines, size = number, size or (noted[1] if noted else len(parts) - 1)
                # Some published files have words with spaces in them.
                word, values = " ".join(parts[: len(parts) - size]), parts[len(parts) - size :]
                if size < 1 or len(parts) <= size or not word:
                    raise UserError(f"line {number} of '{path}' is not a word and {max(size, 1)} numbers after it")
                if word in wanted and word not in found:
                    found[word] = torch.tensor([float(value) for value in values])
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"word vectors '{path}' cannot be read ({error}); give a text file such as GloVe's") from error
    except ValueError as error:
        raise UserError(f"line {number} of '{path}' is not a word and {size} numbers after it") from error
    if noted is not None and noted[0] != lines - 1:
        raise UserError(
            f"'{path}' says that it has {noted[0]} words and has {max(lines - 1, 0)}; it may be cut off, fetch it again"
        )
    if not found:
        raise UserError(f"'{path}' has a vector for none of the text's {len(words)} words; is it of another language?")
    known = [word for word in words if word in found]
    vectors = torch.stack([found[word] for word in known])
    return Embedding.scaled((UNKNOWN, *known), torch.cat((vectors.mean(0, keepdim=True), vectors)))
