"""``gendistill nas``: rank architectures by a few steps on a teacher, beside honest baselines and the truth."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.claims import claimed
from gendistill.commands.cluster import add_cluster, cluster_of_namespace, crew
from gendistill.commands.judge import REFERENCES, add_data, load_data, short_name
from gendistill.commands.option_file import options_of_file
from gendistill.commands.options import Options, add_json, positive, rate_list, words_of
from gendistill.commands.output import in_words, result_only, to_json, write_json
from gendistill.errors import UserError, did_you_mean
from gendistill.regular import expanded
from gendistill.runs.signals import going_on

if TYPE_CHECKING:
    from gendistill.data.real import RealData
    from gendistill.nas.proxies import Proxy
    from gendistill.nas.study import Study
    from gendistill.nas.truth import TrainedTruth
    from gendistill.nets.spaces import LearnerSpace
    from gendistill.teacher import Teacher

SPACES = {
    "convnets": "gendistill.nets.spaces.ConvNetSpace",
    "grid": "gendistill.nets.spaces.CondensationGrid",
    "mlps": "gendistill.nets.spaces.MLPSpace",
    "cells": "gendistill.nets.spaces.CellSpace",
}
FILES = ("architectures.json", "results.json", "scatter.png", "table.md")
TRUTHS = ("all", "best", "none")
UPDATES = 32
"""Updates of a learner where the teacher has no curriculum whose length says it."""


def parser() -> Options:
    """Return the command's options."""
    options = Options(
        prog="gendistill nas",
        description="Score architectures by validation accuracy after a few updates on a teacher, and compare the "
        "ranking with the truth and with four baselines: parameter count, as many updates on real data, as much time "
        "on real data, a random real subset of the same size. A stopped search goes on where it was.",
    )
    options.add_argument("teacher", metavar="TEACHER", nargs="?", help=REFERENCES)
    options.add_argument("--config", metavar="FILE", help="YAML with any of these options; the command line wins")
    options.add_argument("--output", metavar="DIR", default="checkpoints/nas/search", help="where results are kept")
    options.add_argument("--fresh", action="store_true", help="start anew where --output holds earlier results")
    add_data(options)
    add_json(options)
    group = options.add_argument_group("search")
    add = group.add_argument
    add("--space", default="convnets", metavar="SPACE", help=f"{', '.join(SPACES)}, a dotted path or "
        "{class_path: ..., init_args: ...}")  # fmt: skip
    add("--search", default="random", metavar="HOW", help="random, or optuna (TPE; pip install 'gendistill[nas]')")
    add("--count", type=positive, default=100, metavar="N", help="architectures to look at")
    add("--budget", type=seconds, metavar="S", help="seconds after which no further ones are begun; None: no limit")
    add("--seed", type=int, default=0, metavar="N", help="seed of the search and of the random subset")
    add("--device", default="auto", metavar="NAME", help="auto (a GPU if there is one), cpu, cuda or cuda:1")
    group = options.add_argument_group("score: accuracy on the validation split after a few updates")
    add = group.add_argument
    add("--updates", type=positive, metavar="N", help="updates of a learner; None: the length of the teacher's "
        f"curriculum, {UPDATES} where it has none")  # fmt: skip
    add("--seeds", type=positive, default=1, metavar="N", help="learners an architecture; their mean is the score")
    add("--batch-size", type=positive, default=64, metavar="N", help="images an update; a curriculum has its own")
    add("--lr", type=rate_list, default="grid", metavar="LR,LR", help="rates to choose among for a teacher without "
        "its own and for real data; the validation split chooses on the pilots")  # fmt: skip
    add("--pilots", type=positive, default=4, metavar="N", help="architectures on which that rate is chosen")
    add("--baselines", action=argparse.BooleanOptionalAction, default=True, help="score with the baselines, too")
    group = options.add_argument_group("truth: accuracy on the test split after training on all real data")
    add = group.add_argument
    add("--truth", default="all", metavar="WHICH", help="train all architectures looked at, the best by score, or "
        "none; or a CSV file with the columns architecture,accuracy")  # fmt: skip
    add("--truth-epochs", type=positive, default=10, metavar="N", help="passes over the training images")
    add("--truth-lr", type=rate_list, default="0.03,0.1", metavar="LR,LR", help="rates at the start of a cosine; the "
        "validation split chooses for each architecture")  # fmt: skip
    add("--truth-seeds", type=positive, default=1, metavar="N", help="learners an architecture and rate")
    add("--found", type=runs, default="", metavar="RUN,RUN", help="also train what these runs have found, such as "
        "those of trainers.enas.ENASTrainer")  # fmt: skip
    add_cluster(options)
    return options


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill nas``."""
    options = parser()
    from_file = options_of_file(argv, options)
    given = options.parse([*from_file.words, *argv])
    given.teacher = given.teacher or from_file.positional
    if given.teacher is None:
        raise UserError(f"gendistill nas needs a teacher: {REFERENCES}")
    cluster_of_namespace(given)
    kept = Path(given.output) / "architectures.json"
    how = f"what is scored and trained is kept in '{kept}'; give the same command again to go on"
    # Without --fresh, which would throw it away.
    how = how.replace("the same command", "the same command without --fresh") if given.fresh else how
    claim = claimed(Path(given.output), "searching", "choose another --output", FILES)
    with result_only(given.json), claim, going_on(lambda: how):
        results = run(given)
    print(to_json(results) if given.json else in_words(results, _said))
    return 0


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Search, compare and write ``architectures.json``, ``results.json``, ``scatter.png`` and ``table.md``.

    Returns:
        See :meth:`gendistill.nas.study.Study.results`; beside it ``teacher``, ``dataset``, ``space``, ``search``,
        ``updates``, ``splits`` and ``files``.

    Raises:
        UserError: An option, the teacher, the table or earlier results do not fit.
    """
    from gendistill.nas.report import markdown, scatter

    folder = Path(given.output)
    with crew(cluster_of_namespace(given)) as workers, opened(given) as search:
        if workers is not None:
            from gendistill.commands.nas_away import OWN, StagesAway

            words, table = words_of(parser(), given, OWN), None if search.table is None else _file(given.truth)
            search.study.away = StagesAway(workers, words, given.teacher, search.teacher, search.data, table)
        study, data = search.study, search.data
        found = {path: found_by(path, data, search.space) for path in given.found}
        study.prepare()
        names = study.search(given.search, given.count, given.budget)
        if given.baselines:
            study.baselines(names)
        _find_truth(study, names, given.truth, search.table, search.truth)
        results = study.results(names)
        results["others"] = _others(study, found, names, search.table, search.truth)
    results |= {
        "teacher": {"path": given.teacher, **search.teacher.budget()},
        "dataset": data.description.name,
        "space": {"spec": search.settings["space"], "size": search.space.size},
        "search": given.search,
        "updates": search.updates,
        "splits": {"scores": "validation", "truth": "test" if search.table is None else given.truth},
        "files": {"results": str(folder / "results.json")},
    }
    main_label = study.proxies[0].label
    if "all" in results["rankings"][main_label]:
        from gendistill.files import atomic_write

        picture = scatter(results, main_label)
        atomic_write(folder / "scatter.png", lambda file: file.write(picture))
        results["files"]["scatter"] = str(folder / "scatter.png")
        page = markdown(results) + "\n"
        atomic_write(folder / "table.md", lambda file: file.write(page.encode()))
        results["files"]["table"] = str(folder / "table.md")
    write_json(results, folder / "results.json")
    return results


