from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from gendistill import __version__, cli
from gendistill.errors import DivergenceError, GendistillError, StorageError, UserError

ROOT = Path(__file__).resolve().parents[1]


def use(monkeypatch: pytest.MonkeyPatch, raised: BaseException | None) -> None:
    """Make ``gendistill probe`` raise something."""

    def main(argv: list[str]) -> int:
        if raised is not None:
            raise raised
        return 0

    monkeypatch.setitem(sys.modules, "probe_command", SimpleNamespace(main=main))  # type: ignore[arg-type]
    monkeypatch.setitem(cli.COMMANDS, "probe", ("probe_command", ""))


class Stopped(GendistillError):
    exit_code = 143


@pytest.mark.parametrize(
    ("raised", "code", "traceback"),
    [
        (None, 0, False),
        (UserError("give another\nname"), 2, False),
        (StorageError("the disk is full"), 1, False),
        (DivergenceError("loss/g is NaN"), 1, False),
        (Stopped("terminated"), 143, False),
        (KeyboardInterrupt(), 130, False),
        (SystemExit(0), 0, False),
        (ZeroDivisionError("a bug"), 1, True),
    ],
)
def test_exit_codes(monkeypatch, capsys, raised: BaseException | None, code: int, traceback: bool) -> None:
    use(monkeypatch, raised)
    assert cli.main(["probe"]) == code
    said = capsys.readouterr()
    assert said.out == "" and ("Traceback" in said.err) == traceback
    if code and not traceback:
        assert len(said.err.strip().splitlines()) == 1


@pytest.mark.parametrize("error", [ImportError("no numpy"), UserError("there is no learner of that name")])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_an_import_makes_of_a_signal_is_the_signal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, number: signal.Signals
) -> None:
    def main(arguments: list[str]) -> int:
        try:
            os.kill(os.getpid(), number)
            time.sleep(60)
        except BaseException:
            raise error from None
        return 0

    monkeypatch.setitem(sys.modules, "probe_command", SimpleNamespace(main=main))  # type: ignore[arg-type]
    monkeypatch.setitem(cli.COMMANDS, "probe", ("probe_command", ""))
    assert cli.main(["probe"]) == 128 + number
    said = capsys.readouterr().err
    assert "interrupted; give the same command again" in said and "Traceback" not in said
    use(monkeypatch, error)  # and afterwards an error is one again
    assert cli.main(["probe"]) == (2 if isinstance(error, UserError) else 1)


def test_help_and_version_do_not_load_torch() -> None:
    code = (
        "import sys; from gendistill.cli import main; a = main(['--help']); b = main(['--version']);"
        "sys.exit(a or b or 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert __version__ in done.stdout and all(name in done.stdout for name in cli.COMMANDS)


def test_a_run_on_digits_loads_no_slow_library_that_it_does_not_use(tmp_path: Path) -> None:
    code = (
        "import sys; from gendistill.cli import main; code = main(sys.argv[1:]);"
        "slow = {'matplotlib', 'pandas', 'scipy', 'sklearn', 'torchvision'} & set(sys.modules);"
        "sys.exit(code or str(slow) if slow else code)"
    )
    words = ["train", "--config", "quickstart/gtn", "--run.steps", "1", "--run.root", str(tmp_path)]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [name for name in cli.COMMANDS])
def test_every_command_has_help_with_its_options(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--help"]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: gendistill {command}") and "--" in said
    assert "default" in said or command in ("trainers", "completion")  # which have nothing to choose


@pytest.mark.parametrize("door", ["train", "latent_search", "evaluate", "compare"])
def test_doors_open_the_same_program(door: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / f"{door}.py"), "--bogus"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2 and done.stderr.startswith("error: ") and len(done.stderr.splitlines()) == 1


def test_the_program_survives_a_reader_that_leaves() -> None:
    done = subprocess.run(
        f"{sys.executable} -m gendistill.cli --help | head -c 1", shell=True, capture_output=True, text=True, cwd=ROOT
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(("rank", "asked"), [("0", True), ("1", False)])
def test_what_is_not_shared_is_done_by_the_first_process_alone(monkeypatch, rank: str, asked: bool) -> None:
    seen: list[str | None] = []

    def main(argv: list[str]) -> int:
        seen.append(os.environ.get("WORLD_SIZE"))
        return 0

    for name, value in (("RANK", rank), ("LOCAL_RANK", rank), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    for name, module in (("probe", "probe_command"), ("train", "probe_command")):
        monkeypatch.setitem(cli.COMMANDS, name, (module, ""))
    monkeypatch.setitem(sys.modules, "probe_command", SimpleNamespace(main=main))
    assert cli.main(["train"]) == 0 and seen.pop() == "2"
    assert cli.main(["probe"]) == 0
    assert seen == ([None] if asked else [])
