"""How a published file is read: what its numbers and labels are taken for, each of which may be taken otherwise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from gendistill.data.description import Normalisation
from gendistill.data.real import RealData
from gendistill.data.whitening import EPSILON
from gendistill.errors import UserError
from gendistill.regular import expanded
from gendistill.teacher.base import Teacher
from gendistill.teacher.folder import is_image_folder
from gendistill.teacher.imports import import_teacher
from gendistill.teacher.reference import FILE_NAME, open_teacher
from gendistill.teacher.result_files import find_result
from gendistill.teacher.stored import StoredImages
from gendistill.teacher.torch_files import are_tensors, read

ALTERED = ("no", "transposed", "channels reversed", "negative")


@dataclass(frozen=True)
class Reading:
    """One way to read a result.

    Attributes:
        form: See :func:`gendistill.teacher.imports.import_teacher`, as for the next five.
        values: What the images' numbers are.
        labels: What the labels are.
        epsilon: Of the whitening.
        experiment: Which set of a file.
        learning_rate: The learner's, where the file has none.
        factor: Of the formation that images are stored in; None: as the folder's name says, else 1.
        normalisation: What the file's numbers are normalised by, whatever ``values`` says; None: as ``values`` says.
        altered: How the images are changed: ``transposed`` (height and width), ``channels reversed`` (blue first),
            ``negative`` (dark for bright), or ``no``.
        classes: The class that each of the file's classes is; None: the same.
    """

    form: str = "auto"
    values: str = "auto"
    labels: str = "auto"
    epsilon: float = EPSILON
    experiment: int | None = None
    learning_rate: float | None = None
    normalisation: Normalisation | None = None
    altered: str = "no"
    classes: tuple[int, ...] | None = None
    factor: int | None = None

    def open(self, path: str | Path, data: RealData) -> Teacher:
        """Read a result.

        Args:
            path: A file or folder of public code, or anything else that is a teacher.
            data: The real data that it stands for.

        Raises:
            UserError: It cannot be read so.
        """
        if is_public(path):
            values = "pixels" if self.normalisation is not None else self.values
            teacher: Teacher = import_teacher(
                path,
                data,
                form=self.form,
                values=values,
                labels=self.labels,
                epsilon=self.epsilon,
                experiment=self.experiment,
                learning_rate=self.learning_rate,
                factor=self.factor,
            )
        else:
            self._only_as_it_is()
            teacher = open_teacher(path, data)
        if self.normalisation is None and self.altered == "no" and self.classes is None:
            return teacher
        teacher = teacher.unrounded() if isinstance(teacher, StoredImages) else teacher
        if not isinstance(teacher, StoredImages) or not teacher.images.is_floating_point():
            raise UserError("only distilled images can be read in another way than they say")
        return self._changed(teacher)

    def _only_as_it_is(self) -> None:
        asked = {name: getattr(self, name) for name in ("form", "values", "labels")}
        named = [f"--{'format' if name == 'form' else name}" for name, word in asked.items() if word != "auto"]
        if self.experiment is not None:
            named.append("--experiment")
        if self.factor is not None:
            named.append("--factor")
        if self.learning_rate is not None:
            named.append("--learning-rate")
        if named:
            raise UserError(f"a teacher's own file says what it holds; leave out {', '.join(named)}")

    def _changed(self, teacher: StoredImages) -> StoredImages:
        """Return other images or labels in the place of those that were read."""
        description, images, labels = teacher.description, teacher.images, teacher.labels
        if self.normalisation is not None:
            description = description.with_normalisation(self.normalisation)
        if self.altered == "transposed":
            images = images.transpose(2, 3).contiguous()
        elif self.altered == "channels reversed":
            # In pixels: each channel has its own normalisation.
            own = description.normalisation
            images = own.apply(own.invert(images).flip(1))
        elif self.altered == "negative":
            own = description.normalisation
            images = own.apply(1.0 - own.invert(images))
        if self.classes is not None:
            labels = _renamed(labels, self.classes)
        return StoredImages(
            images,
            labels,
            description,
            decode=teacher.decode,
            order=teacher.order,
            batch_size=teacher.batch_size,
            learning_rates=teacher.learning_rates,
            momenta=teacher.momenta,
            metadata=teacher.metadata,
        )


def is_public(path: str | Path) -> bool:
    """Return whether a path means what public code saved (or an export), and not a teacher of its own."""
    text, place = str(path), expanded(path)
    if text == "real" or text.startswith("real:") or place.suffix == ".safetensors":
        return False
    if not place.is_dir():
        return True
    if (place / FILE_NAME).is_file() or (place / "config.yaml").is_file():
        return False
    return any(place.rglob("*.pt")) or any(place.rglob("*.pth")) or not is_image_folder(place)


def count_sets(path: str | Path) -> int:
    """Return how many sets of images a result holds; 1 where it is not a list of sets."""
    if not is_public(path):
        return 1
    content = read(find_result(expanded(path)))
    sets = content.get("data") if isinstance(content, dict) else None
    # One pair of tensors in the place of a list is one set.
    return len(sets) if isinstance(sets, list | tuple) and not are_tensors(sets, 2) else 1


def _renamed(labels: Tensor, classes: tuple[int, ...]) -> Tensor:
    """Return labels whose class k is the class ``classes[k]``."""
    renamed = torch.tensor(classes, device=labels.device)
    if labels.ndim == 1:
        return renamed[labels]
    moved = torch.empty_like(labels)
    moved[:, renamed] = labels
    return moved
