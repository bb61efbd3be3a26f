"""One call for every data set: ``load("cifar10")``."""

from __future__ import annotations

from pathlib import Path

import torch

from gendistill.data.digits import load_digits
from gendistill.data.real import RealData
from gendistill.errors import UserError, did_you_mean

NAMES = ("digits",)


def load(name: str, root: str | Path | None = None, device: torch.device | str = "cpu", seed: int = 0) -> RealData:
    """Load a data set with its fixed split, as uint8 on the device."""
    if name == "digits":
        return load_digits().to(device)
    raise UserError(f"there is no data set '{name}'; {did_you_mean(name, NAMES)}choose one of: {', '.join(NAMES)}")
