"""Configs of a made-up source, and results of some of its rows, for the tests of the register."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gendistill.cli import main

TRAINER = (
    "trainer: {class_path: trainers.gan.ConditionalGANTrainer}\nrun: {steps: 1}\n"
    "scales: {smoke: {}, reduced: {}, paper: {}}\n"
)


def teacher(name: str, runs: list[float]) -> dict[str, Any]:
    mean = sum(runs) / len(runs)
    accuracy = {"mean": [mean], "std": [None], "runs": [runs]}
    learning = {"updates": [10], "accuracy": accuracy, "seeds": list(range(len(runs))), "class_sizes": [40] * 10}
    return {"name": name, "teacher": {"kind": "RealImages", "images": 10}, "learning": learning, "fidelity": None}


def row(name: str, runs: list[float], **more: Any) -> dict[str, Any]:
    accuracy = {"mean": sum(runs) / len(runs), "std": 0.01, "runs": runs}
    return {
        "name": name,
        "accuracy": accuracy,
        "fidelity": None,
        "further": {},
        "cpu_seconds": 12.3,
        "reported": None,
    } | more


def fill(tmp_path: Path) -> Path:
    """Write them below a folder, and return it."""
    configs = tmp_path / "configs"
    configs.mkdir()

    def config(name: str, reported: str) -> None:
        (configs / f"{name}.yaml").write_text(f"{TRAINER}reported: {reported}\n")

    config("a-1", "{source: 'Nobody 1999, Table 9', accuracy: 0.82}")
    config("a-2", "{source: 'Nobody 1999, Table 10', accuracy: 0.5, ahead: {run: [other]}}")
    config("a-3", "{source: 'Nobody 1999, Table 10', claim: 'a <b>picture</b> | alone'}")
    config("a-4", "{source: 'Nobody 1999, Table 10', accuracy: 0.4, lacks: 'a telescope'}")
    config("a-5", "{source: 'Somebody 2001, Figure 1', accuracy: 0.9}")
    config("a-6", "{source: 'Somebody 2001, Figure 1', scores: {rank: 0.5}}")

    def results(name: str, rows: list[dict], scale: str = "paper", dataset: str = "digits", **more: Any) -> None:
        folder = tmp_path / "replication" / scale / dataset / name
        folder.mkdir(parents=True)
        runs = [one["accuracy"]["runs"] for one in rows]
        teachers = [teacher(one["name"], values) for one, values in zip(rows, runs, strict=True)]
        seeds = list(range(len(runs[0])))
        values = {
            "id": name,
            "scale": scale,
            "dataset": dataset,
            "seeds": seeds,
            "teachers": teachers,
            "replicated": rows,
        } | more
        (folder / "results.json").write_text(json.dumps(values))

    results("a-1", [row("a-1", [0.80, 0.82, 0.84])])
    results("a-1", [row("a-1", [0.10, 0.12])], scale="smoke")
    results("a-2", [row("a-2", [0.80, 0.82, 0.84]), row("other", [0.70, 0.72, 0.74])])
    results("a-3", [row("a-3", [0.3, 0.4])])
    results("a-5", [row("a-5", [0.3, 0.4])], scale="reduced", dataset="mnist")
    rank = {"rank": {"mean": 0.4, "std": None, "runs": [0.4]}}
    results("a-6", [row("a-6", [0.3], further=rank)])
    return tmp_path


def made(place: Path, *words: str) -> str:
    file = place / "page.md"
    where = ["--configs", str(place / "configs"), "--root", str(place)]
    assert main(["replicate", "--summary", str(file), *words, *where]) == 0
    return file.read_text()
