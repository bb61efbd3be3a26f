"""Make a file that comes with the project of a run's teacher, with what was measured of it beside it.

    python tools/ship.py RUN NAME --results judged.json herding.json \\
        --made-by "gendistill train --config configs/dm/mnist-10.yaml --data.root DIRECTORY"

It writes ``checkpoints/NAME.safetensors`` and ``checkpoints/NAME.json``, and the table of sets in
``checkpoints/README.md``. Places on this machine are taken out of both; where one is left that it does not know, it
says which and writes nothing. Results are those of ``gendistill evaluate`` or ``compare`` of this teacher and, beside
it, of real images; what else they hold is left out. ``tests/teacher/test_shipped.py`` looks at what is there, and a new
name belongs into ``setup.py``, ``MANIFEST.in`` and ``tests/installed/contents.py``.
"""

from __future__ import annotations

import argparse
import re
import shlex
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
if str(HERE.parents[1]) not in sys.path:
    sys.path.insert(0, str(HERE.parents[1]))

from gendistill import shipped  # noqa: E402
from gendistill.commands.compare import named_reference  # noqa: E402
from gendistill.commands.output import read_results, write_json  # noqa: E402
from gendistill.commands.published import interval  # noqa: E402
from gendistill.errors import GendistillError, UserError  # noqa: E402
from gendistill.evaluation.settings import differing  # noqa: E402
from gendistill.files import atomic_write  # noqa: E402
from gendistill.teacher.base import Teacher  # noqa: E402
from gendistill.teacher.files import load, save  # noqa: E402
from gendistill.teacher.identity import checksum  # noqa: E402
from gendistill.teacher.reference import FILE_NAME  # noqa: E402
from gendistill.words import byte_size  # noqa: E402

LARGEST = 1_000_000
"""Bytes of a set, at most, unless more is asked for."""
MADE_BY = "made_by"
"""Entry of a shipped teacher's metadata: the command that makes it again."""
PLACES = ("root", "place", "folder", "expert_folder", "output", "path")
"""Keys whose values are places on a machine."""
OF_PLACES = (
    "--data-root", "--output", "--report", "--export", "--weights", "--device", "--cluster", "--json",
)  # fmt: skip
"""Options of a command that say where things lie, and nothing of what is measured."""
FLAGS = ("--json",)
FIRST, LAST = "<!-- sets: written by tools/ship.py -->", "<!-- sets end -->"


def without_places(value: Any) -> Any:
    """Return metadata without the entries that say where something lies."""
    if isinstance(value, Mapping):
        return {key: without_places(one) for key, one in value.items() if key not in PLACES or not _is_place(one)}
    return [without_places(one) for one in value] if isinstance(value, list) else value


def places(value: Any, where: str = "") -> Iterator[str]:
    """Yield each place on a machine that is left in plain values, with the keys that lead to it."""
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from places(one, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list):
        for one in value:
            yield from places(one, where)
    elif isinstance(value, str) and any(map(_is_place, _words(value))):
        yield f"{where}: {value}"


def _words(text: str) -> list[str]:
    """Return the words of a command, or of any other text, and what stands behind ``=`` in them."""
    try:
        words = shlex.split(text)
    except ValueError:
        words = text.split()
    return [part for word in words for part in (word, *re.split(r"[=,:]", word)[1:])]


def _is_place(value: Any) -> bool:
    return isinstance(value, str) and (value.startswith(("/", "~", "\\")) or bool(re.match(r"[A-Za-z]:\\", value)))


