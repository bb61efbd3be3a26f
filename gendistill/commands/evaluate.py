"""``gendistill evaluate``: judge one teacher."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gendistill.commands.baselines import OF_CONDENSED_SETS, baselines
from gendistill.commands.fidelity_words import fidelity_words
from gendistill.commands.judge import REFERENCES, add_data, add_judging, judge, load_data, more_words, short_name
from gendistill.commands.keeping import keeping
from gendistill.commands.options import Options, add_json
from gendistill.commands.output import hand_over, result_only
from gendistill.config.plan import is_real
from gendistill.spelling import typed

UNEVEN = 1.5
"""How many times as large as the smallest the largest class must be for each class's accuracy to be printed."""
SHOWN = 10
"""Classes that are printed."""


def parser() -> Options:
    """Return the command's options."""
    options = Options(
        prog="gendistill evaluate",
        description="Judge one teacher: train fresh learners on it, test them on real images, and compare its images "
        "with real ones.",
    )
    options.add_argument("teacher", metavar="TEACHER", help=REFERENCES)
    add_data(options)
    options.add_argument("--output", metavar="FILE", help="write the result as JSON; None: results.json of a run's "
                         "directory, and nothing for other teachers")  # fmt: skip
    add_json(options)
    add_judging(options)
    return options


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill evaluate``."""
    given = parser().parse(argv)
    from gendistill.links.record import KEY, read_links
    from gendistill.teacher.reference import open_teacher

    output, links = given.output, None
    if output is None and (Path(given.teacher) / "config.yaml").is_file():
        output = str(Path(given.teacher) / "results.json")
        links = read_links(Path(output))
    with result_only(given.json), keeping(output):
        data = load_data(given, given.teacher)
        teacher = open_teacher(given.teacher, data, seed=given.seed)
        result = judge(teacher, data, given, given.teacher, short_name(given.teacher)) | {"command": given.command}
        if (
            given.protocol in OF_CONDENSED_SETS
            and not is_real(given.teacher)
            and baselines([(given.teacher, teacher)], data)
        ):
            print(f"random real images, herding and k-center beside it: {typed('compare', *argv)}", file=sys.stderr)
        _log_to_tensorboard(result, Path(given.teacher))
    if links is not None:
        result[KEY] = links
    return hand_over(result, text, as_json=given.json, output=output)


def _log_to_tensorboard(result: Mapping[str, Any], run: Path) -> None:
    """Let TensorBoard show the result beside the run that made the teacher, where it is one."""
    if (run / "config.yaml").is_file():
        from gendistill.report.evaluation_events import write_evaluation_events
        from gendistill.runs.overview import EVALUATION

        write_evaluation_events([result], run / EVALUATION)


def text(result: Mapping[str, Any]) -> str:
    """Return the result as a table, and what there is beyond it."""
    from gendistill.report.terminal import text_table

    fidelity = result.get("fidelity")
    parts = [text_table({"teachers": [result]}), *class_words(result["learning"])]
    parts += [fidelity_words(fidelity) if fidelity else "", more_words(result).rstrip("\n")]
    return "\n".join(filter(None, [*parts, *(f"note: {sentence}" for sentence in result["notes"])]))


def class_words(learning: Mapping[str, Any] | None) -> list[str]:
    """Return the accuracy of the classes as lines, where they are of unequal size or one has no image."""
    if learning is None:
        return []
    sizes = learning["class_sizes"]
    if max(sizes) <= UNEVEN * min(sizes):
        return []
    accuracy, updates = learning["accuracy"], learning["updates"][-1]
    balanced, std = accuracy["balanced"]["mean"][-1], accuracy["balanced"]["std"][-1]
    spread = "" if std is None else f" ± {100 * std:.1f}"
    named = list(zip(learning["class_names"], sizes, accuracy["per_class"][-1], strict=True))
    known = [(name, size, value) for name, size, value in named if value is not None]
    known = known if len(named) <= SHOWN else sorted(known, key=lambda one: one[2])[:SHOWN]
    listed = [f"{name} {100 * value:.1f} ({size:,})" for name, size, value in known]
    listed += [f"{name} – (0)" for name, size, _ in named if not size][:SHOWN]
    which = "classes" if len(named) <= SHOWN else f"the lowest of {len(named)} classes"
    return [
        f"balanced accuracy {100 * balanced:.1f}{spread} % after {updates:,} updates, the mean of the classes'",
        f"{which} in % (images of the {learning['split']} split): {', '.join(listed)}",
    ]
