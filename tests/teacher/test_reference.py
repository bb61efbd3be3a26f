from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gendistill.data.description import Description, symmetric
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.teacher import RealSubset, StoredImages, export, open_teacher, save


def test_a_file_and_a_run_directory(tiny_data: RealData, rng: torch.Generator, tmp_path: Path) -> None:
    teacher = RealSubset.random(tiny_data.train, tiny_data.description, count=6, generator=rng)
    save(teacher, tmp_path / "run" / "teacher.safetensors")
    for reference in (tmp_path / "run" / "teacher.safetensors", tmp_path / "run", str(tmp_path / "run")):
        assert torch.equal(open_teacher(reference, tiny_data).tensors()["images"], teacher.images)
        assert open_teacher(reference).images_stored == 6


def test_real_data(tiny_data: RealData) -> None:
    assert open_teacher("real", tiny_data).images_stored == 96
    subset = open_teacher("real:subset=10", tiny_data, seed=4)
    assert subset.images_stored == 10 and sorted(subset.label_counts or []) == [3, 3, 4]
    assert open_teacher("real:ipc=4", tiny_data).label_counts == [4, 4, 4]
    again, other = (open_teacher("real:subset=10", tiny_data, seed=seed) for seed in (4, 5))
    assert torch.equal(subset.tensors()["images"], again.tensors()["images"])
    assert not torch.equal(subset.tensors()["images"], other.tensors()["images"])
    assert subset.metadata["seed"] == 4


def test_a_folder_of_images(tiny_data: RealData, tmp_path: Path) -> None:
    export(RealSubset.all(tiny_data.test, tiny_data.description), tmp_path / "pictures", "png")
    found = open_teacher(tmp_path / "pictures", tiny_data)
    assert found.kind == "stored-images" and found.images_stored == 60


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("reel", r"did you mean 'real'\? give a \.safetensors file, a run directory"),
        ("real:subset", "real:subset=K or real:ipc=K"),
        ("real:subset=x", "whole number"),
        ("real:subset=-3", "whole number"),
        ("real:part=3", "real:subset=K"),
        ("real:subset=0", r"1\.\.96.*got 0"),
        ("real:subset=97", r"1\.\.96.*got 97"),
        ("real:ipc=33", r"1\.\.32.*got 33"),
        ("missing.safetensors", "there is no file"),
        ("", "holds neither"),
    ],
)
def test_unknown_references_are_refused(
    reference: str, sentence: str, tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=sentence):
        open_teacher(reference, tiny_data)


def test_real_without_data_and_a_run_without_teacher(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="which data set"):
        open_teacher("real")
    (tmp_path / "config.yaml").write_text("")
    (tmp_path / "samples").mkdir()
    with pytest.raises(UserError, match="no teacher.safetensors yet"):
        open_teacher(tmp_path)


@pytest.mark.parametrize(
    ("classes", "shape", "sentence"), [(2, (1, 8, 8), "made for 2 classes"), (3, (1, 4, 4), r"shape \(1, 4, 4\)")]
)
def test_a_teacher_for_other_data_is_refused(
    classes: int, shape: tuple[int, int, int], sentence: str, tiny_data: RealData, tmp_path: Path
) -> None:
    description = Description("other", tuple("abc"[:classes]), shape, symmetric(1))
    save(StoredImages(torch.zeros(2, *shape), torch.tensor([0, 1]), description), tmp_path / "t.safetensors")
    with pytest.raises(UserError, match=sentence):
        open_teacher(tmp_path / "t.safetensors", tiny_data)
