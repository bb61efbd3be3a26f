"""Teachers come back from their files as they were, and no file is spoilt by a failed write."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from every_kind import KINDS, QUICK, same
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from gendistill.data.description import Description, symmetric
from gendistill.errors import StorageError, UserError
from gendistill.nets.cgan_pd import CGANPDGenerator
from gendistill.nets.gtn import GTNGenerator
from gendistill.objects import build
from gendistill.seeds import initialisation
from gendistill.teacher import GeneratorTeacher, StoredImages, Teacher, describe, load, save


@pytest.mark.parametrize("kind", KINDS)
def test_a_teacher_comes_back_as_it_was(kind: str, make: Callable[[str], Teacher], tmp_path: Path) -> None:
    teacher, path = make(kind), tmp_path / "t.safetensors"
    before = torch.get_rng_state()
    save(teacher, path)
    same(teacher, load(path))
    assert torch.equal(before, torch.get_rng_state())
    first = path.read_bytes()
    save(load(path), path)
    assert path.read_bytes() == first, "the same teacher gives the same bytes"
    described = describe(path)
    version = 4 if kind in ("sheets", "labelled") else 1
    assert described["kind"] == teacher.kind and described["format_version"] == version
    assert described["images"] == teacher.images_stored and described["bytes"] == teacher.bytes_stored
    assert described["images_per_class"] == teacher.label_counts
    assert described["soft_labels"] == teacher.labels_are_soft
    labeller = {} if teacher.labeller is None else teacher.labeller.tensors()
    assert described["tensors"].keys() == (teacher.tensors() | labeller).keys()
    assert [path.name] == os.listdir(tmp_path)


@pytest.mark.parametrize("network_class", [CGANPDGenerator, GTNGenerator])
def test_the_projects_own_generators_come_back(network_class: type[nn.Module], tmp_path: Path) -> None:
    description = Description("digits", tuple("0123456789"), (1, 8, 8), symmetric(1))
    options = {"ngf": 8, "nz": 6} if network_class is CGANPDGenerator else {"hidden": 8, "channels": 4, "nz": 6}
    spec = {"class_path": f"{network_class.__module__}.{network_class.__name__}", "init_args": options}
    with initialisation(1, "test"):
        network = build(spec, nn.Module, num_classes=10, image_shape=description.image_shape)
    latents = torch.randn(2, 10, 6, generator=torch.Generator().manual_seed(0))
    teacher = GeneratorTeacher(network, description, latents=latents, batch_norm="batch")
    save(teacher, tmp_path / "t.safetensors")
    same(teacher, load(tmp_path / "t.safetensors"))


@QUICK
@given(data=st.data())
def test_any_stored_images_come_back(data: st.DataObject, tmp_path: Path) -> None:
    count, classes = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    shape = (data.draw(st.integers(1, 4)), data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3)))
    values = data.draw(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=8))
    size = count * shape[0] * shape[1] * shape[2]
    images = torch.tensor((values * size)[:size], dtype=torch.float32).view(count, *shape)
    labels = torch.tensor(data.draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count)))
    names = tuple(data.draw(st.lists(st.text(max_size=4), min_size=classes, max_size=classes)))
    plain = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
        max_leaves=5,
    )
    metadata = data.draw(st.dictionaries(st.text(), plain, max_size=3))
    description = Description(data.draw(st.text(max_size=5)), names, shape, symmetric(shape[0]))
    teacher = StoredImages(images, labels, description, metadata=metadata)
    save(teacher, tmp_path / "t.safetensors")
    same(teacher, load(tmp_path / "t.safetensors"))


def test_a_full_disk_leaves_the_old_file(
    make: Callable[[str], Teacher], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "t.safetensors"
    save(make("hard"), path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="no space left"):
        save(make("soft"), path)
    monkeypatch.undo()
    same(make("hard"), load(path))
    assert os.listdir(tmp_path) == [path.name]


def test_what_cannot_be_read_back_is_not_written(description: Description, network: nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    broken = GeneratorTeacher(network, description)
    with torch.no_grad():
        broken.network.out.bias[0] = torch.nan
    with pytest.raises(UserError, match="'network.out.bias'"):
        save(broken, path)
    del network.spec
    with pytest.raises(UserError, match="without its spec"):
        save(GeneratorTeacher(network, description), path)
    assert not path.exists()


def test_tied_weights_are_saved(description: Description, network: nn.Module, tmp_path: Path) -> None:
    teacher = GeneratorTeacher(network, description)
    teacher.network.out.bias = nn.Parameter(teacher.network.embedding.weight.view(-1)[:1].expand(16))
    save(teacher, tmp_path / "t.safetensors")
    same(teacher, load(tmp_path / "t.safetensors"))
