from __future__ import annotations

import contextlib
import errno
import json
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from gendistill.data.description import Description, symmetric
from gendistill.errors import StorageError, UserError
from gendistill.nets.cgan_pd import CGANPDGenerator
from gendistill.nets.gtn import GTNGenerator
from gendistill.objects import build
from gendistill.seeds import initialisation
from gendistill.teacher import GeneratorTeacher, RealSubset, StoredImages, Teacher, describe, files, load, save

KINDS = ("hard", "soft", "subset", "fresh", "pool", "curriculum")
QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.fixture
def make(description: Description, network: nn.Module) -> Callable[[str], Teacher]:
    def made(kind: str) -> Teacher:
        rng = torch.Generator().manual_seed(1)
        images, hard = torch.randn(6, 1, 4, 4, generator=rng), torch.tensor([0, 1, 2, 2, 1, 0])
        notes: dict[str, Any] = {"seed": 7, "learner": {"class_path": "x.Y"}, "notes": "é | \n"}
        if kind == "hard":
            return StoredImages(images, hard, description, metadata=notes)
        if kind == "soft":
            soft, rates = torch.rand(6, 3, generator=rng), torch.tensor([0.1, 0.2])
            return StoredImages(images, soft, description, order="fixed", learning_rates=rates, momenta=rates)
        if kind == "subset":
            return RealSubset(torch.arange(96).view(6, 1, 4, 4).to(torch.uint8), hard, description)
        if kind == "fresh":
            return GeneratorTeacher(network, description, prior="sphere", metadata=notes)
        if kind == "pool":
            latents = torch.randn(6, 4, generator=rng)
            return GeneratorTeacher(network, description, latents=latents, labels=hard)
        latents, soft, rates = torch.randn(2, 3, 4, generator=rng), torch.rand(2, 3, 3, generator=rng), torch.rand(2)
        return GeneratorTeacher(
            network,
            description,
            latents=latents,
            labels=soft,
            conditions=hard.view(2, 3),
            learning_rates=rates,
            momenta=rates,
            batch_norm="batch",
        )

    return made


def same(one: Teacher, other: Teacher) -> None:
    """Fail unless two teachers hold the same and show the same."""
    assert type(one) is type(other)
    assert one.description == other.description and one.metadata == other.metadata
    assert json.dumps(one.header(), sort_keys=True) == json.dumps(other.header(), sort_keys=True)
    tensors, others = one.tensors(), other.tensors()
    assert tensors.keys() == others.keys()
    for name in tensors:
        assert tensors[name].dtype == others[name].dtype and torch.equal(tensors[name], others[name]), name
    batches = [teacher.batches(3, 4, torch.Generator().manual_seed(5)) for teacher in (one, other)]
    for left, right in zip(*batches, strict=True):
        for a, b in zip(left, right, strict=True):
            assert (a is None and b is None) or torch.equal(a, b)


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
    assert described["kind"] == teacher.kind and described["format_version"] == 1
    assert described["images"] == teacher.images_stored and described["bytes"] == teacher.bytes_stored
    assert described["images_per_class"] == teacher.label_counts
    assert described["soft_labels"] == teacher.labels_are_soft
    assert described["tensors"].keys() == teacher.tensors().keys()
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


@QUICK
@given(data=st.data(), kind=st.sampled_from(KINDS))
def test_damaged_bytes_are_refused(
    data: st.DataObject, kind: str, make: Callable[[str], Teacher], tmp_path: Path
) -> None:
    path = tmp_path / f"{kind}.safetensors"
    teacher = make(kind)
    save(teacher, path)
    content = bytearray(path.read_bytes())
    how = data.draw(st.sampled_from(["flip", "cut", "insert", "erase"]))
    header = struct.unpack("<Q", content[:8])[0] + 8
    place = data.draw(st.one_of(st.integers(0, 8), st.integers(0, header), st.integers(0, len(content) - 1)))
    if how == "flip":
        content[place] ^= data.draw(st.integers(1, 255))
    elif how == "cut":
        del content[place:]
    elif how == "insert":
        content[place:place] = data.draw(st.binary(min_size=1, max_size=4))
    else:
        del content[place : place + data.draw(st.integers(1, 9))]
    path.write_bytes(content)
    with contextlib.suppress(UserError):
        describe(path)
    try:
        found = load(path)
    except UserError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    else:
        same(teacher, found)


