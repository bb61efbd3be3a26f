"""What a private run starts from is private itself and counts, or was declared to be public; all else is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from private_runs import DCGAN, embedding, gan, gradients, matching, run

from gendistill import teacher as teachers
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.objects import build
from gendistill.privacy.accountant import Call, epsilon_of
from gendistill.privacy.ledger import INCLUDED, Budget, Ledger
from gendistill.privacy.promise import KEY, read_promise
from gendistill.teacher import GeneratorTeacher, open_teacher


def promise_of(root: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = teachers.load(root / name / "teacher.safetensors").metadata[KEY]
    return found


def a_real_subset(data: RealData, root: Path) -> str:
    path = root / "subset.safetensors"
    teachers.save(open_teacher("real:ipc=2", data), path)
    return str(path)


@pytest.mark.parametrize("make", [matching, gradients])
def test_images_of_a_teacher_that_promises_nothing_are_refused(tiny_data: RealData, tmp_path: Path, make: Any) -> None:
    subset = a_real_subset(tiny_data, tmp_path)
    with pytest.raises(UserError, match=r"promises no privacy, .*--trainer.public_start true"):
        run(make(images=subset), tiny_data, tmp_path)
    assert not (tmp_path / "run" / "privacy.json").exists(), "it is refused before anything is released"


def test_so_is_a_generator_that_promises_nothing_and_what_is_declared_is_said(
    tiny_data: RealData, tmp_path: Path
) -> None:
    network = build(DCGAN, object, num_classes=3, image_shape=(1, 8, 8))
    teachers.save(GeneratorTeacher(network, tiny_data.description), tmp_path / "generator.safetensors")
    given = {"decode": {"generator": str(tmp_path / "generator.safetensors")}}
    with pytest.raises(UserError, match="promises no privacy"):
        run(matching(**given), tiny_data, tmp_path)
    run(matching(public_start=True, **given), tiny_data, tmp_path, "declared", steps=2)
    assert any("declared by public_start" in one for one in promise_of(tmp_path, "declared")["public"])
    run(matching(public_start=True), tiny_data, tmp_path, "noise", steps=1)  # nothing was there to declare
    assert not any("declared" in one for one in promise_of(tmp_path, "noise")["public"])


def test_a_private_start_counts_against_the_budget(tiny_data: RealData, tmp_path: Path) -> None:
    run(matching(epsilon=1.0), tiny_data, tmp_path, "first")
    start = str(tmp_path / "first")
    first = promise_of(tmp_path, "first")
    with pytest.raises(UserError, match=r"has cost epsilon 0\.\d+ at delta 1e-05 already, .* the budget is 0.5"):
        run(matching(images=start, epsilon=0.5), tiny_data, tmp_path, "less")
    run(matching(images=start, epsilon=1.5), tiny_data, tmp_path, "second", steps=3)
    second = promise_of(tmp_path, "second")
    assert first["epsilon"] < second["epsilon"] <= 1.5
    # Both runs' sums together, by the formula.
    calls = [Call(one["noise"], 1.0, one["calls"]) for one in (*first["calls"], second["calls"][1])]
    assert second["epsilon"] == pytest.approx(epsilon_of(calls, 1e-5))
    assert second["calls"][0]["purpose"].startswith(INCLUDED) and len(second["calls"]) == 2
    # Continued, when the file is gone, it is counted as it was, and once.
    (tmp_path / "first" / "teacher.safetensors").unlink()
    run(matching(images=start, epsilon=1.5), tiny_data, tmp_path, "second", steps=5)
    assert promise_of(tmp_path, "second") == second


def test_other_neighbours_do_not_add_up(tiny_data: RealData, tmp_path: Path) -> None:
    run(matching(adjacency="replace-one"), tiny_data, tmp_path, "first", steps=1)
    with pytest.raises(UserError, match="choose --trainer.adjacency replace-one"):
        run(matching(images=str(tmp_path / "first"), epsilon=9.0), tiny_data, tmp_path, steps=1)


def test_what_is_included_twice_counts_once(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "privacy.json", Budget(2.0, 1e-5))
    entries = [{"purpose": "sum", "noise": 5.0, "rate": 1.0, "calls": 2}]
    for _ in range(2):
        ledger.include(entries, "a teacher")
    ledger.include(ledger.entries(), "one that starts from it")
    assert ledger.entries() == [{**entries[0], "purpose": INCLUDED + "sum"}]
    noise = ledger.noise_for(3)
    assert ledger.spent(Call(noise, 1.0, 3)) == pytest.approx(2.0, abs=1e-4)
    # Own calls are among those that are planned.
    ledger.spend("own", noise)
    assert ledger.noise_for(3) == noise


@pytest.mark.parametrize(
    "damage",
    [{"calls": None}, {"calls": [{}]}, {"epsilon": "x"}, {"epsilon": -1.0}, {"adjacency": "any"}, {"delta": 1e400}],
)
def test_a_promise_that_cannot_be_read_is_refused(damage: dict[str, Any]) -> None:
    good = {"epsilon": 1.0, "delta": 1e-5, "adjacency": "add-remove", "calls": []}
    assert read_promise(good).entries == []
    with pytest.raises(UserError, match="promise of privacy"):
        read_promise(good | damage)


# -- what was spent, when a file is lost or another run takes the place -------------------------------------------


def test_a_ledger_that_is_gone_is_not_begun_again(tiny_data: RealData, tmp_path: Path) -> None:
    run(matching(), tiny_data, tmp_path)
    kept = (tmp_path / "run" / "privacy.json").read_bytes()
    (tmp_path / "run" / "privacy.json").unlink()
    for more in ({"steps": 8}, {"fresh": True}, {}):
        with pytest.raises(UserError, match=r"privacy.json' is gone, .* what was spent is not known"):
            run(matching(), tiny_data, tmp_path, **more)
    (tmp_path / "run" / "privacy.json").write_bytes(kept)
    run(matching(), tiny_data, tmp_path, steps=8)


def test_an_older_ledger_is_refused(tiny_data: RealData, tmp_path: Path) -> None:
    every: dict[str, Any] = {"batch_size": 90, "spare": 40}  # all records, so that the exact formula counts
    run(gan(**every), tiny_data, tmp_path, steps=3)
    older = (tmp_path / "run" / "privacy.json").read_bytes()
    run(gan(**every), tiny_data, tmp_path, steps=6)
    (tmp_path / "run" / "privacy.json").write_bytes(older)
    with pytest.raises(UserError, match=r"counts \d sums .* and the saved state was made with"):
        run(gan(**every), tiny_data, tmp_path, steps=7)


def test_a_run_in_another_s_place_takes_none_of_its_sums(tiny_data: RealData, tmp_path: Path) -> None:
    """With run.fresh and other settings the names of the sums may be the same, and what they are of is not."""

    def made(**options: Any) -> list[float]:
        trainer = embedding(epsilon=3.0, spare=3, **options)
        config = {"trainer": {"class_path": "x.Y", "init_args": options}, "data": {"name": "bands", "root": "here"}}
        run(trainer, tiny_data, tmp_path, steps=1, fresh=True, config=config)
        found: list[float] = trainer.means.flatten().tolist()
        return found

    first, other = made(lr=0.01), made(lr=0.02)
    assert first != other and made(lr=0.01) == first and made(lr=0.02) == other
    (entry,) = json.loads((tmp_path / "run" / "privacy.json").read_text())["entries"]
    assert entry["calls"] == 2
