from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gendistill.errors import UserError
from gendistill.plain import plain
from gendistill.runs.configuration import bound, differing, require_same
from gendistill.runs.directory import RunDirectory

CONFIG: dict[str, Any] = {
    "run": {"seed": 0, "steps": 10, "device": "cpu"},
    "trainer": {"class_path": "trainers.gan.GANTrainer", "init_args": {"betas": (0.0, 0.9), "lr": 1e-5, "extra": {}}},
}


@pytest.fixture
def directory(tmp_path: Path) -> RunDirectory:
    directory = RunDirectory(tmp_path, "run")
    directory.make()
    directory.write_config(plain(CONFIG))
    return directory


def changed(**changes: Any) -> dict[str, Any]:
    return {
        "run": CONFIG["run"] | changes.pop("run", {}),
        "trainer": CONFIG["trainer"] | {"init_args": CONFIG["trainer"]["init_args"] | changes},
    }


def test_the_same_configuration_is_the_same_run(directory: RunDirectory) -> None:
    require_same(directory, changed())
    require_same(directory, changed(run={"steps": 20, "device": "cuda", "fresh": False, "save_every": 3}))


def test_differences_are_named_with_both_values(directory: RunDirectory) -> None:
    with pytest.raises(UserError) as caught:
        require_same(directory, changed(run={"seed": 7}, lr=1e-4, width=8, betas=(0.5, 0.9), depth=2))
    message = str(caught.value)
    assert "run.seed (stored 0, given 7)" in message
    assert "trainer.init_args.lr (stored 1e-05, given 0.0001)" in message
    assert "trainer.init_args.betas (stored [0.0, 0.9], given [0.5, 0.9])" in message
    assert "and 2 more; choose another run.name, or set run.fresh to true" in message


def test_an_option_more_or_less_is_a_difference(directory: RunDirectory) -> None:
    with pytest.raises(UserError, match=r"width \(stored nothing, given 8\)"):
        require_same(directory, changed(width=8))
    with pytest.raises(UserError, match=r"trainer\.class_path \(stored .*, given nothing\)"):
        require_same(directory, {"run": CONFIG["run"]})


def test_an_option_of_a_later_version_that_is_not_set_is_no_difference(directory: RunDirectory) -> None:
    require_same(directory, changed(added_later=None))


def test_a_key_that_no_setting_has_is_refused_whatever_it_holds(directory: RunDirectory) -> None:
    for stored, named in (
        (changed(misspelt=None), "trainer.init_args.misspelt"),
        (changed(run={"misspelt": None}), "run.misspelt"),
        ({**changed(), "misspelt": None}, "misspelt"),
    ):
        directory.write_config(plain(stored))
        with pytest.raises(UserError, match=rf"config\.yaml' names {named}, which no setting of this run is called"):
            require_same(directory, CONFIG)


def test_without_its_configuration_a_run_is_not_continued(directory: RunDirectory) -> None:
    directory.config.unlink()
    with pytest.raises(UserError, match=r"a saved state but no config\.yaml.*put the file back"):
        require_same(directory, CONFIG)


def texts(**size: int) -> st.SearchStrategy[str]:
    """No config holds a NUL: its reader refuses it, as no path could have one."""
    return st.text(st.characters(codec="utf-8", exclude_characters="\0"), **size)


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts(min_size=1, max_size=4), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(texts(min_size=1, max_size=4), values, max_size=3))
def test_what_is_stored_equals_what_was_given(tmp_path_factory: pytest.TempPathFactory, config: dict[str, Any]) -> None:
    directory = RunDirectory(tmp_path_factory.mktemp("run"), "run")
    directory.make()
    directory.write_config(plain(config))
    require_same(directory, config)


def test_where_two_configurations_differ() -> None:
    stored = plain(CONFIG)
    assert differing(stored, changed(run={"steps": 20, "fresh": True}, added_later=None)) == []
    assert differing(stored, changed(lr=1e-4, width=8)) == ["trainer.init_args.lr", "trainer.init_args.width"]
    assert differing(stored, changed(run={"seed": 1})) == ["run.seed"]
    assert bound(stored) == stored | {"run": {"seed": 0}}
    assert differing(bound(stored), changed(run={"device": "cuda"})) == []
