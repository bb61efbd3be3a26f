"""Results as the public code of DC, DSA, DM, MTT and Dataset Distillation writes them, made here and read."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from gendistill.data import load
from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.teacher import GeneratorTeacher, StoredImages, export, save
from gendistill.teacher import load as load_teacher
from gendistill.teacher.imports import import_teacher

PLAIN = Normalisation((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))


@pytest.fixture
def data() -> RealData:
    """Eight-pixel images under the name of CIFAR-10, for its published numbers."""
    generator = torch.Generator().manual_seed(0)
    parts = [
        Split(
            torch.randint(0, 256, (size, 3, 2, 2), dtype=torch.uint8, generator=generator),
            torch.arange(size, dtype=torch.int64) % 2,
        )
        for size in (40, 10, 10)
    ]
    return RealData(Description("cifar10", ("a", "b"), (3, 2, 2), PLAIN), *parts)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(1))


LABELS = torch.tensor([0, 0, 1, 1])


def condensed(path: Path, images: Tensor, **options: Any) -> Path:
    """Write what main.py of DC, DSA and DM writes: two experiments, with accuracies as numpy numbers."""
    accuracies = {"ConvNet": [np.float64(0.5), np.float64(0.625)]}
    content = {"data": [[images, LABELS], [2 * images, LABELS]], "accs_all_exps": accuracies}
    torch.save(content, path, **options)
    return path


def test_a_condensed_set_of_each_experiment(tmp_path: Path, data: RealData, images: Tensor) -> None:
    path = condensed(tmp_path / "res_DSA_CIFAR10_ConvNet_2ipc.pt", images)
    teacher = import_teacher(path, data)
    assert torch.equal(teacher.images, images) and torch.equal(teacher.labels, LABELS)
    assert teacher.description.normalisation == PLAIN and teacher.learning_rates is None
    source = teacher.metadata["source"]
    assert source.pop("words") == ["of 2 experiments, the first (0)", "images normalised", "labels class indices"]
    assert source == {"file": path.name, "format": "dc", "values": "normalised", "labels": "indices"}
    assert torch.equal(import_teacher(tmp_path, data, experiment=1).images, 2 * images)
    with pytest.raises(UserError, match="experiment is 2; .* has 0..1"):
        import_teacher(path, data, experiment=2)


def test_old_files_with_old_names_of_numpy(tmp_path: Path, data: RealData, images: Tensor) -> None:
    path = condensed(tmp_path / "res.pt", images, _use_new_zipfile_serialization=False)
    content = path.read_bytes()
    assert b"numpy._core.multiarray" in content
    path.write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert torch.equal(import_teacher(path, data).images, images)


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


def test_code_in_a_file_is_not_run(tmp_path: Path, data: RealData, images: Tensor) -> None:
    target = tmp_path / "run"
    for name, content in (("a.pt", {"data": [[images, LABELS]], "x": Bomb(target)}), ("b.pt", [Bomb(target)])):
        torch.save(content, tmp_path / name)
        with pytest.raises(UserError, match="might run code"):
            import_teacher(tmp_path / name, data)
    (tmp_path / "c.pt").write_bytes(pickle.dumps(Bomb(target)))
    with pytest.raises(UserError, match="might run code|damaged"):
        import_teacher(tmp_path / "c.pt", data)
    assert not target.exists()


def test_matched_trajectories_with_their_rate(tmp_path: Path, data: RealData, images: Tensor) -> None:
    torch.save(images, tmp_path / "images_best.pt")
    torch.save(LABELS, tmp_path / "labels_best.pt")
    teacher = import_teacher(tmp_path, data, learning_rate=0.02)
    assert torch.equal(teacher.images, images) and torch.equal(teacher.labels, LABELS)
    assert teacher.description.normalisation == PLAIN
    assert teacher.schedules(3) == (pytest.approx([0.02] * 3), [0.0] * 3)
    with pytest.raises(UserError, match="must be positive"):
        import_teacher(tmp_path, data, learning_rate=-0.1)


def test_whitened_trajectories_are_told_apart(tmp_path: Path, data: RealData) -> None:
    pixels = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(2))
    whitened = data.whitening(0.1)
    torch.save(whitened.apply(pixels), tmp_path / "images_500.pt")
    torch.save(pixels, tmp_path / "images_zca_500.pt")
    torch.save(torch.eye(2)[LABELS], tmp_path / "labels_500.pt")
    # Where MTT has inverted a whitening, it has trained with one.
    teacher = import_teacher(tmp_path / "images_500.pt", data)
    assert teacher.description.normalisation == whitened and teacher.labels_are_soft
    torch.testing.assert_close(teacher.description.normalisation.invert(teacher.images), pixels, rtol=1e-3, atol=1e-3)
    # What MTT has inverted itself lies beside the same labels.
    inverted = import_teacher(tmp_path / "images_zca_500.pt", data)
    assert torch.equal(inverted.description.normalisation.invert(inverted.images), pixels)


def steps(images: Tensor, *, epochs: int = 2) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Return two steps of two images a step, an epoch after the other, with falling rates (1,)."""
    parts = [(images[:2], torch.tensor([0, 1])), (images[2:], torch.tensor([0, 1]))]
    return [(*parts[step % 2], torch.tensor([0.1 / (1 + step)])) for step in range(2 * epochs)]


