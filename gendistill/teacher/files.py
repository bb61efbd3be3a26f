"""One file a teacher: safetensors whose metadata says all that a stranger needs. See docs/teacher-file.md."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

import gendistill
from gendistill import shipped
from gendistill.data.description import Description
from gendistill.data.embedding import VECTORS, WORDS, Embedding
from gendistill.data.whitening import Whitening
from gendistill.errors import GendistillError, UserError, did_you_mean
from gendistill.files import atomic_write
from gendistill.finite import check_finite
from gendistill.regular import regular
from gendistill.spelling import typed
from gendistill.teacher.base import Teacher, first_line
from gendistill.teacher.generator import GeneratorTeacher
from gendistill.teacher.labeller import PREFIX, Labeller
from gendistill.teacher.stored import StoredImages
from gendistill.teacher.subset import RealSubset

PLAIN_VERSION = 1
"""What teachers without whitening are written as: the same bytes as ever, which older software reads, too."""
WHITENED_VERSION = 2
TEXT_VERSION = 3
SEAMS_VERSION = 4
"""What teachers with a decode or a labeller are written as: older software would show other images, or other labels."""
VERSIONS = (PLAIN_VERSION, WHITENED_VERSION, TEXT_VERSION, SEAMS_VERSION)
WHITENING = ("whitening.mean", "whitening.matrix")
EMBEDDING = (VECTORS, WORDS)
KEY = shipped.TEACHER_KEY
UNFIT = (ArithmeticError, AttributeError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
"""What values from a stranger's file may raise in code that expects sound ones."""

KINDS: dict[str, type[Teacher]] = {cls.kind: cls for cls in (StoredImages, RealSubset, GeneratorTeacher)}


def save(teacher: Teacher, path: str | Path) -> None:
    """Write a teacher to one file; what was there before stays whole until the new file is complete.

    The same teacher always gives the same bytes.

    Args:
        teacher: What to write.
        path: Where; by habit ``teacher.safetensors``.

    Raises:
        UserError: The teacher holds values that are not finite, or a network that cannot be named.
        StorageError: The file cannot be written.
    """
    # Cloned: safetensors refuses tensors that share memory, as tied weights do.
    tensors = {
        name: check_finite(name, tensor.detach()).cpu().contiguous().clone()
        for name, tensor in sorted(_tensors(teacher).items())
    }
    header = describe_teacher(teacher)
    header["sha256"] = _digest(header, tensors)
    content = safetensors.torch.save(tensors, {KEY: _canonical(header)})

    def write(file: BinaryIO) -> None:
        file.write(content)

    atomic_write(path, write)


def load(path: str | Path, device: torch.device | str = "cpu") -> Teacher:
    """Read a teacher of any kind. Nothing in the file is run.

    Args:
        path: A file that :func:`save` wrote, or one that comes with the project by its name (``digits-gan``).
        device: Where its tensors go.

    Returns:
        The teacher.

    Raises:
        UserError: The file is missing, damaged, of another format or version, or does not fit itself.
    """
    path = shipped.teacher(path)
    header, tensors = _read(path, with_tensors=True)
    try:
        if header.get("sha256") != _digest(header, tensors):
            raise UserError("it is damaged: its content does not match its checksum; copy or make it again")
        for name, tensor in tensors.items():
            check_finite(name, tensor)
        whole = all(name in tensors for name in WHITENING)
        whitening = Whitening(*(tensors.pop(name) for name in WHITENING)) if whole else None
        whole = all(name in tensors for name in EMBEDDING)
        embedding = Embedding.from_tensors({name: tensors.pop(name) for name in EMBEDDING}) if whole else None
        description = Description.from_dict(_mapping(header, "description"), whitening, embedding)
        asked = {name: tensors.pop(name) for name in list(tensors) if name.startswith(PREFIX)}
        teacher = KINDS[header["kind"]].restore(tensors, header, description, _mapping(header, "metadata"))
        if asked or "labeller" in header:
            teacher.labeller = Labeller.restore(asked, header.get("labeller"), description)
        _compare(header, teacher)
    except GendistillError as error:
        raise UserError(f"'{path}' cannot be used: {first_line(error)}") from error
    except UNFIT as error:
        raise UserError(f"'{path}' is damaged: its metadata do not fit together ({first_line(error)})") from error
    return teacher.to(device)


def is_intact(path: str | Path) -> bool:
    """Return whether a file is a teacher whose content matches its checksum; nothing is built from it."""
    try:
        header, tensors = _read(Path(path), with_tensors=True)
    except UserError:
        return False
    return bool(header.get("sha256") == _digest(header, tensors))


def describe(path: str | Path) -> dict[str, Any]:
    """Return a teacher file's metadata, and the dtype and shape of each tensor, without loading tensors.

    Args:
        path: A file that :func:`save` wrote. Its checksum is not looked at.

    Returns:
        The fields of docs/teacher-file.md, and ``tensors``: name -> ``{"dtype": ..., "shape": [...]}``.

    Raises:
        UserError: As :func:`load`.
    """
    return _read(shipped.teacher(path), with_tensors=False)[0]


