"""A site whose discriminator learns by DP-SGD: what it answers is made from private sums alone, which are counted."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gendistill import teacher as teachers
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.federated import HONEST
from gendistill.federated.site import InProcess, Site
from gendistill.privacy import mechanism
from gendistill.privacy.mechanism import PrivateSums
from gendistill.privacy.promise import KEY
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.seeds import Streams
from trainers.privacy_dp_sgd import PrivateDiscriminatorHalf
from trainers.privacy_gan import PrivacyGANTrainer

NETWORKS: dict[str, Any] = {
    "generator": {
        "class_path": "gendistill.nets.dcgan.ConditionalDCGANGenerator",
        "init_args": {"nz": 4, "ngf": 2, "bottom_width": 4},
    },
    "discriminator": {
        "class_path": "gendistill.nets.dcgan.ConditionalDCGANDiscriminator",
        "init_args": {"ndf": 3, "bottom_width": 4, "norm": "none"},
    },
    "batch_size": 6, "n_dis": 2, "loss_type": "gan", "lr_discriminator": 0.01,
}  # fmt: skip
GIVEN: dict[str, Any] = {
    "clients": 2,
    "alpha": 1.0,
    "protect": "discriminator",
    "epsilon": 5.0,
    "clip": 1.0,
    "site_size": 40,
}


def trainer(base: dict[str, Any] | None = None, **options: Any) -> PrivacyGANTrainer:
    spec = {"class_path": "trainers.gan.ConditionalGANTrainer", "init_args": NETWORKS | (base or {})}
    return PrivacyGANTrainer(**(GIVEN | {"base": spec} | options))


def context(root: Path, name: str = "run") -> RunContext:
    options = RunOptions(name=name, root=str(root), steps=4, save_every=2, device="cpu", seed=5)
    return RunContext(options, RunDirectory(root, name), torch.device("cpu"), Streams(5))


def simulated(data: RealData, root: Path, made: PrivacyGANTrainer | None = None, rounds: int = 4) -> PrivacyGANTrainer:
    found = made or trainer()
    found.attach(context(root), data)
    for _ in range(rounds):
        found.train_step(found.next_batch())
        found.run.step += 1
    return found


class Blind(PrivateSums):
    """Gives noise of a fixed generator, whatever the records are."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.generator = torch.Generator().manual_seed(1)

    def _sum(self, contribution: Any, bound: float, rate: float, by_class: bool) -> Tensor:
        return torch.zeros(self._shape(contribution, by_class), dtype=torch.float64)

    def _noise(self, count: int, scale: float) -> Tensor:
        return torch.randn(count, generator=self.generator, dtype=torch.float64) * scale


def sent(data: RealData, root: Path) -> list[bytes]:
    """Return every message that sites send and are sent in four rounds, without the session, which is drawn."""
    made, found = trainer(), []
    made.attach(context(root), data)
    for site in made._sites:
        site.record = lambda message: found.append(message[:22] + message[30:])
    for _ in range(4):
        made.train_step(made.next_batch())
        made.run.step += 1
    return found


def one_removed(split: Split) -> Split:
    return Split(split.images[1:], split.labels[1:])


def all_white(split: Split) -> Split:
    return Split(torch.full_like(split.images, 255), split.labels)


