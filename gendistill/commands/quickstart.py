"""``gendistill quickstart``: the main job on the embedded digits, end to end.

Trains a conditional GAN and a GTN, searches the GAN's latent space, judges five teachers alike, and writes a table, a
report and TensorBoard logs. Every stage that is finished is kept, so the same command continues an interrupted one.
"""

from __future__ import annotations

import hashlib
import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.claims import claimed
from gendistill.commands.kept import read_evaluation, write_evaluation
from gendistill.commands.options import Options, add_json, positive, rate_list, update_list
from gendistill.commands.output import result_only, to_json, write_json
from gendistill.commands.side_by_side import Lane, run_side_by_side, threads_each
from gendistill.config.command_line import assemble, take_apart
from gendistill.errors import UserError
from gendistill.plain import readable
from gendistill.runs.progress import last_step
from gendistill.runs.signals import going_on
from gendistill.shipped import config_folder
from gendistill.words import counted

if TYPE_CHECKING:
    from gendistill.data.real import RealData
    from gendistill.grids import Grid
    from gendistill.teacher import Teacher

KEPT = "finished stages are kept; give the same command again to go on"
FILES = ("results.json", "report.html")
DATASET = "digits"
STAGES = ("gan", "gtn", "latent")
COLUMNS = (2, 8, 16, 32, 128)
GRID_IMAGES = 60
FULL: dict[str, Any] = {"updates": (1, 2, 4, 8, 16, 32, 64, 128), "seeds": 10, "lr": (0.01, 0.03, 0.1, 0.3, 1.0)}
"""How teachers are judged. Ten learners decide where five decide nothing: docs/evaluation-comparing.md has figures."""
SMOKE: dict[str, Any] = {"updates": (5, 10), "seeds": 2, "lr": (0.1,)}
"""The same at ``--scale smoke``, which is to show in seconds that everything works."""
LANES = (("gan", "latent"), ("gtn",))
"""Stages that are trained one after another, in a process each."""
FORM = 2
"""Of an evaluation that is kept: results of another form are made again."""


@dataclass
class Made:
    """One teacher to judge: its name, how to open it, what making it took in seconds (None: nothing was made)."""

    name: str
    reference: str
    seconds: float | None


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill quickstart``."""
    options = parser().parse(argv)
    with result_only(options.json), going_on(lambda: KEPT):
        usual = SMOKE if options.scale == "smoke" else FULL
        learning = {name: usual[name] if (own := getattr(options, name)) is None else own for name in usual}
        configs = config_folder("quickstart") if options.configs is None else Path(options.configs)
        places = Path(options.root), options.name, configs
        results = run(*places, options.scale, options.seed, learning, command=options.command)
    if options.json:
        print(to_json(results))
    return 0


def parser() -> Options:
    """Return the command's options."""
    options = Options(prog="gendistill quickstart", description=(__doc__ or "").split("\n\n")[1])
    options.add_argument("--root", default="checkpoints", metavar="DIR", help="directory that holds all runs")
    options.add_argument("--name", default="quickstart", help="directory of this job below the root")
    options.add_argument(
        "--configs",
        metavar="DIR",
        help="directory with gan.yaml, gtn.yaml and latent.yaml; None: those of the project",
    )
    options.add_argument(
        "--scale", default=None, help="named scale of the configs; smoke takes seconds, and judges by few learners, too"
    )
    options.add_argument("--seed", type=int, default=0, help="seed of the three runs and of the random real subset")
    usual, small = (
        {name: ",".join(map(str, value)) if isinstance(value, tuple) else value for name, value in found.items()}
        for found in (FULL, SMOKE)
    )
    unless = {name: f"; None: {usual[name]}; {small[name]} at the scale smoke" for name in usual}
    options.add_argument("--seeds", type=positive, help="learners trained on each teacher" + unless["seeds"])
    options.add_argument(
        "--updates", type=update_list, metavar="N,...", help="learner updates to measure after" + unless["updates"]
    )
    options.add_argument(
        "--lr",
        type=rate_list,
        metavar="RATE,...",
        help="learning rates of the learners; the validation split chooses one for each number of updates, except for "
        "a teacher that learned its own" + unless["lr"],
    )
    add_json(options)
    return options


