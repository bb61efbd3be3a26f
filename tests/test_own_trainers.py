from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gendistill import own_trainers
from gendistill.errors import UserError
from gendistill.objects import locate

ROOT = Path(__file__).resolve().parents[1]


def python(code: str, place: Path) -> subprocess.CompletedProcess[str]:
    """Run Python in a folder that comes before everything else."""
    start = f"import sys; sys.path[:0] = [{str(place)!r}]; sys.path.append({str(ROOT)!r})\n"
    return subprocess.run([sys.executable, "-c", start + code], cwd=place, capture_output=True, text=True)


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder ``trainers`` of somebody else's, first on the path."""
    (tmp_path / "trainers").mkdir()
    for name, text in {"__init__": "THEIRS = 1", "chunks": "THEIRS = 2", "mine": "class Mine: pass"}.items():
        (tmp_path / "trainers" / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_ours_is_imported_whatever_comes_first(theirs: Path) -> None:
    done = python(
        "from gendistill.own_trainers import import_module\n"
        "import_module('trainers.checks'); import trainers, trainers.checks\n"
        "print(trainers.__file__, trainers.checks.__file__)",
        theirs,
    )
    assert done.stdout.split() == [str(ROOT / "trainers" / name) for name in ("__init__.py", "checks.py")], done.stderr


def test_what_ours_hides_is_said_with_the_way_out(theirs: Path) -> None:
    with pytest.raises(
        UserError, match=f"'trainers.mine' is in {theirs}/trainers, which .* rename .* my_trainers.mine"
    ):
        locate("trainers.mine.Mine")
    with pytest.raises(UserError, match=r"has no 'THEIRS'; 'trainers\.chunks' is in .* hides; rename"):
        locate("trainers.chunks.THEIRS")
    with pytest.raises(UserError, match="No module named 'trainers.nothing'"):
        locate("trainers.nothing.Nothing")


def test_what_is_hidden_without_a_reason_is_not_spoken_of(tmp_path: Path) -> None:
    assert own_trainers.hidden("trainers.gan") == ""


def test_ours_beside_another_place_of_ours_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "trainers").mkdir()
    for name in ("__init__.py", "trainer.py", "gan.py"):
        (tmp_path / "trainers" / name).write_bytes((ROOT / "trainers" / name).read_bytes())
    monkeypatch.syspath_prepend(str(tmp_path))
    assert own_trainers.hidden("trainers.gan") == ""
    (tmp_path / "trainers" / "trainer.py").write_text("")
    assert "which gendistill's own package 'trainers' hides" in own_trainers.hidden("trainers.gan")


def test_theirs_that_is_imported_already_is_left_and_named(theirs: Path) -> None:
    done = python(
        "import trainers\n"
        "from gendistill.objects import locate\n"
        "from gendistill.errors import UserError\n"
        "try: locate('trainers.checks.Checks')\n"
        "except UserError as error: print(error, trainers.THEIRS)",
        theirs,
    )
    assert f"another package 'trainers' ({theirs}/trainers/__init__.py) was imported before" in done.stdout, done.stderr
