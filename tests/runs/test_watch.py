"""What goes wrong without a NaN: found, said once, said again at the end, and kept with the teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import SmallTrainer, bands, same, start, state_of
from torch import Tensor

from gendistill.runs.checkpoint import require_plain
from gendistill.runs.loop import largest_share
from gendistill.runs.watch import MANY, Watch, Watched
from gendistill.teacher import StoredImages, Teacher, load
from tests.same_teacher import alike


def looks(watch: Watch, *seen: tuple[int, dict[str, float], Watched], last: bool = False) -> list[list[str]]:
    return [
        watch.look(step, means, watched, last=last and place == len(seen) - 1)
        for place, (step, means, watched) in enumerate(seen)
    ]


@pytest.mark.parametrize(
    ("rates", "words", "useless"),
    [
        ([0.0], "the learned learning rate is 0, so that learners that use it do not move", True),
        ([0.0, 1e-12], "the learned learning rate is 1e-12, so that", True),
        ([0.1, 0.0], "a learned learning rate is 0, so that learners do not move in its step", False),
        ([0.1, 500.0], "a learned learning rate is 500, so that learners that use it diverge", False),
        ([1e-4, 3.0], None, False),
    ],
)
def test_rates(rates: list[float], words: str | None, useless: bool) -> None:
    watch, watched = Watch(0.1), Watched(rates=torch.tensor(rates), rates_option="--trainer.lr_rate")
    watch.begin(0, watched)
    found = watch.look(1, {}, watched, last=False)
    if words is None:
        assert found == [] and watch.sentences == []
    else:
        assert found[0].startswith(words) and found[0].endswith("; choose a smaller --trainer.lr_rate")
        # Said once, true for as long as it is so.
        assert watch.look(2, {}, watched, last=False) == [] and watch.sentences == found
    assert (watch.useless is not None) == useless
    assert watch.look(3, {}, Watched(rates=torch.tensor([0.1])), last=True) == [] and watch.useless is None


def test_gradients_that_stay_zero() -> None:
    watched = Watched(gradients={"g": "the images' gradient"})
    words = "the images' gradient is exactly 0: nothing is learned any more"
    watch = Watch(0.1)
    watch.begin(0, watched)
    one = looks(watch, (2, {"g": 0.0}, watched), (3, {"g": 1e-30}, watched), (7, {"g": 0.0}, watched))
    assert one == [[], [], []]  # 2 steps, then none, then 4
    assert looks(watch, (8, {"g": 0.0}, watched), (9, {"g": 0.0}, watched)) == [[words], []]
    assert watch.sentences == [words]
    assert looks(watch, (12, {"g": 0.5}, watched)) == [[]] and watch.sentences == []


def test_what_does_not_move() -> None:
    images = [torch.zeros(3, 2), torch.ones(4)]
    watched = Watched(moved={"the images": images})
    watch = Watch(0.1)
    watch.begin(0, watched)
    assert looks(watch, (MANY - 1, {}, watched), last=True) == [
        ["the images never moved: they are still what the run started from"]
    ]
    watch = Watch(0.1)
    watch.begin(0, watched)
    images[1][2] += 1e-6
    stays = "the images do not move any more"
    assert looks(watch, (9, {}, watched), (9 + MANY - 1, {}, watched), (9 + MANY, {}, watched)) == [[], [], [stays]]
    images[0][0, 0], images[0][0, 1] = -0.5, 0.5  # the sum is the same, the values are not
    assert looks(watch, (20, {}, watched), last=True) == [[]] and watch.sentences == []


def test_what_runs_away() -> None:
    images = torch.ones(4)
    watched = Watched(moved={"the images": [images]}, moved_option="--trainer.lr_images")
    watch = Watch(0.1)
    watch.begin(0, watched)
    images.mul_(99.0)
    assert watch.look(1, {}, watched, last=True) == []
    images.mul_(2.0)
    words = "the images have run away: their norm is 198 times that at the start; choose a smaller --trainer.lr_images"
    assert watch.look(2, {}, watched, last=True) == [words]


def test_losses_that_collapse() -> None:
    watched = Watched(collapsed={"loss/discriminator": (1e-3, "it stays at 0")})
    watch = Watch(0.1)
    watch.begin(0, watched)
    assert looks(
        watch,
        (5, {"loss/discriminator": 0.9}, watched),
        (9, {"loss/discriminator": 5e-4}, watched),
        (10, {"loss/discriminator": -5e-4}, watched),
        (20, {}, watched),
    ) == [[], [], ["it stays at 0"], []]


@pytest.mark.parametrize(
    ("accuracy", "images", "at_chance"), [(0.1, 1000, True), (0.118, 1000, True), (0.12, 1000, False), (0.2, 20, True)]
)
def test_learners_at_chance(accuracy: float, images: int, at_chance: bool) -> None:
    """0.1 and twice sqrt(0.09 / images); only at the end, since every run begins there."""
    watched = Watched(accuracy="accuracy/meta", accuracy_images=images // 10)
    watch = Watch(0.1)
    watch.begin(0, watched)
    means = {"accuracy/meta": accuracy}
    assert looks(watch, (10, means, watched)) == [[]]
    (found,) = looks(watch, (20, means, watched), last=True)
    assert bool(found) == at_chance
    if at_chance:
        assert found[0].startswith(f"learners are at chance at the end: {100 * accuracy:.1f} % of {images:,} real")


def test_the_largest_class_is_what_a_guesser_takes() -> None:
    assert largest_share(bands()) == pytest.approx(1 / 3)


class Frozen(SmallTrainer):
    """Its pixels have a gradient, but never move; its teacher has a learned rate of 0 from step 4 on."""

    rate = 0.0

    def watched(self) -> Watched:
        return Watched(moved={"the pixels": [self.first]}, gradients={"own": "the loss of its own"})

    def build(self) -> None:
        super().build()
        self.first = torch.zeros(2)

    def teacher(self) -> Teacher:
        images = self.pixels.detach().clone()
        rates = torch.tensor([self.rate])
        return StoredImages(images, torch.arange(6) % 3, self.data.description, learning_rates=rates)


def test_a_run_says_it_and_its_teacher_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    context = start(tmp_path, "run", Frozen(batch_size=12))
    log = (tmp_path / "run" / "log.txt").read_text().splitlines()
    moved, rate = (
        "the pixels never moved: they are still what the run started from",
        "the learned learning rate is 0",
    )
    still = "warning at step 5: the pixels do not move any more"
    assert log.count(still) == 1
    assert any(line == f"at the end: {moved}" for line in log)
    assert any(line.startswith(f"at the end: {rate}") for line in log)
    # Also where no progress is to be shown.
    assert still in capsys.readouterr().err
    assert context.warnings[0] == moved and context.useless is not None and context.useless.startswith(rate)
    teacher = load(tmp_path / "run" / "teacher.safetensors")
    assert teacher.metadata["warnings"] == context.warnings
    again = start(tmp_path, "run", Frozen(batch_size=12))
    assert again.warnings == context.warnings and again.useless == context.useless
    assert f"at the end: {moved}" in capsys.readouterr().err


def test_a_run_without_fault_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Fine(Frozen):
        rate = 0.1

        def watched(self) -> Watched:
            return Watched(moved={"the pixels": [self.pixels]})

    context = start(tmp_path, "run", Fine(batch_size=12))
    assert context.warnings == [] and context.useless is None and capsys.readouterr().err == ""
    assert "warnings" not in load(tmp_path / "run" / "teacher.safetensors").metadata


def test_a_run_in_parts_says_what_the_whole_says(tmp_path: Path) -> None:
    start(tmp_path, "whole", Frozen(batch_size=12))
    start(tmp_path, "parts", Frozen(batch_size=12), steps=10)
    start(tmp_path, "parts", Frozen(batch_size=12))
    assert alike(*(tmp_path / name / "teacher.safetensors" for name in ("whole", "parts")))
    states = [state_of(tmp_path, name) for name in ("whole", "parts")]
    for state in states:
        require_plain(state["watch"])
        del state["reported"]
    same(states[0], states[1])


def test_it_looks_only_where_metrics_are_logged(tmp_path: Path) -> None:
    class Counted(SmallTrainer):
        asked = 0

        def watched(self) -> Watched:
            Counted.asked += 1
            return Watched()

    start(tmp_path, "run", Counted(batch_size=12), steps=12, log_every=5, save_every=1)
    assert Counted.asked == 1 + 3  # before the first step, and at steps 5, 10 and 12


def test_a_trainer_of_ones_own_need_not_say_anything() -> None:
    assert SmallTrainer(batch_size=12).watched() == Watched()


def tensors(*values: float) -> list[Tensor]:
    return [torch.tensor(value) for value in values]


def test_an_empty_list_is_nothing_to_watch() -> None:
    watch = Watch(0.5)
    watch.begin(0, Watched(moved={"the images": tensors(1.0)}))
    nothing: dict[str, Any] = {}
    assert watch.look(9, nothing, Watched(moved={}), last=True) == []