def describe_teacher(teacher: Teacher) -> dict[str, Any]:
    """Return the metadata that a teacher's file carries, as plain values."""
    counts = teacher.label_counts
    header = {
        "format_version": _version(teacher),
        "kind": teacher.kind,
        "software_version": gendistill.__version__,
        "description": teacher.description.to_dict(),
        "images": teacher.images_stored,
        "images_per_class": counts,
        "bytes": teacher.bytes_stored,
        "soft_labels": teacher.labels_are_soft,
        "learned_learning_rates": teacher.learning_rates is not None,
        "metadata": teacher.metadata,
    }
    header |= teacher.header()
    if teacher.labeller is not None:
        header |= {
            "labeller": teacher.labeller.header(teacher.description),
            "labeller_bytes": teacher.labeller.bytes_stored,
        }
    try:
        plain: dict[str, Any] = json.loads(_canonical(header))
    except (TypeError, ValueError) as error:
        raise UserError(f"the teacher cannot be described in JSON: {error}") from error
    return plain


def _read(path: Path, with_tensors: bool) -> tuple[dict[str, Any], dict[str, Tensor]]:
    _check_is_safetensors(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            header = _parse(path, metadata)
            names = sorted(file.keys())
            if with_tensors:
                # Cloned, so that a file that changes later cannot change the teacher.
                return header, {name: file.get_tensor(name).clone() for name in names}
            slices = {name: file.get_slice(name) for name in names}
            header["tensors"] = {
                name: {"dtype": part.get_dtype(), "shape": list(part.get_shape())} for name, part in slices.items()
            }
            return header, {}
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise UserError(
            f"'{path}' is damaged or cut off and cannot be read as safetensors: {first_line(error)}"
        ) from error


def _parse(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    if KEY not in metadata:
        raise UserError(
            f"'{path}' is a safetensors file but not a teacher: it has no '{KEY}' metadata; give a file that "
            "gendistill saved"
        )
    try:
        header = json.loads(metadata[KEY])
        version = header["format_version"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(f"'{path}' is damaged: its teacher metadata cannot be read") from error
    if version not in VERSIONS:
        raise UserError(
            f"'{path}' has teacher format version {version!r}, this gendistill {gendistill.__version__} reads versions "
            f"{VERSIONS[0]} to {VERSIONS[-1]}; install the gendistill that wrote it "
            f"({header.get('software_version', 'unknown')})"
        )
    kind = header.get("kind")
    if kind not in list(KINDS):
        raise UserError(
            f"'{path}' holds a teacher of unknown kind {kind!r}; {did_you_mean(str(kind), KINDS)}known are "
            f"{', '.join(KINDS)}"
        )
    return dict(header)


def _check_is_safetensors(path: Path) -> None:
    try:
        with regular(path).open("rb") as file:
            start = file.read(9)
    except FileNotFoundError as error:
        raise UserError(f"there is no file '{path}'; give the path of a teacher.safetensors") from error
    except (OSError, ValueError) as error:
        raise UserError(f"'{path}' cannot be read: {error}") from error
    if not start:
        raise UserError(f"'{path}' is empty (0 bytes); make or copy the teacher again")
    # A zip archive (torch.save) or a pickle: protocol 2 or later begins with 0x80 and the protocol number.
    if start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and b"\x02" <= start[1:2] <= b"\x05" and start[8:] != b"{"):
        raise UserError(
            f"'{path}' is a pickle or torch.save file, which may run code when it is opened; gendistill reads only "
            "safetensors; bring in what public code saved, with the name of its data set if that is not digits: "
            f"{typed('import', str(path), '--output', f'{path.stem}-imported.safetensors')}"
        )
    if start[8:] != b"{":
        raise UserError(f"'{path}' is not a safetensors file (or is cut off); give a teacher.safetensors")


def _compare(header: Mapping[str, Any], teacher: Teacher) -> None:
    """Refuse metadata that say something else of the teacher than its tensors."""
    there = describe_teacher(teacher)
    for name in ("images", "images_per_class", "decoded_images", "soft_labels", "learned_learning_rates"):
        if name in header and header[name] != there.get(name):
            raise UserError(
                f"its metadata say {name} {_short(header[name])}, its tensors {_short(there.get(name))}; make it again"
            )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:80]}..."


def _version(teacher: Teacher) -> int:
    """Return the oldest version of the format that can say all of it."""
    if teacher.labeller is not None or getattr(teacher, "decode", None) is not None:
        return SEAMS_VERSION
    description = teacher.description
    if description.embedding is not None:
        return TEXT_VERSION
    return PLAIN_VERSION if description.normalisation.whitening is None else WHITENED_VERSION


def _tensors(teacher: Teacher) -> dict[str, Tensor]:
    """Return all tensors of a teacher's file."""
    labeller = {} if teacher.labeller is None else teacher.labeller.tensors()
    return teacher.tensors() | _description_tensors(teacher.description) | labeller


def _description_tensors(description: Description) -> dict[str, Tensor]:
    """Return the tensors that belong to the data set's description, and not to the teacher's own."""
    if description.embedding is not None:
        return description.embedding.tensors()
    whitening = description.normalisation.whitening
    return {} if whitening is None else dict(zip(WHITENING, (whitening.mean, whitening.matrix), strict=True))


def _mapping(header: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = header.get(name)
    if not isinstance(value, Mapping):
        raise UserError(f"the teacher metadata lacks '{name}'")
    return value


def _canonical(header: Mapping[str, Any]) -> str:
    return json.dumps(header, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _digest(header: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 (hex) of the metadata without its checksum and of all tensors in order of their names."""
    digest = hashlib.sha256(_canonical({key: value for key, value in header.items() if key != "sha256"}).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
