"""The generator whose latents are moved."""

from __future__ import annotations

import torch

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.teacher import GeneratorTeacher
from gendistill.teacher.reference import open_teacher


def open_generator(reference: str, data: RealData, device: torch.device) -> GeneratorTeacher:
    """Open a teacher that has a latent space.

    Args:
        reference: A generator teacher's file, the directory of the run that trained it, or a torch-mimicry checkpoint.
        data: The data set that its images stand for.
        device: Where it goes.

    Raises:
        UserError: It cannot be opened, or holds images and no generator.
    """
    opened = open_teacher(reference, data, device=device)
    if not isinstance(opened, GeneratorTeacher):
        raise UserError(
            f"'{reference}' is a teacher of kind '{opened.kind}', which has no latent space; give a "
            "generator's file or run"
        )
    return opened
