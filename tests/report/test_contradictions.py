"""Random results: no sentence of the table or of the page contradicts them.

Whatever is said is looked up in the results by code of its own: a slow reading of them, scipy's t-tests and a
textbook's Holm.
"""

from __future__ import annotations

import html
import math
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_results import accuracy_of, chosen, distance, real, result, table
from scipy import stats

from gendistill.report import page as page_module
from gendistill.report.figures import learning_curves, styles
from gendistill.report.page import render
from gendistill.report.rows import rows
from gendistill.report.terminal import text_table

NOUNS = ("seed", "update", "image", "teacher", "comparison", "run", "pair", "draw", "epoch")
SPLITS = ("test", "validation", "train")


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    """Draw options of an evaluation that all teachers of a table share."""
    images = draw(st.sampled_from([10, 50, 400]))
    return {
        "split": draw(st.sampled_from(SPLITS)),
        "batch_size": draw(st.sampled_from([1, 8, 64])),
        "momentum": draw(st.sampled_from([0.0, 0.5, 0.9])),
        "weight_decay": draw(st.sampled_from([0.0, 5e-4])),
        "select": draw(st.sampled_from(["each", "last", None])),
        "sizes": {"train": 1197, "validation": draw(st.sampled_from([1, 200])), "test": images},
        "updates": sorted(draw(st.sets(st.sampled_from([0, 1, 2, 16, 100, 1000]), min_size=1, max_size=4))),
        "seeds": draw(st.sampled_from([1, 2, 3, 5, 10])),
    }


@st.composite
def teachers(draw: st.DrawFn, shared: dict[str, Any], name: str) -> dict[str, Any]:
    """Draw one teacher's result under shared options."""
    updates, seeds = shared["updates"], shared["seeds"]
    images = shared["sizes"][shared["split"]]
    centre = draw(st.sampled_from([0.2, 0.8, 0.99]))
    spread = draw(st.sampled_from([0.0, 0.02, 0.3]))
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    drawn = np.clip(generator.normal(centre, spread, (len(updates), seeds)), 0, 1)
    runs = (np.round(drawn * images) / images).tolist()
    own = draw(st.booleans())
    each = shared["batch_size"] if draw(st.booleans()) else 20
    rates: dict[str, Any] = {"lr_asked": 0.1, "lr": [0.1] * len(updates)}
    if own:
        rates = {"lr_asked": None, "lr": ["teacher"] * len(updates)}
    elif shared["select"] is not None:
        rates = chosen([0.1, 0.3], shared["select"], [0.3] * len(updates))
    made = result(
        name,
        updates=updates,
        runs=runs,
        fidelity=draw(
            st.none()
            | st.builds(
                distance,
                st.sampled_from([0.123, 4.56]),
                st.sampled_from([1, 320]),
                reference=st.sampled_from(["train", "test"]),
                std=st.sampled_from([None, 0.0123]),
                draws=st.sampled_from([1, 5]),
            )
        ),
        split=shared["split"],
        split_sizes=shared["sizes"],
        batch_size=shared["batch_size"],
        momentum=shared["momentum"],
        weight_decay=shared["weight_decay"],
        images_seen=[each * count for count in updates],
        **rates,
    )
    if draw(st.booleans()):
        made["seconds"] = draw(st.sampled_from([None, 12.3]))
    if draw(st.integers(0, 4)) == 0:
        made["learning"]["seeds"] = [seed + 100 for seed in range(seeds)]
    return made


