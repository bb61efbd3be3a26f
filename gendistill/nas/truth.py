"""What architectures are really worth: trained here on all real data, or read from a user's table."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from gendistill import budget
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.rates import Rate, candidates
from gendistill.nas.course import Course, learn
from gendistill.nets.spaces import LearnerSpace
from gendistill.regular import regular
from gendistill.teacher.reference import open_teacher

COLUMNS = ("architecture", "accuracy")


class TrainedTruth:
    """Test accuracy after training on all real training images.

    Every architecture is trained with each rate, momentum 0.9, weight decay 5e-4 and a cosine schedule. Its rate is the
    one with the highest mean validation accuracy; the test accuracy with that rate is the truth.

    Args:
        space: Where names come from.
        data: The data set.
        epochs: Passes over the training images, at least 1.
        batch_size: Images an update.
        lr: Rates to choose among.
        seeds: Learners for each rate; the truth is their mean.
        device: Where to train.

    Raises:
        UserError: No pass at all.
    """

    def __init__(
        self,
        space: LearnerSpace,
        data: RealData,
        *,
        epochs: int,
        batch_size: int,
        lr: Sequence[Rate],
        seeds: int,
        device: torch.device,
    ) -> None:
        if epochs < 1:
            raise UserError(f"the truth needs at least 1 epoch, got {epochs}")
        self.space, self.data, self.epochs, self.seeds, self.device = space, data.to(device), epochs, seeds, device
        teacher = open_teacher("real", data).to(device)
        updates = epochs * max(1, len(data.train) // batch_size)
        self.candidates = candidates(list(lr), teacher, updates, schedule="cosine")
        self.course = Course(teacher, self.data, updates, batch_size)

    def settings(self) -> dict[str, Any]:
        """Return every option as plain values."""
        return {
            "epochs": self.epochs,
            "updates": self.course.updates,
            "batch_size": self.course.batch_size,
            "lr": [candidate.name for candidate in self.candidates],
            "seeds": self.seeds,
        }

    def train(self, name: str) -> dict[str, Any]:
        """Train an architecture.

        Returns:
            ``accuracy`` (test, the mean over the seeds), ``runs`` by seed, ``validation``, ``lr`` and ``seconds``.
        """
        splits = {"validation": self.data.validation, "test": self.data.test}
        found = []
        spent = 0.0
        for candidate in self.candidates:
            lessons = [
                learn(self.space.learner(name), self.course, candidate, seed=seed, device=self.device, splits=splits)
                for seed in range(self.seeds)
            ]
            spent += sum(lesson.seconds for lesson in lessons)
            scores = {split: [lesson.accuracy[split] for lesson in lessons] for split in splits}
            found.append((sum(scores["validation"]) / self.seeds, candidate.name, scores["test"]))
        validation, rate, runs = max(found, key=lambda one: one[0])
        return {
            "accuracy": sum(runs) / len(runs),
            "runs": runs,
            "validation": validation,
            "lr": rate,
            "seconds": spent,
        }


def read_table(path: str | Path, space: LearnerSpace) -> dict[str, float]:
    """Read a table ``architecture,accuracy``.

    Accuracies are fractions where none exceeds 1, otherwise per cent. Other columns are ignored.

    Args:
        path: A CSV file with a header line. Names that hold a comma stand in quotes.
        space: Every name must be one of its.

    Returns:
        Accuracies by name, fractions.

    Raises:
        UserError: The file cannot be read, a column is missing, or a line has no name, a name twice, a name that the
            space does not know, or an accuracy that is none.
    """
    path = regular(path)
    budget.check_file(path, budget.TEXT)
    meter = budget.Meter(f"the table {budget.quoted(path)}", budget.size_of(path))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, restkey="")
            lacking = [column for column in COLUMNS if column not in (reader.fieldnames or ())]
            if lacking:
                raise UserError(f"'{path}' has no column '{lacking[0]}'; its first line must be architecture,accuracy")
            lines = [(reader.line_num, row) for row in budget.counted_rows(reader, meter)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"the table '{path}' cannot be read: {error}") from error
    table: dict[str, float] = {}
    for number, row in lines:
        name, accuracy = (row["architecture"] or "").strip(), _number(row["accuracy"])
        if "" in row:
            raise UserError(f"'{path}' line {number} has more cells than the header; put a name with commas in quotes")
        if name in table:
            raise UserError(f"'{path}' line {number} names '{name}' a second time; leave one of the two")
        if not 0 <= accuracy <= 100:
            raise UserError(f"'{path}' line {number}: accuracy {row['accuracy']!r} is no number from 0 to 100")
        try:
            space.learner(name)
        except UserError as error:
            raise UserError(f"'{path}' line {number}: {error}") from error
        table[name] = accuracy
    if not table:
        raise UserError(f"'{path}' holds no architecture below its header")
    scale = 100.0 if max(table.values()) > 1 else 1.0
    return {name: accuracy / scale for name, accuracy in table.items()}


def _number(text: Any) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):
        return math.nan


def truths(entries: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the true accuracy of every entry that has one."""
    return {name: entry["truth"]["accuracy"] for name, entry in entries.items() if "truth" in entry}