def run(
    root: Path,
    name: str,
    configs: Path,
    scale: str | None,
    seed: int,
    learning: dict[str, Any],
    *,
    command: str | None = None,
) -> dict[str, Any]:
    """Do the whole job, or what is left of it.

    Args:
        root: Directory that holds all runs.
        name: Directory of this job below ``root``.
        configs: Directory with one config for each of the three stages.
        scale: Named scale of the configs; ``None`` for their own settings.
        seed: Seed of the three runs and of the random real subset, from 0.
        learning: ``updates``, ``seeds`` and ``lr`` of :func:`gendistill.evaluation.learning.learning_curve`.
        command: What was typed, for the record.

    Returns:
        What ``results.json`` holds: ``{"teachers": [...], "curves": {...}}``.

    Raises:
        UserError: A config is missing or does not fit, or another process does the same in this place.
        PlaceError: Nothing can be written there.
    """
    for stage in STAGES:
        if not (configs / f"{stage}.yaml").is_file():
            raise UserError(f"there is no {configs / stage}.yaml; leave --configs out to take those of the project")
    planned = _plan(root, name, configs, scale, seed)
    with claimed(root / name, "running the quickstart", "choose another --name", FILES):
        return _run(root, name, planned, seed, learning, command)


def _run(
    root: Path,
    name: str,
    planned: Mapping[str, tuple[list[str], int]],
    seed: int,
    learning: dict[str, Any],
    command: str | None,
) -> dict[str, Any]:
    from gendistill.data import load
    from gendistill.evaluation.fidelity import common_count
    from gendistill.report.page import write_report
    from gendistill.report.terminal import text_table
    from gendistill.teacher import open_teacher

    data = load(DATASET)
    directory = root / name
    print("[1/3] training a conditional GAN and searching its latents; beside it, meta-training a GTN")
    seconds = _train(root, name, planned)
    made = _teachers(directory, data, seconds)
    print(f"[2/3] judging {len(made)} teachers with the same learners")
    count = common_count([open_teacher(one.reference, data, seed=seed) for one in made], data)
    judged = [_judge(one, data, directory, seed, learning, {"count": count}) for one in made]
    judged += [row for one in made for row in _ablations(one, data, directory, seed, learning)]
    judged = [{**one, "command": command} for one in judged]
    curves = _latent_curves(directory)
    results: dict[str, Any] = {"teachers": judged, "notes": _notes(judged), "curves": curves}
    if set(COLUMNS) <= set(learning["updates"]):
        results["columns"] = list(COLUMNS)
    print("[3/3] writing the report")
    write_json(results, directory / "results.json")
    write_report(results, directory / "report.html", _grids(made, data, seed), title="Teachers of handwritten digits")
    _log_to_tensorboard(judged, directory)
    print("")
    print(text_table(results))
    print("")
    print(f"report       open {directory / 'report.html'} in a browser")
    print(f"tensorboard  gendistill tensorboard --logdir {shlex.quote(str(root))}")
    return results


def _plan(root: Path, name: str, configs: Path, scale: str | None, seed: int) -> dict[str, tuple[list[str], int]]:
    """Return for each stage the words after ``gendistill train`` and its length in steps.

    Raises:
        UserError: A config does not fit.
    """
    planned = {}
    for stage in STAGES:
        words = ["--config", str(configs / f"{stage}.yaml"), "--run.root", str(root), "--run.name", f"{name}/{stage}"]
        words += ["--run.seed", str(seed), *(["--scale", scale] if scale else [])]
        words += ["--trainer.generator", str(root / name / "gan")] if stage == "latent" else []
        experiment = assemble(take_apart(words))
        if (other := experiment.data.get("name", DATASET)) != DATASET:
            raise UserError(
                f"{configs / stage}.yaml trains on '{readable(str(other))}', and the quickstart judges on {DATASET}; "
                f"name {DATASET} there, or use gendistill train and compare, which take --dataset"
            )
        planned[stage] = words, experiment.options.steps
    return planned


def _train(root: Path, name: str, planned: Mapping[str, tuple[list[str], int]]) -> dict[str, float]:
    """Train the three stages, or what is left of them, and return the seconds that each took in all."""
    import torch

    from gendistill.runs.checkpoint import read_state
    from gendistill.runs.directory import RunDirectory

    directories = {stage: RunDirectory(root, f"{name}/{stage}") for stage in STAGES}

    def lane(label: str, *stages: str) -> Lane:
        return Lane(
            label,
            [["train", *planned[stage][0]] for stage in stages],
            sum(planned[stage][1] for stage in stages),
            lambda: sum(last_step(directories[stage].log) for stage in stages),
        )

    run_side_by_side([lane(", ".join(stages), *stages) for stages in LANES])
    cpu = torch.device("cpu")
    return {stage: float(read_state(directories[stage].state, cpu)["seconds"]) for stage in STAGES}


def _teachers(directory: Path, data: RealData, seconds: dict[str, float]) -> list[Made]:
    """Name the five; the real subset has as many images as the GTN stores."""
    from gendistill.teacher import open_teacher

    stored = open_teacher(directory / "gtn", data).images_stored or len(data.train)
    return [
        Made("real", "real", None),
        Made("real-subset", f"real:subset={min(stored, len(data.train))}", None),
        Made("gan", str(directory / "gan"), seconds["gan"]),
        Made("latent", str(directory / "latent"), seconds["gan"] + seconds["latent"]),
        Made("gtn", str(directory / "gtn"), seconds["gtn"]),
    ]


