"""The help of all commands: quick, in a person's words, with defaults that say something."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from gendistill.cli import COMMANDS, main
from gendistill.commands.options import Options
from gendistill.config.help import words_alone

ROOT = Path(__file__).resolve().parents[1]
NOISE = re.compile(r":[a-z]+:`|``|default: (None|null|False|\[|\(\)|==SUPPRESS==)|\bNone:|object at 0x")


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_no_marks_and_no_default_that_says_nothing(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    said = capsys.readouterr().out
    lines = said.split("\nHow long, where")[0] if command == "train" else said
    found = [lines[max(match.start() - 60, 0) : match.end() + 20] for match in NOISE.finditer(lines)]
    found = [one for one in found if "type: bool" not in one]
    assert found == []


def test_no_commands_help_waits_for_torch() -> None:
    code = (
        "import sys, contextlib, io; from gendistill.cli import COMMANDS, main\n"
        "for name in COMMANDS:\n"
        "    with contextlib.redirect_stdout(io.StringIO()): code = main([name, '--help'])\n"
        "    if code or 'torch' in sys.modules: sys.exit(f'{name}: {code}')"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # All of them together; each alone took 0.5 CPU seconds at most when this was written.
    assert after.ru_utime - before.ru_utime < 3 * len(COMMANDS)


def test_version_is_said_shortly(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-V"]) == 0 and main(["--version"]) == 0
    one, other = capsys.readouterr().out.splitlines()
    assert one == other and re.fullmatch(r"gendistill \d+\.\d+\.\d+", one)


def test_defaults_are_as_they_are_typed() -> None:
    options = Options(prog="x")
    options.add_argument("--list", default=(1, 2), help="some numbers")
    options.add_argument("--colour", help="of the paper; None: white")
    options.add_argument("--nothing", help="alone")
    options.add_argument("--flag", action="store_true", help="yes")
    said = options.format_help()
    assert "some numbers (default: 1,2)" in said and "of the paper (default: white)" in said
    assert re.search(r"alone$", said, re.MULTILINE) and re.search(r"yes$", said, re.MULTILINE)


def test_docstrings_become_words() -> None:
    text = "See :class:`gendistill.poison.Poison`, :func:`~a.b.c`; ``x``. None: honest, and None for the grid."
    assert words_alone(text) == "See Poison, c; x. Without it: honest, and without it: the grid."
