"""Results by the documented structure of public code's files, made here: found, recognised, understood."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.teacher.imports import describe_source, import_teacher

CIFAR = Normalisation((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
PIXELS = Normalisation((0.0,) * 3, (1.0,) * 3)
LABELS = torch.tensor([0, 0, 1, 1])
LOGITS = torch.tensor([[4.5, -3.7], [9.0, 0.8], [-1.0, 14.6], [0.9, 3.1]])


@pytest.fixture
def data() -> RealData:
    generator = torch.Generator().manual_seed(0)
    parts = [
        Split(torch.randint(0, 256, (size, 3, 2, 2), dtype=torch.uint8, generator=generator), torch.arange(size) % 2)
        for size in (40, 10, 10)
    ]
    return RealData(Description("cifar10", ("a", "b"), (3, 2, 2), CIFAR), *parts)


@pytest.fixture
def images() -> Tensor:
    return torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def pixels() -> Tensor:
    return torch.rand(4, 3, 2, 2, generator=torch.Generator().manual_seed(2))


def write(folder: Path, **files: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        torch.save(content, folder / f"{name}.pt")
    return folder


def test_datm_has_logits_and_a_learned_rate_in_a_folder_below(tmp_path: Path, data: RealData, images: Tensor) -> None:
    labels = LOGITS.clone().requires_grad_()  # as that code saves them
    run = write(tmp_path / "run/Normal", images_best=images, labels_best=labels, lr_best=torch.tensor(0.025))
    write(run, images_0=images * 2, labels_0=labels, lr_0=torch.tensor(0.5))
    teacher = import_teacher(tmp_path / "run", data)
    assert torch.equal(teacher.images, images) and torch.equal(teacher.labels, LOGITS.softmax(1))
    assert teacher.learning_rates is not None and teacher.learning_rates.tolist() == [pytest.approx(0.025)]
    source = teacher.metadata["source"]
    assert source["format"] == "datm" and source["labels"] == "logits"
    assert describe_source(teacher) == (
        "images_best.pt: format datm; the learned rate of lr_best.pt; images normalised; labels logits, of which the "
        "softmax is taken"
    )
    step = import_teacher(run / "images_0.pt", data)
    assert step.learning_rates is not None and step.learning_rates.tolist() == [0.5]
    # Logits that are all positive are logits, too, where that code has written them.
    write(run, labels_best=LOGITS.abs())
    assert torch.equal(import_teacher(run, data).labels, LOGITS.abs().softmax(1))


def test_tesla_has_probabilities_and_no_rate(tmp_path: Path, data: RealData, images: Tensor) -> None:
    folder = write(tmp_path / "run", images_best=images, labels_best=LOGITS.softmax(1))
    teacher = import_teacher(folder, data)
    assert torch.equal(teacher.labels, LOGITS.softmax(1)) and teacher.learning_rates is None
    assert teacher.metadata["source"]["format"] == "mtt"
    # Logits without a rate beside them are told by their signs.
    write(folder, labels_best=LOGITS)
    assert torch.equal(import_teacher(folder, data).labels, LOGITS.softmax(1))
    write(folder, labels_best=LOGITS.abs())
    with pytest.raises(UserError, match="images_best.pt' cannot be used: .* --labels logits"):
        import_teacher(folder, data)
    assert torch.equal(import_teacher(folder, data, labels="logits").labels, LOGITS.abs().softmax(1))
    assert torch.equal(import_teacher(folder, data, form="datm").labels, LOGITS.abs().softmax(1))


@pytest.mark.parametrize("rate", [torch.tensor(-0.01), torch.tensor(0.0), torch.tensor(torch.nan), torch.tensor(0)])
def test_a_rate_that_is_none_is_refused_or_replaced(
    tmp_path: Path, data: RealData, images: Tensor, rate: Tensor
) -> None:
    folder = write(tmp_path, images_best=images, labels_best=LABELS, lr_best=rate)
    with pytest.raises(UserError, match="no learner can learn; give another one with --learning-rate"):
        import_teacher(folder, data)
    replaced = import_teacher(folder, data, learning_rate=0.5)
    assert replaced.learning_rates is not None and replaced.learning_rates.tolist() == [0.5]
    words = " ".join(replaced.metadata["source"]["words"])
    assert "the rate 0.5 that was given in place of its own" in words and "learned rate of lr_best" not in words
    write(folder, lr_best=torch.tensor([0.1, 0.2]))
    with pytest.raises(UserError, match="must hold one learning rate, it has 2 numbers; .* --learning-rate"):
        import_teacher(folder, data)
    write(folder, lr_best=torch.tensor([0.1]))
    with pytest.raises(UserError, match="learned rates of its own"):
        import_teacher(folder, data, learning_rate=0.5)


@pytest.mark.parametrize("kind", [list, tuple])
def test_idc_and_its_kin_have_a_pair_of_pixels(
    tmp_path: Path, data: RealData, pixels: Tensor, kind: type, images: Tensor
) -> None:
    write(tmp_path / "idc", data=kind([pixels, LABELS]))
    teacher = import_teacher(tmp_path / "idc", data)
    assert torch.equal(teacher.images, pixels) and torch.equal(teacher.labels, LABELS)
    assert teacher.description.normalisation == PIXELS and teacher.order == "stratified"
    source = teacher.metadata["source"]
    assert source["format"] == "idc" and "multi-formation" in describe_source(teacher)
    # NCFM: the last of the steps that it saved.
    write(tmp_path / "run/distilled_data", data_init=[pixels, LABELS], data_1000=[pixels, LABELS])
    write(tmp_path / "run/distilled_data", data_20000=[pixels / 2, LABELS])
    assert torch.equal(import_teacher(tmp_path / "run", data).images, pixels / 2)
    # What lies far outside is asked for.
    write(tmp_path / "odd", data=[images * 3, LABELS])
    with pytest.raises(UserError, match="far outside the pixels .* --values normalised"):
        import_teacher(tmp_path / "odd", data)
    assert import_teacher(tmp_path / "odd", data, values="normalised").description.normalisation == CIFAR
    # Unless they are the pixels of an image once this data set's normalisation is undone.
    write(tmp_path / "normalised", data=[CIFAR.apply(pixels), LABELS])
    assert import_teacher(tmp_path / "normalised", data).description.normalisation == CIFAR


def test_a_pair_is_not_two_steps(tmp_path: Path, data: RealData, images: Tensor) -> None:
    rate = torch.tensor([0.1])
    write(tmp_path, two=[(images, LABELS, rate), (images * 2, LABELS, rate)], one=(images, LABELS, rate))
    two, one = (import_teacher(tmp_path / f"{name}.pt", data) for name in ("two", "one"))
    assert two.images_stored == 8 and two.order == "fixed" and two.metadata["source"]["format"] == "dd"
    assert one.images_stored == 4 and one.order == "fixed" and one.learning_rates is not None
    write(tmp_path, pairs=[(images, LABELS), (images * 2, LABELS)])
    with pytest.raises(UserError, match="2 pairs, which may be experiments or steps; .* --format dc or --format dd"):
        import_teacher(tmp_path / "pairs.pt", data)
    assert import_teacher(tmp_path / "pairs.pt", data, form="dd").images_stored == 8
    assert torch.equal(import_teacher(tmp_path / "pairs.pt", data, form="dc", experiment=1).images, images * 2)


def test_distilled_labels_stay_the_real_numbers_that_they_are(tmp_path: Path, data: RealData, images: Tensor) -> None:
    learned = torch.tensor([[1.3, -0.4], [0.9, 0.2], [-0.1, 0.8], [0.0, 1.0]])
    torch.save([(images, learned, torch.tensor([0.1]))], tmp_path / "results.pth")
    teacher = import_teacher(tmp_path, data)
    assert torch.equal(teacher.labels, learned) and teacher.metadata["source"]["labels"] == "targets"


def test_datadam_s_list_is_of_evaluations(tmp_path: Path, data: RealData, images: Tensor) -> None:
    content = {"data": [[images * scale, LABELS] for scale in (0, 1, 2)], "accs_all_exps": {"ConvNet": []}}
    torch.save(content, tmp_path / "res_DataDAM_CIFAR10_ConvNet_2ipc_.pt")
    teacher = import_teacher(tmp_path, data)
    assert torch.equal(teacher.images, images * 2) and "of 3 evaluations of a run, the last (2)" in (
        describe_source(teacher)
    )
    first = import_teacher(tmp_path, data, experiment=1)
    assert torch.equal(first.images, images)
    # What is published has one pair in place of the list.
    torch.save({"data": [images, LABELS]}, tmp_path / "syn_data_cifar10_ipc_2.pt")
    assert torch.equal(import_teacher(tmp_path / "syn_data_cifar10_ipc_2.pt", data).images, images)


def test_dictionaries_are_read_by_name(tmp_path: Path, data: RealData, images: Tensor) -> None:
    write(tmp_path, a={"labels": LABELS, "images": images, "lr": 0.125}, b={"target": LABELS, "data": images})
    for name in ("a", "b"):
        teacher = import_teacher(tmp_path / f"{name}.pt", data)
        assert torch.equal(teacher.images, images) and torch.equal(teacher.labels, LABELS)
    found = import_teacher(tmp_path / "a.pt", data)
    assert found.learning_rates is not None and found.learning_rates.tolist() == [0.125]
    write(tmp_path, c={"images": images, "label_names": 3})
    with pytest.raises(UserError, match="no result that is known"):
        import_teacher(tmp_path / "c.pt", data)


def test_other_types_and_layouts_of_images(tmp_path: Path, data: RealData, pixels: Tensor) -> None:
    whole = (pixels * 255).round().to(torch.uint8)
    for name, stored in (
        ("bytes", whole),
        ("last", whole.permute(0, 2, 3, 1)),
        ("flat", whole.flatten(1)),
        ("floats", whole.double()),
        ("half", (whole / 255).half()),
    ):
        folder = write(tmp_path / name, images_best=stored, labels_best=LABELS)
        teacher = import_teacher(folder, data)
        shown = teacher.description.normalisation.invert(teacher.images)
        torch.testing.assert_close(shown, whole / 255, rtol=0, atol=1e-3)
    halves = write(tmp_path / "normalised", images_best=CIFAR.apply(whole).half(), labels_best=LABELS)
    teacher = import_teacher(halves, data)
    assert teacher.images.dtype == torch.float32 and teacher.description.normalisation == CIFAR


def test_a_folder_with_several_results_is_asked_for_the_file(tmp_path: Path, data: RealData, images: Tensor) -> None:
    write(tmp_path, images_best=images, labels_best=LABELS, data=[images, LABELS])
    with pytest.raises(UserError, match="2 of them: images_best.pt, data.pt; name the file"):
        import_teacher(tmp_path, data)
    steps = write(tmp_path / "steps", images_100=images, labels_100=LABELS, images_2000=images * 2, labels_2000=LABELS)
    assert torch.equal(import_teacher(steps, data).images, images * 2)


def test_a_folder_of_classes_as_rded_writes_it(tmp_path: Path, data: RealData) -> None:
    from PIL import Image

    from gendistill.teacher import open_teacher

    for label in range(2):
        folder = tmp_path / f"{label:05d}"
        folder.mkdir()
        for number in range(3):
            Image.new("RGB", (2, 2), (40 * label, 10, 0)).save(folder / f"class{label:05d}_id{number:05d}.jpg")
    teacher = open_teacher(tmp_path, data)
    assert teacher.label_counts == [3, 3] and teacher.description.class_names == ("a", "b")


@pytest.mark.parametrize("rate", [0.25, 1, torch.tensor(1), torch.tensor([[0.25]]), torch.tensor(0.25).half()])
def test_a_rate_is_read_from_any_number(tmp_path: Path, data: RealData, images: Tensor, rate: Any) -> None:
    folder = write(tmp_path, images_best=images, labels_best=LABELS, lr_best=rate)
    rates = import_teacher(folder, data).learning_rates
    assert rates is not None and rates.tolist() == [float(rate)]
    file = tmp_path / "named.pt"
    torch.save({"images": images, "labels": LABELS, "lr": rate}, file)
    teacher = import_teacher(file, data)
    assert teacher.learning_rates is not None and teacher.learning_rates.tolist() == [float(rate)]
    torch.save([images, LABELS, rate], file)
    if not isinstance(rate, int):
        teacher = import_teacher(file, data)
        assert teacher.learning_rates is not None and teacher.learning_rates.tolist() == [float(rate)]


def test_a_rate_that_is_0_in_single_precision_is_none(tmp_path: Path, data: RealData, images: Tensor) -> None:
    folder = write(tmp_path, images_best=images, labels_best=LABELS)
    for rate in (torch.tensor(1e-60, dtype=torch.float64), 1e-60):
        torch.save(rate, folder / "lr_best.pt")
        with pytest.raises(UserError, match="learned rate is 1e-60, with which no learner can learn"):
            import_teacher(folder, data)


def test_what_is_no_rate_is_said_to_be_passed_over(tmp_path: Path, data: RealData, images: Tensor) -> None:
    torch.save({"images": images, "labels": LABELS, "lr": "fast"}, tmp_path / "named.pt")
    teacher = import_teacher(tmp_path / "named.pt", data)
    assert teacher.learning_rates is None and "passed over: lr" in teacher.metadata["source"]["words"]


def test_the_best_of_a_run_is_taken_before_its_steps_and_one_set_has_no_number(
    tmp_path: Path, data: RealData, images: Tensor
) -> None:
    for name in ("data_best.pt", "data_500.pt"):
        torch.save([images.clamp(0, 1), LABELS], tmp_path / name)
    assert import_teacher(tmp_path, data).metadata["source"]["file"] == "data_best.pt"
    with pytest.raises(UserError, match="of format idc, which holds one set; leave the experiment out"):
        import_teacher(tmp_path, data, experiment=3)