@pytest.mark.parametrize("change", [one_removed, all_white])
def test_no_byte_that_leaves_a_site_goes_round_the_mechanism(
    tiny_data: RealData, tmp_path: Path, change: Callable[[Split], Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each site has all images, so that its share is what is changed.
    monkeypatch.setattr("gendistill.federated.shares.Shares.of_site", lambda self, data, number, seed: data)
    changed = replace(tiny_data, train=change(tiny_data.train), validation=change(tiny_data.validation))
    monkeypatch.setattr(PrivateDiscriminatorHalf, "new_sums", Blind)
    first, other = sent(tiny_data, tmp_path / "first"), sent(changed, tmp_path / "other")
    assert len(first) == len(other) > 16 and first == other
    monkeypatch.undo()
    # The test can fail: without noise the records are in what leaves.
    monkeypatch.setattr("gendistill.federated.shares.Shares.of_site", lambda self, data, number, seed: data)
    monkeypatch.setattr(mechanism, "system_normal", lambda count: torch.zeros(count, dtype=torch.float64))
    assert sent(tiny_data, tmp_path / "clean") != sent(changed, tmp_path / "clean other")


def test_a_simulation_s_files_promise_and_tell_nothing_else(
    tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the sites' images, the teacher's file and the log say no count, checksum or measure; it has the promise."""
    monkeypatch.setattr(PrivateDiscriminatorHalf, "new_sums", Blind)
    found = []
    changed = replace(tiny_data, train=one_removed(all_white(tiny_data.train)), notes=("x",))
    for name, data in (("first", tiny_data), ("other", changed)):
        options = RunOptions(name="run", root=str(tmp_path / name), steps=2, device="cpu", progress=False, tune="auto")
        train(trainer(), data, options)
        found.append((tmp_path / name / "run" / "teacher.safetensors").read_bytes())
        log = (tmp_path / name / "run" / "log.txt").read_text()
        assert "note: x" not in log and "so that everything that leaves this site" in log
    assert found[0] == found[1]
    noted = teachers.load(tmp_path / "first" / "run" / "teacher.safetensors").metadata
    assert 0 < noted[KEY]["epsilon"] <= 5.0 and noted[KEY]["calls"][0]["calls"] == 4 and noted["data"] == {}
    assert noted[KEY]["covers"] == "training images of each site" and any(
        "site_size" in one for one in noted[KEY]["public"]
    )
    with pytest.raises(UserError, match=r"run.keep_best chooses a step by validation images"):
        train(trainer(), tiny_data, replace(options, name="best", keep_best={}))


def test_a_site_s_ledger_that_is_gone_or_older_is_not_begun_again(tiny_data: RealData, tmp_path: Path) -> None:
    made = simulated(tiny_data, tmp_path, rounds=1)
    state, path = made.discriminators[0].state_dict(), tmp_path / "run" / "sites" / "site-0"
    part = made.shares.of_site(tiny_data, 0, 5)
    older = (path / "privacy.json").read_bytes()
    made.train_step(made.next_batch())
    later = copy.deepcopy(made.discriminators[0].state_dict())
    (path / "privacy.json").write_bytes(older)
    half = made.discriminator_half(made._site_run(0), part, 0)
    half.load_state_dict(state)
    with pytest.raises(UserError, match="counts 2 sums .* was made with 4"):
        half.load_state_dict(later)
    (path / "privacy.json").unlink()
    with pytest.raises(UserError, match="is gone"):
        made.discriminator_half(made._site_run(0), part, 0)


def test_each_site_counts_its_own_updates_and_keeps_within_the_budget(tiny_data: RealData, tmp_path: Path) -> None:
    made = simulated(tiny_data, tmp_path)
    for number in range(2):
        kept = json.loads((tmp_path / "run" / "sites" / f"site-{number}" / "privacy.json").read_text())
        assert [entry["calls"] for entry in kept["entries"]] == [8]  # four rounds of two updates
        assert kept["budget"]["epsilon"] == 5.0 and kept["entries"][0]["rate"] == 6 / 40
        half = made.discriminators[number]
        assert isinstance(half, PrivateDiscriminatorHalf)
        assert 0 < half.sums.ledger.spent() <= 5.0 and "8 updates, epsilon" in half.spending()
    assert made.teacher().metadata["privacy_gan"]["formal_guarantee"] == "discriminator"
    half.run.step = 4
    with pytest.raises(UserError, match="nothing was drawn"):
        for _ in range(3):
            half.answer(torch.zeros(18, 1, 8, 8), torch.zeros(18, dtype=torch.int64))


def test_a_site_that_goes_back_releases_nothing_twice(tiny_data: RealData, tmp_path: Path) -> None:
    made = trainer(clients=1)
    made.attach(context(tmp_path), tiny_data)
    half, (site,) = made.discriminators[0], made._sites
    before = copy.deepcopy(half.state_dict())
    images, labels = torch.rand(18, 1, 8, 8) * 2 - 1, torch.arange(18) % 3
    first = half.answer(images, labels)
    again = made.discriminator_half(made._site_run(0), made.shares.of_site(tiny_data, 0, 5), 0)
    again.load_state_dict(before)
    assert torch.equal(again.answer(images, labels), first)
    assert again.sums.ledger.entries()[0]["calls"] == 2
    assert isinstance(site, Site) and isinstance(site.transport, InProcess) and site.sanitiser is None


def test_the_first_line_says_which_mode_it_is() -> None:
    assert "epsilon 5 at delta 1e-05 at most" in trainer().honest() and "DP-SGD" in trainer().honest()
    open_mode = trainer(protect="feedback", epsilon=None, clip=None, site_size=None)
    assert open_mode.honest() == HONEST and "no formal guarantee" in HONEST


@pytest.mark.parametrize(
    ("options", "base", "message"),
    [
        ({"epsilon": None}, {}, "which needs trainer.epsilon"),
        ({"site_size": None}, {}, "trainer.site_size"),
        ({"noise_multiplier": 2.0}, {}, "follows from epsilon"),
        ({"global_split": "superset", "alpha": 0.4}, {}, "has seen the private images"),
        ({"site_size": 3}, {}, "choose a smaller one"),
        ({"clip": 0.0}, {}, "clip is 0.0"),
        ({}, {"packing": 2}, "base's packing is 2"),
        ({}, {"r1": 1.0}, "base's r1"),
        ({}, {"loss_type": "relativistic"}, "relativistic"),
        ({"protect": "feedback"}, {}, "site_size is given"),
        ({"protect": "site"}, {}, "choose one of feedback, discriminator"),
    ],
)
def test_what_cannot_be_private_is_refused(options: dict[str, Any], base: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        trainer(base, **options)


def test_batch_norm_is_refused(tiny_data: RealData, tmp_path: Path) -> None:
    judge = {
        "class_path": "gendistill.nets.dcgan.ConditionalDCGANDiscriminator",
        "init_args": {"ndf": 3, "bottom_width": 2},
    }
    with pytest.raises(UserError, match="has batch norm"):
        trainer({"discriminator": judge}).attach(context(tmp_path), tiny_data)
