"""Every export comes back: the same tensors, order and rates, or a sentence that says what is lost."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from every_kind import small_teacher
from torch import nn

from gendistill.data import load
from gendistill.data.description import Description
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.teacher import RealSubset, StoredImages, Teacher, export, materialise, open_teacher
from gendistill.teacher.export import FORMATS, PICTURES, WHITENED
from gendistill.teacher.imports import import_teacher

PLAIN = ("hard", "soft", "targets", "single", "steps", "subset", "fresh", "pool", "curriculum", "whitened")
TEXTS = ("words", "word-subset")
FORMS = tuple(form for form in FORMATS if form not in ("parquet", "hub"))


@pytest.fixture(scope="module")
def texts() -> RealData:
    return load("toytext")


def real(description: Description) -> RealData:
    pixels = torch.randint(0, 256, (60, 1, 4, 4), generator=torch.Generator().manual_seed(4), dtype=torch.uint8)
    return RealData(description, *[Split(pixels, torch.arange(60) % 3)] * 3)


def made(kind: str, data: RealData, network: nn.Module) -> Teacher:
    """Return a teacher of a kind, with all that a teacher of that kind can have."""
    rng, description = torch.Generator().manual_seed(1), data.description
    if kind in ("fresh", "pool", "curriculum", "subset", "hard"):
        return small_teacher(kind, description, network)
    images, hard = torch.randn(6, *description.image_shape, generator=rng), torch.tensor([0, 1, 1, 0, 1, 0])
    soft = torch.rand(6, description.num_classes, generator=rng).softmax(1)
    if kind == "soft":
        return StoredImages(images, soft, description, learning_rates=torch.tensor([0.3]))
    if kind == "targets":
        return StoredImages(images, soft * 3 - 0.5, description, metadata={"notes": "learned labels"})
    if kind == "single":
        return StoredImages(images, hard, description, learning_rates=torch.tensor([0.03]))
    if kind == "whitened":
        whitened = data.whitening(0.1)
        return StoredImages(images, soft, description.with_normalisation(whitened), learning_rates=torch.tensor([0.1]))
    if kind == "word-subset":
        return RealSubset.random(data.train, description, generator=rng, count=6)
    rates = torch.tensor([0.4, 0.3, 0.2, 0.1])
    return StoredImages(images, hard, description, order="fixed", batch_size=3, learning_rates=rates)


def refused(kind: str, form: str) -> bool:
    """Return whether a format cannot hold what a kind has: its method says so."""
    soft = kind in ("soft", "targets", "curriculum", "whitened")
    no_steps = kind in ("hard", "targets", "subset", "fresh", "pool", "word-subset", "curriculum")
    return (
        (form == "dc" and soft)
        or (form == "datm" and kind not in ("soft", "whitened"))
        or (form == "dd" and no_steps)
        or (form in (*PICTURES, "idc") and kind in TEXTS)
    )


@pytest.mark.parametrize("kind", PLAIN)
@pytest.mark.parametrize("form", FORMATS)
def test_an_export_comes_back(
    tmp_path: Path, description: Description, network: nn.Module, kind: str, form: str
) -> None:
    if form in ("parquet", "hub"):
        pytest.importorskip("pyarrow")
    check(made(kind, real(description), network), real(description), kind, form, tmp_path)


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("form", FORMS)
def test_an_export_of_texts_comes_back(
    tmp_path: Path, texts: RealData, network: nn.Module, kind: str, form: str
) -> None:
    check(made(kind, texts, network), texts, kind, form, tmp_path)


def check(teacher: Teacher, data: RealData, kind: str, form: str, folder: Path) -> None:
    count = 6 if teacher.images_stored is None else None
    if refused(kind, form):
        with pytest.raises(UserError, match=r"choose|export them as pt"):
            export(teacher, folder / "out", form, count=count)
        return
    result = export(teacher, folder / "out", form, count=count)
    before = materialise(teacher, count)
    whole = (*WHITENED, "hub")
    for after in (import_teacher(folder / "out", data), open_teacher(folder / "out", data)):
        assert torch.equal(after.everything()[1], before.labels) or kind == "whitened" or form == "datm"
        torch.testing.assert_close(after.everything()[1], before.labels, rtol=1e-5, atol=1e-6)
        pixels = [one.description.normalisation.invert(one.everything()[0]) for one in (after, before)]
        tolerance = result["max_quantisation_error"] + 1e-6 if form in PICTURES else 1e-5
        torch.testing.assert_close(*pixels, rtol=1e-4 if kind == "whitened" else 1e-5, atol=tolerance)
        assert isinstance(after, StoredImages)
        assert (after.order, after.batch_size) == (before.order, before.batch_size)
        for name in ("learning_rates", "momenta"):
            one, other = getattr(after, name), getattr(before, name)
            assert (one is None) == (other is None) and (one is None or torch.equal(one, other))
        whitened = after.description.normalisation.whitening is not None
        # The hub's folder has the teacher itself beside pictures that are not whitened.
        assert whitened == (kind == "whitened" and form in whole)
        assert after.description.embedding == data.description.embedding
    lost = " ".join(result["lost"])
    assert ("8 bits" in lost) == (form in PICTURES)
    assert ("whitening is inverted" in lost) == (kind == "whitened" and form not in whole)
    assert ("without end" in lost) == (kind == "fresh")
    assert ("one learned rate, not" in lost) == (kind in ("steps", "words", "curriculum") and form in ("mtt", "datm"))


def test_readers_of_mtt_and_datm_find_what_they_look_for(tmp_path: Path, description: Description) -> None:
    data = real(description)
    network = nn.Identity()
    export(made("single", data, network), tmp_path / "mtt", "mtt")
    rate = torch.load(tmp_path / "mtt/lr_best.pt", weights_only=True)
    assert rate.shape == () and float(rate) == pytest.approx(0.03)
    assert torch.load(tmp_path / "mtt/labels_best.pt", weights_only=True).dtype == torch.int64
    soft = made("soft", data, network)
    assert isinstance(soft, StoredImages)
    export(soft, tmp_path / "datm", "datm")
    logits = torch.load(tmp_path / "datm/labels_best.pt", weights_only=True)
    # Its loss takes their softmax.
    torch.testing.assert_close(logits.softmax(1), soft.labels)
    whitened = made("whitened", data, network)
    assert isinstance(whitened, StoredImages)
    export(whitened, tmp_path / "zca", "mtt")
    pixels = torch.load(tmp_path / "zca/images_zca_best.pt", weights_only=True)
    torch.testing.assert_close(pixels, whitened.description.normalisation.invert(whitened.images))
    # Without the notes the files say the same as those that such code has written.
    for name in ("mtt", "datm", "zca"):
        (tmp_path / name / "teacher.json").unlink()
    assert import_teacher(tmp_path / "mtt", data).learning_rates is not None
    torch.testing.assert_close(import_teacher(tmp_path / "datm", data).labels, soft.labels)
    again = import_teacher(tmp_path / "zca", data)
    assert again.description == whitened.description and torch.equal(again.images, whitened.images)


def test_sentences_carry_their_words(tmp_path: Path, texts: RealData) -> None:
    """The vectors of an embedding that is learned may differ in the last digit elsewhere."""
    teacher = made("words", texts, nn.Identity())
    for form in ("pt", "mtt", "dd"):
        export(teacher, tmp_path / form, form)
        other = load("toytext", embedding=8)
        with pytest.raises(UserError, match="shape"):
            import_teacher(tmp_path / form, other)
        with pytest.raises(UserError, match="sentences, which have no pixels"):
            import_teacher(tmp_path / form, texts, values="pixels")
    shorter = replace(texts, description=load("toytext", vocabulary=40).description)
    with pytest.raises(UserError, match="another vocabulary"):
        import_teacher(tmp_path / "pt", shorter)
    (tmp_path / "pt/teacher.json").unlink()
    again = import_teacher(tmp_path / "pt", texts)
    assert torch.equal(again.images, materialise(teacher).images) and again.description == texts.description


def test_a_description_is_compared_with_the_data(tmp_path: Path, description: Description) -> None:
    data = real(description)
    export(made("hard", data, nn.Identity()), tmp_path / "out", "pt")
    other = replace(data, description=replace(description, class_names=("a", "b"), name="two"))
    with pytest.raises(UserError, match=r"made for 3 classes \('bands'\), but 'two' has 2"):
        import_teacher(tmp_path / "out", other)


def test_classes_in_another_order_are_mapped(tmp_path: Path, description: Description) -> None:
    data = real(description)
    teacher = made("hard", data, nn.Identity())
    export(teacher, tmp_path / "out", "pt")
    names = description.class_names[::-1]
    other = replace(data, description=replace(description, class_names=names))
    again = import_teacher(tmp_path / "out", other)
    assert again.description.class_names == names and torch.equal(again.labels, 2 - materialise(teacher).labels)
    strange = replace(data, description=replace(description, class_names=("top", "middle", "side")))
    with pytest.raises(UserError, match="side"):
        import_teacher(tmp_path / "out", strange)


def test_notes_that_do_not_fit_their_files_are_refused(tmp_path: Path, description: Description) -> None:
    data = real(description)
    steps = made("steps", data, nn.Identity())
    export(steps, tmp_path / "pt", "pt")
    file = tmp_path / "pt/teacher.json"
    notes = json.loads(file.read_text())

    def with_notes(**changed: object) -> None:
        file.write_text(json.dumps(notes | changed))

    for changed, message in (
        ({"images": 7}, "says images 7, there are 6"),
        ({"images_per_class": [1, 2, 3]}, "says images of each class"),
        ({"learning_rates": [1.0, 2.0, 3.0, 4.0]}, "learning rates in teacher.json are not those in the file"),
        ({"export": {"format": "odd"}}, "unknown format 'odd'"),
        ({"export": 3}, "not a whole export"),
        ({"description": {}}, "not complete"),
    ):
        with_notes(**changed)
        with pytest.raises(UserError, match=message):
            import_teacher(tmp_path / "pt", data)
    with_notes()
    torch.save(torch.ones(6, 3), tmp_path / "pt/labels.pt")
    with pytest.raises(UserError, match="says images of each class"):
        import_teacher(tmp_path / "pt", data)
    (tmp_path / "pt/images.pt").unlink()
    with pytest.raises(UserError, match="there is no file"):
        import_teacher(tmp_path / "pt", data)


def test_labels_of_png_are_those_of_their_classes(tmp_path: Path, description: Description) -> None:
    data = real(description)
    export(made("hard", data, nn.Identity()), tmp_path / "png", "png")
    index = tmp_path / "png/metadata.csv"
    with index.open(newline="") as file:
        rows = list(csv.DictReader(file))
    # Columns are read by name, in whatever order they stand.
    with index.open("w", newline="") as file:
        table = csv.DictWriter(file, ["class_name", "file_name", "label"])
        table.writeheader()
        table.writerows(rows)
    assert open_teacher(tmp_path / "png", data).label_counts == [2, 2, 2]
    index.write_text(index.read_text().replace("top", "middle", 1))
    with pytest.raises(UserError, match="line 2 of metadata.csv has label 0, which is 'top'"):
        open_teacher(tmp_path / "png", data)