@dataclass
class Search:
    """What a search is made of.

    Attributes:
        study: Scores architectures and keeps the results.
        truth: Trains them in full.
        table: True accuracies of a user's table; None: they are trained.
        teacher: The teacher.
        data: The real data.
        space: The space.
        settings: What results depend on besides the scores' own.
        updates: Updates of a learner.
    """

    study: Study
    truth: TrainedTruth
    table: dict[str, float] | None
    teacher: Teacher
    data: RealData
    space: LearnerSpace
    settings: dict[str, Any]
    updates: int


@contextmanager
def opened(given: argparse.Namespace) -> Iterator[Search]:
    """Lend the search that options describe, with its threads.

    Raises:
        UserError: An option, the teacher, the table or earlier results do not fit.
    """
    import torch

    from gendistill.data.fingerprint import contents
    from gendistill.evaluation.workers import Workers
    from gendistill.nas.proxies import with_baselines
    from gendistill.nas.search import check_search
    from gendistill.nas.study import Study
    from gendistill.nas.truth import TrainedTruth, read_table
    from gendistill.runs.device import choose_device
    from gendistill.teacher.reference import open_teacher

    check_search(given.search)
    device = choose_device(given.device)
    data = load_data(given, given.teacher)
    held = contents(data)
    data = data.to(device)
    space = open_space(given.space)
    table = None if given.truth in TRUTHS else read_table(_file(given.truth), space)
    teacher = open_teacher(given.teacher, data, seed=given.seed, device=device)
    updates = given.updates or (len(teacher.learning_rates) if teacher.learning_rates is not None else UPDATES)
    proxies: list[Proxy] = with_baselines(
        short_name(given.teacher), teacher, space, data, updates=updates, batch_size=given.batch_size, lr=given.lr,
        seeds=given.seeds, device=device, seed=given.seed,
    )  # fmt: skip
    truth = TrainedTruth(
        space, data, epochs=given.truth_epochs, batch_size=given.batch_size, lr=given.truth_lr,
        seeds=given.truth_seeds, device=device,
    )  # fmt: skip
    settings = {
        "space": getattr(space, "spec", given.space),
        "dataset": data.description.name,
        "truth": truth.settings() if table is None else {"table": table},
        "search": given.search,
    }
    cores = torch.get_num_threads() if device.type == "cpu" else 1
    with Workers(cores) as workers:
        study = Study(
            space, proxies if given.baselines else proxies[:1], Path(given.output) / "architectures.json", settings,
            workers=workers, pilots=given.pilots, seed=given.seed, data=held, fresh=given.fresh, progress=_shown(),
        )  # fmt: skip
        yield Search(study, truth, table, teacher, data, space, settings, updates)


