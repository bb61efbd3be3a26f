"""The classifier that private teachers have to be held against: DP-SGD on the private images themselves.

Abadi et al. 2016, "Deep Learning with Differential Privacy", with the same mechanism, ledger and budget as the teachers
of this project; the last step counts, nothing is chosen on private images. No matter of speed:

    python benchmarks/private_classifier.py FOLDER --dataset mnist --data-root DIR --epsilon 1 --seeds 3

A seed that is done is kept; FOLDER/epsilon-1.json is a row for ``benchmarks/private_utility.py``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve()
if str(HERE.parents[1]) not in sys.path:
    sys.path.insert(0, str(HERE.parents[1]))

from gendistill.commands.output import write_json  # noqa: E402
from gendistill.data import load  # noqa: E402
from gendistill.data.description import symmetric  # noqa: E402
from gendistill.data.real import RealData  # noqa: E402
from gendistill.nets.learners import ConvNet  # noqa: E402
from gendistill.privacy.accountant import noise_for  # noqa: E402
from gendistill.privacy.ledger import Budget, Ledger  # noqa: E402
from gendistill.privacy.mechanism import PrivateSums  # noqa: E402
from gendistill.privacy.releases import Releases  # noqa: E402
from gendistill.seeds import initialisation  # noqa: E402
from trainers.private_gradients import record_loss  # noqa: E402
from trainers.record_gradients import in_shapes, record_gradients  # noqa: E402

PURPOSE = "gradient of a classifier"


def kept(data: RealData, place: Path, **given: Any) -> dict[str, Any]:
    """Return the accuracy and the epsilon of a run, from its folder if it is done."""
    path, words = place / "result.json", {**given, "dataset": data.description.name}
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if found["given"] == words:
            return found
    if (place / "privacy.json").exists():
        raise SystemExit(f"'{place}' holds a run that was cut off, or one of other options; choose another FOLDER")
    place.mkdir(parents=True, exist_ok=True)
    reached, spent = accuracy(data, place, **given)
    found = {"given": words, "accuracy": reached, "epsilon": spent}
    write_json(found, path)
    print(json.dumps(found), flush=True)
    return found


def accuracy(
    data: RealData, place: Path, *, epsilon: float, delta: float, class_size: int, seed: int, steps: int, sample: int,
    width: int, lr: float, clip: float,
) -> tuple[float, float]:  # fmt: skip
    """Return the test accuracy of a ConvNet after DP-SGD with momentum, and the epsilon that was spent."""
    shape, classes = data.description.image_shape, data.description.num_classes
    with initialisation(seed, "classifier"):
        network = ConvNet(classes, shape, width=width, depth=3 if shape[1] >= 16 else 2).eval()
    rate = sample / (class_size * classes)
    noise = noise_for(epsilon, delta, steps, rate)
    ledger, normalisation = Ledger(place / "privacy.json", Budget(epsilon, delta)), symmetric(shape[0])
    sums = PrivateSums(data.train, classes, normalisation, ledger, Releases(place / "releases"), at_once=32)
    optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9)
    for step in range(steps):
        total = sums.release(
            f"step-{step:06d}",
            lambda images, labels: record_gradients(network, record_loss, images, labels),
            purpose=PURPOSE,
            bound=clip,
            noise=noise,
            rate=rate,
        )
        for parameter, gradient in zip(network.parameters(), in_shapes(total / sample, network), strict=True):
            parameter.grad = gradient
        optimizer.step()
    right = 0
    with torch.no_grad():
        for index in torch.arange(len(data.test)).split(500):
            images, labels = data.test.batch(index, normalisation)
            right += int((network(images).argmax(1) == labels).sum())
    return right / len(data.test), ledger.spent()


def main() -> None:
    """Train one classifier a seed, and print their accuracies."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("folder", type=Path)
    words.add_argument("--dataset", default="digits")
    words.add_argument("--data-root")
    words.add_argument("--epsilon", type=float, default=1.0)
    words.add_argument("--delta", type=float, default=1e-5)
    words.add_argument("--class-size", type=int, default=5500)
    words.add_argument("--seeds", type=int, default=3)
    words.add_argument("--steps", type=int, default=300)
    words.add_argument("--sample", type=int, default=1024)
    words.add_argument("--width", type=int, default=16)
    words.add_argument("--lr", type=float, default=1.0)
    words.add_argument("--clip", type=float, default=0.1)
    given = vars(words.parse_args())
    folder, data = given.pop("folder"), load(given.pop("dataset"), given.pop("data_root"))
    seeds = list(range(given.pop("seeds")))
    runs = [kept(data, folder / f"epsilon-{given['epsilon']:g}-seed-{seed}", seed=seed, **given) for seed in seeds]
    accuracies = [one["accuracy"] for one in runs]
    mean, std = statistics.fmean(accuracies), statistics.stdev(accuracies) if len(runs) > 1 else None
    learning = {"accuracy": {"mean": [mean], "std": [std], "runs": [accuracies]}, "updates": [given["steps"]]}
    row = {
        "name": f"DP-SGD classifier, epsilon {given['epsilon']:g}",
        "dataset": data.description.name,
        "teacher": {"kind": "classifier"},
        "learning": learning | {"seeds": seeds},
        "privacy": {"epsilon": runs[0]["epsilon"], "delta": given["delta"], "sums": PURPOSE},
        "command": " ".join(sys.argv),
    }
    write_json({"teachers": [row]}, folder / f"epsilon-{given['epsilon']:g}.json")
    print(f"{100 * mean:.1f} % at epsilon {given['epsilon']:g}, {len(runs)} seeds")


if __name__ == "__main__":
    main()
