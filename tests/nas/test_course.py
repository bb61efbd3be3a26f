"""One architecture's short training: against torch's own SGD, shared batches, fresh statistics, limits of time."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from gendistill.data.real import RealData
from gendistill.evaluation.ensemble import build_learner
from gendistill.evaluation.rates import Candidate
from gendistill.nas import course as course_module
from gendistill.nas.course import Course, fresh_statistics, learn, parameter_count
from gendistill.nets.cells import CellNet
from gendistill.nets.spaces import CellSpace, MLPSpace
from gendistill.seeds import initialisation
from gendistill.teacher.reference import open_teacher

SPEC = MLPSpace().learner("mlp-d1-w32-relu")
CPU = torch.device("cpu")
CANDIDATE = Candidate(0.1, (0.1, 0.05, 0.2, 0.1), (0.9,) * 4, 0.0)


@pytest.fixture
def course(tiny_data: RealData) -> Course:
    return Course(open_teacher("real:ipc=8", tiny_data), tiny_data, 4, 12)


def test_a_lesson_is_torchs_sgd(course: Course, tiny_data: RealData) -> None:
    lesson = learn(SPEC, course, CANDIDATE, seed=3, device=CPU, splits={"test": tiny_data.test})
    network = build_learner(SPEC, tiny_data.description, 3)
    optimiser = torch.optim.SGD(network.parameters(), lr=1.0, momentum=0.9)
    for (images, labels), rate in zip(course.batches(3), CANDIDATE.rates, strict=True):
        optimiser.param_groups[0]["lr"] = rate
        optimiser.zero_grad()
        F.cross_entropy(network(images), labels).backward()
        optimiser.step()
    images, labels = tiny_data.test.batch(torch.arange(len(tiny_data.test)), tiny_data.description.normalisation)
    assert lesson.accuracy["test"] == pytest.approx(float((network(images).argmax(1) == labels).float().mean()))
    assert lesson.updates == 4
    assert lesson.seconds > 0


def test_all_architectures_see_the_same_kept_or_streamed(
    course: Course, tiny_data: RealData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(course_module, "VALUES", 1)
    streamed = Course(open_teacher("real:ipc=8", tiny_data), tiny_data, 4, 12)
    for _ in range(2):
        pairs = list(zip(course.batches(0), streamed.batches(0), strict=True))
        assert len(pairs) == 4
        assert all(torch.equal(x, y) for left, right in pairs for x, y in zip(left, right, strict=True))
    assert not torch.equal(next(course.batches(0))[0], next(course.batches(1))[0])
    assert not streamed._kept


def test_a_limit_of_time_stops_after_an_update(course: Course, tiny_data: RealData) -> None:
    splits = {"test": tiny_data.test}
    assert learn(SPEC, course, CANDIDATE, seed=0, device=CPU, splits=splits, seconds=1e-9).updates == 1
    assert learn(SPEC, course, CANDIDATE, seed=0, device=CPU, splits=splits, seconds=1e9).updates == 4


def test_fresh_statistics_are_those_of_the_real_images(tiny_data: RealData) -> None:
    """With all training images as one batch, evaluation must equal training mode on that batch (up to N / (N - 1))."""
    cell = next(name for name in CellSpace().names() if "nor_conv_3x3~0|+" in name)
    with initialisation(0, "network"):
        network = CellNet(3, (1, 8, 8), cell, width=4, cells=1, stages=2)
    images, _ = tiny_data.train.batch(torch.arange(len(tiny_data.train)), tiny_data.description.normalisation)
    with torch.no_grad():
        fresh_statistics(network, tiny_data)
        torch.testing.assert_close(network.eval()(images), network.train()(images), rtol=2e-2, atol=2e-2)
    assert all(layer.momentum == 0.1 for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d))


def test_batch_normalised_architectures_are_measured_with_them(course: Course, tiny_data: RealData) -> None:
    """After four updates the running statistics are two thirds those of the first weights; the network works still."""
    spec = {
        "class_path": "gendistill.nets.learners.ConvNet",
        "init_args": {"width": 8, "depth": 1, "normalisation": "batch"},
    }
    lesson = learn(spec, course, CANDIDATE, seed=0, device=CPU, splits={"test": tiny_data.test})
    assert lesson.accuracy["test"] > 0.9


def test_parameters_are_counted(tiny_data: RealData) -> None:
    assert parameter_count(SPEC, tiny_data) == 64 * 32 + 32 + 32 * 3 + 3
