"""Which teacher it is: a checksum of all that a learner is shown by it, whatever its file says beside."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping

import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.teacher.base import Teacher


def checksum(teacher: Teacher) -> str | None:
    """Return the SHA-256 (hex) of a teacher's kind, tensors and options, with its labeller; None where it has no spec.

    Notes in its file and the version that wrote it have no part in it. One whose classes were brought into the order of
    the real data has the checksum that it had before.

    Args:
        teacher: Any; one of a network that was not built from a spec cannot be told, as it cannot be saved.
    """
    if teacher.fitted_from is not None:
        return teacher.fitted_from
    labeller = teacher.labeller
    try:
        header = {"kind": teacher.kind, **teacher.header()}
        if labeller is not None:
            header["labeller"] = labeller.header(teacher.description)
    except UserError:
        return None
    tensors = dict(teacher.tensors())
    if labeller is not None:
        tensors |= {f"labeller {name}": tensor for name, tensor in labeller.tensors().items()}
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    _add(digest, tensors)
    return digest.hexdigest()


def _add(digest: hashlib._Hash, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in sorted(tensors.items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}".encode())
        digest.update(values.reshape(-1).view(torch.uint8).numpy().data)
