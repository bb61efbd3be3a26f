"""CPU minutes of making until learners reach an accuracy: every method, and what costs nothing, in one figure.

    python benchmarks/time_to_accuracy.py FOLDER --data-root DIRECTORY                         MNIST, all methods
    python benchmarks/time_to_accuracy.py FOLDER --dataset cifar10 --methods DM,formation      some of them
    python benchmarks/time_to_accuracy.py FOLDER --dataset digits --scale smoke                shows that it runs
    python benchmarks/time_to_accuracy.py FOLDER --draw                                        from what is there

A method is a config of this project, made in one run. The run keeps its teacher at steps that double, each with the
seconds of the processor that it has taken (``making.cpu_seconds``: of training, experts and observers among it, data
and start-up not), and each is judged when the run is done, by the same learners. Accuracies are of test images and no
part of any choice: steps are fixed beforehand, and an accuracy counts as reached at the first of them from which on
the mean over learners stays there, so that a lucky one counts for nothing.

Finished steps, teachers and judgements are kept in FOLDER; the same command goes on with what is missing, also after
Ctrl-C or SIGTERM, which runs and learners answer by saving. The figure says what judged: by default a narrow learner
and a fifth of the papers' epochs. Teachers of other numbers of images than ten a class are no part of it.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
if str(HERE.parents[1]) not in sys.path:
    sys.path.insert(0, str(HERE.parents[1]))

import torch  # noqa: E402

from gendistill.bfloat16 import slowdown  # noqa: E402
from gendistill.commands.side_by_side import Lane, run_side_by_side  # noqa: E402
from gendistill.errors import GendistillError, UserError  # noqa: E402
from gendistill.files import atomic_write  # noqa: E402
from gendistill.json_file import read_json  # noqa: E402
from gendistill.making import KEY  # noqa: E402
from gendistill.runs.callbacks import Callback, Now  # noqa: E402
from gendistill.runs.signals import Interrupted  # noqa: E402
from gendistill.teacher.files import describe  # noqa: E402
from gendistill.words import counted  # noqa: E402

CONFIGS = HERE.parents[1] / "configs"
RESULT = "time_to_accuracy"


@dataclass(frozen=True)
class Method:
    """How a method is made.

    Attributes:
        config: Below ``configs/``; ``{data}`` stands for MNIST or CIFAR-10.
        scale: Of the config; None: as it is.
        steps: Length of its run.
        words: Further options of ``gendistill train``.
        points: Teachers that are judged at most: after all steps, half of them, a quarter, ...
    """

    config: str
    scale: str | None = None
    steps: int = 6400
    words: tuple[str, ...] = ()
    points: int = 7

    def file(self, dataset: str) -> Path:
        """Return its config for a data set; digits and others take MNIST's."""
        return CONFIGS / self.config.format(data=dataset if dataset in TARGETS else "mnist")

    def kept(self, steps: int | None = None) -> list[int]:
        """Return the steps whose teachers are judged, of a run of ``steps`` (None: its own)."""
        last = self.steps if steps is None else steps
        fitting = [last >> half for half in range(self.points) if last % (1 << half) == 0]
        return sorted(set(fitting))


