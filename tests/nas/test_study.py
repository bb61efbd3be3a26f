"""Scores, truth, the ledger, searches and the whole study on three small classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.ranking import SUBSETS
from gendistill.evaluation.workers import Workers
from gendistill.nas.ledger import Ledger
from gendistill.nas.proxies import ShortTraining, with_baselines
from gendistill.nas.report import markdown, scatter, text
from gendistill.nas.search import search
from gendistill.nas.study import Study
from gendistill.nas.truth import TrainedTruth, read_table, truths
from gendistill.nets.spaces import MLPSpace, WidthSpace
from gendistill.teacher import RealSubset, StoredImages
from gendistill.teacher.reference import open_teacher

CPU = torch.device("cpu")
SPACE = MLPSpace(depths=[1, 2], widths=[2, 4, 16], activations=["relu", "sigmoid"])


def proxies(data: RealData, **options: Any) -> list[Any]:
    given = {"updates": 4, "batch_size": 12, "lr": ["grid"], "seeds": 1, "device": CPU, "seed": 0}
    return with_baselines("few", open_teacher("real:ipc=4", data), SPACE, data, **(given | options))


def study(data: RealData, path: Path, count: int = 1, **options: Any) -> Study:
    return Study(SPACE, proxies(data, **options), path, {"space": "x"}, workers=Workers(count), pilots=2)


def truth(data: RealData) -> TrainedTruth:
    return TrainedTruth(SPACE, data, epochs=2, batch_size=12, lr=[0.03, 0.3], seeds=2, device=CPU)


def test_a_whole_study_ranks_every_score(tiny_data: RealData, tmp_path: Path) -> None:
    with Workers(2) as workers:
        whole = Study(SPACE, proxies(tiny_data), tmp_path / "a.json", {}, workers=workers, pilots=2)
        whole.prepare()
        names = whole.search("random", 8)
        whole.baselines(names)
        whole.train(names, truth(tiny_data))
    results = whole.results(names)
    assert list(results["rankings"]) == [
        "few", "parameters", "real, as many updates", "real, as much time", "real, 12 images"
    ]  # fmt: skip
    for one in results["rankings"].values():
        assert [one[subset]["architectures"] for subset in SUBSETS] == [8, 4, 4]
    assert len(results["architectures"]) == results["truth"]["architectures"] == 8
    runs = np.array([entry["truth"]["runs"] for entry in results["architectures"].values()])
    assert results["truth"]["spearman_of_two_seeds"]["all"] == pytest.approx(stats.spearmanr(*runs.T).statistic)
    best = max(results["architectures"].values(), key=lambda entry: entry["proxies"]["few"]["score"])
    assert results["found"]["score"] == best["proxies"]["few"]["score"]
    assert "top half by score (4 architectures)" in text(results | {"others": {}})
    assert markdown(results).count("\n") == 6
    assert scatter(results, "few").startswith(b"\x89PNG")
    json.dumps(results, allow_nan=False)


def test_threads_do_not_change_a_score(tiny_data: RealData, tmp_path: Path) -> None:
    scores = []
    for count in (1, 3):
        one = study(tiny_data, tmp_path / f"{count}.json", count)
        with one.workers:
            one.prepare()
            names = one.search("random", 6)
            scores.append(one.score(names))
    assert scores[0] == scores[1]


def test_a_stopped_study_goes_on(tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = study(tiny_data, tmp_path / "whole.json")
    whole.prepare()
    expected = whole.score(whole.search("random", 6))
    original, done = ShortTraining.score, []

    def stops(self: ShortTraining, name: str, before: Any) -> Any:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append(name)
        return original(self, name, before)

    parts = study(tiny_data, tmp_path / "parts.json")
    parts.prepare()
    monkeypatch.setattr(ShortTraining, "score", stops)
    with pytest.raises(KeyboardInterrupt):
        parts.search("random", 6)
    assert len(json.loads((tmp_path / "parts.json").read_text())["architectures"]) == 3
    counted: list[str] = []

    def counts(self: ShortTraining, name: str, before: Any) -> Any:
        counted.append(name)
        return original(self, name, before)

    monkeypatch.setattr(ShortTraining, "score", counts)
    again = study(tiny_data, tmp_path / "parts.json")
    again.prepare()
    assert again.score(again.search("random", 6)) == expected
    assert len(counted) == 3  # neither the pilots nor the first three were trained again
    with pytest.raises(UserError, match="different: proxies.*--fresh"):
        study(tiny_data, tmp_path / "parts.json", updates=5)


def test_the_rate_is_chosen_on_the_pilots(tiny_data: RealData, tmp_path: Path) -> None:
    """Of a rate that does nothing and one that teaches, the second; a teacher with its own rates has no choice."""
    one = study(tiny_data, tmp_path / "a.json", lr=[1e-9, 0.1])
    one.prepare()
    choice = one.ledger.choices["real, as many updates"]
    assert choice["lr"] == 0.1
    assert choice["pilot_accuracy"][1] > choice["pilot_accuracy"][0]
    images, labels = tiny_data.train.batch(torch.arange(12), tiny_data.description.normalisation)
    own = StoredImages(images, labels, tiny_data.description, learning_rates=torch.full((4,), 0.1))
    main = with_baselines(
        "own", own, SPACE, tiny_data, updates=4, batch_size=12, lr=[0.1], seeds=1, device=CPU, seed=0
    )[0]  # fmt: skip
    assert main.prepare([], lambda _, __: pytest.fail("no pilot is needed"))["lr"] == "teacher"


def test_as_much_time_means_the_teachers_seconds(tiny_data: RealData) -> None:
    few, _, _, timed, subset = proxies(tiny_data, lr=[0.1])
    for proxy in (few, timed, subset):
        proxy.prepare([], map)
    name = "mlp-d1-w16-relu"
    assert timed.score(name, {"few": {"seconds": 0.0}})["updates"] == 1
    assert timed.score(name, {"few": {"seconds": 1e9}})["updates"] == 4 * 8
    assert isinstance(subset.teacher, RealSubset)
    assert subset.teacher.images_stored == few.teacher.images_stored == 12


def test_the_truth_is_the_test_accuracy_of_the_best_rate_on_validation(tiny_data: RealData) -> None:
    useless = TrainedTruth(SPACE, tiny_data, epochs=2, batch_size=12, lr=[1e-9, 0.3], seeds=2, device=CPU)
    found = useless.train("mlp-d1-w16-relu")
    assert found["lr"] == 0.3
    assert found["accuracy"] == pytest.approx(sum(found["runs"]) / 2)
    assert found["accuracy"] > 0.9


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["mlp-d1-w16-relu,0.5", "mlp-d1-w2-relu,1"], [0.5, 1.0]),
        (["mlp-d1-w16-relu,50", "mlp-d1-w2-relu,1"], [0.5, 0.01]),
    ],
)
def test_a_table_in_fractions_or_per_cent(lines: list[str], expected: list[float], tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\n".join(["architecture,accuracy", *lines]) + "\n")
    assert list(read_table(tmp_path / "t.csv", SPACE).values()) == pytest.approx(expected)


def test_names_with_commas_stand_in_quotes(tmp_path: Path) -> None:
    space = WidthSpace("some.Net", {"a": [1, 9], "b": [1, 9]})
    (tmp_path / "t.csv").write_text('note,architecture,accuracy\nx,"a=1,b=2",0.25\n')
    assert read_table(tmp_path / "t.csv", space) == {"a=1,b=2": 0.25}
    (tmp_path / "t.csv").write_text("architecture,accuracy\na=1,b=2,0.25\n")
    with pytest.raises(UserError, match="line 2 has more cells"):
        read_table(tmp_path / "t.csv", space)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("name,accuracy\n", "no column 'architecture'"),
        ("architecture,accuracy\n", "no architecture below"),
        ("architecture,accuracy\nmlp-d1-w2-relu,x\n", "line 2: accuracy 'x'"),
        ("architecture,accuracy\nmlp-d1-w2-relu\n", "line 2: accuracy None"),
        ("architecture,accuracy\nmlp-d1-w2-relu,nan\n", "line 2: accuracy 'nan'"),
        ("architecture,accuracy\nmlp-d1-w2-relu,120\n", "line 2: accuracy '120'"),
        ("architecture,accuracy\nwhat,0.1\n", "line 2: 'what' names no MLP"),
        ("architecture,accuracy\nmlp-d1-w2-relu,1\nmlp-d1-w2-relu,1\n", "line 3 names .* a second time"),
    ],
)
def test_a_wrong_table_is_one_sentence(content: str, sentence: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(UserError, match=sentence):
        read_table(tmp_path / "t.csv", SPACE)


def test_a_table_that_cannot_be_read_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_table(tmp_path / "none.csv", SPACE)
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        read_table(tmp_path / "t.csv", SPACE)


def test_a_table_takes_the_place_of_training(tiny_data: RealData, tmp_path: Path) -> None:
    one = study(tiny_data, tmp_path / "a.json")
    one.prepare()
    names = one.search("random", 4)
    one.look_up(names, {name: place / 4 for place, name in enumerate(names)})
    assert list(truths(one.ledger.architectures).values()) == [0, 0.25, 0.5, 0.75]
    assert one.standing(names[2], names)["better_than"] == pytest.approx(2 / 3)
    with pytest.raises(UserError, match="lacks 'mlp-x'"):
        one.look_up(["mlp-x"], {})


@pytest.mark.parametrize("how", ["random", "optuna"])
def test_searches_stay_in_their_budget_and_depend_on_the_seed(how: str) -> None:
    if how == "optuna":
        pytest.importorskip("optuna")
    seen: list[str] = []

    def score(names: Any) -> list[float]:
        seen.extend(names)
        return [float(SPACE.learner(name)["init_args"]["width"]) for name in names]

    options = {"count": 9, "side_by_side": 2}
    first = search(how, SPACE, score, seed=1, **options)  # type: ignore[arg-type]
    assert len(set(first)) == len(first) <= 9
    assert set(seen) == set(first)
    assert first == search(how, SPACE, score, seed=1, **options)  # type: ignore[arg-type]
    assert first != search(how, SPACE, score, seed=2, **options)  # type: ignore[arg-type]
    assert len(search(how, SPACE, score, seed=1, budget=1e-9, **options)) <= 2  # type: ignore[arg-type]


def test_tpe_looks_more_often_where_scores_are_high() -> None:
    pytest.importorskip("optuna")
    space = WidthSpace("some.Net", {"width": [1, 1000]})

    def score(names: Any) -> list[float]:
        return [-abs(space.learner(name)["init_args"]["width"] - 700.0) for name in names]

    found = search("optuna", space, score, count=50, seed=0)
    widths = [space.learner(name)["init_args"]["width"] for name in found]
    near = [sum(abs(width - 700) < 100 for width in part) / len(part) for part in (widths[:10], widths[25:])]
    assert near[1] > 0.35 > near[0]  # by chance: 0.2


def test_a_strange_file_is_refused(tmp_path: Path) -> None:
    for content in ('{"a": 1}', "[]", "3"):
        (tmp_path / "a.json").write_text(content)
        with pytest.raises(UserError, match="no results of a search"):
            Ledger(tmp_path / "a.json", {})
        assert (tmp_path / "a.json").read_text() == content
    assert Ledger(tmp_path / "a.json", {}, fresh=True).architectures == {}
    with pytest.raises(UserError, match="did you mean 'optuna'"):
        search("optna", SPACE, lambda names: [], count=1, seed=0)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """A ledger with two architectures."""
    ledger = Ledger(tmp_path / "a.json", {"space": "x"})
    ledger.choose("few", {"lr": 0.1, "pilot_accuracy": [0.5], "pilot_seconds": 1.5})
    for name, score in (("one", 0.5), ("two", 0.75)):
        ledger.put(name, "proxies", {"few": {"score": score, "seconds": 1.0}})
        ledger.put(name, "truth", {"accuracy": score, "runs": [score], "seconds": 2.0})
    return ledger.path


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe\x00", b"[" * 100_000, b'{"a": NaN}', b'{"a": 1, "a": 2}'])
def test_a_ledger_that_cannot_be_read_is_kept_beside_a_new_one(
    written: Path, content: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    written.write_bytes(content)
    assert Ledger(written, {"space": "x"}).architectures == {}
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "it is kept as 'a.damaged.json', and the search starts anew" in said
    assert (written.parent / "a.damaged.json").read_bytes() == content


@pytest.mark.parametrize(
    ("before", "after", "left", "said"),
    [
        ('"score": 0.75', '"score": 0.95', ["one"], "'two' does not match its checksum; it is made anew"),
        ('"score": 0.75', '"score": "high"', ["one"], "score is 'high', expected a number"),
        ('"score": 0.5', '"scores": 0.5', ["two"], "lacks 'score'"),
        ('"accuracy": 0.5', '"accuracy": 5', ["two"], "accuracy is 5, expected a fraction"),
        ('"two": {\n   "proxies"', '"too": {\n   "proxies"', ["one"], "'too' does not match its checksum"),
        ('"lr": 0.1', '"lr": 0.3', ["one", "two"], "the choice of 'few' does not match its checksum"),
        ('"space": "x"', '"space": "y"', [], "does not match its checksum; it is kept as 'a.damaged.json'"),
        ('"format": 1', '"format": "1"', [], "format is '1', expected a number"),
        ('"choices": {\n  "few"', '"choice": {\n  "few"', [], "lacks 'choices'"),
    ],
)
def test_what_is_damaged_in_a_ledger_is_made_anew(
    written: Path, before: str, after: str, left: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = written.read_text()
    assert content.count(before) >= 1
    written.write_text(content.replace(before, after, 1))
    ledger = Ledger(written, {"space": "x"})
    assert list(ledger.architectures) == left
    assert ("few" in ledger.choices) == (bool(left) and "choice of" not in said)
    assert said in capsys.readouterr().err


def test_a_ledger_without_checksums_goes_on(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read = json.loads(written.read_text())
    del read["sums"]
    written.write_text(json.dumps(read))
    ledger = Ledger(written, {"space": "x"})
    assert list(ledger.architectures) == ["one", "two"] and "few" in ledger.choices
    assert capsys.readouterr().err == ""
