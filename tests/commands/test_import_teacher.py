from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from gendistill.cli import main
from gendistill.commands import export as export_options
from gendistill.commands import import_teacher as import_options
from gendistill.data import load
from gendistill.nets.learners import ConvNet
from gendistill.objects import build
from gendistill.teacher import Labeller, labelled, save
from gendistill.teacher.export import FORMATS
from gendistill.teacher.imports import FORMS, LABELS, VALUES
from gendistill.teacher.reference import open_teacher


def test_a_condensed_set_becomes_a_teacher(place: Path, run_json, capsys: pytest.CaptureFixture[str]) -> None:
    images, labels = open_teacher("real:ipc=2", load("digits")).everything()
    torch.save({"data": [[images, labels]], "accs_all_exps": {}}, place / "res_DM.pt")
    result = run_json("import", "res_DM.pt", "--dataset", "digits", "--output", "dm.safetensors", "--json")
    assert result["format"] == "dc" and result["images_per_class"] == [2] * 10 and not result["whitened"]
    assert result["pixels"] == {"lowest": pytest.approx(0, abs=1e-6), "highest": pytest.approx(1), "outside": 0}
    assert result["values"] == "normalised" and result["labels"] == "indices" and result["learning_rate"] is None
    again = open_teacher("dm.safetensors", load("digits"))
    assert torch.equal(again.everything()[0], images)
    capsys.readouterr()
    assert main(["import", "res_DM.pt", "--output", "dm.safetensors"]) == 0
    out, err = capsys.readouterr()
    assert "wrote 20 images of digits (format dc)" in out
    assert "pixels 0.00 to 1.00, all in [0, 1] up to rounding" in out
    assert err == "res_DM.pt: format dc; images normalised; labels class indices\n"


def test_whitened_images_with_an_epsilon(place: Path, run_json) -> None:
    whitened = load("digits", whitening=0.5)
    images, labels = open_teacher("real:ipc=1", whitened).everything()
    torch.save(images, place / "images_best.pt")
    torch.save(labels, place / "labels_best.pt")
    words = ("--values", "whitened", "--whitening", "0.5", "--learning-rate", "0.03", "--output", "mtt.safetensors")
    result = run_json("import", ".", *words, "--json")
    assert result["whitened"] and result["learning_rates"] == 1
    assert open_teacher("mtt.safetensors").description == whitened.description
    run_json("export", "mtt.safetensors", "--format", "mtt", "--output", "back", "--json")
    assert torch.equal(torch.load(place / "back/images_best.pt", weights_only=True), images)


def test_mistakes_are_one_sentence(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "bad.pt").write_bytes(b"nothing")
    for words in (["missing.pt"], ["bad.pt"], ["bad.pt", "--format", "dcc"], [str(place)]):
        assert main(["import", *words, "--output", "t.safetensors"]) == 2
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    assert not (place / "t.safetensors").exists()


