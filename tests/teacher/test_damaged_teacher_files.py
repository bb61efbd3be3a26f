"""Damaged and hostile teacher files: one sentence each, and nothing in them is run."""

from __future__ import annotations

import contextlib
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
from every_kind import KINDS, QUICK, same
from hypothesis import given, settings
from hypothesis import strategies as st

from gendistill.errors import UserError
from gendistill.teacher import Teacher, describe, files, load, save


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
    "newer version": ("hard", lambda h, t: h.update(format_version=5), "format version 5, this gendistill"),
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
    "a function": ("fresh", lambda h, t: h["network"].update(class_path="os.system"), "outside this project"),
    "another class": ("fresh", lambda h, t: h["network"].update(class_path="pathlib.Path"), "outside this project"),
    "program": ("fresh", lambda h, t: h["network"].update(class_path="gendistill.__main__.X"), "does not name"),
    "no such class": ("fresh", lambda h, t: h["network"].update(class_path="gendistill.nets.gtn.X"), "no network of"),
    "no class": ("fresh", lambda h, t: h.pop("network"), "does not name"),
    "unknown option": ("fresh", lambda h, t: h["network"]["init_args"].update(widht=3), "did you mean 'width'"),
    "option of wrong type": ("fresh", lambda h, t: h["network"]["init_args"].update(width="x"), "refuses|cannot"),
    "huge network": ("fresh", lambda h, t: h["network"]["init_args"].update(width=10**12), "no size of a network"),
    "weights missing": ("fresh", lambda h, t: t.pop("network.out.bias"), "lacks the weights 'out.bias'"),
    "weights left over": ("fresh", lambda h, t: t.update({"network.x": torch.ones(1)}), "'x' that TinyGenerator does"),
    "weights of another shape": (
        "fresh",
        lambda h, t: t.update({"network.out.bias": torch.ones(3)}),
        r"'out.bias' .* shape \(16,\), the file has \(3,\)",
    ),
    "weights of another kind": (
        "fresh",
        lambda h, t: t.update({"network.out.bias": t["network.out.bias"].to(torch.complex64)}),
        "'out.bias' of TinyGenerator are float32, the file has complex64",
    ),
    "weights that are whole numbers": (
        "fresh",
        lambda h, t: t.update({"network.out.bias": t["network.out.bias"].to(torch.int8)}),
        "are float32, the file has int8",
    ),
    "mean that no pixel has": (
        "hard",
        lambda h, t: h["description"]["normalisation"].update(mean=[1e308]),
        "needs means up to 1e.09",
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
    "rates below zero": ("soft", lambda h, t: t["learning_rates"].neg_(), "'learning_rates' must be 0 or more"),
    "momenta above one": ("soft", lambda h, t: t["momenta"].add_(1), "'momenta' must be from 0 to 1"),
    "another number of images": ("hard", lambda h, t: h.update(images=7), "say images 7, its tensors 6"),
    "other numbers of each class": ("hard", lambda h, t: h.update(images_per_class=[6, 0, 0]), "images_per_class"),
    "labels of another kind": ("hard", lambda h, t: h.update(soft_labels=True), "say soft_labels True"),
    "rates that are not there": ("hard", lambda h, t: h.update(learned_learning_rates=True), "say learned_learning"),
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