def _notes(judged: Sequence[dict[str, Any]]) -> list[str]:
    """Say what the table's seconds and images are."""
    threads = threads_each(len(LANES))
    sizes = {one["name"]: one["teacher"]["images"] for one in judged}
    notes = [
        f"Seconds of making are those of one process on {counted(threads, 'thread')}; for latent, its GAN included.",
    ]
    if sizes["real-subset"] == sizes["gtn"]:
        notes.append("The real subset has as many images as the GTN stores.")
    return notes


def _judge(
    one: Made, data: RealData, directory: Path, seed: int, learning: dict[str, Any], fidelity: dict[str, Any]
) -> dict[str, Any]:
    """Evaluate a teacher, or take the result of an earlier call on the same teacher with the same options."""
    from gendistill.data.fingerprint import fingerprint
    from gendistill.evaluation.evaluate import evaluate
    from gendistill.teacher import open_teacher

    teacher = open_teacher(one.reference, data, seed=seed)
    # None: the rates that it learned.
    options = learning | {"lr": list(learning["lr"]) if teacher.learning_rates is None else None}
    file = directory / "evaluations" / f"{one.name}.json"
    key = _fingerprint(teacher, {"learning": options, "fidelity": fidelity, "data": fingerprint(data)})
    known = read_evaluation(file)
    if known is not None and known.get("fingerprint") == key and "result" in known:
        print(f"      {one.name}: judged already")
        return {"name": one.name, **known["result"], "seconds": one.seconds}
    print(f"      {one.name}")
    result = evaluate(teacher, data, path=one.reference, name=one.name, learning=options, fidelity=fidelity)
    write_evaluation(file, {"fingerprint": key, "result": result})
    return {**result, "seconds": one.seconds}


def _ablations(one: Made, data: RealData, directory: Path, seed: int, learning: dict[str, Any]) -> list[dict[str, Any]]:
    """Judge a teacher's images without its learned rates and its rates without its images, if it has such rates."""
    from gendistill.data.fingerprint import fingerprint
    from gendistill.evaluation.ablation import judge_ablations
    from gendistill.teacher import open_teacher

    teacher = open_teacher(one.reference, data, seed=seed)
    if teacher.learning_rates is None:
        return []
    options = learning | {"lr": ["teacher", *learning["lr"]]}  # beside its own those that all others choose among
    file = directory / "evaluations" / f"{one.name}-ablation.json"
    key = _fingerprint(teacher, {"learning": options, "data": fingerprint(data)})
    known = read_evaluation(file)
    if known is not None and known.get("fingerprint") == key and "results" in known:
        return list(known["results"])
    print(f"      {one.name}: is it the images or the learning rates?")
    results = judge_ablations(one.name, teacher, data, options, path=one.reference)
    write_evaluation(file, {"fingerprint": key, "results": results})
    return results


def _fingerprint(teacher: Teacher, options: dict[str, Any]) -> str:
    from gendistill import __version__

    digest = hashlib.sha256(json.dumps([FORM, __version__, teacher.header(), options], sort_keys=True).encode())
    for name, tensor in sorted(teacher.tensors().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _latent_curves(directory: Path) -> dict[str, Any]:
    from gendistill.teacher import open_teacher

    path = open_teacher(directory / "latent").metadata["path"]
    return {
        "latent norms": {
            "x": path["step"],
            "y": path["norm_mean"],
            "lower": path["norm_min"],
            "upper": path["norm_max"],
            "reference": path["radius"],
            "x_label": "search step",
            "y_label": "norm of a latent",
            "caption": "Mean, smallest and largest norm of the latents; dashed: sqrt(d), where the sphere keeps them.",
        }
    }


def _grids(made: Sequence[Made], data: RealData, seed: int) -> dict[str, Grid]:
    """Return up to six rows of ten pictures of every teacher, one column a class."""
    from gendistill.grids import grid_of_classes
    from gendistill.seeds import stream
    from gendistill.teacher import open_teacher

    grids = {}
    for one in made:
        teacher = open_teacher(one.reference, data, seed=seed)
        images, labels = teacher.sample(GRID_IMAGES, stream(0, "grid"))
        pixels = teacher.description.normalisation.invert(images).clamp(0, 1)
        grids[one.name] = grid_of_classes(pixels, labels, data.description.class_names)
    return grids


def _log_to_tensorboard(judged: Sequence[dict[str, Any]], directory: Path) -> None:
    """Write each teacher's numbers as a run of its own, and a figure of all of them."""
    from gendistill.report.evaluation_events import write_evaluation_events

    for result in judged:
        write_evaluation_events([result], directory / "evaluations" / result["name"])
    write_evaluation_events(judged, directory / "evaluations")
