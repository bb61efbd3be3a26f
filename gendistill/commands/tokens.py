"""``gendistill tokens``: the words nearest to a teacher's sentences."""

from __future__ import annotations

from collections.abc import Sequence

from gendistill.commands.judge import REFERENCES, add_data_files, data_given, load_data
from gendistill.commands.options import Options, add_json, positive
from gendistill.commands.output import result_only, to_json

METRICS = ("euclidean", "cosine")


def parser() -> Options:
    """Return the command's options."""
    options = Options(
        prog="gendistill tokens",
        description="Print the words nearest to each sentence of a teacher of a text, with its label.",
    )
    options.add_argument("teacher", metavar="TEACHER", help=REFERENCES)
    options.add_argument("--metric", choices=METRICS, default="euclidean", help="how near is measured")
    options.add_argument("--nearest", type=positive, default=1, metavar="N", help="words at each place, nearest first")
    options.add_argument("--count", type=positive, metavar="N", help="the first N sentences; None: all")
    options.add_argument("--output", metavar="FILE", help="also write class, tab, words: a .tsv file that can be "
                         "loaded as a text; None: do not")  # fmt: skip
    options.add_argument("--seed", type=int, default=0, metavar="N", help="seed of random subsets")
    options.add_argument("--dataset", metavar="NAME", help="real data set, needed for 'real...'")
    add_data_files(options)
    add_json(options)
    return options


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill tokens``."""
    given = parser().parse(argv)
    from gendistill.files import atomic_write
    from gendistill.teacher.reference import open_teacher
    from gendistill.teacher.sentences import listing, sentences, table

    with result_only(given.json):
        teacher = open_teacher(
            given.teacher, load_data(given, given.teacher) if data_given(given) else None, seed=given.seed
        )
        asked = {"metric": given.metric, "nearest": given.nearest, "count": given.count}
        if given.json:
            found = to_json(
                {"metric": given.metric, "sentences": [one.to_dict() for one in sentences(teacher, **asked)]}
            )
        else:
            found = listing(teacher, **asked).rstrip("\n")
        if given.output is not None:
            text = table(teacher, metric=given.metric, count=given.count)
            atomic_write(given.output, lambda file: file.write(text.encode()))
    print(found)
    if given.output is not None and not given.json:
        print(f"wrote {given.output}")
    return 0
