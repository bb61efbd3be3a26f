"""Soft labels that a network gives once, to each image as it is, and that are stored beside the images.

A labeller (:mod:`gendistill.teacher.labeller`) speaks of every augmented batch and is handed over with the images. Here
it speaks once: K numbers an image are all that is kept of it, as in "A Label is Worth a Thousand Images" (Qin et al.
2024) and in NCFM (Wang et al. 2025).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill.teacher.base import Teacher
from gendistill.teacher.labeller import AT_ONCE, Labeller, check_temperature
from gendistill.teacher.stored import StoredImages

Kind = TypeVar("Kind", bound=Teacher)
NOTED = "stored_labels"
"""Where a teacher's metadata say by what its labels were given."""


@torch.no_grad()
def with_stored_labels(teacher: Kind, labeller: Labeller, *, temperature: float = 1.0, corrected: bool = True) -> Kind:
    """Return a teacher of the same images, each with the label softmax(network(image) / temperature).

    Where a stored image shows several, each of these gets a label of its own. A labeller that the teacher had is gone.

    Args:
        teacher: One that stores images or latents; it stays what it is.
        labeller: Its network is asked; its own temperature has no say.
        temperature: Of the softmax; learners are asked at 1 whatever it is.
        corrected: An image for which the network holds another class the likeliest keeps its own, with probability 1
            (NCFM). The image's own is the likeliest one of its label.

    Raises:
        UserError: The temperature is out of range, the network does not suit the images, or the teacher makes images
            without end.
    """
    check_temperature(temperature)
    teacher.check_relabelled()
    labeller = labeller.to(teacher.device)
    labeller.check(teacher.description)
    answers, labels = [], []
    for images, told in _shown(teacher):
        answers.append(labeller.logits(images, teacher.description.normalisation))
        labels.append(told)
    given, own = (torch.cat(answers) / temperature).softmax(1), torch.cat(labels)
    classes = own.argmax(-1) if own.is_floating_point() else own
    errs = given.argmax(1) != classes
    if corrected:
        given[errs] = F.one_hot(classes[errs], given.shape[1]).to(given)
    found = teacher.relabelled(given)
    found.labeller = None
    noted = {"network": getattr(labeller.network, "spec", None), "temperature": temperature, "corrected": corrected,
             "errors": int(errs.sum()), "images": len(given)}  # fmt: skip
    found.metadata = {**teacher.metadata, NOTED: noted}
    return found


def _shown(teacher: Teacher) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield all images with their labels in stored order, of stored ones a few at a time."""
    if not isinstance(teacher, StoredImages):
        yield teacher.everything()
        return
    for index in torch.arange(teacher.decoded_images).split(AT_ONCE):
        yield teacher.pick(index)