def of_teacher(
    found: Sequence[Mapping[str, Any]], teacher: Path, name: str, *, other_judges: bool = False
) -> list[dict[str, Any]]:
    """Return the results of a teacher, under its new name, and those of real images beside it.

    Args:
        found: Results of evaluations.
        teacher: The file that they are of.
        name: What it is called from now on.
        other_judges: Whether real images may have been judged otherwise, as where that is better for them.

    Raises:
        UserError: None is of the teacher, or two are, or what lies there was made anew since, or they were judged
            under other settings than one another.
    """
    same = {teacher.resolve(), *([teacher.resolve().parent] if teacher.name == FILE_NAME else [])}
    made = checksum(load(teacher))
    chosen: list[dict[str, Any]] = []
    for one in found:
        path = str((one.get("teacher") or {}).get("path"))
        own = Path(path).resolve() in same
        if not own and path != "real" and not path.startswith("real:"):
            continue
        said = without_places({key: value for key, value in one.items() if key not in ("command", "teacher")})
        about = without_places(one["teacher"]) | {"path": name if own else path}
        if own and about.setdefault("checksum", made) != made:
            raise UserError(f"a result of '{path}' is of another teacher than what lies there now; evaluate it again")
        said |= {"teacher": about, "name": name if own else one.get("name"), "command": _typed(one, same, name)}
        chosen.append(said)
    mine = sum(one["name"] == name for one in chosen)
    if mine != 1:
        raise UserError(
            f"{mine} of the results are of '{teacher}'; give what gendistill evaluate wrote of it, once (--results)"
        )
    if (unlike := differing(chosen)) and not other_judges:
        names = [str(one["name"]) for one in chosen]
        said = "; ".join(f"{one.name} {' and '.join(one.groups(names))}" for one in unlike)
        raise UserError(
            f"the results are of different judges ({said}); judge real images as the teacher was, or say --other-judges"
        )
    return chosen


def _typed(one: Mapping[str, Any], same: Collection[Path], name: str) -> str:
    """Return the command that measured a result, without places, with the teacher's new name."""
    kept: list[str] = []
    skip = False
    for word in shlex.split(str(one.get("command") or "")):
        option, equals, _ = word.partition("=")
        if skip or option.replace("_", "-") in OF_PLACES:
            skip = not skip and not equals and option not in FLAGS
            continue
        given = named_reference(word)[1]
        if Path(given).resolve() in same:
            kept.append(name)
        elif not _is_place(given):  # another teacher of the same comparison, whose results are left out
            kept.append(word)
    return shlex.join(kept)


def row(name: str) -> str:
    """Return the row of a set in the table, from its file and its results."""
    teacher = load(shipped.folder(shipped.CHECKPOINTS) / f"{name}.safetensors")
    counts = teacher.budget()
    stored = f"{counts['images']:,}"
    if counts.get("decoded_images") and counts["decoded_images"] != counts["images"]:
        stored += f", showing {counts['decoded_images']:,}"
    spent = teacher.metadata.get("making") or {}
    minutes = f"{spent['cpu_seconds'] / 60:.1f}" if spent.get("cpu_seconds") is not None else "–"
    accuracy, beside = "–", "–"
    if (file := shipped.results(name)) is not None:
        found = read_results(file)["teachers"]
        unlike = [one.name for one in differing(found)]
        accuracy = next((_accuracy(one) for one in found if one["name"] == name), "–")
        beside = (
            "; ".join(f"`{one['name']}` {_accuracy(one, short=True)}" for one in found if one["name"] != name) or "–"
        )
        beside += f" (judged with another {' and another '.join(unlike)})" if unlike else ""
    made = teacher.metadata.get(MADE_BY)
    cells = [
        f"`{name}.safetensors`", teacher.description.name, stored, byte_size(counts["bytes"]), minutes, accuracy,
        beside, f"`{made}`" if made else "–",
    ]  # fmt: skip
    return f"| {' | '.join(cells)} |"


def _accuracy(one: Mapping[str, Any], *, short: bool = False) -> str:
    learning = one.get("learning") or {}
    runs = [float(value) for value in (learning["accuracy"]["runs"] or [[]])[-1]] if learning else []
    if not runs:
        return "–"
    reach = interval(runs)
    words = f"{100 * sum(runs) / len(runs):.1f}"
    words += "" if reach is None else f" [{100 * reach[0]:.1f}, {100 * reach[1]:.1f}]"
    if short:
        return words
    how = [f"`{learning['protocol']}`"] if learning.get("protocol") else []
    learner = learning.get("learner")
    if isinstance(learner, Mapping):
        width = (learner.get("init_args") or {}).get("width")
        how.append(str(learner["class_path"]).rpartition(".")[2] + (f" of width {width}" if width else ""))
    length = f"{learning['epochs']:,} epochs" if learning.get("epochs") else f"{learning['updates'][-1]:,} updates"
    how.append(length)
    how += [str(learning["precision"])] if learning.get("precision") else []
    learners = f"{len(runs)} learner{'s' * (len(runs) != 1)}"
    return f"{words}: {', '.join([*how, learners])}"