def rewrite(path: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], None]) -> None:
    """Change a teacher file as a stranger could who knows the format, checksum included."""
    with safetensors.safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()[files.KEY])
        tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    change(header, tensors)
    header["sha256"] = files._digest(header, tensors)
    path.write_bytes(safetensors.torch.save(tensors, {files.KEY: json.dumps(header)}))


HOSTILE: dict[str, tuple[str, Callable[[dict[str, Any], dict[str, torch.Tensor]], Any], str]] = {
    "newer version": ("hard", lambda h, t: h.update(format_version=4), "format version 4, this gendistill"),
    "version as text": ("hard", lambda h, t: h.update(format_version="1"), "format version '1'"),
    "unknown kind": ("hard", lambda h, t: h.update(kind="stored-image"), "did you mean 'stored-images'"),
    "kind is a list": ("hard", lambda h, t: h.update(kind=[]), r"unknown kind \[\]"),
    "no images": ("hard", lambda h, t: t.pop("images"), "lacks the tensor 'images'"),
    "zero images": ("hard", lambda h, t: t.update(images=torch.zeros(0, 1, 4, 4)), "at least one image"),
    "unknown tensor": ("hard", lambda h, t: t.update(whitening=torch.ones(1)), "unknown tensor 'whitening'"),
    "label out of range": ("hard", lambda h, t: t["labels"].fill_(3), r"0\.\.2"),
    "not finite": ("hard", lambda h, t: t["images"].fill_(torch.nan), "'images' holds values that are NaN"),
    "images of another type": ("subset", lambda h, t: t.update(images=torch.zeros(6, 1, 4, 4)), "torch.uint8"),
    "no description": ("hard", lambda h, t: h.pop("description"), "lacks 'description'"),
    "another shape": ("hard", lambda h, t: h["description"].update(image_shape=[1, 8, 8]), r"\(N, 1, 8, 8\)"),
    "huge number": ("hard", lambda h, t: h["description"].update(image_shape=[1, 1e300, 8]), "must have shape"),
    "fewer classes": ("hard", lambda h, t: h["description"].update(class_names=["a"]), "1 classes"),
    "no normalisation": ("hard", lambda h, t: h["description"].update(normalisation={}), "not complete"),
    "class outside": ("fresh", lambda h, t: h["network"].update(class_path="pip._internal.X"), "outside this project"),
    "a function": ("fresh", lambda h, t: h["network"].update(class_path="os.system"), "not a subclass of torch.nn"),
    "another class": ("fresh", lambda h, t: h["network"].update(class_path="pathlib.Path"), "not a subclass"),
    "program": ("fresh", lambda h, t: h["network"].update(class_path="gendistill.__main__.X"), "does not name"),
    "no such class": ("fresh", lambda h, t: h["network"].update(class_path="gendistill.nets.gtn.X"), "has no 'X'"),
    "no class": ("fresh", lambda h, t: h.pop("network"), "does not name"),
    "unknown option": ("fresh", lambda h, t: h["network"]["init_args"].update(widht=3), "did you mean 'width'"),
    "option of wrong type": ("fresh", lambda h, t: h["network"]["init_args"].update(width="x"), "refuses|cannot"),
    "huge network": ("fresh", lambda h, t: h["network"]["init_args"].update(width=10**12), "far larger"),
    "weights missing": ("fresh", lambda h, t: t.pop("network.out.bias"), "lacks the weights 'out.bias'"),
    "weights left over": ("fresh", lambda h, t: t.update({"network.x": torch.ones(1)}), "'x' that TinyGenerator does"),
    "weights of another shape": (
        "fresh",
        lambda h, t: t.update({"network.out.bias": torch.ones(3)}),
        r"'out.bias' .* shape \(16,\), the file has \(3,\)",
    ),
    "weights not finite": ("fresh", lambda h, t: t["network.out.bias"].fill_(torch.inf), "'network.out.bias'"),
    "images do not fit": ("fresh", lambda h, t: h["description"].update(image_shape=[1, 2, 2]), "shape"),
    "latents of another size": ("pool", lambda h, t: t.update(latents=torch.zeros(6, 5)), r"\(M, 4\)"),
    "prior": ("pool", lambda h, t: h.update(prior={}), "prior must be one of"),
    "soft labels for a network that takes classes": (
        "curriculum",
        lambda h, t: t.pop("conditions"),
        "makes no images from its latents",
    ),
    "rates of another length": ("curriculum", lambda h, t: t.update(learning_rates=torch.ones(3)), "2 batches"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_gets_one_sentence(case: str, make: Callable[[str], Teacher], tmp_path: Path) -> None:
    kind, change, sentence = HOSTILE[case]
    path = tmp_path / "t.safetensors"
    save(make(kind), path)
    rewrite(path, lambda header, tensors: (change(header, tensors), None)[1])
    with pytest.raises(UserError, match=sentence) as caught:
        load(path)
    assert "t.safetensors" in str(caught.value) and "\n" not in str(caught.value)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["os.system", "a.b"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@settings(QUICK, max_examples=60)
@given(data=st.data(), kind=st.sampled_from(["soft", "pool", "curriculum"]))
def test_any_metadata_with_a_valid_checksum_is_read_or_refused(
    data: st.DataObject, kind: str, make: Callable[[str], Teacher], tmp_path: Path
) -> None:
    path = tmp_path / f"{kind}.safetensors"
    save(make(kind), path)

    def change(header: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        where = header
        for _ in range(data.draw(st.integers(0, 2))):
            inner = [name for name in sorted(where) if isinstance(where[name], dict) and where[name]]
            where = where[data.draw(st.sampled_from(inner))] if inner else where
        name = data.draw(st.sampled_from(sorted(where)))
        if data.draw(st.booleans()):
            where[name] = data.draw(JSON)
        else:
            del where[name]

    try:
        rewrite(path, change)
    except ValueError:  # NaN has no canonical form: such a file cannot have a valid checksum; see the next test
        return
    try:
        load(path)
    except UserError as error:
        assert "\n" not in str(error)


def raw(path: Path, metadata: str) -> None:
    path.write_bytes(safetensors.torch.save({"images": torch.zeros(1)}, {files.KEY: metadata}))


class Trap:
    """Pickles to a command."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda path: None, "there is no file"),
    "empty": (lambda path: path.write_bytes(b""), "empty"),
    "one byte": (lambda path: path.write_bytes(b"\x80"), "not a safetensors file"),
    "text": (lambda path: path.write_text("images: 10\n" * 5), "not a safetensors file"),
    "folder": (lambda path: path.mkdir(), "cannot be read"),
    "pickle": (lambda path: path.write_bytes(pickle.dumps(Trap(path.with_name("trap")))), "pickle"),
    "torch.save": (lambda path: torch.save({"x": Trap(path.with_name("trap"))}, path), "pickle or torch.save"),
    "old torch.save": (
        lambda path: torch.save({"x": Trap(path.with_name("trap"))}, path, _use_new_zipfile_serialization=False),
        "pickle or torch.save",
    ),
    "other safetensors": (
        lambda path: path.write_bytes(safetensors.torch.save({"w": torch.zeros(2)}, {"format": "pt"})),
        "not a teacher",
    ),
    "no metadata": (lambda path: path.write_bytes(safetensors.torch.save({"w": torch.zeros(2)})), "not a teacher"),
    "metadata is not JSON": (lambda path: raw(path, "{"), "metadata cannot be read"),
    "metadata is a list": (lambda path: raw(path, "[1]"), "metadata cannot be read"),
    "metadata without end": (lambda path: raw(path, "[" * 100_000), "metadata cannot be read"),
    "NaN in metadata": (
        lambda path: raw(path, '{"format_version": 1, "kind": "stored-images", "x": NaN}'),
        "do not fit together",
    ),
    "header longer than the file": (lambda path: path.write_bytes(b"\xff\xff\xff\x00\0\0\0\0{}"), "cut off"),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_gets_one_sentence_and_runs_nothing(case: str, tmp_path: Path) -> None:
    write, sentence = BAD_FILES[case]
    path = tmp_path / "t.safetensors"
    write(path)
    with pytest.raises(UserError, match=sentence) as caught:
        load(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "trap").exists()


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
