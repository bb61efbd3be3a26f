"""The numbers that training steps return: kept on the device, looked at rarely."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from gendistill.errors import DivergenceError
from gendistill.json_file import Is, mapping, real, table_of, whole
from gendistill.runs.processes import Processes, StoppedByAnother

FOLD_AT = 256


METRICS = Is(
    lambda value: (
        mapping(value)
        and set(value) == {"sums", "counts"}
        and table_of(real)(value["sums"])
        and table_of(lambda count: whole(count) and count > 0)(value["counts"])
        and set(value["sums"]) == set(value["counts"])
    ),
    "sums and counts of metrics",
)
"""What :meth:`Metrics.state_dict` returns."""


class Metrics:
    """Collects named scalars step by step, checks that each is finite, and gives their means.

    Reading a number from a GPU makes the program wait for it, so the steps' tensors are only kept; :meth:`fold` reads
    them all at once.

    Args:
        processes: Metrics are averaged over them.
    """

    def __init__(self, processes: Processes) -> None:
        self._processes = processes
        self._waiting: list[tuple[int, str, Tensor | float]] = []
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def add(self, step: int, values: Mapping[str, Tensor | float]) -> None:
        """Take what one step returned.

        Args:
            step: The step, from 1.
            values: Scalar tensors, fresh ones in each step (a buffer that is written again would change its past).
        """
        for name, value in values.items():
            self._waiting.append((step, name, value.detach() if isinstance(value, Tensor) else value))

    @property
    def full(self) -> bool:
        """Whether enough is waiting that it should be folded."""
        return len(self._waiting) >= FOLD_AT

    def fold(self) -> None:
        """Read what is waiting.

        Raises:
            DivergenceError: A metric was NaN or infinite; the message names it and the step.
        """
        if not self._waiting:
            return
        device = next((value.device for _, _, value in self._waiting if isinstance(value, Tensor)), torch.device("cpu"))
        values = torch.stack(
            [torch.as_tensor(value, device=device, dtype=torch.float32).reshape(()) for _, _, value in self._waiting]
        )
        numbers = self._processes.mean(values).double().cpu()
        waiting, self._waiting = self._waiting, []
        finite = numbers.isfinite()
        if not finite.all():
            place = int(finite.logical_not().nonzero()[0, 0])
            step, name, _ = waiting[place]
            processes, where = self._processes, ""
            if processes.world > 1:
                first = processes.first(not bool(values[place].isfinite()))
                if first not in (None, processes.rank):
                    raise StoppedByAnother(processes.number, first, name=processes.name(first))
                where = "" if first is None else f" in {processes.name(first)}"
            raise DivergenceError(f"'{name}' became NaN or infinite at step {step}{where}")
        for (_, name, _), number in zip(waiting, numbers.tolist(), strict=True):
            self._sums[name] = self._sums.get(name, 0.0) + number
            self._counts[name] = self._counts.get(name, 0) + 1

    def flush(self) -> dict[str, float]:
        """Return the means since the last flush, by name, and start anew.

        Raises:
            DivergenceError: See :meth:`fold`.
        """
        self.fold()
        means = {name: total / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means

    def state_dict(self) -> dict[str, Any]:
        """Return the folded sums, so that the interrupted interval's mean is that of all its steps."""
        return {"sums": dict(self._sums), "counts": dict(self._counts)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue the interval that was interrupted."""
        self._waiting = []
        self._sums, self._counts = dict(state["sums"]), dict(state["counts"])