def table() -> str:
    """Return the table of all sets that ship."""
    head = (
        "| file | data set | images | bytes | CPU minutes | test accuracy, % [95 %] | beside it | made by |\n"
        "|---|---|---|---|---|---|---|---|"
    )
    return "\n".join([FIRST, head, *map(row, shipped.sets()), LAST])


def write_table() -> None:
    """Put the table into ``checkpoints/README.md``.

    Raises:
        UserError: The page has no place for it.
    """
    page = shipped.folder(shipped.CHECKPOINTS) / "README.md"
    before, first, rest = page.read_text(encoding="utf-8").partition(FIRST)
    _, last, after = rest.partition(LAST)
    if not first or not last:
        raise UserError(f"'{page}' has no lines '{FIRST}' and '{LAST}', between which the table stands")
    text = f"{before}{table()}{after}"
    atomic_write(page, lambda file: file.write(text.encode()) and None)


def ship(
    teacher: Path,
    name: str,
    made_by: str,
    results: Sequence[str],
    largest: int = LARGEST,
    *,
    other_judges: bool = False,
) -> Path:
    """Write a shippable teacher and what was measured of it.

    Args:
        teacher: Its file.
        name: What it is called from now on.
        made_by: The command that makes it again.
        results: Files of what was measured of it and of real images.
        largest: Bytes of the file, at most.
        other_judges: See :func:`of_teacher`; the table says what differs.

    Returns:
        The file.

    Raises:
        UserError: A place on this machine is left, it is too large, or the results are not of it.
    """
    target = shipped.folder(shipped.CHECKPOINTS) / f"{name}.safetensors"
    made: Teacher = load(teacher)
    made.metadata = without_places(made.metadata) | {MADE_BY: made_by}
    given = [one for file in results for one in read_results(file)["teachers"]]
    found = of_teacher(given, teacher, name, other_judges=other_judges)
    if left := [*places(made.metadata, "metadata"), *places(found, "results")]:
        raise UserError(f"places on this machine are left: {'; '.join(left)}")
    size = teacher.stat().st_size
    if size > largest:
        raise UserError(f"'{teacher}' has {size:,} bytes, more than {largest:,}; say with --largest that it may")
    save(made, target)
    write_json({"teachers": found}, target.with_suffix(shipped.RESULTS))
    write_table()
    return target


def main(arguments: Sequence[str] | None = None) -> int:
    """Ship one teacher, or write the table alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("teacher", nargs="?", type=Path, help="a teacher's file or a run; none: write the table anew")
    parser.add_argument("name", nargs="?", help="what it is called in checkpoints/, such as mnist-10")
    parser.add_argument("--made-by", help="the command that makes it again")
    parser.add_argument("--results", nargs="+", help="what gendistill evaluate and compare wrote of it")
    parser.add_argument(
        "--largest", type=int, default=LARGEST, help=f"bytes of its file at most (default: {LARGEST:,})"
    )
    parser.add_argument("--other-judges", action="store_true",
                        help="real images were judged under other settings, which the table then says")  # fmt: skip
    given = parser.parse_args(arguments)
    try:
        if given.teacher is None:
            write_table()
            return 0
        if not given.name or not given.made_by or not given.results or not re.fullmatch(r"[\w.-]+", given.name):
            raise UserError("give a name of letters, digits, points and hyphens, --made-by and --results, too")
        file = given.teacher / FILE_NAME if given.teacher.is_dir() else given.teacher
        print(ship(file, given.name, given.made_by, given.results, given.largest, other_judges=given.other_judges))
    except GendistillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
