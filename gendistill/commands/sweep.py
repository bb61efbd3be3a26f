"""``gendistill sweep``: the same experiment for several values of one option, over several seeds, and a plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gendistill import shipped
from gendistill.claims import claimed
from gendistill.commands import search as several
from gendistill.commands.cluster import HELP as CLUSTER
from gendistill.commands.cluster import OPTIONS, cluster_of, crew
from gendistill.commands.options import whole_number
from gendistill.commands.output import in_words, result_only, to_json, write_json
from gendistill.commands.replicate import KEPT
from gendistill.commands.replicated import replicate, trained_beside
from gendistill.commands.replication import Judge, Replication, Replications, require_free
from gendistill.commands.search import RUNGS, TRIALS
from gendistill.commands.search_space import axis as one_axis
from gendistill.commands.trials import Race, as_folder
from gendistill.config.command_line import Words, take_apart
from gendistill.errors import UserError
from gendistill.files import require_place
from gendistill.notes import note
from gendistill.runs.signals import going_on
from gendistill.words import counted

HELP = f"""usage: gendistill sweep CONFIG --over KEY=VALUE,VALUE,... [--scale NAME] [--seeds N] [--KEY VALUE ...]
       gendistill sweep CONFIG --over KEY=VALUE,... --over KEY=VALUE,... [--search HOW] [--KEY VALUE ...]

Over one option: train a config once for each of its values and each seed, judge every teacher as the config's section
`evaluation` says, beside what that section names, and plot accuracy against the option.

Over several options, or with --search: make trials, choose the best by the accuracy of learners on validation images,
and look at the test images once, for that one. A trial that falls behind the median of the others is stopped early.

Every finished part is kept: the same command goes on where it stopped, and another value costs that value alone.

options:
  --over KEY=V,V,...  an option and its values, such as trainer.inner.steps=1,2,5,10; several times for several options;
                      with --search optuna also a range, LOW..HIGH or LOW..HIGH:log
  --search HOW        grid: every combination of values (the default with several --over), or optuna: trials that
                      Optuna's TPE proposes (pip install 'gendistill[sweep]')
  --trials N          with --search optuna, how many (default: {TRIALS}); more of them later go on from those
  --rungs P,P,1       parts of a run's length after which trials are judged and hopeless ones stopped (default:
                      {RUNGS}); 1: none is stopped
  --label TEXT        what the plot calls the option (default: its name)
  --scale NAME        a named scale of the config (default: its own settings)
  --seeds N           number of runs of each value (default: what the config says)
  --jobs N            runs that train at once, each in a process of its own (default: 1)
{CLUSTER}
  --root DIR          directory that holds all runs (default: checkpoints); sweep.json and sweep.png are in
                      DIR/replication/SCALE/DATASET/NAME-OPTION, the runs below; of several options search.json,
                      search.html, parallel.png and optuna.log in .../NAME-OPTION-OPTION
  --output FILE       write the results to this JSON file too
  --json              print one JSON object on stdout, all else on stderr
  --KEY VALUE         any option of gendistill train, for all runs, such as --data.root DIR"""

FILES = ("sweep.json", "sweep.png")
OWN = ("--over", "--label", "--seeds", "--jobs", "--root", "--output", "--search", "--trials", "--rungs", *OPTIONS)


@dataclass
class Sweep:
    """One option and its values.

    Attributes:
        path: The config.
        option: The option, as on the command line without dashes: ``trainer.inner.steps``.
        values: Its values, as text.
        known: How every run is made; the value is added to its overrides.
    """

    path: Path
    option: str
    values: list[str]
    known: Replications

    @property
    def name(self) -> str:
        """What the folder of the sweep is called."""
        return f"{self.path.stem}-{self.option.rpartition('.')[2]}"

    def at(self, value: str) -> Replication:
        """Return the experiment with one value.

        Raises:
            UserError: The config does not take the value.
        """
        known = replace(self.known, overrides=[*self.known.overrides, (f"--{self.option}", value)])
        return replace(known.open(self.path.stem), name=f"{self.name}/{as_folder(value, value)}")

    @property
    def directory(self) -> Path:
        """Where its results are."""
        return self.at(self.values[0]).directory.parent


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill sweep``."""
    words = take_apart(argv)
    if "--help" in words.flags:
        print(HELP)
        return 0
    over = [str(value) for option, value in words.overrides if option == "--over" and value is not None]
    if len(over) > 1 or any(option in ("--search", "--trials", "--rungs") for option, _ in words.overrides):
        return _search(words, over)
    asked, own = _own(words)
    if own.get("--output"):
        require_place(own["--output"])
    from gendistill.report.sweep_figure import draw_sweep

    as_json = "--json" in words.flags
    with result_only(as_json), going_on(lambda: KEPT):
        results = sweep(asked)
        picture = asked.directory / "sweep.png"
        write_json(results, asked.directory / "sweep.json")
        draw_sweep(results, picture, own.get("--label"))
        if own.get("--output"):
            write_json(results, str(own["--output"]))
    if as_json:
        print(to_json(results))
        return 0
    print(in_words(results, text))
    print(f"\nresults  {asked.directory / 'sweep.json'}\nplot     {picture}")
    return 0


