from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gendistill.cli import main
from gendistill.commands import judge, verify
from gendistill.data.load import load
from gendistill.evaluation.verify import BUDGETS

LEARNER = "{class_path: gendistill.nets.learners.ConvNet, init_args: {width: 4, depth: 1}}"
QUICK = ["--learner", LEARNER, "--epochs", "5", "--seeds", "2", "--device", "cpu"]


@pytest.fixture
def datm(tmp_path: Path) -> str:
    """A result in DATM's form: images, logits, and the learned rate."""
    data = load("digits")
    index = torch.cat([(data.train.labels == label).nonzero().flatten()[:2] for label in range(10)])
    images, labels = data.train.batch(index, data.description.normalisation)
    torch.save(images, tmp_path / "images_best.pt")
    torch.save(8.0 * torch.nn.functional.one_hot(labels, 10).float() - 3.0, tmp_path / "labels_best.pt")
    torch.save(torch.tensor(0.05), tmp_path / "lr_best.pt")
    return str(tmp_path)


def test_json_is_the_result_and_stderr_tells_how_far_it_is(datm: str, tmp_path: Path, capsys) -> None:
    words = ["verify", datm, "--claim", "55±0.5", "--claim-runs", "5", "--suspects", "quick", *QUICK]
    assert main([*words, "--json", "--output", str(tmp_path / "v.json")]) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert json.loads((tmp_path / "v.json").read_text()) == result
    assert result["claim"] == {"accuracy": 0.55, "std": 0.005, "runs": 5} and result["margin"] == 0.01
    assert result["protocol"]["name"] == "condensation-mtt" and result["learning"]["epochs"] == 5
    assert "suspect 1 of" in err and "judging" in err


def test_a_person_gets_the_answer_a_table_and_the_warning(datm: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", datm, "--claim", "99", "--margin", "0.5", *QUICK]) == 0
    out = capsys.readouterr().out
    assert "protocol   condensation-mtt: it has one learned rate" in out
    assert "read       labels logits, of which the softmax is taken" in out
    assert "against 99 % claimed" in out and "suspect " in out and "no augmentation" in out
    assert "Suspects are a diagnosis, not a choice" in out


def test_without_a_claim_it_is_measured_and_nothing_is_suspected(datm: str, capsys) -> None:
    assert main(["verify", datm, "--labels", "hard", "--protocol", "condensation-dsa", *QUICK, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["claim"], result["verdict"], result["suspects"]) == (None, None, [])
    assert result["sentence"].endswith("nothing is claimed")
    assert result["learning"]["labels"] == "hard" and result["learning"]["lr"] == [0.01]


def test_what_is_left_out_is_the_protocols(datm: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["verify", datm, "--protocol", "condensation-datadam", "--batch-size", "10", *QUICK, "--json"]
    assert main(words) == 0
    learning = json.loads(capsys.readouterr().out)["learning"]
    assert (learning["batch_size"], learning["learner_updates"]) == (10, 10)
    assert (learning["schedule"], learning["momentum"], learning["lr"]) == ("step", 0.9, [0.01])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--claim", "0.55"], "give per cent, 55 if a fraction was meant"),
        (["--claim", "55", "--claim-runs", "5"], "give that, too"),
        (["--claim-std", "1"], "--claim-std and --claim-runs belong to a claim; give --claim, too"),
        (["--seeds", "1"], "2 learners or more"),
        (["--margin", "0"], "the margin is 0 points"),
        (["--labels", "multi-hot"], "choose logits or targets"),
        (["--suspects", "some"], "invalid choice: 'some'"),
        (["--learning-rate", "0.1"], "leave the learning rate out"),
    ],
)
def test_mistakes_are_one_sentence(datm: str, words: list[str], message: str, capsys) -> None:
    claim = [] if {"--claim", "--claim-std"} & set(words) else ["--claim", "55"]
    assert main(["verify", datm, *claim, *QUICK, *words]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") <= 2


def test_names_that_need_not_wait_for_torch_are_those_of_the_library() -> None:
    assert verify.BUDGETS == BUDGETS
    options = vars(verify.parser().parse(["x"]))
    # Every option of learning is one here, and says nothing unless it is given.
    for name in (*judge.SAME_NAME, "learner", "lr"):
        assert name in options
        assert options[name] is None or name in (*verify.KEPT, "labels")
