"""docs/results.md and its record docs/results.json say the same, of configs as they are today."""

from __future__ import annotations

from pathlib import Path

from gendistill.commands import record
from gendistill.commands.register import measured_words
from gendistill.commands.replication import Replications
from gendistill.escapes import markdown
from gendistill.json_file import read_json
from gendistill.shipped import config_folder

DOCS = Path(__file__).resolve().parents[2] / "docs"
MEASURED = [one for one in read_json(DOCS / "results.json", record.SHAPE)["results"] if one["scale"] != "smoke"]


def test_every_recorded_number_is_of_a_config_as_it_is_today() -> None:
    """Where this fails, ``gendistill replicate --summary`` leaves the row out, and its own command measures it anew."""
    known = Replications(configs=Path(config_folder("replication")))
    assert MEASURED
    changed = [one["id"] for one in MEASURED if record._digest(known, one["id"], one["scale"]) != one["config"]]
    assert not changed


def test_the_page_shows_what_the_record_holds() -> None:
    page = (DOCS / "results.md").read_text(encoding="utf-8")
    for one in MEASURED:
        first, *others = one["replicated"]
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{one['id']}` |")]
        assert markdown(measured_words(first)) in line
        for row in others:
            assert markdown(f"{row['name']} {measured_words(row)}") in page