def test_distilled_steps_keep_batches_order_and_rates(tmp_path: Path, data: RealData, images: Tensor) -> None:
    torch.save(steps(images), tmp_path / "results.pth")
    teacher = import_teacher(tmp_path, data)
    assert teacher.images_stored == 4 and teacher.order == "fixed" and teacher.batch_size == 2
    # That code has a deviation of its own for CIFAR-10.
    assert teacher.description.normalisation == Normalisation(PLAIN.mean, (0.247, 0.243, 0.261))
    shown = list(teacher.batches(4, 64, torch.Generator()))
    for (batch, labels, rate), (expected, classes, learned) in zip(shown, steps(images), strict=True):
        assert torch.equal(batch, expected) and torch.equal(labels, classes) and rate == learned
    single = [(images, LABELS, None)]
    torch.save(single, tmp_path / "results.pth")
    assert import_teacher(tmp_path / "results.pth", data).learning_rates is None


@pytest.mark.parametrize("form", ["dc", "mtt", "dd", "pt"])
def test_what_is_exported_is_imported_again(tmp_path: Path, data: RealData, images: Tensor, form: str) -> None:
    rates = torch.tensor([0.3, 0.2, 0.1, 0.05]) if form != "dc" else None
    order = {"order": "fixed", "batch_size": 2} if form == "dd" else {}
    teacher = StoredImages(images, LABELS, data.description, learning_rates=rates, **order)  # type: ignore[arg-type]
    export(teacher, tmp_path / form, form)
    assert json.loads((tmp_path / form / "teacher.json").read_text())["export"]["format"] == form
    again = import_teacher(tmp_path / form, data)
    own, back = (made.description.normalisation.invert(made.images) for made in (teacher, again))
    torch.testing.assert_close(back, own, rtol=1e-5, atol=1e-5)
    assert torch.equal(again.labels, LABELS) and (again.order, again.batch_size) == (teacher.order, teacher.batch_size)
    assert rates is None or torch.equal(again.learning_rates, rates)  # type: ignore[arg-type]


def test_whitening_goes_into_files_that_can_hold_it_and_is_inverted_in_others(tmp_path: Path, data: RealData) -> None:
    pixels = torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(2))
    whitened = data.whitening(0.1)
    teacher = StoredImages(whitened.apply(pixels), LABELS, data.description.with_normalisation(whitened))
    for form in ("mtt", "pt", "dc", "safetensors", "png"):
        export(teacher, tmp_path / form, form)
    again = import_teacher(tmp_path / "mtt", data)
    assert again.description.normalisation == whitened and torch.equal(again.images, teacher.images)
    assert load_teacher(tmp_path / "safetensors/teacher.safetensors").description.normalisation == whitened
    for form in ("pt", "dc"):
        plain = import_teacher(tmp_path / form, data)
        assert plain.description.normalisation == PLAIN
        torch.testing.assert_close(PLAIN.invert(plain.images), pixels, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (3, "no result that is known"),
        ({"state_dict": {}}, "no result that is known"),
        ({"data": []}, "not of format dc"),
        ({"data": [[torch.zeros(1)]]}, "not of format dc"),
        ([], "no result that is known"),
        ([torch.zeros(2, 3, 2, 2)], "no result that is known"),
        ([(torch.zeros(1), 3)], "no result that is known"),
        ([(torch.zeros(2, 3, 2, 2), torch.zeros(2), 0.1), (torch.zeros(1), 3)], "not of format dd"),
        ([(torch.zeros(2, 3, 2, 2), torch.zeros(2), torch.ones(3))], "one learning rate"),
        ([(torch.zeros(n, 3, 2, 2), torch.zeros(n), None) for n in (1, 2)], "unequal sizes"),
        (torch.zeros(2, 3, 2, 2), "no labels beside it"),
        ({"data": [[torch.zeros(2, 3, 4, 4), torch.tensor([0, 1])]]}, "must have shape"),
        ({"data": [[torch.zeros(2, 3, 2, 2), torch.tensor([0, 2])]]}, "must lie in 0..1"),
        ({"data": [[torch.full((2, 3, 2, 2), torch.nan), torch.tensor([0, 1])]]}, "NaN"),
        ({"data": [[torch.zeros(2, 3, 2, 2), torch.tensor([0.5, 1.0])]]}, "labels must be integers"),
    ],
)
def test_other_content_is_refused(tmp_path: Path, data: RealData, content: Any, message: str) -> None:
    torch.save(content, tmp_path / "images_1.pt")
    with pytest.raises(UserError, match=message):
        import_teacher(tmp_path / "images_1.pt", data)


