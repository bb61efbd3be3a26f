from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from gendistill import cli
from gendistill.commands.keeping import forget, keeping, parts_beside
from gendistill.evaluation.learning import _Judging
from gendistill.evaluation.parts import once
from gendistill.runs.signals import Interrupted, Told
from gendistill.spelling import of_command, written

MLP = "{class_path: gendistill.nets.learners.MLP, init_args: {width: 8}}"
WORDS = ["compare", "a=real:ipc=1", "b=real:ipc=2", "c=real:ipc=3", "--learner", MLP, "--updates", "3", "--seeds", "2",
         "--lr", "0.1", "--no-fidelity", "--output"]  # fmt: skip


def test_a_comparison_goes_on_with_the_teacher_that_was_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    train, trained, stop_at = _Judging.train, [0], [3]

    def counted(self: _Judging, *given: object) -> object:
        trained[0] += 1
        if trained[0] == stop_at[0]:
            raise Told(15)
        return train(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(_Judging, "train", counted)
    output = tmp_path / "x.json"
    assert cli.main([*WORDS, str(output)]) == 143
    said = capsys.readouterr().err
    assert f"error: interrupted; what is finished is kept in '{tmp_path / '.x.json.parts'}'; give the same" in said
    assert len(list((tmp_path / ".x.json.parts").iterdir())) == 2 and not output.exists()
    trained[0], stop_at[0] = 0, 0
    assert cli.main([*WORDS, str(output)]) == 0
    # The third alone, and nothing is left beside the result.
    assert trained[0] == 1 and [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_without_an_output_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    said = "nothing is kept without --output FILE; give the same command again"
    with pytest.raises(Interrupted, match=said), written(of_command), keeping(None):
        raise KeyboardInterrupt
    assert not list(tmp_path.iterdir()) and parts_beside("/dev/null") is None


def test_parts_are_removed_with_what_they_were_kept_for(tmp_path: Path) -> None:
    output = tmp_path / "new" / "x.json"
    folder = parts_beside(output)
    assert folder is not None
    with keeping(output):
        once("part", lambda: {"a": 1}, lambda place: {"b": 2})
    assert len(list(folder.iterdir())) == 1
    forget(output)
    assert not folder.exists()
    with pytest.raises(Interrupted, match="nothing was finished; make the same call"), keeping(output):
        raise KeyboardInterrupt
    assert not folder.exists()


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("nas", "what is scored and trained is kept in 'out/architectures.json'; give the same command again to go on"),
        ("replicate", "finished runs and evaluations are kept; give the same command again to go on"),
        ("sweep", "finished runs and evaluations are kept; give the same command again to go on"),
        ("quickstart", "finished stages are kept; give the same command again to go on"),
        ("adapt", "interrupted; give the same command again"),
    ],
)
def test_commands_say_how_to_go_on(
    command: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from gendistill.commands import adapt, nas, quickstart, replicate, sweep

    def stopped(*given: object, **options: object) -> argparse.Namespace:
        raise Told(1)

    for module, name in ((nas, "run"), (quickstart, "run"), (sweep, "sweep"), (replicate, "replicate")):
        monkeypatch.setattr(module, name, stopped)
    monkeypatch.setattr(adapt, "load_data", stopped)
    root = Path(__file__).parents[2]
    words = {
        "nas": ["real", "--output", "out"],
        "replicate": ["ours-4.1-gan", "--configs", str(root / "configs/replication")],
        "sweep": [str(root / "configs/dd/digits-layers.yaml"), "--over", "trainer.fixed_layers=0,1"],
        "quickstart": [],
        "adapt": ["teacher"],
    }
    monkeypatch.chdir(tmp_path)
    assert cli.main([command, *words[command]]) == 129
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith(said)
