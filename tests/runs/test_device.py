from __future__ import annotations

import pytest
import torch

from gendistill.errors import UserError
from gendistill.runs.device import choose_device


def test_auto_is_a_gpu_if_there_is_one() -> None:
    assert choose_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert choose_device("cpu", local_rank=3) == torch.device("cpu")


def test_an_unknown_device_is_said() -> None:
    with pytest.raises(UserError, match="run.device is 'gpu'; choose auto, cpu, cuda or a numbered GPU"):
        choose_device("gpu")


def test_a_missing_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="torch sees no GPU here; choose cpu or auto"):
        choose_device("cuda")


def test_a_gpu_number_that_is_too_high_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match="needs GPU 5 but torch sees 2 here"):
        choose_device("cuda:5")
    with pytest.raises(UserError, match="needs GPU 2"):
        choose_device("cuda", local_rank=2)


def test_a_device_without_memory_is_refused() -> None:
    with pytest.raises(UserError, match="which torch cannot use here"):
        choose_device("xpu")


def test_a_device_that_holds_no_values_is_refused() -> None:
    with pytest.raises(UserError, match="'meta', which torch cannot use here"):
        choose_device("meta")
