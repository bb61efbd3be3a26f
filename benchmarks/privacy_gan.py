"""PrivacyGAN as processes over loopback TLS: alpha, division, noise, DP-SGD; utility, traffic, membership in a table.

    python benchmarks/privacy_gan.py --data-root DIR --output OUT
    python benchmarks/privacy_gan.py --output OUT --config configs/privacy-gan/digits.yaml --scale smoke --alphas 0.4 1

Each row is one server and its sites, every one a process that is started by ``gendistill privacy``. A row that is done
is kept in OUT; the same command goes on where it stopped, within a row, too. Rows are judged here, where all shares are
known: no server could. The membership attack is what the server of the published protocol can do: it sends candidates
as if it had generated them and looks at the feedback (its norm); beside it the discriminator's score.
"""

from __future__ import annotations

import argparse
import inspect
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from gendistill.config.command_line import assemble, take_apart
from gendistill.data.real import RealData, Split
from gendistill.evaluation.choice import choose_extractor
from gendistill.evaluation.discriminators import Judge, scorers
from gendistill.evaluation.evaluate import evaluate
from gendistill.evaluation.extractors import extract
from gendistill.evaluation.frechet import frechet_distance_from_features
from gendistill.evaluation.roc import told_apart
from gendistill.federated.certificates import make
from gendistill.files import atomic_write
from gendistill.nets.learners import default_learner
from gendistill.objects import locate
from gendistill.privacy.ledger import Budget, Ledger
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.seeds import Streams, stream
from gendistill.teacher import load

ROOT = Path(__file__).resolve().parent.parent
ALPHAS = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
NOISE = [1.0, 16.0]
"""Multipliers with which alpha 0.4, divided at random, is trained again, its feedback clipped."""
CLIP = 0.02
EPSILONS = [1.0, 10.0]
"""With which alpha 0.4, divided at random, is trained again, its discriminators by DP-SGD; delta is 1e-5."""
DELTA = 1e-5
NORM = 1.0
"""To which a gradient is clipped there."""
PLAIN = "--trainer.base.init_args.discriminator.init_args.norm=none"
"""A discriminator that learns so sees records one by one; what has batch norm elsewhere has none there."""
JUDGED = 1000
"""Images that a distance is measured with, members and others that the attack tells apart, at most."""
COLUMNS = (
    "split",
    "alpha",
    "noise",
    "epsilon",
    "fd_site",
    "fd_global",
    "accuracy",
    "mebibytes",
    "auc_feedback",
    "auc_score",
)


def main() -> None:
    """Make all rows that are not made yet, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default=str(ROOT / "configs" / "privacy-gan" / "mnist.yaml"))
    parser.add_argument("--scale")
    parser.add_argument("--data-root")
    parser.add_argument("--output", type=Path, default=Path("checkpoints/privacy-gan-study"))
    parser.add_argument("--alphas", type=float, nargs="*", default=ALPHAS)
    parser.add_argument("--splits", nargs="*", default=["random", "classes"])
    parser.add_argument("--noise", type=float, nargs="*", default=NOISE)
    parser.add_argument("--epsilon", type=float, nargs="*", default=EPSILONS)
    parser.add_argument("--steps", type=int)
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # the processes of a row end, too
    options = ["--config", given.config, *(["--scale", given.scale] if given.scale else [])]
    options += [f"--data.root={Path(given.data_root).resolve()}"] if given.data_root else []
    options += ["--run.device=cpu", "--run.threads=1", "--run.progress=false"]
    options += [f"--run.steps={given.steps}"] if given.steps else []
    rows = [Row(split, alpha) for split in given.splits for alpha in given.alphas]
    rows += [Row("random", 0.4, noise=noise) for noise in given.noise]
    rows += (
        [Row("random", 0.4, plain=True), *(Row("random", 0.4, epsilon=one) for one in given.epsilon)]
        if given.epsilon
        else []
    )
    study = Study(given.output.resolve(), options)
    found = [study.row(row) for row in rows]
    atomic_write(given.output / "table.json", lambda file: file.write(json.dumps(found, indent=2).encode()))
    print(table(found))


class Row(NamedTuple):
    """What is trained.

    Attributes:
        split: How images are divided.
        alpha: The weight of the site's discriminator.
        noise: On the feedback; 0: none.
        epsilon: Of DP-SGD in the sites' discriminators; 0: they learn without.
        plain: Discriminators without batch norm, as DP-SGD needs them; what its rows are held against.
    """

    split: str
    alpha: float
    noise: float = 0.0
    epsilon: float = 0.0
    plain: bool = False

    @property
    def without_norm(self) -> bool:
        """Whether discriminators have no batch norm."""
        return self.plain or self.epsilon > 0

    @property
    def name(self) -> str:
        """The folder's."""
        kind = f"epsilon-{self.epsilon:g}" if self.epsilon else "plain" if self.plain else f"{self.noise:g}"
        return f"{self.split}-{self.alpha:g}-{kind}"

    @property
    def noise_words(self) -> str:
        """What the column says."""
        if self.epsilon:
            return "DP-SGD"
        return "none, no batch norm" if self.plain else f"{self.noise:g}"


