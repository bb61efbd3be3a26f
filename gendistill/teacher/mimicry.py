"""A checkpoint of torch-mimicry as a teacher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gendistill.data.description import Description, check_fits, symmetric
from gendistill.errors import UserError
from gendistill.mimicry.adapter import GeneratorAdapter
from gendistill.mimicry.checkpoints import read_checkpoint
from gendistill.mimicry.convert import from_mimicry, generator_spec
from gendistill.mimicry.networks import build_network, load_weights
from gendistill.objects import build
from gendistill.seeds import initialisation
from gendistill.teacher.generator import GeneratorTeacher


def generator_teacher(
    checkpoint: str | Path, description: Description, network: Mapping[str, Any] | None = None
) -> GeneratorTeacher:
    """Make a teacher of a generator that torch-mimicry trained.

    Args:
        checkpoint: A ``netG_{step}_steps.pth``.
        description: The data set that it was trained on; gives the classes.
        network: The generator as ``class_path`` and ``init_args``. Left out, a ResNet for 32x32 images (see
            :func:`~gendistill.mimicry.convert.generator_spec`) is recognised by its weights and built without
            torch-mimicry.

    Returns:
        The generator with fresh noise, in eval mode. The labels of a generator that takes none are random.

    Raises:
        UserError: The file cannot be read, or does not fit the network or the data set.
    """
    model, _, step = read_checkpoint(checkpoint)
    generator: nn.Module
    if network is None:
        spec = generator_spec(model)
        shape, classes = spec["init_args"]["image_shape"], spec["init_args"].get("num_classes", description.num_classes)
        made_for = Description("torch-mimicry", ("",) * classes, shape, symmetric(shape[0]))
        check_fits(made_for, description, str(checkpoint))
        # The draws are thrown away; this only keeps them from the global generator.
        with initialisation(0, "teacher"):
            generator = build(spec, nn.Module)
        from_mimicry(model, generator)
        unlabelled = "num_classes" not in spec["init_args"]
    else:
        with initialisation(0, "teacher"):
            inner = build_network(network, description)
        load_weights(inner, model, checkpoint)
        generator = GeneratorAdapter(inner)
        unlabelled = not generator.conditional
    metadata = {"source": f"torch-mimicry checkpoint {Path(checkpoint).name}, step {step}"}
    if unlabelled:
        metadata["notes"] = "the generator takes no labels; the labels beside its images are random"
    described = description.with_normalisation(symmetric(description.image_shape[0]))
    teacher = GeneratorTeacher(generator, described, metadata=metadata)
    try:
        # Finite weights may still make no numbers, as where a running variance is negative: found out now.
        next(teacher.batches(1, 2, torch.Generator()))
    except UserError as error:
        raise UserError(f"'{checkpoint}' cannot be used: {error}") from error
    return teacher