def _search(words: Words, over: Sequence[str]) -> int:
    """Run a search over several options."""
    own, known, path = _known(words)
    options = [text.partition("=")[0] for text in over]
    if not over:
        raise UserError("a search needs --over KEY=V,V,..., at least once")
    require_free((*options, *(name for name, _ in known.overrides)), "sweep")
    require_apart([option.removeprefix("--") for option in options], [name for name, _ in known.overrides])
    name = "-".join([path.stem, *(option.rpartition(".")[2] for option in options)])
    asked = several.asked(Race(path, name, known), over, own)
    if own.get("--output"):
        require_place(own["--output"])
    as_json = "--json" in words.flags
    with result_only(as_json), going_on(lambda: KEPT):
        results = several.search(asked)
        if own.get("--output"):
            write_json(results, str(own["--output"]))
    if as_json:
        print(to_json(results))
        return 0
    print(in_words(results, several.text))
    for what, file in (("results", "search.json"), ("page", "search.html"), ("plot", "parallel.png")):
        print(f"{what:<8} {asked.directory / file}")
    return 0


def sweep(asked: Sweep) -> dict[str, Any]:
    """Run, or finish, one sweep.

    Args:
        asked: Which one, and how.

    Returns:
        Plain values: ``config``, ``scale``, ``over``, ``dataset``, ``seeds``, ``split`` (what accuracy was measured
        on), ``differing`` (words on settings of the evaluation that are not the same at all values) and ``points``:
        for each ``value`` its ``rows``, the teacher's first, each with ``name`` and ``accuracy`` (``mean``, ``std`` and
        ``runs`` over the seeds, fractions).

    Raises:
        UserError: A config, a value, the data or an earlier run does not fit, or another process does the same in this
            place.
        PlaceError: Nothing can be written there.
    """
    # All are built before the first is trained: a value that is out of range shall not be found out after hours.
    parts = [(value, asked.at(value)) for value in asked.values]
    say_what_adds_up(
        [part.experiment(0).build_trainer() for _, part in parts], asked.known.seeds or parts[0][1].plan.seeds
    )
    with claimed(asked.directory, "sweeping", "choose another --root", FILES):
        return _sweep(asked, parts)


def say_what_adds_up(trainers: Sequence[Any], seeds: int) -> None:
    """Note what private teachers of the same images, one a value and seed, spend together."""
    from gendistill.privacy.ledger import Budget

    budgets = [budget for trainer in trainers if isinstance(budget := getattr(trainer, "budget", None), Budget)]
    if (many := len(budgets) * seeds) > 1:
        total = seeds * sum(budget.epsilon for budget in budgets)
        note(
            f"{many} private teachers of the same images are made, each with a budget of its own; to look at all and "
            f"give one away spends all, epsilon {total:g} in sum: choose options on public images that look alike"
        )