class Study:
    """All rows of one data set.

    Args:
        folder: Where they are kept.
        options: Of ``gendistill privacy``, for all of them.
    """

    def __init__(self, folder: Path, options: list[str]) -> None:
        torch.set_num_threads(1)
        self.folder, self.options = folder, options
        self.experiment = assemble(take_apart(options))
        self.data: RealData = self.experiment.load_data()
        self.seed = self.experiment.options.seed
        self.sites = [f"site-{number}" for number in range(self.experiment.build_trainer().clients)]
        self.certificates = folder / "certificates"
        if not self.certificates.exists():
            make(self.certificates, self.sites, ["localhost"], days=365)
        network = self.experiment.init_args["base"]["init_args"]["discriminator"]["class_path"]
        self.plain = [PLAIN] if "norm" in inspect.signature(locate(network)).parameters else []
        self.extractor = choose_extractor("classifier", self.data)

    def trainer(self, *more: str) -> Any:
        """Return a trainer of these options."""
        return assemble(take_apart([*self.options, *more])).build_trainer()

    def teacher(self, without_norm: bool) -> str:
        """Return the run of the teacher GAN, which all rows of its architecture share; it is trained first."""
        name = "shared-plain" if without_norm else "shared"
        options = replace(self.experiment.options, root=str(self.folder), name=name)
        run = RunContext(options, RunDirectory(self.folder, name), torch.device("cpu"), Streams(self.seed))
        trainer = self.trainer(*(self.plain if without_norm else []))
        trainer.train_teacher(run, trainer.shares.of_server(self.data, self.seed))
        return str(self.folder / name / "teacher")

    def row(self, row: Row) -> dict[str, Any]:
        """Return one row, which is made where it is not kept."""
        place = self.folder / row.name
        kept = place / "row.json"
        if kept.exists():
            found: dict[str, Any] = json.loads(kept.read_text())
            return found
        public = [f"--trainer.split={row.split}", f"--trainer.alpha={row.alpha}", f"--run.root={place}"]
        public += self.plain if row.without_norm else []
        public += [f"--trainer.teacher_run={self.teacher(row.without_norm)}"] if row.alpha < 1 else []
        private = [f"--trainer.clip={CLIP}", f"--trainer.noise_multiplier={row.noise}"] if row.noise else []
        if row.epsilon:
            size = len(self.trainer(*public).shares.of_site(self.data, 0, self.seed).train)
            private = ["--trainer.protect=discriminator", f"--trainer.clip={NORM}", f"--trainer.site_size={size}"]
            private += [f"--trainer.epsilon={row.epsilon}", f"--trainer.delta={DELTA}"]
        began = time.perf_counter()
        self.processes(place, [*public, *private])
        made = {"split": row.split, "alpha": row.alpha, "noise": row.noise_words}
        made |= {"seconds": time.perf_counter() - began, "epsilon": self.spent(row, place, [*public, *private])}
        # A discriminator that has learned by DP-SGD answers like any other.
        made |= self.judged(place, self.trainer(*public, *([] if row.epsilon else private)))
        atomic_write(kept, lambda file: file.write(json.dumps(made, indent=2).encode()))
        print(json.dumps(made), flush=True)
        return made

    def spent(self, row: Row, place: Path, options: list[str]) -> float | None:
        """Return the largest epsilon that a site has spent; None where nothing is promised."""
        ledgers = [place / site / "privacy.json" for site in self.sites]
        if row.epsilon:
            return max(Ledger(one, Budget(row.epsilon, DELTA), begun=True).spent() for one in ledgers)
        if not row.noise:
            return None
        trainer = self.trainer(*options)
        return float(max(trainer.sanitiser(one).epsilon for one in ledgers))

    def processes(self, place: Path, more: list[str]) -> None:
        """Let a server and its sites make their rounds."""
        place.mkdir(parents=True, exist_ok=True)
        running: list[subprocess.Popen[bytes]] = []
        try:
            log = place / "server.out"
            log.unlink(missing_ok=True)
            words = ["--share=server", "--address=127.0.0.1:0", "--run.name=server"]
            running.append(self.started("serve", "server", log, [*more, *words]))
            while not (port := re.search(r"listening at port (\d+)|all \d+ sites have ended", log.read_text())):
                require(running[0].poll() in (None, 0), log)
                time.sleep(0.1)
            for number, site in enumerate(self.sites if port[1] else ()):
                words = [f"--server=localhost:{port[1]}", f"--share={number}", f"--run.name={site}", "--patience=60"]
                running.append(self.started("join", site, place / f"{site}.out", [*more, *words]))
            for process, name in zip(running[1:], self.sites, strict=False):
                require(process.wait() == 0, place / f"{name}.out")
            require(running[0].wait() == 0, log)
        finally:
            for process in running:
                if process.poll() is None:
                    process.terminate()
                    process.wait()

    def started(self, part: str, side: str, log: Path, words: list[str]) -> subprocess.Popen[bytes]:
        """Start one side."""
        command = [sys.executable, "-m", "gendistill.cli", "privacy", part, *self.options, *words]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        with open(log, "ab") as file:
            folder = f"--certificates={self.certificates / side}"
            return subprocess.Popen([*command, folder], env=environment, cwd=ROOT, stdout=file, stderr=file)

    def judged(self, place: Path, trainer: Any) -> dict[str, Any]:
        """Return what a row is judged by: means over sites."""
        shares = [trainer.shares.of_site(self.data, number, self.seed) for number in range(len(self.sites))]
        near, far, attacks = [], [], []
        for number, (site, own) in enumerate(zip(self.sites, shares, strict=True)):
            teacher = load(place / "server" / "sites" / site / "teacher.safetensors")
            near.append(self.distance(teacher, own))
            far.append(self.distance(teacher, self.data))
            attacks.append(self.attack(place, trainer, site, number, own))
        scores = evaluate(
            load(place / "server" / "teacher.safetensors"),
            self.data,
            learning={"updates": [300], "seeds": [0], "device": "cpu", "learner": self.learner(), "lr": [0.01, 0.03]},
            fidelity=None,
        )["learning"]
        traffic = json.loads((place / "server" / "traffic.json").read_text())
        return {
            "fd_site": mean(near),
            "fd_global": mean(far),
            "accuracy": scores["accuracy"]["mean"][-1],
            "mebibytes": sum(site["bytes"] for site in traffic.values()) / len(traffic) / 2**20,
            "auc_feedback": mean([attack["feedback"] for attack in attacks]),
            "auc_score": mean([attack["score"] for attack in attacks]),
            "by_site": {"fd_site": near, "fd_global": far, "attacks": attacks},
        }

    def learner(self) -> dict[str, Any]:
        """Return the learner that judges: the usual one of this data, narrow."""
        usual = default_learner(self.data.description)
        return usual | {"init_args": usual["init_args"] | {"width": 32}}

    def distance(self, teacher: Any, real: RealData) -> float:
        """Return the Fréchet distance to real images, of generated ones of the same classes."""
        count = min(JUDGED, len(real.train))
        order = torch.randperm(len(real.train), generator=stream(self.seed, "judged"))[:count]
        labels = real.train.labels[order]
        noise = torch.randn(count, teacher.network.nz, generator=stream(self.seed, "judged noise"))
        normalisation = self.data.description.normalisation
        with torch.no_grad():
            images = teacher.network.eval()(noise, labels)
        images = teacher.description.normalisation.convert(images, normalisation)
        sides = (images, real.train.images[order])
        features = [extract(self.extractor, side, normalisation) for side in sides]
        return frechet_distance_from_features(*features)

    def attack(self, place: Path, trainer: Any, site: str, number: int, own: RealData) -> dict[str, float]:
        """Return how well members are told from images that the site has never seen, as areas under the curve.

        The attacks are those of ``gendistill audit --discriminator``, by batches as a server would send them; of the
        feedback the attacker sees what leaves the site.
        """
        directory = RunDirectory(place, site)
        options = replace(self.experiment.options, root=str(place), name="attack")
        run = RunContext(options, RunDirectory(place, "attack"), torch.device("cpu"), Streams(self.seed))
        half = trainer.discriminator_half(run, own, number)
        kept = torch.load(directory.state, weights_only=True)["half"]
        half.load_state_dict({name: value for name, value in kept.items() if name != "ledger"})
        gan, sanitiser = half.gan, trainer.sanitiser()
        judge = Judge("discriminator", gan.discriminator.eval(), gan.packing, gan.labelled, gan.loss_type)

        def leaves(gradient: torch.Tensor) -> torch.Tensor:
            sent: torch.Tensor = gradient / len(gradient)
            return sent if sanitiser is None else sanitiser.release(sent)

        attacks = scorers([judge], gan.normalisation, at_once=gan.batch_size, leaves=leaves)
        kinds = own.train.labels.unique()
        known = torch.isin(self.data.test.labels, kinds).nonzero().flatten()
        count = min(JUDGED, len(own.train), len(known)) // gan.batch_size * gan.batch_size
        draw = stream(self.seed, "attacked")
        members = some(own.train, torch.randperm(len(own.train), generator=draw)[:count])
        others = some(self.data.test, known[torch.randperm(len(known), generator=draw)[:count]])
        return {
            "score" if name == "discriminator" else name: told_apart(scorer(members).numpy(), scorer(others).numpy())[
                "auc"
            ]
            for name, scorer in attacks.items()
        }


def some(split: Split, index: torch.Tensor) -> Split:
    """Return some images of a part."""
    return Split(split.images[index], split.labels[index])


def mean(values: list[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


def require(good: bool, log: Path) -> None:
    """Stop with the end of a process's output."""
    if not good:
        raise SystemExit(f"a process failed; the end of {log}:\n" + "\n".join(log.read_text().splitlines()[-5:]))


def table(rows: list[dict[str, Any]]) -> str:
    """Return all rows as a table in Markdown."""

    def shown(value: Any) -> str:
        return "–" if value is None else value if isinstance(value, str) else f"{value:.4g}"

    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    return "\n".join([*lines, *("| " + " | ".join(shown(row[name]) for name in COLUMNS) + " |" for row in rows)])


if __name__ == "__main__":
    main()
