"""Numbers that are not numbers: refused by name, before a maximum or a comparison turns them into the best value."""

from __future__ import annotations

import torch
from torch import Tensor

from gendistill.errors import UserError

AGAIN = "make the teacher again from a good state"


def is_finite(tensor: Tensor) -> bool:
    """Return whether no value is NaN or infinite; whole numbers always are."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return True
    # Of numbers of 8 bits torch cannot ask it.
    return bool(torch.isfinite(tensor.float() if tensor.element_size() == 1 else tensor).all())


def check_finite(name: str, tensor: Tensor, advice: str = AGAIN) -> Tensor:
    """Return the tensor, or refuse it by name.

    Args:
        name: What the values are called.
        tensor: Of any shape and type.
        advice: How to mend it, the end of the sentence.

    Raises:
        UserError: A value is NaN or infinite.
    """
    if not is_finite(tensor):
        raise UserError(f"'{name}' holds values that are NaN or infinite; {advice}")
    return tensor