NARROW = "learner: {class_path: gendistill.nets.learners.ConvNet, init_args: {width: 32}}"
ONE_BATCH = (
    "--trainer.probes", f"[{{state: fresh, {NARROW}}}, {{state: pool, size: 4, steps: 200, lr: 0.05, {NARROW}}}]",
    "--trainer.num_batches", "1", "--trainer.batch_size", "1000", "--trainer.condensed_size", "100",
    "--trainer.augment", "dsa",
)  # fmt: skip
"""A batch of a hundred of every class, condensed into a tenth."""
METHODS: dict[str, Method] = {
    "DM": Method("dm/{data}.yaml", "reduced"),
    "DM, formation, pool": Method("dm/{data}-10.yaml"),
    "IDM": Method("dm/cifar10-idm.yaml", "reduced"),
    "NCFM": Method("dm/{data}-ncfm.yaml", "reduced"),
    "NCFM, wide": Method("dm/{data}-ncfm.yaml", "wide"),
    "DREAM": Method("dm/cifar10-dream.yaml"),
    "DC": Method("dc/{data}.yaml", "reduced", 1280),
    "DSA": Method("dc/{data}-dsa.yaml", "reduced", 1280),
    "IDC": Method("dc/cifar10-idc.yaml"),
    "MTT": Method("mtt/{data}.yaml", "reduced", 640),
    "GTN": Method("gtn/{data}.yaml", "reduced", 448),
    "batch condensation": Method("condensation/digits.yaml", steps=1600, words=ONE_BATCH),
    "easiest crops": Method("rded/{data}-10.yaml", steps=1, words=("--trainer.observer.stored", "true")),
}
"""Those that are made; ten images a class, but for GTN, whose generator stores none. The observer of easiest crops
labels each of them once: what it says of augmented images at a temperature of 20 is too faint for the one rate."""
FREE = {"random": "real:ipc=10", "herding": "real:herding=10", "k-center": "real:kcenter=10"}
"""What is chosen and not made, beside them."""
TARGETS = {"mnist": (95, 96, 97, 98), "cifar10": (40, 45, 50)}
"""Accuracies in percent."""
SMOKE_STEPS = 4
TEACHER = "teacher.safetensors"


class Kept(Callback):
    """Keeps the teacher of a run at some steps, each of which the run saves.

    Args:
        folder: Where, as ``STEP.safetensors``.
        steps: Of the run.
        minutes: The run ends after a kept step at which it has taken more CPU minutes; None: it does not.
    """

    def __init__(self, folder: str, steps: Sequence[int], minutes: float | None = None) -> None:
        self.folder, self.steps, self.minutes = Path(folder), frozenset(steps), minutes

    def on_save(self, now: Now) -> None:
        """Keep the teacher if it is one of those."""
        if now.step not in self.steps:
            return
        target = keep(now.directory / TEACHER, self.folder, now.step)
        if self.minutes is not None and spent(target) > self.minutes:
            now.stop(f"it has taken more than {self.minutes:g} CPU minutes")


def keep(teacher: Path, folder: Path, step: int) -> Path:
    """Keep a run's teacher of a step, if that is not done, and return its file."""
    target = folder / f"{step}.safetensors"
    if not target.exists():
        content = teacher.read_bytes()
        atomic_write(target, lambda file: file.write(content) and None)
    return target


def spent(teacher: Path) -> float:
    """Return the CPU minutes that a teacher's file says its making took."""
    return float(describe(teacher)["metadata"][KEY]["cpu_seconds"]) / 60


# -- what is asked ----------------------------------------------------------------------------------------------------