def _sweep(asked: Sweep, parts: Sequence[tuple[str, Replication]]) -> dict[str, Any]:
    from gendistill.evaluation.settings import differing
    from gendistill.report.facts import split_of
    from gendistill.report.rows import row

    points: list[dict[str, Any]] = []
    judged: list[dict[str, Any]] = []
    with crew(asked.known.cluster) as workers:
        if workers is not None:
            from gendistill.commands.away import do_away

            # All values at once: one after the other the last runs of each would leave most workers without work.
            do_away(workers, [(Judge(part, part.experiment(0).load_data()), trained_beside(part)) for _, part in parts])
        results = [replicate(part, workers) for _, part in parts]
    for (value, _), found in zip(parts, results, strict=True):
        rows = [{"name": one["name"], "accuracy": one["accuracy"]} for one in found["replicated"]]
        rows[0]["name"] = asked.path.stem
        judged += found["teachers"]
        points.append({"value": value, "rows": rows})
    return {
        "config": str(asked.path),
        "scale": asked.known.scale,
        "over": asked.option,
        "dataset": results[-1]["dataset"],
        "seeds": results[-1]["seeds"],
        "split": split_of([row(one) for one in judged]),
        "differing": [f"{one.name}: {'; '.join(dict.fromkeys(filter(None, one.values)))}" for one in differing(judged)],
        "points": points,
    }


def text(results: Mapping[str, Any]) -> str:
    """Return results as a table, one line a value."""
    from gendistill.report.terminal import aligned

    names = list(dict.fromkeys(row["name"] for point in results["points"] for row in point["rows"]))
    lines = [[results["over"], *names]]
    for point in results["points"]:
        scores = {row["name"]: row["accuracy"] for row in point["rows"]}
        lines.append([point["value"], *(_percent(scores.get(name)) for name in names)])
    where = f" of the {results['split']} images" if results["split"] else ""
    runs, spread = counted(len(results["seeds"]), "run"), "mean ± std of " if len(results["seeds"]) > 1 else ""
    head = f"accuracy in %{where}, {spread}{runs}, {results['dataset']}"
    unequal = [
        f"The points cannot be compared, for they were not measured alike: {one}." for one in results["differing"]
    ]
    return "\n".join([head, "", *aligned(lines), *unequal])


def _known(words: Words) -> tuple[dict[str, str], Replications, Path]:
    """Return this command's own options, how every run is made, and the config."""
    own: dict[str, str] = {}
    for option, value in words.overrides:
        if option in OWN:
            if value is None:
                raise UserError(f"{option} needs a value")
            own[option] = value
    if len(words.positional) != 1 or words.configs or words.trainer:
        raise UserError("gendistill sweep takes one config, such as configs/dd/mnist-layers.yaml, as its first word")
    path = shipped.config(words.positional[0])
    if path.suffix != ".yaml" or not path.is_file():
        raise UserError(f"there is no config '{path}'; name a .yaml file")
    known = Replications(
        configs=path.parent,
        scale=words.scale,
        root=Path(own.get("--root", "checkpoints")),
        overrides=[(name, value) for name, value in words.overrides if name not in OWN],
        seeds=whole_number(own, "--seeds"),
        jobs=(jobs := whole_number(own, "--jobs")) or 1,
        cluster=cluster_of(own, jobs),
    )
    return own, known, path


def require_apart(searched: Sequence[str], given: Sequence[str]) -> None:
    """Refuse an option that is given beside the values of it that ``--over`` names.

    Raises:
        UserError: One is.
    """
    for option in given:
        if (plain := option.lstrip("-").replace("-", "_")) in [one.replace("-", "_") for one in searched]:
            raise UserError(f"{option} is given, and --over names values of '{plain}'; leave one of them out")


def _own(words: Words) -> tuple[Sweep, dict[str, str]]:
    """Take the options of a sweep over one option out of the words."""
    own, known, path = _known(words)
    axis = one_axis(own.get("--over", ""))
    if not axis.values:
        raise UserError(f"--over gives '{axis.option}' a range; add --search optuna, or name its values")
    require_free((axis.option, *(name for name, _ in known.overrides)), "sweep")
    require_apart([axis.option], [name for name, _ in known.overrides])
    return Sweep(path, axis.option, list(axis.values), known), own


def _percent(accuracy: Mapping[str, Any] | None) -> str:
    if accuracy is None:
        return "–"
    return f"{100 * accuracy['mean']:.2f}" + ("" if accuracy["std"] is None else f" ± {100 * accuracy['std']:.2f}")
