from __future__ import annotations

import importlib
import inspect
from pathlib import Path

from gendistill.sources import trainers
from trainers.trainer import Trainer

ROOT = Path(__file__).resolve().parents[1]


def test_the_trainers_are_those_that_an_import_finds() -> None:
    found = set()
    for file in (ROOT / "trainers").glob("*.py"):
        module = importlib.import_module(f"trainers.{file.stem}")
        for name, one in vars(module).items():
            if inspect.isclass(one) and issubclass(one, Trainer) and one.__module__ == module.__name__:
                found |= set() if inspect.isabstract(one) else {f"{module.__name__}.{name}"}
    assert {one.path for one in trainers()} == found and len(found) > 15


def test_each_has_a_sentence_and_a_page_that_is_there() -> None:
    for one in trainers():
        assert one.summary.endswith(".") and "`" not in one.summary
        assert one.page is not None and (ROOT / one.page).is_file(), one.path
