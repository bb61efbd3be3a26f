from __future__ import annotations

import importlib
import inspect
from pathlib import Path

import pytest

from gendistill.declared import accepted_arguments, block_types, declared_types, is_block
from gendistill.objects import locate
from gendistill.sources import options, trainers
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


@pytest.mark.parametrize("path", [one.path for one in trainers()])
def test_the_options_are_those_that_an_import_finds(path: str) -> None:
    types = declared_types(locate(path))
    wanted = [f"{name}.{key}" for name, hint in types.items() if is_block(hint) for key in block_types(hint)]
    wanted += [name for name, hint in types.items() if not is_block(hint)]
    found = options(path)
    assert found is not None and sorted(one.name for one in found) == sorted(wanted)
    assert [one.name for one in found if not one.meaning] == []
    defaults = {name: one.default for name, one in accepted_arguments(locate(path)).items()}
    required = [name for name, default in defaults.items() if default is inspect.Parameter.empty]
    assert [one.name for one in found if one.default is None and "." not in one.name] == required
    for one in found:
        if isinstance(defaults.get(one.name), int | float | str):
            assert one.default in (str(defaults[one.name]), repr(defaults[one.name])) or not one.default[0].isdigit()


def test_of_another_class_nothing_is_known() -> None:
    assert options("gendistill.nets.learners.ConvNet") is None and options("my.GANTrainer") is None
    assert options("GANTrainer") == options("trainers.gan.GANTrainer")
