"""The gallery: what is there is taken as it is, what is elsewhere stays on the page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import gallery
from gendistill.commands.train import run_experiment
from gendistill.errors import UserError
from gendistill.runs.directory import RunDirectory


def test_sections_of_a_page_are_found_again() -> None:
    page = "# Gallery\n\nWords.\n\n## One\n\na\n\n## Two\n\nb ## c\n"
    assert gallery.sections(page) == {"One": ["## One", "", "a"], "Two": ["## Two", "", "b ## c"]}


def test_every_entry_on_the_page_has_its_pictures_and_the_page_all_that_are_drawn() -> None:
    page = gallery.sections((gallery.DOCS / "gallery.md").read_text())
    titles = {entry.title: entry for entry in gallery.ENTRIES}
    assert set(page) <= set(titles) and any(entry.data == "cifar10" for entry in map(titles.get, page))
    for title, lines in page.items():
        assert f"{titles[title].name}.png" in " ".join(lines)
        for line in lines:
            if line.startswith("!["):
                assert (gallery.DOCS / line.rpartition("(")[2].rstrip(")")).is_file()


def test_a_run_of_other_settings_is_no_entry(tmp_path: Path) -> None:
    entry = next(entry for entry in gallery.ENTRIES if entry.name == "dm")
    entry = replace(entry, scale="smoke", options=(*entry.options[:1], ("--run.sample_every", "0")))
    run = RunDirectory(tmp_path, f"gallery/{entry.name}")
    assert not gallery.finished(entry, run)
    run_experiment(gallery.experiment(entry, tmp_path))
    assert gallery.finished(entry, run)
    with pytest.raises(UserError, match="holds a run with other settings: trainer.init_args.images_per_class"):
        gallery.finished(replace(entry, options=(("--trainer.images_per_class", "2"),)), run)
