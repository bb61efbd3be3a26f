"""A search over several options: parallel coordinates, and its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gendistill.errors import UserError
from gendistill.escapes import figure_text
from gendistill.files import atomic_write
from gendistill.json_file import Each, Is, Keys, check, fraction, list_of, read_json, size, table_of, text, whole
from gendistill.report.drawing import PRINT, Form, new_axes

STOPPED = "stopped"
TRIAL = Keys(
    required={
        "number": Is(whole, "a number"),
        "values": Is(table_of(text), "values by option"),
        "state": Is(text, "a word"),
        "rungs": Each(Keys(required={"steps": Is(whole, "a number of steps"), "accuracy": Is(fraction, "a fraction")})),
    },
    optional={
        "accuracy": Is(fraction, "a fraction"),
        "runs": Is(list_of(fraction), "fractions"),
        "cpu_seconds": Is(size, "seconds"),
    },
)
SHAPE = Keys(
    required={
        "config": Is(text, "a path"),
        "search": Is(text, "a word"),
        "dataset": Is(text, "a name"),
        "options": Is(list_of(text), "a list of options"),
        "best": Is(whole, "a number"),
        "trials": Each(TRIAL, at_least=1),
    }
)
"""What is read of ``search.json``."""


def read_search(path: str | Path) -> dict[str, Any]:
    """Read a file ``search.json``.

    Raises:
        UserError: There is none, or it is none.
    """
    try:
        return dict(read_json(Path(path), SHAPE))
    except FileNotFoundError as error:
        raise UserError(f"there is no '{path}'; gendistill sweep over several options writes search.json") from error


def checked(results: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """Return results of a search if they have its form.

    Raises:
        UserError: They have not.
    """
    check(results, SHAPE, source)
    for one in results["trials"]:
        if set(one["values"]) != set(results["options"]):
            raise UserError(f"{source}: trial {one['number']} has not a value for each of the options")
    return results


def short(option: str) -> str:
    """Return an option's last name in words."""
    return option.rpartition(".")[2].replace("_", " ")


