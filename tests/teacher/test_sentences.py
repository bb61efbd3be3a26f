from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gendistill import teacher as teachers
from gendistill.data import RealData, load
from gendistill.data.description import Description
from gendistill.errors import UserError
from gendistill.evaluation.evaluate import evaluate
from gendistill.evaluation.learning import learning_curve
from gendistill.evaluation.protocols import named_strategy
from gendistill.report.terminal import text_table
from gendistill.teacher import RealSubset, StoredImages, open_teacher
from gendistill.teacher.export import export
from gendistill.teacher.sentences import listing, sentences, table


@pytest.fixture(scope="module")
def data() -> RealData:
    return load("toytext")


def stored(data: RealData, words: list[str], **options: object) -> StoredImages:
    embedding = data.description.embedding
    assert embedding is not None
    tokens = torch.zeros(len(words), 1, 19, 1, dtype=torch.int32)
    for row, line in zip(tokens, words, strict=True):
        for place, word in enumerate(line.split()):
            row[0, place] = embedding.words.index(word)
    labels = torch.tensor([[1.5, -0.5]] * len(words))
    return StoredImages(embedding.apply(tokens), labels, data.description, **options)  # type: ignore[arg-type]


def test_sentences_of_exact_rows_are_those_words(data: RealData) -> None:
    lines = ["the soup was not good", "the plot felt so dull but the music was fine"]
    teacher = stored(data, lines, order="fixed", batch_size=1)
    first, second = sentences(teacher, nearest=2)
    assert (first.text, second.text) == tuple(lines)
    assert (first.step, second.step) == (1, 2) and first.class_name == "negative" and first.label == [1.5, -0.5]
    assert first.distance == 0.0 and first.nearest[1][0] == "soup" and first.nearest[1][1] != "soup"
    assert sentences(teacher, metric="cosine")[1].text == lines[1]
    assert table(teacher) == "".join(f"negative\t{line}\n" for line in lines)
    shown = listing(teacher, count=1).splitlines()
    assert "Euclidean" in shown[0] and shown[1] == f"step 1  negative +1.50 positive -0.50  0.00  {lines[0]}"
    assert "soup(" in listing(teacher, nearest=2) and "cosine" in listing(teacher, metric="cosine")


def test_words_that_are_moved_a_little_are_still_found(data: RealData) -> None:
    teacher = stored(data, ["the acting was never very charming on friday"])
    noise = torch.randn(teacher.images.shape, generator=torch.Generator().manual_seed(0))
    moved = StoredImages(teacher.images + 0.1 * noise, teacher.labels, data.description)
    (found,) = sentences(moved)
    assert found.text == "the acting was never very charming on friday" and found.step is None
    assert found.distance == pytest.approx(0.1 * float(noise[0, 0].norm(dim=1).mean()), rel=1e-4)


def test_real_sentences_are_a_teacher_whose_words_are_their_own(data: RealData, tmp_path: Path) -> None:
    teacher = open_teacher("real:ipc=3", data, seed=1)
    assert isinstance(teacher, RealSubset) and teacher.images.dtype == torch.int32
    assert all(one.distance == 0 for one in sentences(teacher)) and len(table(teacher).splitlines()) == 6
    teachers.save(teacher, tmp_path / "real.safetensors")
    again = teachers.load(tmp_path / "real.safetensors")
    assert torch.equal(again.everything()[0], teacher.everything()[0]) and table(again) == table(teacher)


def test_a_file_carries_words_and_vectors(data: RealData, tmp_path: Path) -> None:
    teacher = stored(data, ["the bed is lovely", "the bed is awful"], order="fixed", batch_size=2)
    teachers.save(teacher, tmp_path / "text.safetensors")
    again = teachers.load(tmp_path / "text.safetensors")
    assert again.description == data.description and listing(again) == listing(teacher)
    described = teachers.describe(tmp_path / "text.safetensors")
    assert described["format_version"] == 3 and described["tensors"]["embedding.vectors"]["shape"] == [74, 16]
    assert teacher.bytes_stored == again.bytes_stored == 2 * 19 * 16 * 4 + 2 * 2 * 4


def test_learners_see_real_sentences_through_the_teachers_vectors(data: RealData) -> None:
    other = load("toytext", embedding=16, vocabulary=5000)
    own = other.description.embedding
    assert own is not None
    turned = type(own)(own.words, own.vectors.flip(1))  # another table of the same words
    elsewhere = other.with_normalisation(type(other.description.normalisation).of_words(turned))
    teacher = open_teacher("real:ipc=20", data)
    options = {"updates": (20,), "seeds": 2, "lr": 0.1}
    here, there = (learning_curve(teacher, one, **options) for one in (data, elsewhere))  # type: ignore[arg-type]
    assert there["normalisation"] == "teacher" and there["accuracy"] == here["accuracy"]
    with pytest.raises(UserError, match="nothing in another"):
        learning_curve(teacher, elsewhere, normalisation="data", **options)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="for pictures; 'toytext' holds sentences"):
        learning_curve(teacher, data, augment="crop_flip", **options)  # type: ignore[arg-type]


def test_all_evaluators_judge_a_text(data: RealData) -> None:
    few = RealData(
        data.description,
        *(type(one)(one.images[:200], one.labels[:200]) for one in (data.train, data.validation, data.test)),
    )
    learning = {"updates": (5,), "seeds": 1, "lr": 0.1}
    result = evaluate(
        open_teacher("real:herding=2@pixels", few), few, name="herding", learning=learning, fidelity={"count": 4}
    )
    assert result["fidelity"]["name"] == "FD[toytext classifier]" and result["learning"]["learner"][
        "class_path"
    ].endswith("TextConvNet")
    assert "herding" in text_table({"teachers": [result]})
    with pytest.raises(UserError, match="inception cannot see"):
        evaluate(open_teacher("real:ipc=2", few), few, learning=None, fidelity={"extractor": "inception"})


def test_augmentations_are_for_pictures(data: RealData) -> None:
    assert named_strategy(None, data.description) is None
    with pytest.raises(UserError, match="augment is 'dsa', which is for pictures"):
        named_strategy("dsa", data.description)


def test_pictures_of_sentences_are_refused_and_tensors_exported(data: RealData, tmp_path: Path) -> None:
    teacher = stored(data, ["the bed is lovely"])
    with pytest.raises(UserError, match="sentences are no pictures"):
        export(teacher, tmp_path / "png", "png")
    export(teacher, tmp_path / "pt", "pt")
    assert torch.equal(torch.load(tmp_path / "pt" / "images.pt", weights_only=True), teacher.images)
    pictures = Description("pictures", ("no", "yes"), (1, 2, 2))
    with pytest.raises(UserError, match="holds pictures"):
        sentences(StoredImages(torch.zeros(1, 1, 2, 2), torch.zeros(1, dtype=torch.int64), pictures))
    with pytest.raises(UserError, match="count is 0"):
        sentences(teacher, count=0)
