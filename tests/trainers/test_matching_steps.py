"""What all matching trainers share: a step by groups of classes is the step by slices of all images, bit for bit."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
import torch
from image_runs import BATCH_NORM, LEARNER, POOL, attached, run
from torch import Tensor, nn

from gendistill import teacher as teachers
from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData, Split
from gendistill.seeds import stream
from trainers import matching
from trainers.distribution_matching import DistributionMatchingTrainer
from trainers.gradient_matching import GradientMatchingTrainer
from trainers.matching import MatchingTrainer

TRAINERS: dict[str, type[MatchingTrainer]] = {"dm": DistributionMatchingTrainer, "dsa": GradientMatchingTrainer}


def tiny(kind: str, **options: Any) -> MatchingTrainer:
    given: dict[str, Any] = {"images_per_class": 2, "real_batch": 6, "learner": LEARNER, "augment": "dsa"}
    if kind == "dsa":
        given |= {"outer_loops": 2, "inner_loops": 1}
    return TRAINERS[kind](**(given | options))


def slow_match(self: MatchingTrainer, network: nn.Module, real: Tensor) -> Tensor:
    """All real images at once, and a backward pass through a slice of all synthetic ones for each group of classes."""
    processes = self.run.processes
    real = self.real_images(real)
    change = self.siamese()
    self.optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=self.device)
    for first in self.mine[:: self.classes_together]:
        last = min(first + self.classes_together, self.mine.stop)
        wanted = change(real[first - self.mine.start : last - self.mine.start], first)
        distance = self.distance(network, wanted, change(self.images[first:last], first), first)
        (distance * processes.world).backward(inputs=[self.images])
        total = total + distance.detach()
    processes.average_gradients([self.images])
    self.optimizer.step()
    return total * processes.world


def slowly(trainer: MatchingTrainer) -> MatchingTrainer:
    trainer.__class__ = type("Slow", (type(trainer),), {"match": slow_match})
    return trainer


@pytest.mark.parametrize("kind", list(TRAINERS))
@pytest.mark.parametrize(
    "options",
    [{}, {"augment": "none", "images": "noise", "chunk": 3}, {"learner": BATCH_NORM, "probe": None}, {"probe": POOL}],
)
def test_a_step_is_that_of_slices_to_the_bit(
    tiny_data: RealData, tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    for more in ({}, {"classes_at_once": 2}) if kind == "dsa" else ({},):
        trainer = attached(tiny(kind, **options, **more), tiny_data, tmp_path)
        slow = attached(slowly(tiny(kind, **options, **more)), tiny_data, tmp_path)
        for _ in range(3):
            found, expected = (one.train_step(one.next_batch()) for one in (trainer, slow))
            assert found.keys() == expected.keys()
            assert all(torch.equal(value, expected[name]) for name, value in found.items())
            assert torch.equal(trainer.images.grad, slow.images.grad) and trainer.images.grad.norm() > 0
            assert torch.equal(trainer.images, slow.images)
            trainer.run.step += 1
            slow.run.step += 1


@pytest.mark.parametrize(("kind", "chunk", "most"), [("dm", 1000, 3), ("dm", 13, 2), ("dm", 5, 1), ("dsa", 1000, 1)])
def test_only_a_group_of_real_images_is_in_memory(
    tiny_data: RealData, tmp_path: Path, kind: str, chunk: int, most: int
) -> None:
    trainer = attached(tiny(kind, chunk=chunk), tiny_data, tmp_path)
    read, made = trainer.real_images, list[weakref.ref[Tensor]]()

    def watched(index: Tensor) -> Tensor:
        assert len(index) <= most and not any(one() is not None for one in made)
        images = read(index)
        made.append(weakref.ref(images))
        return images

    trainer.real_images = watched  # type: ignore[method-assign]
    trainer.strategy = "none"
    trainer.train_step(trainer.next_batch())
    assert len(made) == -(-3 // most)


def test_only_a_part_of_a_large_class_has_a_graph(tiny_data: RealData, tmp_path: Path) -> None:
    kept: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        if tensor.dim() == 4 and len(tensor) <= 8:
            kept.append(len(tensor))
        return tensor

    counted = {}
    for chunk in (8, 2):
        trainer = attached(tiny("dm", images_per_class=8, chunk=chunk, augment="none"), tiny_data, tmp_path)
        network, index = trainer.new_network(), trainer.next_batch()[0][:1]
        own = trainer.images.detach()[:1].requires_grad_()
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            distance = trainer.distance(network, trainer.real_images(index), own, 0)
        counted[chunk] = sum(kept)
        gradient = torch.autograd.grad(distance, own)[0]
        if chunk == 8:
            expected = gradient
    torch.testing.assert_close(gradient, expected)
    assert counted[2] == 0 < counted[8]


def test_statistics_of_many_classes_are_the_mean_over_batches(
    tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = attached(tiny("dm", learner=BATCH_NORM), tiny_data, tmp_path)
    stream = trainer.run.streams["statistics"]
    before = stream.get_state()
    network = trainer.new_network()
    stream.set_state(before)
    index = trainer.classes.draw(16, stream)
    images = trainer.real_images(index)
    norm = next(module for module in network.modules() if isinstance(module, nn.BatchNorm2d))
    seen: list[Tensor] = []
    handle = norm.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    network(images.flatten(0, 1))
    torch.testing.assert_close(norm.running_mean, seen[0].mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, seen[0].var((0, 2, 3)))
    handle.remove()
    # In parts: each of them holds all classes, and the mean of their means is that of all images.
    whole = norm.running_mean.clone()
    monkeypatch.setattr(matching, "STATISTICS_AT_ONCE", 12)
    sizes: list[int] = []
    network.register_forward_pre_hook(lambda module, given: sizes.append(len(given[0])))
    stream.set_state(before)
    trainer.take_statistics(network)
    assert sizes == [12] * 4 and not network.training and norm.momentum == 0.1
    torch.testing.assert_close(norm.running_mean, whole)
    parts = seen[0].unflatten(0, (3, 16)).transpose(0, 1).split(4)
    torch.testing.assert_close(
        norm.running_var, torch.stack([part.flatten(0, 1).var((0, 2, 3)) for part in parts]).mean(0)
    )


def noise_data() -> RealData:
    images = torch.randint(0, 256, (40, 1, 8, 8), generator=stream(0, "noise")).to(torch.uint8)
    split = Split(images, torch.arange(40) % 5)
    description = Description("noise", tuple("abcde"), (1, 8, 8), Normalisation((0.5,), (0.3,)))
    return RealData(description, split, split, split)


def train_both_ways(root: Path, name: str) -> None:
    for kind in TRAINERS:
        for way, make in (("ours", lambda trainer: trainer), ("slices", slowly)):
            run(make(tiny(kind, lr_images=0.1)), noise_data(), root, f"{name}-{kind}-{way}", 3)


SCRIPT = """
import sys, torch
from pathlib import Path
from test_matching_steps import train_both_ways

torch.set_num_threads(1)
train_both_ways(Path(sys.argv[1]), "two")
"""


def test_two_processes_make_the_step_of_slices_to_the_bit_and_that_of_one_to_rounding(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    here, root = Path(__file__).parent, Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2",
         str(tmp_path / "script.py"), str(tmp_path)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{here}", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    train_both_ways(tmp_path, "one")
    for kind in TRAINERS:
        ours, slices, alone = (
            teachers.load(tmp_path / f"{name}" / "teacher.safetensors").tensors()["images"]
            for name in (f"two-{kind}-ours", f"two-{kind}-slices", f"one-{kind}-ours")
        )
        assert torch.equal(ours, slices)
        torch.testing.assert_close(ours, alone, rtol=1e-3, atol=1e-4)
        assert (alone - attached(tiny(kind), noise_data(), tmp_path).images.detach().flatten(0, 1)).abs().max() > 1e-3
