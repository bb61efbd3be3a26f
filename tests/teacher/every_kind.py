"""A small teacher of every kind, and what it means that two teachers are the same."""

from __future__ import annotations

import json
from typing import Any

import torch
from hypothesis import HealthCheck, settings
from torch import nn

from gendistill.data.description import Description
from gendistill.decodes import Formation
from gendistill.objects import build
from gendistill.seeds import initialisation
from gendistill.teacher import GeneratorTeacher, Labeller, RealSubset, StoredImages, Teacher, labelled

KINDS = ("hard", "soft", "subset", "fresh", "pool", "curriculum", "sheets", "labelled")
QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def small_teacher(kind: str, description: Description, network: nn.Module) -> Teacher:
    """Return a teacher of one of ``KINDS``, the same each time."""
    rng = torch.Generator().manual_seed(1)
    images, hard = torch.randn(6, 1, 4, 4, generator=rng), torch.tensor([0, 1, 2, 2, 1, 0])
    notes: dict[str, Any] = {"seed": 7, "learner": {"class_path": "x.Y"}, "notes": "é | \n"}
    if kind == "hard":
        return StoredImages(images, hard, description, metadata=notes)
    if kind == "sheets":
        return StoredImages(images, hard, description, decode=Formation(2), metadata=notes)
    if kind == "labelled":
        spec = {"class_path": "gendistill.nets.learners.MLP", "init_args": {"width": 3}}
        with initialisation(0, "labeller"):
            answers = build(spec, nn.Module, num_classes=description.num_classes, image_shape=description.image_shape)
        labeller = Labeller(answers, description.normalisation, temperature=3)
        return labelled(StoredImages(images, hard, description, metadata=notes), labeller)
    if kind == "soft":
        soft, rates = torch.rand(6, 3, generator=rng), torch.tensor([0.1, 0.2])
        return StoredImages(images, soft, description, order="fixed", learning_rates=rates, momenta=rates)
    if kind == "subset":
        return RealSubset(torch.arange(96).view(6, 1, 4, 4).to(torch.uint8), hard, description)
    if kind == "fresh":
        return GeneratorTeacher(network, description, prior="sphere", metadata=notes)
    if kind == "pool":
        latents = torch.randn(6, 4, generator=rng)
        return GeneratorTeacher(network, description, latents=latents, labels=hard)
    latents, soft, rates = torch.randn(2, 3, 4, generator=rng), torch.rand(2, 3, 3, generator=rng), torch.rand(2)
    return GeneratorTeacher(
        network,
        description,
        latents=latents,
        labels=soft,
        conditions=hard.view(2, 3),
        learning_rates=rates,
        momenta=rates,
        batch_norm="batch",
    )


def same(one: Teacher, other: Teacher) -> None:
    """Fail unless two teachers hold the same and show the same."""
    assert type(one) is type(other)
    assert one.description == other.description and one.metadata == other.metadata
    assert json.dumps(one.header(), sort_keys=True) == json.dumps(other.header(), sort_keys=True)
    tensors, others = one.tensors(), other.tensors()
    assert tensors.keys() == others.keys()
    for name in tensors:
        assert tensors[name].dtype == others[name].dtype and torch.equal(tensors[name], others[name]), name
    assert (one.labeller is None) == (other.labeller is None) and one.budget() == other.budget()
    if one.labeller is not None and other.labeller is not None:
        answers = [
            labeller(torch.ones(2, *one.description.image_shape), one.description.normalisation)
            for labeller in (one.labeller, other.labeller)
        ]
        assert torch.equal(*answers)
    batches = [teacher.batches(3, 4, torch.Generator().manual_seed(5)) for teacher in (one, other)]
    for left, right in zip(*batches, strict=True):
        for a, b in zip(left, right, strict=True):
            assert (a is None and b is None) or torch.equal(a, b)
