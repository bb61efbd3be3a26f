"""What a train_step of torch-mimicry logs to: the interface of its MetricLog, without waiting for the device."""

from __future__ import annotations

from collections.abc import ItemsView, KeysView
from typing import Any

import torch
from torch import Tensor

from gendistill.errors import UserError


class MetricLog:
    """Collects the metrics of one step; a tensor stays on its device until somebody reads it.

    Args:
        device: Where numbers that are no tensors are put.
    """

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self._device = torch.device(device)
        self._metrics: dict[str, dict[str, Any]] = {}

    def add_metric(self, name: str, value: Tensor | float, group: str | None = None, precision: int = 4) -> None:
        """Take a metric; of several of one name the last counts.

        Args:
            name: Such as ``errD``.
            value: A number or a tensor with one element.
            group: Metrics of one group share a plot, such as ``loss``.
            precision: Digits after the point when the metric is read by its name.

        Raises:
            UserError: The tensor has more than one element.
        """
        if isinstance(value, Tensor):
            if value.numel() != 1:
                raise UserError(f"metric '{name}' has shape {tuple(value.shape)}; log one number, such as its mean")
            value = value.detach().reshape(())
        else:
            value = torch.full((), float(value), device=self._device)
        self._metrics[name] = {"value": value, "group": group, "precision": precision}

    def include(self, returned: Any) -> None:
        """Take the metrics of what a ``train_step`` returned: this log, another one, or nothing."""
        if returned is None or returned is self:
            return
        for name, metric in returned.items():
            self.add_metric(name, metric["value"], metric["group"], metric["precision"])

    def __getitem__(self, name: str) -> float:
        """Return a metric's number, rounded; on a GPU this waits for it."""
        metric = self._metrics[name]
        return round(float(metric["value"]), metric["precision"])

    def get_group_name(self, name: str) -> str | None:
        """Return the group of a metric."""
        group: str | None = self._metrics[name]["group"]
        return group

    def keys(self) -> KeysView[str]:
        """Return the metrics' names."""
        return self._metrics.keys()

    def items(self) -> ItemsView[str, dict[str, Any]]:
        """Return pairs of name and ``{"value", "group", "precision"}``."""
        return self._metrics.items()

    def scalars(self) -> dict[str, Tensor]:
        """Return the metrics as scalar tensors, by ``group/name``, or by name where there is no group."""
        return {
            name if metric["group"] is None else f"{metric['group']}/{name}": metric["value"]
            for name, metric in self._metrics.items()
        }
