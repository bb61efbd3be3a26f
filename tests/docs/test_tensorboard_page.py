"""The tags that short runs of every trainer write are those of docs/tensorboard.md."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from torch.nn import functional

from gendistill.config.command_line import assemble, take_apart
from gendistill.data.description import Normalisation
from gendistill.evaluation.extractors import Extractor
from gendistill.report.evaluation_events import write_evaluation_events
from gendistill.runs.loop import train

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))
from made_results import distance, result

PAGE = Path(__file__).parents[2] / "docs" / "tensorboard.md"


def patterns(section: str) -> list[str]:
    """Return the tags of a section's table as patterns."""
    text = PAGE.read_text().split(f"## {section}")[1].split("\n## ")[0]
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return [re.escape(tag).replace("<name>", ".+") for cell in cells for tag in re.findall(r"`([^`]+)`", cell)]


def tags_of(folder: Path) -> set[str]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(folder))
    accumulator.Reload()
    found: dict[str, Any] = accumulator.Tags()
    kinds = ("scalars", "images", "histograms", "tensors")
    return {tag for kind in kinds for tag in found[kind]} | set(accumulator.summary_metadata)


def unknown(tags: set[str], section: str) -> list[str]:
    known = patterns(section)
    # add_text appends its plugin's name.
    return sorted(tag for tag in tags if not any(re.fullmatch(one + "(/text_summary)?", tag) for one in known))


class Means(Extractor):
    """The means of an image's quarters: features that need no training."""

    name, feature_count = "means", 4

    def features(self, images: Tensor, normalisation: Normalisation) -> Tensor:
        return functional.adaptive_avg_pool2d(images.mean(1, keepdim=True), 2).flatten(1)


GENERATOR = str(PAGE.parents[1] / "checkpoints" / "digits-gan.safetensors")
NARROW = "{class_path: gendistill.nets.learners.ConvNet, init_args: {width: 4, depth: 1}}"
DIGITS = ["--data.name", "digits", "--trainer.learner", NARROW]
RUNS = {
    "quickstart/gan": [],
    "quickstart/gtn": [],
    "quickstart/latent": ["--trainer.generator", GENERATOR],
    "gan/ring": [],
    "mggan/digits": [],
    "dd/digits": [],
    "condensation/digits": [],
    "mtt/digits": [],
    "dm/mnist": DIGITS,
    "dc/mnist": DIGITS,
}


@pytest.mark.parametrize("config", RUNS)
def test_a_short_run_writes_the_tags_of_the_page(config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gendistill.evaluation.probe.choose_extractor", lambda *_: Means())
    monkeypatch.setenv("GENDISTILL_CACHE", str(tmp_path / "cache"))
    words = ["--config", str(PAGE.parents[1] / "configs" / f"{config}.yaml"), "--scale", "smoke", *RUNS[config]]
    words += ["--run.root", str(tmp_path), "--run.name", "run", "--run.device", "cpu", "--run.progress", "false"]
    words += ["--run.steps", "2", "--run.tune", "off", "--run.log_every", "1", "--run.sample_every", "2"]
    words += ["--run.evaluate_every", "1", "--run.evaluate_samples", "40", "--run.histograms", "true"]
    experiment = assemble(take_apart(words))
    run = train(experiment.build_trainer(), experiment.load_data(), experiment.options, experiment.to_dict())
    tags = tags_of(tmp_path / "run")
    assert unknown(tags, "While a run trains") == []
    wanted = {"train/", "speed/", "samples/", "_hparams_/"}
    assert all(any(tag.startswith(start) for tag in tags) for start in wanted)
    measured = {tag for tag in tags if tag.startswith("measured/")}
    assert measured == {f"measured/{name}" for name in run.measured} and measured
    assert ("measured/fd" in measured) == (config != "gan/ring")
    assert all(step in (1, 2) for step, _ in run.best.values())


def test_an_evaluation_writes_the_tags_of_the_page(tmp_path: Path) -> None:
    judged = result("gtn", (0.5, 0.9), fidelity=distance(4.5))
    write_evaluation_events([judged], tmp_path)
    write_evaluation_events([judged], tmp_path)  # replaces, and does not add to it
    tags = tags_of(tmp_path)
    assert unknown(tags, "After an evaluation") == []
    assert {"evaluation/accuracy", "evaluation/fd", "evaluation/learning_curve"} <= tags
    assert len(list(tmp_path.iterdir())) == 1
    every = set(patterns("After an evaluation")) - {re.escape(tag) for tag in tags}
    assert every == set()  # nothing on the page that is not written
