"""``gendistill completion``: a script that completes commands, options and their values in a shell (made by shtab)."""

from __future__ import annotations

import argparse
import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gendistill import shipped
from gendistill.commands.configs import REPLICATIONS
from gendistill.commands.options import Options
from gendistill.errors import UserError

SHELLS = ("bash", "zsh", "tcsh")
OPTION = re.compile(r"^  (--?[a-zA-Z][\w.-]*)(?: ([A-Z][\w.=,]*))?(?:  |$)", re.MULTILINE)
"""An option in a help text that is written out: its name, and what stands for its value."""
FILES, FOLDERS = ("FILE", "TEACHER", "GENERATOR", "RESULTS", "CONFIG"), ("DIR",)


def parser() -> Options:
    """Return the command's options."""
    options = Options(
        prog="gendistill completion",
        description="Print a script that completes gendistill's commands, options and file names. "
        "bash: gendistill completion bash > ~/.local/share/bash-completion/completions/gendistill. "
        "zsh: gendistill completion zsh > DIR/_gendistill, with DIR in $fpath. It needs shtab "
        "(pip install 'gendistill[completion]').",
    )
    options.add_argument("shell", choices=SHELLS, help="whose completion")
    return options


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill completion``."""
    given = parser().parse(argv)
    try:
        import shtab
    except ImportError as error:
        raise UserError("completion is made by shtab; pip install 'gendistill[completion]'") from error
    from gendistill.cli import COMMANDS

    program = everything(COMMANDS, {name: getattr(shtab, name) for name in ("FILE", "DIRECTORY")})
    print(shtab.complete(program, given.shell))
    return 0


def everything(commands: Mapping[str, tuple[str, str]], places: Mapping[str, Any]) -> argparse.ArgumentParser:
    """Return one parser with all commands below it, for completion alone.

    Args:
        commands: Name: module and summary.
        places: How shtab completes a ``FILE`` and a ``DIRECTORY``.
    """
    program = argparse.ArgumentParser(prog="gendistill")
    program.add_argument("-V", "--version", action="version", version="")
    below = program.add_subparsers(metavar="COMMAND")
    for name, (module, summary) in commands.items():
        one = below.add_parser(name, help=summary.replace("%", "%%"))
        for words, settings in _options(importlib.import_module(module), name):
            action = one.add_argument(*words, **settings)
            if settings.get("choices") is None and (value := action.metavar) is not None:
                kind = "FILE" if value in FILES else "DIRECTORY" if value in FOLDERS else None
                if kind is not None:
                    action.complete = places[kind]  # type: ignore[attr-defined]
    return program


def _options(module: Any, name: str) -> Iterator[tuple[list[str], dict[str, Any]]]:
    """Yield a command's words and what argparse is to know of them."""
    known = getattr(module, "parser", None)
    if known is not None:
        for action in known()._actions:
            if isinstance(action, argparse._HelpAction):
                continue
            words = action.option_strings or [action.dest]
            settings = {"metavar": action.metavar, "choices": action.choices, "help": _first(action.help)}
            if action.nargs == 0:
                settings = {"action": "store_true", "help": _first(action.help)}
            elif isinstance(action.nargs, str):
                settings["nargs"] = action.nargs
            yield list(words), settings
        return
    for option, value in sorted({match.group(1, 2) for match in OPTION.finditer(_text(module, name))}):
        if option in ("--help", "-h", "--KEY"):
            continue
        settings = {"metavar": value} if value else {"action": "store_true"}
        if option == "--config":
            settings["choices"] = [one for one in shipped.names(shipped.CONFIGS) if not one.startswith(REPLICATIONS)]
        yield [option], settings


def _text(module: Any, name: str) -> str:
    """Return the help of a command whose options are those of a trainer."""
    from gendistill.config.help import show

    return str(getattr(module, "HELP", None) or show(name, "", None))


def _first(text: str | None) -> str:
    """Return what an option means, up to the first comma or semicolon."""
    return re.split(r"[;,(]", (text or "").replace("%", "%%"))[0].strip()
