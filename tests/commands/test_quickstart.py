from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gendistill.commands import quickstart
from gendistill.errors import UserError
from gendistill.evaluation.comparison import FEW, lead_needed
from gendistill.report.verdict import verdict

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "quickstart"
LEARNING = {"updates": [1, 4], "seeds": 2, "lr": [0.1]}
NAMES = ["real", "real-subset", "gan", "latent", "gtn"]
ABLATIONS = ["gtn at grid rates", "real at the rates of gtn"]


def job(root: Path) -> dict[str, Any]:
    return quickstart.run(root, "quickstart", CONFIGS, "smoke", 0, dict(LEARNING))


def without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: without_seconds(entry) for key, entry in value.items() if key not in ("seconds", "path", "making")}
    return [without_seconds(entry) for entry in value] if isinstance(value, list) else value


def test_interrupted_and_started_again_it_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lanes_here: None
) -> None:
    whole = job(tmp_path / "whole")
    judge, judged = quickstart._judge, []

    def interrupted(one: quickstart.Made, *rest: Any) -> dict[str, Any]:
        if one.name == "gan":
            raise KeyboardInterrupt
        judged.append(one.name)
        return judge(one, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(quickstart, "_judge", interrupted)
        with pytest.raises(KeyboardInterrupt):
            job(tmp_path / "halves")
    assert judged == ["real", "real-subset"]
    state = tmp_path / "halves" / "quickstart" / "gtn" / "state.pt"
    trained = state.stat().st_mtime_ns
    capsys.readouterr()
    halves = job(tmp_path / "halves")
    assert capsys.readouterr().out.count("judged already") == 2
    assert state.stat().st_mtime_ns == trained
    assert without_seconds(halves) == without_seconds(whole)


def test_it_writes_what_it_promises(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job(tmp_path)
    directory = tmp_path / "quickstart"
    results = json.loads((directory / "results.json").read_text())
    assert [one["name"] for one in results["teachers"]] == NAMES + ABLATIONS
    for one in results["teachers"]:
        assert one["learning"]["updates"] == [1, 4]
        assert [len(runs) for runs in one["learning"]["accuracy"]["runs"]] == [2, 2]
        if one["name"] in NAMES:
            assert one["fidelity"]["name"] == "FD[digits classifier]"
        assert {"kind", "path", "images", "bytes"} <= set(one["teacher"])
    by_name = {one["name"]: one for one in results["teachers"]}
    smallest = min(one["teacher"]["images"] for one in results["teachers"] if one["teacher"]["images"] is not None)
    assert {by_name[name]["fidelity"]["n"] for name in NAMES} == {smallest}
    assert [one["name"] for one in results["teachers"] if one["teacher"].get("everything")] == ["real"]
    assert by_name["real"]["seconds"] is None and by_name["latent"]["seconds"] > by_name["gan"]["seconds"] > 0
    assert any("1 thread;" in note or "2 threads;" in note for note in results["notes"])
    assert by_name["real-subset"]["teacher"]["images"] == by_name["gtn"]["teacher"]["images"]
    # Is it the images or the rates? Both under the settings of the others, so that all are held against real data.
    images, rates = (by_name[name]["learning"] for name in ABLATIONS)
    assert images["lr"] == [0.1, 0.1] and rates["lr"] == ["teacher", "teacher"]
    assert images["images_seen"] == rates["images_seen"] == by_name["gtn"]["learning"]["images_seen"]
    assert not verdict(results).differing
    norms = results["curves"]["latent norms"]
    assert norms["y"] == pytest.approx([norms["reference"]] * len(norms["x"]), rel=1e-5)
    page = (directory / "report.html").read_text()
    assert all(f">{name}<" in page.replace("</span>", ">") or name in page for name in NAMES)
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page
    assert {path.parent.name for path in directory.glob("evaluations/*/events.*")} == {*NAMES, *ABLATIONS}
    out = capsys.readouterr().out
    assert "n=1" in out and "n=4" in out and "columns" not in results
    assert "report.html" in out and "tensorboard" in out


def test_ten_learners_decide() -> None:
    seeds, updates = quickstart.FULL["seeds"], quickstart.FULL["updates"]
    assert seeds == 10 and lead_needed(seeds, 4 * len(updates)) < FEW < lead_needed(5, 32)


@pytest.mark.parametrize(
    ("words", "judging"),
    [
        ([], quickstart.FULL),
        (["--scale", "smoke"], quickstart.SMOKE),
        (["--scale", "smoke", "--seeds", "3"], quickstart.SMOKE | {"seeds": 3}),
        (["--updates", "7", "--lr", "0.2,0.4"], quickstart.FULL | {"updates": [7], "lr": [0.2, 0.4]}),
    ],
)
def test_the_scale_smoke_is_that_of_the_judging_too(
    words: list[str], judging: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(quickstart, "run", lambda *places, **rest: given.append(places[-1]))
    assert quickstart.main(words) == 0 and given == [judging]


def test_without_its_configs_it_says_where_they_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leave --configs out"):
        quickstart.run(tmp_path, "quickstart", tmp_path / "nowhere", None, 0, dict(LEARNING))


def test_configs_of_other_data_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    for file in CONFIGS.glob("*.yaml"):
        text = file.read_text().replace("name: digits", "name: mnist") if file.stem == "gtn" else file.read_text()
        (tmp_path / file.name).write_text(text)
    with pytest.raises(UserError, match="trains on 'mnist', and the quickstart judges on digits"):
        quickstart.run(tmp_path / "runs", "job", tmp_path, "smoke", 0, {"updates": [1], "seeds": 1, "lr": [0.1]})
    assert not (tmp_path / "runs").exists()
