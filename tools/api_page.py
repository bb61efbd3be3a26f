"""Write docs/api.md from the docstrings of what ``import gendistill`` offers (``make docs``)."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HOUSE = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(HOUSE))

import gendistill as gd  # noqa: E402

PAGE = HOUSE / "docs" / "api.md"
GROUPS = {
    "Data and teachers": ("load_data", "load", "save", "export", "Teacher", "TeacherDataset", "RealData"),
    "Training": ("train", "Run", "KeepBest", "Callback", "Every", "OnSave", "AtEnd", "Now", "Logger"),
    "Judging": ("evaluate", "compare", "Result", "Comparison"),
    "Errors": ("GendistillError", "UserError", "StorageError", "DivergenceError"),
}
HEAD = """# The library, name by name

Made by `make docs` (`tools/api_page.py`) from the docstrings; a test says when it is old. How the names are used
together is on the page [From Python](library.md).
"""
ROLE = re.compile(r":(?:func|class|meth|attr|mod|data):`~?([^`]+)`")
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Source):$")
ENTRY = re.compile(r"^ {4}(\*{0,2}[A-Za-z_][\w. ,]*): (.*)$")


def page() -> str:
    """Return the page as Markdown."""
    known = [name for names in GROUPS.values() for name in names]
    left = sorted(set(gd.__all__) - set(known) - {"__version__", "plot"})
    parts = [HEAD]
    for group, names in {**GROUPS, **({"More": tuple(left)} if left else {})}.items():
        parts.append(f"## {group}\n")
        for name in names:
            parts += _entry(f"gd.{name}", getattr(gd, name), "###")
    parts += ["## Figures: `gd.plot`\n", _text(inspect.getdoc(gd.plot) or "")]
    for name, found in vars(gd.plot).items():
        own = inspect.isfunction(found) and found.__module__ == gd.plot.__name__
        if own and not name.startswith("_") and name != "new_figure":
            parts += _entry(f"gd.plot.{name}", found, "###")
    return "\n".join(parts).rstrip() + "\n"


def _entry(name: str, found: Any, heading: str) -> Iterator[str]:
    """Yield a name with its arguments and its docstring; of a class also what it offers."""
    yield f"{heading} `{name}`\n"
    if not (inspect.isclass(found) and issubclass(found, Exception)):
        yield f"```python\n{_signature(name, found)}\n```\n"
    yield _text(inspect.getdoc(found) or "")
    if not inspect.isclass(found) or issubclass(found, Exception):
        return
    for inner, value in _members(found):
        if isinstance(value, property) or not callable(value):
            documented = inspect.getdoc(value) if not isinstance(value, str) else value
            yield f"- **`{inner}`** {_inline(documented or '')}"
        else:
            yield f"\n#### `{name}.{inner}`\n\n```python\n{_signature(inner, value)}\n```\n"
            yield _text(inspect.getdoc(value) or "")
    yield ""


def _members(cls: type) -> list[tuple[str, Any]]:
    """Return the public properties and methods of a class and of its bases in this project, properties first."""
    found: dict[str, Any] = {}
    for kind in reversed(cls.__mro__):
        if not kind.__module__.startswith("gendistill"):
            continue
        for name, value in vars(kind).items():
            if name.startswith("_"):
                continue
            value = getattr(value, "__func__", value)
            if inspect.isfunction(value) or isinstance(value, property) or hasattr(value, "func"):
                found[name] = value.func if hasattr(value, "func") and not inspect.isfunction(value) else value
                if hasattr(value, "func") and not inspect.isfunction(value):  # a property that is worked out once
                    found[name] = property(value.func)
    return sorted(found.items(), key=lambda one: not isinstance(one[1], property))


def _signature(name: str, found: Any) -> str:
    """Return the call as code, one argument a line where it is long; types as the source writes them."""
    signature = inspect.signature(found)
    parameters = [one for place, one in enumerate(signature.parameters.values()) if place or one.name != "self"]
    words, starred = [], False
    for one in parameters:
        if one.kind is one.KEYWORD_ONLY and not starred:
            starred = True
            words.append("*")
        starred = starred or one.kind is one.VAR_POSITIONAL
        words.append(re.sub(r"\bgendistill\.[\w.]+\.(\w+)", r"\1", str(one).replace("'", "\x00")).replace("\x00", "'"))
    words = [re.sub(r": '([^']*)'", r": \1", word) for word in words]
    returned = signature.return_annotation
    arrow = "" if returned is signature.empty or inspect.isclass(found) else f" -> {str(returned).strip(chr(39))}"
    line = f"{name}({', '.join(words)}){arrow}"
    return line if len(line) <= 100 else f"{name}(\n" + "".join(f"    {word},\n" for word in words) + f"){arrow}"


def _inline(text: str) -> str:
    text = ROLE.sub(lambda role: f"`{role[1]}`", text).replace("``", "`")
    return " ".join(text.split())


def _text(documented: str) -> str:
    """Return a docstring as Markdown: its sections as lists."""
    lines, out, entry = documented.splitlines(), [], None
    section = ""
    paragraph: list[str] = []

    def flush() -> None:
        if paragraph:
            out.append(_inline(" ".join(paragraph)) + "\n")
            paragraph.clear()

    listed: list[str] = []

    def end() -> None:
        if listed:
            out.append("\n".join(listed) + "\n")
            listed.clear()

    for line in lines:
        if match := SECTION.match(line):
            flush()
            end()
            section, entry = match[1], None
            out.append(f"*{section}*\n")
        elif section and line.startswith("    "):
            found = ENTRY.match(line) if section in ("Args", "Attributes", "Raises") else None
            if found:
                entry = f"- `{found[1]}`: {_inline(found[2])}"
                listed.append(entry)
            elif listed:
                listed[-1] += f" {_inline(line)}"
            else:
                paragraph.append(line.strip())
        elif not line.strip():
            flush()
            end()
        else:
            section = ""
            paragraph.append(line.strip())
    flush()
    end()
    return "\n".join(out)


def main() -> int:
    """Write the page."""
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.relative_to(HOUSE)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
