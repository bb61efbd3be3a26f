"""``gendistill evaluate``: judge one teacher."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gendistill.commands.baselines import OF_CONDENSED_SETS, baselines
from gendistill.commands.fidelity_words import fidelity_words
from gendistill.commands.judge import REFERENCES, add_data, add_judging, judge, load_data, more_words, short_name
from gendistill.commands.options import Options, add_json
from gendistill.commands.output import hand_over, result_only
from gendistill.config.plan import is_real


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
    from gendistill.teacher.reference import open_teacher

    with result_only(given.json):
        data = load_data(given)
        teacher = open_teacher(given.teacher, data, seed=given.seed)
        result = judge(teacher, data, given, given.teacher, short_name(given.teacher))
        if given.protocol in OF_CONDENSED_SETS and not is_real(given.teacher) and baselines([teacher], data):
            print(
                "gendistill compare with the same words judges random real images, herding and k-center, too",
                file=sys.stderr,
            )
    output = given.output
    if output is None and (Path(given.teacher) / "config.yaml").is_file():
        output = str(Path(given.teacher) / "results.json")
    return hand_over(result, text, as_json=given.json, output=output)


def text(result: Mapping[str, Any]) -> str:
    """Return the result as a table, and what there is beyond it."""
    from gendistill.report.terminal import text_table

    fidelity = result.get("fidelity")
    parts = [text_table({"teachers": [result]}), fidelity_words(fidelity) if fidelity else ""]
    return "\n".join(filter(None, [*parts, more_words(result).rstrip("\n")]))