@st.composite
def results(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a whole table: sometimes with real data, sometimes with one teacher of other settings."""
    shared = draw(options())
    names = draw(st.lists(st.sampled_from(["gan", "gtn", "real", "x y"]), min_size=1, max_size=3, unique=True))
    found = [draw(teachers(shared, name)) for name in names]
    if draw(st.booleans()):
        everything = draw(teachers(shared, "all of it"))
        everything["teacher"] = real()["teacher"]
        found.insert(draw(st.integers(0, len(found))), everything)
    if draw(st.integers(0, 2)) == 0:
        other = draw(options())
        found.append(draw(teachers(other, "other")))
    more = {"rank_at": draw(st.sampled_from(shared["updates"]))} if draw(st.integers(0, 3)) == 0 else {}
    if more.get("rank_at") == 0:
        more = {}
    return table(*found, **more)


def asked(one: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a result that these tests vary and that must be the same."""
    learning = one["learning"]
    own = learning["lr"][0] == "teacher"
    settled = {name: learning[name] for name in ("split", "batch_size")} | {"sizes": learning["split_sizes"]}
    if not own:
        selection = learning["selection"] or {}
        settled |= {name: learning[name] for name in ("momentum", "weight_decay")}
        settled |= {"rates": selection.get("candidates") or learning["lr"][:1], "select": selection.get("select")}
        if selection.get("select") == "last":
            settled["length"] = learning["learner_updates"]
    return settled


def alike(given_results: dict[str, Any]) -> bool:
    """Return whether all results have the same settings, as far as they concern them."""
    found: dict[str, list[Any]] = {}
    for one in given_results["teachers"]:
        for name, value in asked(one).items():
            if name == "select" and value is None:
                continue
            found.setdefault(name, []).append(value)
    return all(value == values[0] for values in found.values() for value in values)


def leads(given_results: dict[str, Any]) -> tuple[set[tuple[str, int]], set[tuple[str, int]], int]:
    """Return who is ahead of real data after how many updates, who is behind, and over how many comparisons."""
    found = given_results["teachers"]
    reference = next((one for one in found if one["teacher"].get("everything")), None)
    if reference is None or not alike(given_results):
        return set(), set(), 0
    p: dict[tuple[str, int], tuple[float, float]] = {}
    for one in found:
        if one is reference:
            continue
        for count in set(one["learning"]["updates"]) & set(reference["learning"]["updates"]) - {0}:
            if given_results.get("rank_at") in (None, count):
                ours, theirs = (
                    np.array(side["learning"]["accuracy"]["runs"][side["learning"]["updates"].index(count)])
                    for side in (one, reference)
                )
                if min(len(ours), len(theirs)) < 2:
                    continue
                step = 1 / one["learning"]["split_sizes"][one["learning"]["split"]]
                same = one["learning"]["seeds"] == reference["learning"]["seeds"]
                p[one["name"], count] = (t_test(ours, theirs, step, same), float(ours.mean() - theirs.mean()))
    decided, highest = set(), 0.0
    for rank, key in enumerate(sorted(p, key=lambda key: p[key][0])):
        highest = max(highest, (len(p) - rank) * p[key][0])
        if highest <= 0.05:
            decided.add(key)
    ahead = {key for key in decided if p[key][1] > 0}
    return ahead, decided - ahead, len(p)


def t_test(ours: np.ndarray, theirs: np.ndarray, step: float, same: bool) -> float:
    """Return the p-value of scipy's test, with a spread that is never below that of rounding."""
    if same:
        difference = ours - theirs
        if difference.var(ddof=1) > step**2 / 6:
            return float(stats.ttest_rel(ours, theirs).pvalue)
        error = math.sqrt(step**2 / 6 / len(ours))
        return float(2 * stats.t.sf(abs(difference.mean()) / error, len(ours) - 1))
    spreads = [math.sqrt(max(side.var(ddof=1), step**2 / 12)) for side in (ours, theirs)]
    return float(
        stats.ttest_ind_from_stats(
            ours.mean(), spreads[0], len(ours), theirs.mean(), spreads[1], len(theirs), equal_var=False
        ).pvalue
    )


def contradictions(given_results: dict[str, Any], said: str) -> Iterator[str]:
    """Say what in a text does not follow from the results."""
    found = given_results["teachers"]
    learnings = [one["learning"] for one in found]
    for wrong in re.findall(rf"(?<![\d,.])1 (?:{'|'.join(noun + 's' for noun in NOUNS)})\b", said):
        yield f"plural: {wrong}"
    for wrong in re.findall(rf"(?<![\d.])(?:[02-9]|\d[\d,]+) (?:{'|'.join(NOUNS)})\b", said):
        yield f"singular: {wrong}"
    splits = {learning["split"] for learning in learnings}
    for split in SPLITS:
        if (f"{split} accuracy" in said) != (splits == {split}):
            yield f"accuracy of the {split} split"
        if split not in splits and f"the {split} split" in said:
            yield f"the {split} split is named"
    numbers = {len(learning["seeds"]) for learning in learnings}
    named = re.findall(r"(?<!--seeds )\b(\d+)(?: (?:to|against) (\d+))? seeds?\b", said)
    for number in (int(one) for pair in named for one in pair if one):
        if number not in numbers:
            yield f"{number} seeds"
    shown = {learning["images_seen"][-1] / learning["updates"][-1] for learning in learnings if learning["updates"][-1]}
    for number in re.findall(r"([\d,.]+) images? an update\b", said):
        if shown != {float(number)}:
            yield f"{number} images an update"
    if "±" in said and numbers == {1} and not any((one["fidelity"] or {}).get("std") for one in found):
        yield "a spread of one seed"
    anew = [
        learning
        for learning in learnings
        if len((learning["selection"] or {}).get("candidates") or ()) > 1
        and learning["selection"]["select"] == "each"
        and len(learning["updates"]) > 1
    ]
    if ("chosen anew" in said) != bool(anew):
        yield "rates chosen anew"
    for number in re.findall(r"(\d+) validation images?", said):
        if int(number) not in {learning["split_sizes"]["validation"] for learning in learnings}:
            yield f"{number} validation images"
    ahead, behind, size = leads(given_results)
    winners = set(re.findall(r"(?:^|[>\n])([^>\n]+?) beats training on all real data", said))
    if winners != {name for name, _ in ahead}:
        yield f"{winners} beat real data, but {ahead} are ahead"
    losers = re.findall(r"Training on all real data is ahead (.*)", said)
    if bool(losers) != bool(behind) or any(f"of {name} " not in losers[0] for name, _ in behind):
        yield f"real data ahead: {losers}, but {behind}"
    for number in re.findall(r"[Oo]ver (?:all )?(\d+) comparisons?", said):
        if int(number) != size:
            yield f"{number} comparisons, not {size}"
    if ("under different settings" in said) == alike(given_results) and len(found) > 1:
        yield "different settings"


@given(results())
@settings(max_examples=150, deadline=None)
def test_no_sentence_of_the_table_contradicts_the_results(given_results: dict[str, Any]) -> None:
    assert list(contradictions(given_results, text_table(given_results))) == []


@given(results())
@settings(max_examples=60, deadline=None)
def test_no_sentence_of_the_page_contradicts_the_results(given_results: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:  # drawing takes most of the time, and what is drawn is tested elsewhere
        for name in ("learning_curves", "differences", "fronts_figure"):
            patch.setattr(page_module, name, lambda *given, **options: f'<svg aria-label="{given[2]}"></svg>')
        page = render(given_results, {}, {}).split('<script type="application/json"')[0]
    said = html.unescape(re.sub(r"<[^>]+>", "\n", page.replace("</strong>", "").split("</style>")[1])).replace(
        "\u00a0", " "
    )
    assert list(contradictions(given_results, said)) == []
    check_table(given_results, page)


def check_table(given_results: dict[str, Any], page: str) -> None:
    """Hold shading and columns of distances against the results."""
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    table_rows = body.split("<tr>")[1:]
    ahead, _, _ = leads(given_results)
    shown = [
        int(count.replace(",", ""))
        for count in re.findall(r'<th scope="col">n = ([\d,]+)</th>', page.split("</thead>")[0])
    ]
    headings = [
        html.unescape(re.sub("<[^>]+>", "", one))
        for one in re.findall(r"<th rowspan.*?</th>", page.split("</thead>")[0])
    ]
    after = [one for one in headings if one.startswith(("FD", "KID"))]
    assert len(after) == len(set(after))
    for one, line in zip(given_results["teachers"], table_rows, strict=True):
        cells = re.findall(r"<td.*?</td>", line)
        scores = [cell for cell in cells if 'class="mean"' in cell or cell == "<td>–</td>"]
        wins = {count for count, cell in zip(shown, scores, strict=False) if "win" in cell.split(">")[0]}
        assert wins == {count for name, count in ahead if name == one["name"]} & set(shown)
        fidelity = one["fidelity"]
        places = [len(cells) - len(headings) + headings.index(heading) for heading in after]
        for heading, place in zip(after, places, strict=True):
            number = f"n={fidelity['n']:,}" if fidelity else None
            here = "–" not in cells[place]
            wanted = (
                bool(fidelity)
                and heading.endswith(f" {number}")
                and ((" to test " in heading) == (fidelity["reference"] == "test"))
            )
            assert here == wanted, (heading, fidelity, cells)


@pytest.mark.parametrize("split", SPLITS)
def test_the_axis_is_that_of_the_split(split: str) -> None:
    page = render(table(real(split=split)), {}, {})
    assert f"{split} accuracy, %</text>" in page
    for other in set(SPLITS) - {split}:
        assert f"{other} accuracy" not in page
    drawn = learning_curves(rows(table(real(split=split))), styles(["real"]), "words")
    assert ">accuracy, %</text>" in drawn


def test_runs_of_a_replication_are_called_runs() -> None:
    pooled = real(seeds=2)
    pooled["learning"] |= {"seeds": [[0, 1], [2, 3]], "lr": [[0.1, 0.1], [0.1, 0.3]], "selection": None}
    said = text_table(table(pooled))
    assert "over 2 runs" in said and "seeds" not in said
    pooled["learning"]["accuracy"] = accuracy_of([[0.5], [0.6]])
    pooled["learning"]["seeds"] = [[0, 1]]
    assert "1 run" in text_table(table(pooled)) and "1 runs" not in text_table(table(pooled))