def test_the_range_of_pixels_is_told_rightly(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half precision and an inverted whitening round a little beyond [0, 1]; distilled images go far."""
    whitened, plain = load("digits", whitening=0.1), load("digits")
    stored = {}
    for name, data in (("plain", plain), ("whitened", whitened)):
        stored[name], labels = open_teacher("real:ipc=2", data).everything()
    torch.save(labels, place / "labels_best.pt")

    def told(images: torch.Tensor, *words: str) -> str:
        torch.save(images, place / "images_best.pt")
        assert main(["import", "images_best.pt", "--output", "t.safetensors", *words]) == 0
        return capsys.readouterr().out.splitlines()[-1]

    inside = "pixels 0.00 to 1.00, all in [0, 1] up to rounding"
    assert told(stored["plain"]) == told(stored["plain"].half()) == told(stored["plain"].bfloat16()) == inside
    assert told(stored["whitened"], "--values", "whitened") == inside
    assert told(stored["whitened"].half(), "--values", "whitened") == inside
    beyond = told(3 * stored["plain"])
    assert "outside [0, 1], as distilled images are that nothing clips; if they look wrong" in beyond
    beyond = told(3 * stored["whitened"], "--values", "whitened")
    assert "where the whitening is inverted, as is usual" in beyond and "--values" not in beyond


def test_logits_teach_once_their_softmax_is_taken(place: Path, run_json) -> None:
    """Taken for targets as they are, logits teach next to nothing."""
    data = load("digits")
    network = ConvNet(num_classes=10, image_shape=(1, 8, 8), width=8, depth=1)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        index = torch.randint(0, len(data.train), (64,), generator=generator)
        images, labels = data.train.batch(index, data.description.normalisation)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    images, _ = open_teacher("real:ipc=5", data).everything()
    logits = network(images).detach()
    assert float(logits.min()) < 0 and float(logits.sum(1).abs().max()) > 0.5
    for name, tensor in (("images", images), ("labels", logits), ("lr", torch.tensor(0.02))):
        torch.save(tensor, place / f"{name}_best.pt")
    accuracies = []
    for labels_are in ("auto", "targets"):
        words = ("--labels", labels_are, "--output", f"{labels_are}.safetensors", "--json")
        result = run_json("import", ".", "--dataset", "digits", *words)
        assert result["format"] == "datm" and result["learning_rate"] == pytest.approx(0.02)
        assert result["labels"] == ("logits" if labels_are == "auto" else "targets")
        judged = run_json("evaluate", f"{labels_are}.safetensors", "--dataset", "digits", "--updates", "100", "--seeds",
                          "2", "--batch-size", "50", "--no-fidelity", "--json")  # fmt: skip
        accuracies.append(judged["learning"]["accuracy"]["mean"][0])
    assert accuracies[0] > 0.75 > 0.5 > accuracies[1]


def test_texts_come_back_by_the_command(place: Path, run_json) -> None:
    for form in ("mtt",):
        run_json("export", "real:ipc=3", "--dataset", "toytext", "--format", form, "--output", form, "--json")
        result = run_json("import", form, "--dataset", "toytext", "--output", f"{form}.safetensors", "--json")
        assert result["pixels"] is None and result["images_per_class"] == [3, 3]
        again = open_teacher(f"{form}.safetensors", load("toytext"))
        assert torch.equal(again.everything()[0], open_teacher("real:ipc=3", load("toytext")).everything()[0])


def test_the_options_are_those_of_the_library() -> None:
    """They stand in the commands, too, so that --help need not wait for torch."""
    assert (import_options.FORMS, import_options.VALUES, import_options.LABELS) == (FORMS, VALUES, LABELS)
    assert tuple(FORMATS) == export_options.FORMATS


def test_sheets_are_taken_apart_and_labelled_by_another_teacher(
    place: Path, run_json, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save([torch.rand(10, 1, 8, 8), torch.arange(10)], place / "data.pt")
    words = ("--dataset", "digits", "--output", "idc.safetensors")
    assert run_json("import", "data.pt", *words, "--json")["decoded_images"] == 10
    result = run_json("import", "data.pt", *words, "--factor", "2", "--json")
    assert (result["images"], result["decoded_images"]) == (10, 40) and result["images_per_class"] == [1] * 10
    assert main(["import", "data.pt", *words, "--factor", "2"]) == 0
    assert "wrote 10 images, which show 40, of digits (format idc) to idc.safetensors" in capsys.readouterr().out
    data = load("digits")
    answers = build({"class_path": "gendistill.nets.learners.MLP"}, nn.Module, num_classes=10, image_shape=(1, 8, 8))
    labeller = Labeller(answers, data.description.normalisation, temperature=4)
    save(labelled(open_teacher("real:ipc=1", data), labeller), place / "with.safetensors")
    run_json("import", "data.pt", *words, "--factor", "2", "--labeller", "with.safetensors", "--json")
    found = open_teacher("idc.safetensors", data)
    assert found.labeller is not None and found.labeller.temperature == 4 and found.decoded_images == 40
    assert main(["import", "data.pt", *words, "--labeller", "real:ipc=1"]) == 2
    assert "has no labeller to give away" in capsys.readouterr().err
    back = run_json("export", "idc.safetensors", "--format", "idc", "--output", "back", "--json")
    assert back["images"] == 10 and len(back["lost"]) == 2
