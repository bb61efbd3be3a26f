"""Data sets of sentences: what ``load("text", root=FILE)`` and ``load("toytext")`` return.

To networks a sentence is an "image" of one channel: a row for each word, the word's vector of a frozen embedding. So
every trainer, teacher and evaluator takes it as it is. It is stored as tokens; the embedding is the description's
normalisation (:class:`gendistill.data.description.Normalisation`) and travels with every teacher as that does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from gendistill.data import toytext
from gendistill.data.description import Description, Normalisation
from gendistill.data.embedding import Embedding
from gendistill.data.real import RealData, Split
from gendistill.data.split import SPLIT_SEED, hold_out, missing_classes, stratified, validation_size
from gendistill.data.text_files import Corpus, in_order, read_corpora, understood
from gendistill.data.text_tables import Columns
from gendistill.data.tokens import encode, tokenise, usual_length, vocabulary
from gendistill.data.word_vectors import learned, read_glove
from gendistill.errors import UserError
from gendistill.regular import expanded

NAMES = ("toytext", "text")
VOCABULARY, SIZE = 5000, 100
"""Words and numbers of a word's vector where nothing else is asked for: as in the code of Sucholutsky & Schonlau."""


@dataclass(frozen=True)
class TextOptions:
    """How sentences become vectors; None: as the data set has it.

    Attributes:
        length: Words of a sentence, L: longer ones are cut off, shorter ones filled up. None: what 95 % of the training
            sentences do not exceed, at most 400 (toytext: 19, its longest).
        vocabulary: Most frequent words of the training sentences that are kept. None: 5,000.
        embedding: Numbers of a word's vector, learned from the training sentences; or a file of vectors in GloVe's
            form. None: 100 learned numbers (toytext: 16).
    """

    length: int | None = None
    vocabulary: int | None = None
    embedding: int | str | None = None


def load_text(
    path: Path, options: TextOptions = TextOptions(), columns: Columns | None = None, *, seed: int = 0
) -> RealData:
    """Load texts from local files, and say on stderr what was understood of them.

    See :func:`gendistill.data.text_files.read_corpora`.

    Without a test part a fifth of the texts is held out for it, without a validation part a tenth of the training
    texts, at most 5,000; stratified. Vocabulary and embedding come from the training part alone.

    Args:
        path: The file or folder.
        options: See :class:`TextOptions`.
        columns: Which columns of a table hold text and class; None: found out.
        seed: Seed of the split.

    Raises:
        UserError: Nothing is there, a file is damaged, classes are missing, or an option is out of range.
    """
    corpora = read_corpora(path, columns)
    names = in_order(set(corpora["train"].classes))
    said = understood(corpora, tuple(names))
    if len(names) < 2:
        raise UserError(f"'{path}' holds one class, '{names[0]}'; give texts of two or more")
    for part, corpus in corpora.items():
        unknown = in_order(set(corpus.classes) - set(names))
        if unknown:
            raise UserError(
                f"the {part} texts of '{path}' have the class '{unknown[0]}', those for training do not: they have "
                f"{', '.join(names[:8])}"
            )
    if "test" not in corpora:
        count, least = len(corpora["train"].classes) // 5, 1 if "validation" in corpora else 2
        corpora["train"], corpora["test"] = _hold_out(corpora["train"], count, seed, least)
    if "validation" not in corpora:
        held = validation_size(len(corpora["train"].classes))
        corpora["train"], corpora["validation"] = _hold_out(corpora["train"], held, seed)
    sizes = {part: len(corpora[part].classes) for part in ("train", "validation", "test")}
    if not all(sizes.values()):
        raise UserError(
            f"'{path}' leaves {sizes['train']} training, {sizes['validation']} validation and {sizes['test']} test "
            "texts; each part needs one or more, so give more texts (a class of three gives one to each part)"
        )
    data = _data("text", names, corpora, options, usual_length(corpora["train"].sentences), SIZE)
    labels = {part: getattr(data, part).labels for part in sizes}
    return replace(data, notes=(said, *(f"'{path.name}': {one}" for one in missing_classes(labels, names))))


def load_toytext(options: TextOptions = TextOptions()) -> RealData:
    """Return the generated reviews of :mod:`gendistill.data.toytext`: 2,400, 400 and 1,200 of them.

    Args:
        options: See :class:`TextOptions`.
    """
    reviews = toytext.reviews()
    labels = torch.tensor([label for _, label in reviews])
    corpora = {}
    for part, index in zip(("train", "validation", "test"), stratified(labels, toytext.SIZES), strict=True):
        chosen = [reviews[place] for place in index.tolist()]
        corpora[part] = Corpus(
            [tokenise(text) for text, _ in chosen], [toytext.CLASS_NAMES[label] for _, label in chosen]
        )
    return _data("toytext", toytext.CLASS_NAMES, corpora, options, toytext.LENGTH, toytext.SIZE)


def _data(
    name: str,
    class_names: Sequence[str],
    corpora: Mapping[str, Corpus],
    options: TextOptions,
    usual: int,
    size: int,
) -> RealData:
    """Encode the parts; ``usual`` and ``size`` are the length and the numbers of a vector where none is asked for."""
    places = {one: place for place, one in enumerate(class_names)}
    labels = {part: torch.tensor([places[one] for one in corpus.classes]) for part, corpus in corpora.items()}
    train = corpora["train"].sentences
    words = vocabulary(train, VOCABULARY if options.vocabulary is None else options.vocabulary)
    table = _embedding(size if options.embedding is None else options.embedding, train, labels["train"], words)
    length = usual if options.length is None else options.length
    parts = {
        part: Split(encode(corpus.sentences, table.words, length), labels[part]) for part, corpus in corpora.items()
    }
    shape = (1, length, table.size)
    description = Description(name, tuple(class_names), shape, Normalisation.of_words(table))
    return RealData(description, parts["train"], parts["validation"], parts["test"])


def _embedding(
    given: int | str, sentences: Sequence[Sequence[str]], labels: torch.Tensor, words: Sequence[str]
) -> Embedding:
    text = str(given)
    if text.lstrip("-").isdecimal():
        return learned(sentences, labels, words, int(text))
    return read_glove(expanded(text), words)


def _hold_out(corpus: Corpus, count: int, seed: int, least: int = 1) -> tuple[Corpus, Corpus]:
    places = {name: place for place, name in enumerate(sorted(set(corpus.classes)))}
    labels = torch.tensor([places[name] for name in corpus.classes])
    rest, held = (
        Corpus([corpus.sentences[place] for place in index], [corpus.classes[place] for place in index])
        for index in (part.tolist() for part in hold_out(labels, count, SPLIT_SEED + seed, least=least))
    )
    return rest, held
