"""The teachers of a comparison as units of work for other machines: each is compared with nobody there."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gendistill.commands.cluster import Crew
from gendistill.commands.judge import OF_DATA
from gendistill.commands.output import read_results
from gendistill.commands.unit import PLACE, Unit
from gendistill.data.fingerprint import fingerprint, split_fingerprint
from gendistill.data.real import RealData
from gendistill.data.recorded import NOTHING, remember
from gendistill.errors import GendistillError, UserError
from gendistill.evaluation.parts import kept_where
from gendistill.files import atomic_write
from gendistill.regular import expanded
from gendistill.spelling import data_words
from gendistill.teacher.base import Teacher
from gendistill.teacher.files import save
from gendistill.teacher.reference import LABELS

RESULT, TEACHER = "result.json", "teacher.safetensors"
HERE = "judged-here"
"""What a teacher is called there."""
OWN = (
    "teachers",
    "baselines",
    "ablate_rates",
    "rank_at",
    "output",
    "report",
    "json",
    "count",
    "help",
    "dataset",
    "data_root",
    *OF_DATA,
)
"""Options that are of the whole comparison, or are said anew for each teacher."""


def judge_away(
    crew: Crew,
    words: Sequence[str],
    ablate: bool,
    asked: Sequence[tuple[str, str, Teacher]],
    data: RealData,
    count: int | None,
) -> list[list[dict[str, Any]]]:
    """Let a cluster judge teachers, those that are kept from before excepted.

    Args:
        crew: The workers.
        words: The options of ``compare`` that are the same for each teacher, but for :data:`OWN`.
        ablate: Whether to judge teachers' images and rates apart, too.
        asked: What each teacher is called, how it was named, and itself.
        data: The real data.
        count: Images drawn for fidelity; None: what the options say.

    Returns:
        The results of each teacher, its ablations among them, in the order asked.

    Raises:
        GendistillError: See :meth:`gendistill.commands.cluster.Crew.run`.
    """
    more = data_there(data, crew.cluster.data_root)
    more += [] if count is None else [f"--count={count}"]
    words = [*words, *more]
    folder = kept_where()
    units = [_unit(name, reference, teacher, words, ablate) for name, reference, teacher in asked]
    wanted = {unit.digest: unit for unit in units}
    found: dict[str, bytes] = {}
    for digest in wanted:
        kept = None if folder is None else folder / f"away-{digest}.json"
        if kept is not None and kept.is_file() and _read(kept.read_bytes(), data, said=False) is not None:
            found[digest] = kept.read_bytes()

    def done(unit: Unit, files: Mapping[str, bytes]) -> None:
        content = files.get(RESULT, b"")
        _read(content, data)
        found[unit.digest] = content
        if folder is not None:
            atomic_write(folder / f"away-{unit.digest}.json", lambda file: file.write(content))

    crew.run([unit for unit in units if unit.digest not in found], done)
    results = []
    for unit, (name, reference, _) in zip(units, asked, strict=True):
        read = _read(found[unit.digest], data) or []
        results.append([_renamed(one, name, reference, data) for one in read])
    return results


def _unit(name: str, reference: str, teacher: Teacher, words: Sequence[str], ablate: bool) -> Unit:
    files, word = {}, reference
    if not is_by_name(reference):
        files[TEACHER] = file_of(reference, teacher)
        word = f"{PLACE}/{TEACHER}"
    more = ["--ablate-rates"] if ablate and teacher.learning_rates is not None else []
    whole = ("compare", f"{HERE}={word}", "--no-baselines", *more, *words, f"--output={PLACE}/{RESULT}")
    return Unit(f"judging {name}", whole, files, (RESULT,))


def data_there(data: RealData, root: str | None) -> list[str]:
    """Return the options of the data as words for another machine, whoever remembered them here.

    Args:
        data: The data as it was loaded.
        root: Where the other machine has its files; None: where this one has.
    """
    # Also what is left at its default: the teacher's file may remember something else.
    given = dict.fromkeys(OF_DATA, NOTHING) | dict(data.options)
    return data_words(given | ({} if root is None else {"root": root}))


def is_by_name(reference: str) -> bool:
    """Tell whether a teacher is made of real data, which every machine has."""
    return reference == "real" or (reference.startswith("real:") and LABELS not in reference)


def file_of(reference: str, teacher: Teacher) -> bytes:
    """Return the bytes of a teacher's file: its own where it has one."""
    path = expanded(reference)
    own = path / TEACHER if path.is_dir() else path
    if own.suffix == ".safetensors" and own.is_file():
        return own.read_bytes()
    with tempfile.TemporaryDirectory(prefix="gendistill-sent-") as scratch:
        save(teacher, Path(scratch) / TEACHER)
        return (Path(scratch) / TEACHER).read_bytes()


def _read(content: bytes, data: RealData, *, said: bool = True) -> list[dict[str, Any]] | None:
    """Return the results that a file holds; None, or an error, where it does not hold any of this data."""
    try:
        with tempfile.TemporaryDirectory(prefix="gendistill-arrived-") as scratch:
            path = Path(scratch) / RESULT
            path.write_bytes(content)
            found: list[dict[str, Any]] = read_results(path)["teachers"]
    except UserError as error:
        if not said:
            return None
        raise GendistillError(f"what came back of a worker is no result: {error}") from error
    if any(_other_data(one, data) for one in found):
        if not said:
            return None
        raise UserError("a worker judged on other data than is here; give workers the same files (--cluster-data-root)")
    return found


def _other_data(result: Mapping[str, Any], data: RealData) -> bool:
    """Return whether a worker judged on other data than is here; of a private teacher it saw the test images alone."""
    if result.get("privacy"):
        return bool(result.get("test_fingerprint") != split_fingerprint(data.test))
    return bool(result.get("dataset_fingerprint") != fingerprint(data))


def _renamed(result: dict[str, Any], name: str, reference: str, data: RealData) -> dict[str, Any]:
    """Return a result under the name and the path that the teacher has here."""
    path = result["teacher"].get("path")
    result["name"] = str(result["name"]).replace(HERE, name)
    if isinstance(result.get("ablation"), dict):
        result["ablation"]["of"] = name
    if path is not None:
        result["teacher"]["path"] = reference
    if "data" in result:
        result["data"] = remember(data)
    return result