def open_space(text: str) -> LearnerSpace:
    """Return the space that ``--space`` names.

    Raises:
        UserError: There is none.
    """
    from gendistill.class_names import suggestion
    from gendistill.nets.spaces import LearnerSpace
    from gendistill.objects import build, full_path, full_paths
    from gendistill.yaml_file import parse_yaml

    base: type[Any] = LearnerSpace
    spec: Any = SPACES.get(text, text)
    if "{" in text:
        spec = full_paths(parse_yaml(text, "--space"))
    elif "." not in (spec := full_path(spec, base)):
        hint = did_you_mean(text, SPACES) or suggestion(text, base)
        raise UserError(f"there is no space '{text}'; {hint}choose among {', '.join(SPACES)} or give a dotted path")
    space: LearnerSpace = build(spec, base)
    return space


def found_by(path: str, data: RealData, space: LearnerSpace) -> str:
    """Return the architecture that a run has found and noted in its teacher.

    Raises:
        UserError: The run noted none, or one that the space does not know.
    """
    from gendistill.bounded import bounded
    from gendistill.seeds import initialisation
    from gendistill.teacher.reference import open_teacher
    from gendistill.untrusted import PARTS, VALUES

    name = open_teacher(path, data).noted("architecture", str)
    if name is None:
        raise UserError(f"'{path}' found no architecture; give a run of trainers.enas.ENASTrainer")
    # The space is the user's, the sizes in the name are the file's: built once, so far as a file's network may go.
    with bounded(f"the architecture that '{path}' found", VALUES, PARTS), initialisation(0, "nas/found"):
        space.build(name, data.description.num_classes, data.description.image_shape)
    return name


def seconds(text: str) -> float:
    """Read a positive number of seconds."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number of seconds")
    return number


def runs(text: str) -> list[str]:
    """Read ``RUN,RUN``; an empty text is none."""
    return [run for run in text.split(",") if run]


def _file(text: str) -> Path:
    path = expanded(text)
    if not path.is_file():
        hint = did_you_mean(text, TRUTHS)
        raise UserError(f"--truth is '{text}', which is no file; {hint}give {', '.join(TRUTHS)} or a CSV file")
    return path


def _find_truth(
    study: Study, names: Sequence[str], which: str, table: Mapping[str, float] | None, truth: TrainedTruth
) -> None:
    if table is not None:
        study.look_up(names, table)
    elif which == "all":
        study.train(names, truth)
    elif which == "best":
        study.train([study.best(names)], truth)


def _others(
    study: Study,
    found: Mapping[str, str],
    names: Sequence[str],
    table: Mapping[str, float] | None,
    truth: TrainedTruth,
) -> dict[str, Any]:
    """Return where the architectures that runs have found stand; their truth is of the same source as the others'."""
    others = list(dict.fromkeys(found.values()))
    if table is None:
        study.train(others, truth)
    else:
        study.look_up(others, table)
    return {path: study.standing(name, names) for path, name in found.items()}


def _said(results: Mapping[str, Any]) -> str:
    from gendistill.nas.report import text

    lines = [text(results), ""]
    lines += [f"{what:<8} {where}" for what, where in results["files"].items()]
    return "\n".join(lines)


def _shown() -> Any:
    from gendistill.counter import Counter

    counters: dict[str, Counter] = {}

    def show(what: str, done: int, total: int) -> None:
        counters.setdefault(what, Counter(what, "architectures"))(done, total)

    return show
