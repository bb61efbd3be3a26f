"""Every command that a page prints is one of the program, has its options, and names files that are there or made."""

from __future__ import annotations

import importlib
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from gendistill import shipped
from gendistill.cli import COMMANDS
from gendistill.commands.latent_search import TRAINER
from gendistill.commands.privacy import HELP
from gendistill.config.command_line import assemble, take_apart
from gendistill.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*/README.md"))
    if path.name != "CHANGELOG.md"
)
STARTS = re.compile(r"^(?:\.venv/bin/)?(?:gendistill|(?:\.venv/bin/)?python (?:tools|benchmarks|tests)/\S+\.py|make) ?")
OF_TRAINER = {"train": (), "latent-search": ("--no_evaluate",), "replicate": (), "sweep": (), "privacy": ()}
LATER = () if "doctor" in COMMANDS else ("doctor",)
OWN = {
    "replicate": (
        "--seeds",
        "--jobs",
        "--root",
        "--configs",
        "--output",
        "--list",
        "--all",
        "--summary",
        "--cluster",
    ),  # fmt: skip
    "sweep": ("--over", "--label", "--seeds", "--jobs", "--root", "--output", "--cluster"),
    "privacy": tuple(re.findall(r"^  (--\w+)", HELP, re.MULTILINE)),
}
PLACEHOLDER = re.compile(r"^[A-Z][A-Z_,=.]*$|^\.\.\.$|^\$|^\[|^COMMAND$|\bDIR\b|\bFILE\b|\bRUN\b|<")
EXAMPLES = ROOT / "docs" / "examples"
"""What the pages have in a folder of one's own."""


def lines(page: str) -> Iterator[str]:
    """Yield the lines of a page's blocks, continued ones joined."""
    text = re.sub(r"\\\n\s*", "", (ROOT / page).read_text())
    fenced = False
    for line in text.splitlines():
        if line.startswith("```"):
            fenced = not fenced
        elif fenced or line.startswith("    "):
            yield line.strip()


def commands(page: str) -> list[list[str]]:
    """Return the words of each command of a page that starts a line of a block."""
    found = []
    for line in lines(page):
        line = line.removeprefix("$ ")
        if not STARTS.match(line):
            continue
        for part in re.split(r" (?:&&|\|\|?) |; ", line):
            if STARTS.match(part):
                found.append(shlex.split(part.split(" > ")[0], comments=True))
    return found


def program(words: list[str]) -> list[str]:
    """Return the words after ``gendistill``, that of a tool's too; nothing for other commands."""
    name = words[0].rpartition("/")[2]
    if name == "gendistill":
        return words[1:]
    if name == "python" and words[1].startswith("tools/"):
        text = (ROOT / words[1]).read_text()
        return [re.search(r'program\(\["([\w-]+)"', text)[1], *words[2:]]  # type: ignore[index]
    return []


def options_of(words: list[str]) -> None:
    """Refuse a command that does not exist or has an option that it does not take."""
    if words[0] == "torchrun":
        return options_of(words[next(at for at, word in enumerate(words) if word in OF_TRAINER) :])
    if words[0] in LATER:
        return None
    assert words[0] in COMMANDS, f"there is no command {words[0]}"
    words = [word for word in words if word not in ("--help", "-h", "[OPTIONS]")]
    parser = getattr(importlib.import_module(COMMANDS[words[0]][0]), "parser", None)
    if parser is not None:
        values = [word for word in words[1:] if word != "..."]
        unknown = [word for word in values if word.startswith("--") and word.split("=")[0] not in known(words[0])]
        assert not unknown, f"{words[0]} does not take {unknown}"
        return None
    taken = take_apart(words[1:])
    own = (*OWN.get(words[0], ()), *OF_TRAINER[words[0]], "--max-expansion-mb", "--KEY", "--key", "--no-evaluate")
    taken.overrides = [(name, "1" if text and PLACEHOLDER.match(text) else text) for name, text in taken.overrides]
    taken.overrides = [(name, text) for name, text in taken.overrides if name not in own]
    if words[0] in ("replicate", "sweep") or any(PLACEHOLDER.search(one) for one in taken.configs):
        return None
    if taken.trainer and PLACEHOLDER.search(taken.trainer):
        return None
    for name, text in taken.overrides:
        assert re.match(r"^--[\w.-]+$", name), f"{name} {text}"
    return None


@cache
def known(command: str) -> frozenset[str]:
    parser = importlib.import_module(COMMANDS[command][0]).parser()
    return frozenset(name for action in parser._actions for name in action.option_strings) | {"--max-expansion-mb"}


def made(words: list[str]) -> set[str]:
    """Return the run that a command makes, if it makes one."""
    if words[:1] == ["torchrun"]:
        words = words[next(at for at, word in enumerate(words) if word in OF_TRAINER) :]
    if words[:1] not in (["train"], ["latent-search"]):
        return {"checkpoints/replication"} if words[:1] == ["replicate"] else set()
    taken = take_apart(words[1:])
    name = dict(taken.overrides).get("--run.name")
    if name is None and words[0] == "latent-search" and not taken.configs:
        name = "latent-search"
    if name is None and taken.configs and not PLACEHOLDER.search(taken.configs[-1]):
        taken.overrides = []
        taken.configs = [str(EXAMPLES / one) if (EXAMPLES / one).is_file() else one for one in taken.configs]
        name = str(assemble(taken, TRAINER if words[0] == "latent-search" else None).run.get("name"))
    return set() if name is None else {f"checkpoints/{name}"}


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_could_be_given(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    wrong = []
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    there: set[str] = set()
    every = commands(page)
    for words in every:
        if (given := program(words)) and given[0] in ("train", "latent-search", "torchrun", "replicate"):
            there |= made(given)
    for words in every:
        if words[0] == "make":
            wrong += [f"make {word}" for word in words[1:] if "=" not in word and word not in targets]
            continue
        if words[0].endswith("python"):
            wrong += [] if (ROOT / words[1]).is_file() else [f"{words[1]} is not there"]
        given = program(words)
        if not given or PLACEHOLDER.match(given[0]):
            continue
        try:
            options_of([word for word in given if not word.startswith("-V") and word != "--version"] or ["train"])
        except (AssertionError, UserError) as error:
            wrong.append(f"{shlex.join(words)}: {error}")
        wrong += [f"{shlex.join(words)}: {lack}" for lack in lacking(given, there)]
    assert not wrong, "\n".join(wrong)


def lacking(given: list[str], there: set[str]) -> Iterator[str]:
    """Yield the files that a command names, which are neither in a fresh checkout nor made by the page."""
    output = {given[at + 1] for at, word in enumerate(given[:-1]) if word in ("--output", "--report", "--page")}
    for word in given[1:]:
        for path in re.findall(r"(?:^|(?<=[=,]))(?:configs|checkpoints|docs|tests)/[\w./-]+", word):
            if path in output or PLACEHOLDER.search(path):
                continue
            if path.startswith("configs/"):
                if not shipped.config(path).exists():
                    yield f"{path} is not there"
            elif path.startswith("checkpoints/"):
                run = path.removesuffix("/teacher.safetensors")
                if not shipped.teacher(run).exists() and not any(run.startswith(one) for one in there):
                    yield f"{path} is neither in a fresh checkout nor made by the page"