def test_other_files_and_options_are_refused(tmp_path: Path, data: RealData, images: Tensor) -> None:
    with pytest.raises(UserError, match="there is no file"):
        import_teacher(tmp_path / "res.pt", data)
    with pytest.raises(UserError, match="should hold one result .* none of them"):
        import_teacher(tmp_path, data)
    path = condensed(tmp_path / "res_a.pt", images)
    condensed(tmp_path / "res_b.pt", images)
    with pytest.raises(UserError, match="2 of them: res_a.pt, res_b.pt"):
        import_teacher(tmp_path, data)
    with pytest.raises(UserError, match="format is 'dcc'; did you mean 'dc'"):
        import_teacher(path, data, form="dcc")
    with pytest.raises(UserError, match="values is 'zca'"):
        import_teacher(path, data, values="zca")
    for broken in (b"", b"text", path.read_bytes()[:100]):
        (tmp_path / "res_b.pt").write_bytes(broken)
        with pytest.raises(UserError, match="res_b.pt"):
            import_teacher(tmp_path / "res_b.pt", data)


def test_what_a_format_cannot_hold_is_refused(tmp_path: Path, data: RealData, images: Tensor) -> None:
    def made(**options: Any) -> StoredImages:
        labels = options.pop("labels", LABELS)
        return StoredImages(images, labels, data.description, **options)

    rates = torch.tensor([0.1, 0.2, 0.3])
    for teacher, form, message in (
        (made(labels=torch.eye(2)[LABELS]), "dc", "labels are soft"),
        (made(), "dd", "has learned none"),
        (made(learning_rates=rates, momenta=rates), "dd", "no momentum"),
        (made(learning_rates=rates, batch_size=3, order="fixed"), "dd", "whole batches"),
        (made(learning_rates=rates, batch_size=2), "dd", "fixed order"),
        (made(learning_rates=rates, batch_size=2, order="fixed"), "dd", "whole epochs"),
    ):
        with pytest.raises(UserError, match=message):
            export(teacher, tmp_path / "out", form)
        assert not (tmp_path / "out").exists()


def test_a_whitened_generator_and_images_survive_their_file(
    tmp_path: Path, data: RealData, description: Description, network: torch.nn.Module
) -> None:
    digits = load("digits", whitening=0.1)
    real = StoredImages(digits.description.normalisation.apply(digits.train.images[:5]), digits.train.labels[:5],
                        digits.description)  # fmt: skip
    values = torch.rand(20, 1, 4, 4, generator=torch.Generator().manual_seed(4))
    space = RealData(description, *[Split((values * 255).to(torch.uint8), torch.arange(20) % 3)] * 3).whitening(0.1)
    made = GeneratorTeacher(network, description.with_normalisation(space))
    for teacher in (real, made):
        path = tmp_path / "t.safetensors"
        save(teacher, path)
        first = path.read_bytes()
        again = load_teacher(path)
        assert again.description == teacher.description
        save(again, path)
        assert path.read_bytes() == first
        broken = {name: value for name, value in load_file(path).items() if name != "whitening.mean"}
        with safe_open(path, "pt") as file:
            save_file(broken, path, file.metadata())
        with pytest.raises(UserError, match="checksum"):
            load_teacher(path)
        drawn = [one.sample(4, torch.Generator().manual_seed(1))[0] for one in (teacher, again)]
        assert torch.equal(*drawn)


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2, torch.uint16, torch.uint32])
def test_numbers_of_types_that_torch_hardly_computes_with_are_read(
    tmp_path: Path, data: RealData, dtype: torch.dtype
) -> None:
    images = torch.tensor([0.0, 0.25, 0.5, 1.0]).repeat(12).view(4, 3, 2, 2)
    kept = images.to(dtype) if dtype.is_floating_point else (images * 252).to(dtype)
    labels = torch.eye(2)[LABELS].to(dtype) if dtype.is_floating_point else LABELS.to(dtype)
    torch.save({"images": kept, "labels": labels}, tmp_path / "x.pt")
    teacher = import_teacher(tmp_path / "x.pt", data)
    pixels = images if dtype.is_floating_point else images * 252 / 255
    torch.testing.assert_close(teacher.description.normalisation.invert(teacher.images), pixels)
    assert torch.equal(teacher.classes, LABELS)
