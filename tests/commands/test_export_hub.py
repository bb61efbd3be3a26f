"""``export --format hub``: a folder that a data hub takes, that comes back whole, or is refused once it is changed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
import yaml
from scipy import stats

from gendistill.cli import main
from gendistill.commands.published import interval, published
from gendistill.data.description import Description, Normalisation
from gendistill.data.load import load as load_data
from gendistill.decodes import Formation
from gendistill.errors import UserError
from gendistill.evaluation.pooled import pooled
from gendistill.nets.learners import MLP
from gendistill.objects import build
from gendistill.teacher import StoredImages, export, load, open_teacher, save
from gendistill.teacher.fit import fitted
from gendistill.teacher.identity import checksum
from gendistill.teacher.labeller import Labeller, labelled
from gendistill.teacher.own_exports import read_export

pytest.importorskip("pyarrow")


def learned(runs: list[float], name: str, checksum: str | None) -> dict:
    accuracy = {"mean": [sum(runs) / len(runs)], "std": [0.01], "runs": [runs]}
    learner = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {}}
    learning = {"updates": [10], "accuracy": accuracy, "seeds": list(range(len(runs))), "learner": learner}
    learning["protocol"] = "condensation"
    fidelity = {"name": "FD[digits]", "value": 3.25, "n": 20}
    teacher = {"kind": "real-subset", "images": 20, "path": name, "checksum": checksum}
    return {"name": name, "teacher": teacher, "learning": learning, "fidelity": fidelity, "seconds": 12.0}


@pytest.fixture(scope="module")
def two_of_each() -> StoredImages:
    return open_teacher("real:ipc=2", load_data("digits"))


@pytest.fixture
def hub(tmp_path: Path, capsys: pytest.CaptureFixture[str], two_of_each: StoredImages) -> Path:
    found = {"teachers": [learned([0.70, 0.72, 0.77], "subset", checksum(two_of_each))]}
    (tmp_path / "results.json").write_text(json.dumps(found))
    words = ["--format", "hub", "--output", str(tmp_path / "hub"), "--results", str(tmp_path / "results.json")]
    assert main(["export", "real:ipc=2", "--dataset", "digits", *words]) == 0
    said = capsys.readouterr().out
    digest = hashlib.sha256((tmp_path / "hub" / "teacher.safetensors").read_bytes()).hexdigest()
    assert f"sha256 {digest}  teacher.safetensors" in said
    return tmp_path / "hub"


def test_the_card_says_what_how_and_under_which_licence(hub: Path) -> None:
    card = (hub / "README.md").read_text()
    front = yaml.safe_load(card.split("---")[1])
    assert front["license"] == "cc-by-4.0" and front["source_datasets"] == ["digits"]
    assert front["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-00000-of-00001.parquet"}]
    reach = stats.t.ppf(0.975, 2) * torch.tensor([0.70, 0.72, 0.77], dtype=torch.float64).std().item() / 3**0.5
    low, high = interval([0.70, 0.72, 0.77])
    assert (low, high) == pytest.approx((0.73 - reach, 0.73 + reach)) and interval([0.5]) is None
    plain = card.replace("\\", "")
    assert f"| test accuracy after 10 updates | 73.0 % [{100 * low:.1f}, {100 * high:.1f}] |" in plain
    assert "protocol condensation; learner ConvNet; 3 learners" in plain and "FD[digits] 3.25 of 20 images" in plain
    assert "| licence of the source data | cc-by-4.0 |" in plain and "| sha256 of `teacher.safetensors` |" in card
    listed = dict(reversed(line.split("  ")) for line in (hub / "SHA256SUMS").read_text().splitlines())
    assert set(listed) == {"data/train-00000-of-00001.parquet", "teacher.json", "teacher.safetensors"}
    for name, value in listed.items():
        assert hashlib.sha256((hub / name).read_bytes()).hexdigest() == value


def test_it_comes_back_to_the_bit(hub: Path, tmp_path: Path) -> None:
    assert main(["import", str(hub), "--dataset", "digits", "--output", str(tmp_path / "back.safetensors")]) == 0
    back, there = load(tmp_path / "back.safetensors"), load(hub / "teacher.safetensors")
    assert torch.equal(back.everything()[0], there.everything()[0])
    assert torch.equal(back.everything()[1], there.everything()[1]) and back.images_stored == 20


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "teacher.json").open("a").write(" "), "'teacher.json' is not the file"),
        (lambda folder: (folder / "data" / "train-00000-of-00001.parquet").unlink(), "is missing, which SHA256SUMS"),
        (lambda folder: (folder / "SHA256SUMS").write_text("x  ../y\n"), "SHA256SUMS is damaged"),
        (lambda folder: (folder / "SHA256SUMS").write_text("0" * 64 + "  ../results.json\n"), "SHA256SUMS is damaged"),
        (lambda folder: (folder / "SHA256SUMS").write_bytes(b"\xff\xfe"), "SHA256SUMS is damaged"),
        (lambda folder: (folder / "SHA256SUMS").write_text(""), "SHA256SUMS does not list 'data/train"),
        (lambda folder: (folder / "SHA256SUMS").unlink(), "SHA256SUMS is missing"),
    ],
)
def test_a_changed_folder_is_refused(
    spoil, said: str, hub: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spoil(hub)
    assert main(["import", str(hub), "--dataset", "digits", "--output", str(tmp_path / "back.safetensors")]) == 2
    assert said in capsys.readouterr().err and not (tmp_path / "back.safetensors").exists()
    # Whatever takes a teacher takes the folder as one.
    with pytest.raises(UserError, match=said.split("'")[0] or said.split("'")[1]):
        open_teacher(hub)


def test_a_teacher_comes_back_as_it_is_stored(tmp_path: Path) -> None:
    """A sheet and its labeller are the teacher; the pictures beside them are what it shows."""
    classes = Description("three", ("a", "b", "c"), (1, 4, 4), Normalisation((0.5,), (0.5,)))
    sheets = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    teacher = StoredImages(sheets, torch.arange(3), classes, decode=Formation(2), metadata={"source": "sheets, step 7"})
    small = {"class_path": "gendistill.nets.learners.MLP", "init_args": {"width": 2}}
    network = build(small, MLP, num_classes=3, image_shape=(1, 4, 4))
    teacher.labeller = Labeller(network, classes.normalisation)
    teacher.metadata["making"] = {"steps": 7, "cpu_seconds": 1.25, "peak_memory": 5_000_000}
    export(teacher, tmp_path / "hub", "hub")
    save(teacher, tmp_path / "own.safetensors")
    assert (tmp_path / "hub" / "teacher.safetensors").read_bytes() == (tmp_path / "own.safetensors").read_bytes()
    back = read_export(tmp_path / "hub")
    assert back.decoded_images == 12 and back.labeller is not None and back.bytes_stored == teacher.bytes_stored
    from pyarrow.parquet import read_table

    assert read_table(tmp_path / "hub" / "data" / "train-00000-of-00001.parquet").num_rows == 12
    card = (tmp_path / "hub" / "README.md").read_text()
    assert "| made by | sheets, step 7 |" in card and "| shown | 12: " in card
    assert "| making it took | 7 steps, 1.2 CPU seconds, peak memory 5.0 MB |" in card
    assert "| **privacy** | no formal guarantee" in card and "| lost |" not in card


def test_a_card_has_what_an_audit_of_this_teacher_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], two_of_each: StoredImages
) -> None:
    attack = {"auc": 0.61, "low": 0.55, "high": 0.67}
    found = {"name": "real:ipc=2", "dataset": "digits", "verdict": "members are told", "members": 20, "others": 400}
    asked = {"path": "real:ipc=2", "kind": "real-subset", "images": 20, "checksum": checksum(two_of_each)}
    found |= {"attacks": {"nearest": attack}, "teacher": asked}
    file = tmp_path / "audit.json"
    file.write_text(json.dumps(found))
    words = ["--dataset", "digits", "--format", "hub", "--audit", str(file), "--output"]
    assert main(["export", "real:ipc=2", *words, str(tmp_path / "hub")]) == 0
    card = (tmp_path / "hub" / "README.md").read_text().replace("\\", "")
    assert "| audit | members are told |" in card and "| attack: nearest | AUC 0.610 [0.550, 0.670] |" in card
    capsys.readouterr()
    assert main(["export", "real:ipc=3", *words, str(tmp_path / "other")]) == 2
    assert "is of another teacher than 'real:ipc=3': its images are 20, not 30" in capsys.readouterr().err
    assert main(["export", "real:ipc=2", "--seed", "1", *words, str(tmp_path / "other")]) == 2
    assert "though of the same size and data: its checksum is" in capsys.readouterr().err
    file.write_text(json.dumps({key: value for key, value in found.items() if key != "teacher"}))
    assert main(["export", "real:ipc=2", *words, str(tmp_path / "other")]) == 2
    assert "does not say by a checksum of which teacher it is" in capsys.readouterr().err
    file.write_text(json.dumps(found | {"attacks": {"nearest": attack | {"auc": float("nan")}}}))
    assert main(["export", "real:ipc=2", *words, str(tmp_path / "other")]) == 2
    assert not (tmp_path / "other").exists()


def test_a_card_may_be_edited(hub: Path, tmp_path: Path) -> None:
    (hub / "README.md").write_text("mine")
    assert main(["import", str(hub), "--dataset", "digits", "--output", str(tmp_path / "back.safetensors")]) == 0


def test_it_is_read_by_the_library_of_the_hub(hub: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    found = datasets.load_dataset(str(hub), split="train", cache_dir=str(tmp_path / "cache"))
    assert len(found) == 20 and found.features["label"].num_classes == 10
    assert found[0]["image"].size == (8, 8)


def test_results_are_of_this_teacher_by_its_checksum(two_of_each: StoredImages) -> None:
    """Not by a name, a path, a size or a kind: another making has all of these, too."""
    own, other = checksum(two_of_each), "0" * 64
    both = {"teachers": [learned([0.5, 0.6], "same", other), learned([0.7, 0.8], "same", own)]}
    for one in both["teachers"]:
        one["dataset"] = "digits"
    assert "75.0 %" in published(both, "f", "same", two_of_each)["test accuracy after 10 updates"]
    for found, said in (
        (both["teachers"][:1], "its checksum is 000000000000"),
        ([both["teachers"][0], both["teachers"][0]], "none of 'same' by its checksum"),
        ([both["teachers"][1], both["teachers"][1]], "more than one result of 'same'"),
        ([learned([0.5], "same", None)], "does not say by a checksum of which teacher it is"),
    ):
        with pytest.raises(UserError, match=said):
            published({"teachers": found}, "f", "same", two_of_each)
    # A mean over several makings is of none of them.
    several = pooled([learned([0.5], "same", one) | {"learning": None, "fidelity": None} for one in (own, other)])
    with pytest.raises(UserError, match="has the mean over 2 teachers, of which 'same' is one at most"):
        published({"teachers": [several]}, "f", "same", two_of_each)


def test_a_checksum_is_of_what_learners_are_shown(tmp_path: Path) -> None:
    classes = Description("three", ("a", "b", "c"), (1, 4, 4), Normalisation((0.5,), (0.5,)))
    images = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    teacher = StoredImages(images, torch.arange(3), classes, metadata={"making": {"cpu_seconds": 1.0}})
    save(teacher, tmp_path / "one.safetensors")
    own = checksum(teacher)
    assert checksum(load(tmp_path / "one.safetensors")) == own
    assert checksum(StoredImages(images, torch.arange(3), classes)) == own  # notes are no part of it
    changed = images.clone()
    changed[0, 0, 0, 0] += 1e-6
    others = [
        StoredImages(changed, torch.arange(3), classes),
        StoredImages(images, torch.tensor([0, 2, 1]), classes),
        StoredImages(images, torch.arange(3), classes, learning_rates=torch.tensor([0.1])),
        StoredImages(images, torch.arange(3), classes, batch_size=2),
    ]
    assert len({own, *map(checksum, others)}) == 5
    turned = Description("three", ("c", "b", "a"), (1, 4, 4), Normalisation((0.5,), (0.5,)))
    assert checksum(fitted(teacher, turned)) == own and not torch.equal(fitted(teacher, turned).labels, teacher.labels)
    network = build({"class_path": "gendistill.nets.learners.MLP"}, MLP, num_classes=3, image_shape=(1, 4, 4))
    assert checksum(labelled(teacher, Labeller(network, classes.normalisation))) != own