def read(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Return what was asked for.

    Raises:
        UserError: No method is called so.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where runs and results are kept")
    parser.add_argument("--dataset", default="mnist", help="mnist, cifar10, or any other")
    parser.add_argument("--data-root", help="where its files are")
    parser.add_argument("--methods", help="those of these names, or whose names hold one of these words, with commas: "
                        f"{'; '.join(METHODS)}")  # fmt: skip
    parser.add_argument("--shorter", type=int, default=1, metavar="N", help="runs of an N-th of their lengths")
    parser.add_argument("--minutes", type=float, metavar="M", help="a making ends after the kept step at which it has "
                        "taken more than M CPU minutes")  # fmt: skip
    parser.add_argument("--protocol", default="condensation-dsa", help="of the judge")
    parser.add_argument("--judges", type=int, default=2, help="learners of each judgement")
    parser.add_argument("--epochs", type=int, default=200, help="of a judge (the papers': 1,000)")
    parser.add_argument("--width", type=int, default=32, help="of a judge (the papers': 128)")
    parser.add_argument("--precision", default="float32", help="of judges: float32 or bfloat16")
    parser.add_argument(
        "--at-once", type=int, default=1, metavar="N", help="methods at the same time, on a thread each"
    )
    parser.add_argument("--scale", choices=("smoke",), help="seconds, to see that it works")
    parser.add_argument("--draw", action="store_true", help="make and judge nothing: table and figure of what is there")
    given = parser.parse_args(arguments)
    if given.scale == "smoke":
        given.epochs, given.width, given.judges = 1, 4, 1
    for name in ("shorter", "judges", "epochs", "width", "at_once"):
        if getattr(given, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(given, name)}; give a whole number from 1")
    words = [word.strip().lower() for word in (given.methods or "").split(",") if word.strip()]
    for word in words:
        if not any(word in name.lower() for name in METHODS):
            raise UserError(f"no method's name holds '{word}'; there are {', '.join(METHODS)}")
    # A whole name means that method alone: DM is part of other names, too.
    exact = [name for name in METHODS if name.lower() in words]
    others = [word for word in words if word not in [name.lower() for name in exact]]
    given.names = [
        name for name in METHODS if not words or name in exact or any(word in name.lower() for word in others)
    ]
    return given


def steps_of(method: Method, given: argparse.Namespace) -> list[int]:
    """Return the steps of a method whose teachers are judged."""
    return method.kept(min(method.steps, SMOKE_STEPS) if given.scale else max(1, method.steps // given.shorter))


def short(name: str) -> str:
    """Return a name that a folder can have."""
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())


def judge_of(given: argparse.Namespace) -> dict[str, Any]:
    """Return what judges, by which judgements are told apart."""
    names = ("protocol", "width", "epochs", "judges", "precision")
    return {"dataset": given.dataset, **{name: getattr(given, name) for name in names}}


def judgement(given: argparse.Namespace, place: str) -> Path:
    """Return the file of a judgement: of a kept teacher or of what is free."""
    judge = judge_of(given)
    how = "-".join(str(judge[name]) for name in ("dataset", "protocol", "width", "epochs", "judges", "precision"))
    return given.folder / "judged" / how / f"{place}.json"


# -- making and judging -----------------------------------------------------------------------------------------------


def train_words(name: str, given: argparse.Namespace) -> list[str]:
    """Return the command that makes a method's teachers."""
    method, kept = METHODS[name], steps_of(METHODS[name], given)
    scale = given.scale or method.scale
    words = [*(["--scale", scale] if scale else []), *method.words]
    call = {"folder": str(given.folder / short(name) / "kept"), "steps": kept, "minutes": given.minutes}
    callback = {"class_path": "benchmarks.time_to_accuracy.Kept", "init_args": call}
    return ["train", "--config", str(method.file(given.dataset)), *words, "--data.name", given.dataset,
            *(["--data.root", given.data_root] if given.data_root else []),
            "--run.name", f"{short(name)}/run", "--run.root", str(given.folder), "--run.steps", str(kept[-1]),
            "--run.save_every", str(kept[0]), "--run.callbacks", json.dumps([callback]), "--run.tune", "off",
            *(["--run.precision", "float32"] if slowdown(torch.device("cpu")) else []),
            "--run.sample_every", "0", "--run.progress", "false"]  # fmt: skip


def judge_words(teacher: str, place: Path, given: argparse.Namespace) -> list[str]:
    """Return the command that judges a teacher."""
    learner = f"{{class_path: gendistill.nets.learners.ConvNet, init_args: {{width: {given.width}}}}}"
    return ["evaluate", teacher, "--dataset", given.dataset,
            *(["--data-root", given.data_root] if given.data_root else []), "--protocol", given.protocol,
            "--learner", learner, "--epochs", str(given.epochs), "--measure-every", "0", "--seeds", str(given.judges),
            "--no-fidelity", "--precision", given.precision, "--output", str(place)]  # fmt: skip


def is_made(name: str, given: argparse.Namespace) -> bool:
    """Return whether a method's run is done: all its steps, or as far as ``--minutes`` goes.

    What it saved at last is kept here, should it have been killed before it could do so itself.
    """
    saved = given.folder / short(name) / "run" / TEACHER
    step = describe(saved)["metadata"][KEY]["steps"] if saved.exists() else None
    if step in steps_of(METHODS[name], given):
        keep(saved, given.folder / short(name) / "kept", int(step))
    files = [given.folder / short(name) / "kept" / f"{step}.safetensors" for step in steps_of(METHODS[name], given)]
    there = [file for file in files if file.exists()]
    out_of_time = given.minutes is not None and bool(there) and spent(there[-1]) > given.minutes
    return len(there) == len(files) or out_of_time


def judging(name: str, given: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    """Yield each kept teacher of a method, and where its judgement belongs."""
    for step in steps_of(METHODS[name], given):
        file = given.folder / short(name) / "kept" / f"{step}.safetensors"
        if file.exists():
            yield str(file), judgement(given, f"{short(name)}-{step}")


def make(names: Sequence[str], given: argparse.Namespace) -> list[str]:
    """Make and judge what is missing, and return what could not be, each with its reason.

    Raises:
        Interrupted: A signal came; what is done is kept.
    """
    failed: list[str] = []
    work = [(name, [train_words(name, given)]) for name in names if not is_made(name, given)]
    for group in _groups(work, given.at_once):
        _side_by_side(group, failed)
    free = [(reference, judgement(given, name)) for name, reference in FREE.items()]
    work = [("real images", [judge_words(*one, given) for one in free if not one[1].exists()])]
    for name in names:
        work.append((name, [judge_words(*one, given) for one in judging(name, given) if not one[1].exists()]))
    judgement(given, "x").parent.mkdir(parents=True, exist_ok=True)
    for group in _groups([one for one in work if one[1]], given.at_once):
        _side_by_side(group, failed)
        write(given)
    return failed


def _groups(work: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    yield from (work[first : first + size] for first in range(0, len(work), size))


def _side_by_side(work: Sequence[tuple[str, list[list[str]]]], failed: list[str]) -> None:
    """Give commands, those of one name one after the other, several names at once."""
    if not work:
        return

    def lane(name: str, commands: list[list[str]]) -> Lane:
        places = [Path(words[words.index("--output") + 1]) for words in commands if "--output" in words]
        return Lane(name, commands, len(commands), lambda: sum(place.exists() for place in places))

    for name, commands in work:
        what = "making" if commands[0][0] == "train" else f"judging {counted(len(commands), 'teacher')} of"
        print(f"{what} {name}", file=sys.stderr, flush=True)
    try:
        run_side_by_side([lane(*one) for one in work], threads=1)
    except Interrupted:
        raise
    except GendistillError as error:  # the others have been told to end, and go on with the next call
        failed.append(f"{', '.join(name for name, _ in work)}: {error}")


# -- what came of it --------------------------------------------------------------------------------------------------


def points(name: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Return what is known of a method, by steps: CPU minutes, and accuracies of learners in percent."""
    found = []
    for teacher, place in judging(name, given):
        if place.exists():
            step = int(Path(teacher).stem)
            found.append({"steps": step, "cpu_minutes": spent(Path(teacher)), "accuracies": accuracies(place)})
    return found


def accuracies(place: Path) -> list[float]:
    """Return the accuracies of a judgement in percent, one a learner."""
    return [100 * one for one in read_json(place)["learning"]["accuracy"]["runs"][-1]]


def minutes_to(found: Sequence[Mapping[str, Any]], target: float) -> float | None:
    """Return the CPU minutes of the first point from which on the mean stays at a target in percent; None: never."""
    reached = None
    for point in found:
        if statistics.fmean(point["accuracies"]) < target:
            reached = None
        elif reached is None:
            reached = float(point["cpu_minutes"])
    return reached


def table(whole: Mapping[str, Any]) -> str:
    """Return a table in Markdown: CPU minutes to each target, and the last and the best that was reached."""
    targets = whole["targets"]
    lines = [
        f"| method | {' | '.join(f'{target} %' for target in targets)} | at the end | after | best |",
        "|---" * (len(targets) + 4) + "|",
    ]
    for name, runs in whole["free"].items():
        mean = statistics.fmean(runs)
        cells = ["0" if mean >= target else "–" for target in targets]
        lines.append(f"| {name} | {' | '.join(cells)} | {said(runs)} | 0 | {mean:.1f} |")
    for name, found in whole["methods"].items():
        times = [minutes_to(found, target) for target in targets]
        cells = ["–" if one is None else f"{one:.1f}" for one in times]
        best = max(statistics.fmean(point["accuracies"]) for point in found)
        end = found[-1]
        lines.append(
            f"| {name} | {' | '.join(cells)} | {said(end['accuracies'])} | {end['cpu_minutes']:.1f} | {best:.1f} |"
        )
    return "\n".join(lines)


def said(runs: Sequence[float]) -> str:
    """Return a mean with its standard deviation over learners."""
    spread = f" ± {statistics.stdev(runs):.1f}" if len(runs) > 1 else ""
    return f"{statistics.fmean(runs):.1f}{spread}"


def judge_words_of(whole: Mapping[str, Any]) -> str:
    """Return what judged, as part of a sentence."""
    judge = whole["judge"]
    learners = f"{counted(judge['judges'], 'learner')} of width {judge['width']}"
    return f"{learners}, {judge['protocol']} with {counted(judge['epochs'], 'epoch')}, {judge['precision']}"


def figure(whole: Mapping[str, Any]) -> Any:
    """Return the figure: accuracy by CPU minutes of making, a line a method and a level a choice that is free."""
    from gendistill.report.drawing import PRINT, new_axes, styles, with_legend

    drawing, axes = new_axes(PRINT, 4.2)
    looks = styles([*whole["methods"], *whole["free"]])
    for name, found in whole["methods"].items():
        look = looks[name]
        means = [statistics.fmean(point["accuracies"]) for point in found]
        axes.plot([point["cpu_minutes"] for point in found], means, color=PRINT.colour(look), marker=look.marker,
                  linestyle=look.dashes, label=name)  # fmt: skip
    for name, runs in whole["free"].items():
        look, mean = looks[name], statistics.fmean(runs)
        label = f"{name} ({mean:.1f})"
        axes.axhline(mean, color=PRINT.colour(look), linestyle=look.dashes, linewidth=0.9, label=label)
    low, high = axes.get_ylim()
    least, most = min(whole["targets"]), max(whole["targets"])
    for target in whole["targets"]:
        if low <= target <= high + 1:
            axes.axhline(target, color=PRINT.rule, linewidth=1.4, zorder=0)
    if high > least:  # what lies far below says its number in the legend
        axes.set_ylim(bottom=max(low, least - 1.5 * (most - least)))
    axes.set_xscale("log")
    axes.set_xlabel("CPU minutes of making, one core")
    axes.set_ylabel("test accuracy, %")
    axes.set_title(judge_words_of(whole), fontsize="small")
    return with_legend(drawing, axes, PRINT)


def write(given: argparse.Namespace) -> dict[str, Any]:
    """Write ``time_to_accuracy.json``: all that is there; and return it."""
    free = {name: judgement(given, name) for name in FREE}
    whole = {
        "judge": judge_of(given),
        "targets": TARGETS.get(given.dataset, (90, 95)),
        "rule": "an accuracy is reached at the first kept step from which on the mean over learners stays there",
        "free": {name: accuracies(place) for name, place in free.items() if place.exists()},
        "methods": {name: found for name in METHODS if (found := points(name, given))},
    }
    file = given.folder / f"{RESULT}.json"
    atomic_write(file, lambda target: target.write(json.dumps(whole, indent=1).encode()) and None)
    return dict(read_json(file))


def draw(whole: Mapping[str, Any], folder: Path) -> str:
    """Write the table and the figure of what :func:`write` has written, and return the table."""
    text = f"{table(whole)}\n\nCPU minutes of making on one core; {judge_words_of(whole)}; {whole['rule']}.\n"
    atomic_write(folder / f"{RESULT}.md", lambda target: target.write(text.encode()) and None)
    if not whole["methods"]:
        return text
    picture = figure(whole)
    for kind, metadata in (("svg", {"Date": None, "Creator": None}), ("png", {})):
        buffer = io.BytesIO()
        picture.savefig(buffer, format=kind, dpi=160, facecolor="white", metadata=metadata)
        content = buffer.getvalue()
        atomic_write(folder / f"{RESULT}.{kind}", lambda target, image=content: target.write(image) and None)
    return text


def main(arguments: Sequence[str] | None = None) -> int:
    """Make and judge what is missing, and write ``time_to_accuracy.{json,md,svg,png}``."""
    try:
        given = read(arguments)
        failed = [] if given.draw else make(given.names, given)
        print(draw(write(given), given.folder), flush=True)
    except GendistillError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for sentence in failed:
        print(f"error: {sentence}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
