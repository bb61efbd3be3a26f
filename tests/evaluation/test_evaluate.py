"""One result for one teacher: its form, its budget, and that it is plain JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from torch import Tensor

from gendistill.data.description import Normalisation
from gendistill.data.fingerprint import fingerprint, split_fingerprint
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.evaluate import evaluate
from gendistill.evaluation.extractors import Extractor
from gendistill.seeds import stream
from gendistill.teacher.identity import checksum
from gendistill.teacher.subset import RealSubset


class Rows(Extractor):
    name = "rows"

    def features(self, images: Tensor, normalisation: Normalisation) -> Tensor:
        return normalisation.invert(images).mean((1, 3))


LEARNING = {
    "learner": {"class_path": "gendistill.nets.learners.MLP", "init_args": {"width": 8}},
    "updates": (2, 5),
    "seeds": 2,
    "lr": 0.05,
    "batch_size": 8,
}


def subset(data: RealData, images_per_class: int = 4) -> RealSubset:
    return RealSubset.random(
        data.train, data.description, images_per_class=images_per_class, generator=stream(0, "subset")
    )


def test_the_form_of_a_result(tiny_data: RealData) -> None:
    teacher = subset(tiny_data)
    result = evaluate(teacher, tiny_data, path="a/b.safetensors", name="real-subset", learning=LEARNING)
    assert list(result) == [
        "name", "teacher", "dataset", "dataset_fingerprint", "test_fingerprint", "software", "learning", "fidelity",
        "budget", "notes",
    ]  # fmt: skip
    assert result["test_fingerprint"] == split_fingerprint(tiny_data.test)
    assert result["dataset_fingerprint"] == fingerprint(tiny_data)
    assert set(result["software"]) == {"gendistill", "torch", "python"} and "everything" not in result["teacher"]
    everything = evaluate(
        RealSubset.all(tiny_data.train, tiny_data.description), tiny_data, learning=LEARNING, fidelity=None
    )
    assert everything["teacher"]["everything"] is True
    parts = {"image_bytes": 12 * 64, "label_bytes": 12 * 8, "labeller_bytes": 0}
    size = {"images": 12, "decoded_images": 12, "bytes": teacher.bytes_stored} | parts
    assert result["teacher"] == {"kind": "real-subset", "path": "a/b.safetensors", "checksum": checksum(teacher)} | size
    assert result["dataset"] == "bands"
    assert result["learning"]["updates"] == [2, 5]
    assert np.shape(result["learning"]["accuracy"]["runs"]) == (2, 2)
    assert result["fidelity"]["name"] == "FD[bands classifier]"
    assert result["fidelity"]["n"] == 12 and result["fidelity"]["value"] > 0
    assert result["budget"] == size | {"distinct_images": 12, "learner_updates": 5}
    assert json.loads(json.dumps(result, allow_nan=False)) == result


def test_judges_can_be_left_out(tiny_data: RealData) -> None:
    teacher = subset(tiny_data)
    result = evaluate(teacher, tiny_data, learning=LEARNING, fidelity=None)
    assert result["fidelity"] is None and "name" not in result and result["teacher"]["path"] is None
    result = evaluate(teacher, tiny_data, learning=None, fidelity={"draws": 3, "count": 9, "extractor": Rows()})
    assert result["learning"] is None and result["budget"]["learner_updates"] is None
    assert result["fidelity"]["draws"] == 3


def test_the_seed_reaches_fidelity_unless_its_options_name_one(tiny_data: RealData) -> None:
    teacher = subset(tiny_data, 8)

    def value(outer: int, **options: int) -> float:
        fidelity = {"count": 9, "extractor": Rows(), **options}
        result = evaluate(teacher, tiny_data, learning=None, fidelity=fidelity, seed=outer)
        return float(result["fidelity"]["value"])

    assert value(0) == value(0) != value(1)
    assert value(0, seed=1) == value(1)


def test_not_a_number_becomes_null(tiny_data: RealData) -> None:
    one = RealSubset.random(tiny_data.train, tiny_data.description, count=1, generator=stream(0, "subset"))
    result = evaluate(one, tiny_data, learning=None, fidelity={"extractor": Rows()})
    assert result["fidelity"]["n"] == 1 and result["fidelity"]["value"] is None


@pytest.mark.parametrize(
    "judge,option,sentence",
    [
        ("learning", "upates", "learning has no option 'upates'; did you mean 'updates'"),
        ("fidelity", "extracter", "fidelity has no option 'extracter'; did you mean 'extractor'"),
        ("fidelity", "teacher", "fidelity has no option 'teacher'"),
    ],
)
def test_unknown_options_are_named(judge: str, option: str, sentence: str, tiny_data: RealData) -> None:
    with pytest.raises(UserError, match=sentence):
        evaluate(subset(tiny_data), tiny_data, **{judge: {option: 1}})  # type: ignore[arg-type]


def test_a_misspelt_extractor_does_not_wait_for_the_learners(
    tiny_data: RealData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learn(*_: object, **__: object) -> dict[str, object]:
        raise AssertionError("learners were trained first")

    monkeypatch.setattr("gendistill.evaluation.evaluate.learning_curve", learn)
    with pytest.raises(UserError, match="classifer"):
        evaluate(RealSubset.all(tiny_data.train, tiny_data.description), tiny_data, fidelity={"extractor": "classifer"})
