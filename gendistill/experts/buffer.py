"""All experts of a run: opened or trained, and read snapshot by snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.experts.files import expert_path, read_header, read_snapshot
from gendistill.experts.recipe import Recipe, folder_name, identity
from gendistill.experts.training import missing_experts, train_experts
from gendistill.regular import expanded
from gendistill.runs.processes import Processes


class ExpertBuffer:
    """Experts in files; nothing of them stays in memory, however many there are.

    Args:
        folder: Where the files are.
        known: Their :func:`gendistill.experts.recipe.identity`.
        count: Experts, numbered from 0.
        epochs: Snapshots of each besides the first weights.

    Raises:
        UserError: An expert is missing, damaged, too short or another one.
    """

    def __init__(self, folder: Path, known: Mapping[str, Any], count: int, epochs: int) -> None:
        self.folder, self.count, self.epochs = folder, count, epochs
        missing = missing_experts(folder, known, range(count), epochs)
        if missing:
            raise UserError(
                f"'{folder}' lacks {len(missing)} of {count} experts of {epochs} epochs, the first is number "
                f"{missing[0]}; start the run anew to have them trained"
            )

    def __len__(self) -> int:
        return self.count

    def snapshot(self, expert: int, at: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
        """Return an expert's parameters by name after ``at`` epochs.

        Raises:
            UserError: The file is damaged.
        """
        found = read_snapshot(expert_path(self.folder, expert), at)
        return {name: value.to(device, non_blocking=True) for name, value in found.items()}

    def check_fits(self, learner: nn.Module) -> None:
        """Refuse experts whose parameters are not those of a learner: its code changed since they were trained.

        Raises:
            UserError: Names or shapes differ.
        """
        path = expert_path(self.folder, 0)
        wanted = {name: tuple(value.shape) for name, value in learner.named_parameters() if value.requires_grad}
        if read_header(path)["shapes"] != wanted:
            raise UserError(
                f"'{path}' has other parameters than the learner {type(learner).__name__} has now; choose another "
                "folder for experts"
            )

    def accuracies(self) -> list[float | None]:
        """Return each expert's accuracy on validation images at its end."""
        return [read_header(expert_path(self.folder, expert))["accuracy"] for expert in range(self.count)]


def expert_buffer(
    learner: Mapping[str, Any],
    data: RealData,
    recipe: Recipe,
    count: int,
    epochs: int,
    *,
    root: str | Path,
    folder: str | Path | None = None,
    processes: Processes | None = None,
    at_once: int | None = None,
    progress: bool = False,
) -> ExpertBuffer:
    """Return experts; those that are not in their folder yet are trained now, shared out among the processes.

    Args:
        learner: Spec of the network.
        data: The real data, on the device to train on.
        recipe: How experts are trained.
        count: How many, at least 1.
        epochs: Snapshots of each besides the first weights, at least 1.
        root: Where experts are kept if no folder is named: in ``root/experts/``, under a name made of their identity,
            so that runs with the same experts share them.
        folder: Where their files are.
        processes: The processes of the run; None: this one alone.
        at_once: See :func:`gendistill.experts.training.train_experts`.
        progress: Say on stderr how far they are.

    Raises:
        UserError: A file is damaged or of other experts, or an expert diverged.
        StorageError: A file cannot be written.
    """
    processes = processes or Processes()
    known = identity(learner, data, recipe)
    place = Path(root) / "experts" / folder_name(known) if folder is None else expanded(folder)
    mine = list(range(processes.rank, count, processes.world))
    train_experts(data, place, known, mine, epochs, recipe=recipe, at_once=at_once, progress=progress)
    processes.barrier()
    return ExpertBuffer(place, known, count, epochs)
