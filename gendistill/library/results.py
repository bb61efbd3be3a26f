"""What evaluations give: plain values, shown as the table that the commands print."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gendistill.commands.output import in_words, read_results, to_json, write_json
from gendistill.errors import UserError, did_you_mean
from gendistill.report.html_table import plain_table
from gendistill.report.markup import escaped
from gendistill.report.page import write_report
from gendistill.report.rows import Row, rows
from gendistill.report.terminal import text_cells, text_table


class _Plain(Mapping[str, Any]):
    """Plain nested values, as ``results.json`` holds them."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = dict(values)

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def to_dict(self) -> dict[str, Any]:
        """Return the plain values, those that ``results.json`` holds."""
        return dict(self._values)

    def to_json(self) -> str:
        """Return the values as JSON text."""
        return to_json(self._values)

    def save(self, path: str | Path) -> Path:
        """Write the values as a JSON file, which the commands read.

        Raises:
            StorageError: It cannot be written.
        """
        write_json(self._values, path)
        return Path(path)

    def _results(self) -> dict[str, Any]:
        raise NotImplementedError

    def report(self, path: str | Path, *, title: str | None = None) -> Path:
        """Write a self-contained HTML page.

        Args:
            path: The file.
            title: Headline; None: it names the data set.

        Raises:
            StorageError: It cannot be written.
        """
        return write_report(self._results(), path, title=title)

    def __repr__(self) -> str:
        return in_words(self._results(), text_table)

    def _repr_html_(self) -> str:
        cells, notes = text_cells(self._results())
        lines = "".join(f"<p>{escaped(line)}</p>" for line in notes)
        return f"<div>{plain_table(cells)}{lines}</div>"


class Result(_Plain):
    """The evaluation of one teacher: a mapping of plain values, with those that are asked for most as attributes."""

    @classmethod
    def read(cls, path: str | Path) -> Result:
        """Read the only result of a ``results.json``, or of a run that holds one.

        Raises:
            UserError: There is none, or there are several.
        """
        found = read_results(path)["teachers"]
        if len(found) != 1:
            raise UserError(f"'{path}' holds the results of {len(found)} teachers; read it with gd.Comparison.read")
        return cls(found[0])

    def _results(self) -> dict[str, Any]:
        return {"teachers": [self._values]}

    @property
    def row(self) -> Row:
        """The result as a row of a table."""
        return rows(self._results())[0]

    @property
    def name(self) -> str:
        """What a table calls the teacher."""
        return self.row.name

    @property
    def updates(self) -> list[int]:
        """Numbers of learner updates that accuracy was measured at; empty where it was not."""
        return sorted(self.row.scores)

    @property
    def accuracies(self) -> dict[int, float]:
        """Mean accuracy over learners, a fraction, by number of updates."""
        return {count: score.mean for count, score in sorted(self.row.scores.items())}

    @property
    def accuracy(self) -> float:
        """Mean accuracy over learners at the largest number of updates, a fraction.

        Raises:
            UserError: It was not measured.
        """
        return self._last.mean

    @property
    def std(self) -> float | None:
        """Its sample standard deviation over learners; None of one learner.

        Raises:
            UserError: Accuracy was not measured.
        """
        return self._last.std

    @property
    def _last(self) -> Any:
        scores = self.row.scores
        if not scores:
            raise UserError("accuracy was not measured; evaluate with learning=True")
        return scores[max(scores)]

    @property
    def distance(self) -> float | None:
        """Fréchet distance to real images; None where it was not measured."""
        found = self.row.fidelity
        return None if found is None else found.value

    @property
    def notes(self) -> list[str]:
        """Sentences on what a reader of the numbers should know."""
        return list(self._values.get("notes") or [])


class Comparison(_Plain):
    """Several teachers judged alike, best first: results by name, and the plain values of ``results.json``.

    Iterating gives the results; ``comparison["dm"]`` is the result of that name.
    """

    @classmethod
    def read(cls, path: str | Path) -> Comparison:
        """Read a ``results.json``, or that of a run.

        Raises:
            UserError: There is none.
        """
        return cls(read_results(path))

    def _results(self) -> dict[str, Any]:
        return self._values

    @property
    def results(self) -> dict[str, Result]:
        """The results by name, as they are ranked."""
        return {row.name: Result(one) for row, one in zip(rows(self._values), self._values["teachers"], strict=True)}

    def __getitem__(self, key: str) -> Any:
        if key in self._values:
            return self._values[key]
        found = self.results
        if key not in found:
            raise KeyError(f"no teacher is called '{key}'; {did_you_mean(key, found)}there are: {', '.join(found)}")
        return found[key]

    @property
    def names(self) -> list[str]:
        """What the teachers are called, as they are ranked."""
        return list(self.results)

    @property
    def best(self) -> Result:
        """The first one."""
        return next(iter(self.results.values()))

    @property
    def notes(self) -> list[str]:
        """Sentences on how the numbers came about."""
        return list(self._values.get("notes") or [])
