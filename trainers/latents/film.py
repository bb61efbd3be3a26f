"""What a search looked like on its way: pictures at even distances, however long it goes on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gendistill.errors import UserError


class Film:
    """Keeps between ``frames`` and twice as many pictures of a run.

    When there are more, every second one is dropped and the distance is doubled, so that a run that is continued beyond
    its planned end still has an even film.

    Args:
        frames: Pictures of a run of ``steps`` steps; 0: none.
        steps: Its planned length.

    Raises:
        UserError: ``frames`` is negative.
    """

    def __init__(self, frames: int, steps: int) -> None:
        if frames < 0:
            raise UserError(f"film_frames is {frames}; give 0 for no film, or the number of its pictures")
        self.frames = frames
        self.interval = max(1, steps // frames) if frames else 0
        self.steps: list[int] = []
        self.images: list[Tensor] = []

    def look(self, step: int, pixels: Callable[[], Tensor]) -> None:
        """Keep the pictures of a step if it is one of those to keep.

        Args:
            step: Steps done.
            pixels: Makes the pictures (N, C, H, W) in [0, 1]; only called when they are kept.
        """
        if not self.frames or step % self.interval:
            return
        with torch.no_grad():
            self.images.append((pixels().clamp(0, 1) * 255).round().to(torch.uint8).cpu())
        self.steps.append(step)
        if len(self.steps) > 2 * self.frames:
            self.interval *= 2
            kept = [place for place, at in enumerate(self.steps) if at % self.interval == 0]
            self.steps, self.images = [self.steps[k] for k in kept], [self.images[k] for k in kept]

    def state_dict(self) -> dict[str, Any]:
        """Return the pictures and where they were taken."""
        return {"interval": self.interval, "steps": list(self.steps), "images": list(self.images)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put them back."""
        self.interval = int(state["interval"])
        self.steps = [int(step) for step in state["steps"]]
        self.images = [images.cpu() for images in state["images"]]