def in_order(results: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return trials with the best first, those that were stopped behind the others."""
    return sorted(results["trials"], key=lambda one: (one["state"] == STOPPED, -(one["accuracy"] or 0.0)))


def trial_cells(results: Mapping[str, Any]) -> list[list[str]]:
    """Return trials as rows of text, the heading first, the best first."""
    heading = ["trial", *map(short, results["options"]), "accuracy", "after steps", "state"]
    rows = []
    for one in in_order(results):
        last = one["rungs"][-1]["steps"] if one["rungs"] else 0
        score = "–" if one["accuracy"] is None else f"{100 * one['accuracy']:.2f}"
        rows.append([str(one["number"]), *(one["values"][option] for option in results["options"]), score, f"{last:,}",
                     one["state"]])  # fmt: skip
    return [heading, *rows]


def places(values: Sequence[str]) -> tuple[list[float], list[tuple[float, str]]]:
    """Return where values stand on an axis from 0 to 1, and what is written beside it.

    Numbers stand where they belong, by ratios if they span a factor of 20 and more; words in the order of their names.
    """
    import math

    try:
        numbers = [float(value) for value in values]
    except ValueError:
        words = sorted(set(values))
        at = {word: place / max(len(words) - 1, 1) for place, word in enumerate(words)}
        return [at[value] for value in values], [(place, word) for word, place in at.items()]
    low, high = min(numbers), max(numbers)
    if low == high:
        return [0.5] * len(values), [(0.5, f"{low:g}")]
    log = low > 0 and high >= 20 * low

    def place(number: float) -> float:
        if log:
            return math.log(number / low) / math.log(high / low)
        return (number - low) / (high - low)

    different = sorted(set(numbers))
    marked = different if len(different) <= 6 else [low, high]
    return [place(number) for number in numbers], [(place(number), f"{number:g}") for number in marked]


def parallel_figure(results: Mapping[str, Any], form: Form = PRINT) -> Any:
    """Draw a line a trial across an axis for each option and one of validation accuracy; the better, the darker.

    Trials that were stopped early are dotted; their accuracy is that of the rung at which they were.

    Args:
        results: What ``gendistill sweep`` writes as ``search.json``.
        form: Where the figure will stand.

    Returns:
        A matplotlib ``Figure``.
    """
    import matplotlib

    figure, axes = new_axes(form, 3.8)
    axes.grid(False)
    trials = [one for one in results["trials"] if one["accuracy"] is not None]
    names = [short(option) for option in results["options"]] + ["validation accuracy, %"]
    columns = [places([one["values"][option] for one in trials]) for option in results["options"]]
    columns.append(places([format(100 * one["accuracy"], ".1f") for one in trials]))
    heights = columns[-1][0]
    colours = matplotlib.colormaps["viridis_r"]
    for at, one in sorted(enumerate(trials), key=lambda pair: heights[pair[0]]):
        stopped, best = one["state"] == STOPPED, one["number"] == results["best"]
        axes.plot(
            range(len(columns)), [column[0][at] for column in columns], color=colours(0.1 + 0.9 * heights[at]),
            linewidth=3.0 if best else 1.2, linestyle=(0, (1, 1.5)) if stopped else "solid",
            alpha=0.6 if stopped else 1.0,
        )  # fmt: skip
    for place, (_, marks) in enumerate(columns):
        axes.axvline(place, color=form.ink, linewidth=1.0)
        for height, word in marks:
            axes.annotate(
                figure_text(word), (place, height), xytext=(-4, 0), textcoords="offset points", ha="right", va="center",
                fontsize=form.letters - 1, color=form.ink,
                bbox={"boxstyle": "square,pad=0.1", "facecolor": form.paper, "edgecolor": "none", "alpha": 0.75},
            )  # fmt: skip
    axes.set_xticks(range(len(names)), [figure_text(name) for name in names])
    axes.set_yticks([])
    axes.set_xlim(-0.45, len(names) - 0.85)
    axes.set_ylim(-0.06, 1.06)
    axes.spines["bottom"].set_visible(False)
    return figure


def write_parallel(results: Mapping[str, Any], path: str | Path) -> None:
    """Write the figure as a PNG picture, completely or not at all.

    Raises:
        StorageError: The file cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = parallel_figure(results)
    figure.patch.set(facecolor=PRINT.paper, alpha=1)
    FigureCanvasAgg(figure)
    atomic_write(path, lambda file: figure.savefig(file, format="png", dpi=150))


def write_search_page(results: Mapping[str, Any], path: str | Path) -> Path:
    """Write a self-contained HTML page of a search.

    Raises:
        StorageError: The file cannot be written.
    """
    from gendistill.report.figures import page_figure
    from gendistill.report.html_table import sorted_table
    from gendistill.report.markup import escaped
    from gendistill.report.page import document

    cells = trial_cells(results)
    best = next(one for one in results["trials"] if one["number"] == results["best"])
    said = ", ".join(f"{short(option)} {value}" for option, value in best["values"].items())
    stopped = sum(one["state"] == STOPPED for one in results["trials"])
    numbers = [[_number(cell) for cell in row[1:]] for row in cells[1:]]
    row = results["test"]["replicated"][0]["accuracy"] or {}
    reached = "was not measured" if row.get("mean") is None else f"is {100 * row['mean']:.1f} %"
    label = f"Parallel coordinates of {len(results['trials'])} trials; the best: {said}."
    caption = "A line a trial, darker where validation accuracy is higher; dotted: stopped early; thick: chosen."
    drawing = page_figure(lambda form: parallel_figure(results, form), "parallel", label)
    stem, searched = Path(results["config"]).stem, ", ".join(map(short, results["options"]))
    title = f"{len(results['trials'])} trials of {stem}"
    lede = f"{results['search']} over {searched} on {results['dataset']}; {stopped} stopped early, below the median."
    finding = f"Chosen by validation accuracy: {said}. Its test accuracy, looked at once, {reached}."
    parts = [
        f"<h1>{escaped(title)}</h1>",
        f'<p class="lede">{escaped(lede)}</p>',
        f'<p class="finding">{escaped(finding)}</p>',
        f'<figure class="lines"><div class="scroll" tabindex="0">{drawing}</div>'
        f"<figcaption>{escaped(caption)}</figcaption></figure>",
        "<h2>Trials</h2>",
        sorted_table(cells, numbers),
    ]
    page = document(title, parts, results)
    atomic_write(path, lambda file: file.write(page.encode()) and None)
    return Path(path)


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None
