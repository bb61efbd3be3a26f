"""Easiest crops: nothing is optimised; a trained network chooses crops of real images, and may label what is shown.

Sun et al. 2024, "On the Diversity and Realism of Distilled Dataset: An Efficient Dataset Distillation Paradigm" (RDED).
docs/methods/easiest-crops.md tells the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.data.sampling import ClassSampler
from gendistill.decodes.choice import Choice, decode_of
from gendistill.errors import UserError
from gendistill.grids import Grid
from gendistill.nets.learners import learner_for
from gendistill.notes import note
from gendistill.runs.context import RunContext
from gendistill.teacher import Labeller, Teacher
from gendistill.teacher.decoded import teacher_of
from gendistill.words import counted
from trainers.checks import check_counts, check_words
from trainers.class_sizes import check_stored, lowered
from trainers.decoding import class_grids, encoded
from trainers.labellers import LabellerPlan
from trainers.trainer import Trainer

AT_ONCE = 256
"""Crops that the observer looks at together."""
TEMPERATURE = 20.0
"""Of the soft labels, as published."""
Order = Literal["easiest", "random"]


class EasiestCropsTrainer(Trainer):
    """Choose of each of many real images the crop that an observer answers best, and of those the easiest images.

    With the observer's probabilities p and random crops A_1 ... A_m of an image x of class c,

        score(x) = min over k of  -log p_c(shown(A_k(x)))

    where ``shown`` is what a learner will see of the crop, after it was stored in its cell and enlarged again. The
    images_per_class * cells lowest scores of each class are stored, several in one image where the decode says so.

    Args:
        images_per_class: Images of each class, as they are stored; 1 or more.
        decode: How they are stored; ``{factor: 2}``: each image holds 2 x 2 crops. None: one crop each.
        candidates: Real images of each class that are looked at; of a class with fewer all of them.
        crops: Random crops of each.
        least: Area of the smallest crop as a part of the image's, in (0, 1]; 1: whole images.
        order: ``easiest``, or ``random``: crops and images by chance, to see what the choice is worth.
        observer: How the network is trained, or whose labeller it is: the options of
            :class:`trainers.labellers.LabellerPlan`, with a temperature of 20 where none is given and labels are not
            stored.
        soft_labels: Whether the observer is handed over as the labeller of what learners are shown, after augmentation,
            or with ``stored`` among its options labels every crop once; its bytes are part of the budget. Otherwise
            labels are the classes.

    Raises:
        UserError: An option is out of range.
    """

    def __init__(
        self,
        *,
        images_per_class: int = 10,
        decode: Choice = None,
        candidates: int = 300,
        crops: int = 5,
        least: float = 0.08,
        order: Order = "easiest",
        observer: dict[str, Any] | None = None,
        soft_labels: bool = True,
    ) -> None:
        super().__init__()
        check_counts(images_per_class=images_per_class, candidates=candidates, crops=crops)
        if not 0 < least <= 1:
            raise UserError(f"least is {least}; give the smallest crop's part of the area, above 0 and at most 1")
        check_words(order=(order, get_args(Order)))
        self.images_per_class, self.candidates, self.crops = images_per_class, candidates, crops
        self.least, self.order, self.soft_labels = least, order, soft_labels
        self.decode = decode_of(decode)
        # Labels that are stored are learned at a temperature of 1, and RDED's would say next to nothing then.
        usual = {} if (observer or {}).get("stored") else {"temperature": TEMPERATURE}
        self.plan = LabellerPlan.of({**usual, **(observer or {})}, "observer")

    def attach(self, run: RunContext, data: RealData) -> None:
        """Take the run and the data, and build; a step draws nothing, so the base's ``batch_size`` is not used."""
        self.batch_size = run.processes.world
        super().attach(run, data)

    def build(self) -> None:
        """Train the observer and choose, unless the run's saved state brings both."""
        description = self.data.description
        if description.kind != "pictures":
            raise UserError(f"crops are of pictures; '{description.name}' holds {description.kind}")
        self.decode.attach(self.data, self.device)
        self.classes = ClassSampler(self.data.train.labels, description.num_classes, description.class_names)
        self._check_sizes()
        check_stored(description, self.images_per_class * self.decode.cells)
        self.labels = torch.arange(description.num_classes, device=self.device).repeat_interleave(self.images_per_class)
        self.observer = self.plan.attach(self)
        assert self.observer is not None
        labeller = self.plan.network_of(self.observer, description)
        labeller.check(description)
        self.images = torch.zeros(len(self.labels), *self.decode.stored_shape, device=self.device)
        self.score = torch.zeros((), device=self.device)
        if not self.run.directory.has_state:
            self._choose(labeller)

    def _check_sizes(self) -> None:
        cells = self.decode.cells
        if few := self.classes.fewer_than(self.images_per_class * cells):
            if self.classes.smallest < cells:
                raise UserError(f"an image holds {cells} crops of different images of a class, but {few}; choose a "
                                "smaller --trainer.decode factor, or leave decode out")  # fmt: skip
            why = f"it takes {counted(self.images_per_class * cells, 'real image')} of each class, and {few}"
            lowered(self, "images_per_class", self.classes.smallest // cells, why)
        needed = self.images_per_class * cells
        if self.candidates < needed and "candidates" in self.typed:
            raise UserError(
                f"candidates is {self.candidates}, of which {needed} cannot be chosen; give at least {needed}, or "
                "fewer --trainer.images_per_class"
            )
        if self.candidates < needed:  # a table asks one config for sets of several sizes
            said = f"--trainer.candidates is {self.candidates}, but {needed} are chosen of each class"
            note(f"{said}: {needed} are taken")
            self.candidates = needed

    # -- the choice ---------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def _choose(self, labeller: Labeller) -> None:
        drawn = self.classes.draw(self.candidates, self.run.streams["candidates"], repeat=True)
        chosen, scores = [], []
        for label, size in enumerate(self.classes.sizes):
            crops, score = self._of_class(labeller, drawn[label, : min(size, self.candidates)], label)
            chosen.append(crops)
            scores.append(score)
        self.images = encoded(self.decode, torch.cat(chosen), "crops")
        self.score = torch.cat(scores).mean()

    def _of_class(self, labeller: Labeller, index: Tensor, label: int) -> tuple[Tensor, Tensor]:
        """Return the crops (M, C, H, W) of one class that are stored, in the order of choice, and their scores (M,)."""
        generator, wanted = self.run.streams["crops"], self.images_per_class * self.decode.cells
        crops, scores = [], []
        for some in index.split(AT_ONCE):
            images = self.data.train.batch(some, self.normalisation)[0]
            best, least = images, torch.full((len(some),), torch.inf, device=self.device)
            for turn in range(self.crops):
                seen = random_crops(images, self.least, generator)
                score = self._score(labeller, seen, label)
                better = (score < least) if self.order == "easiest" else torch.full_like(score, turn == 0).bool()
                best = torch.where(better[:, None, None, None], seen, best)
                least = torch.where(better, score, least)
            crops.append(best)
            scores.append(least)
        score = torch.cat(scores)
        # Candidates come in a random order, so that the first ones are a random choice.
        order = score.argsort(stable=True) if self.order == "easiest" else torch.arange(len(score), device=score.device)
        return torch.cat(crops)[order[:wanted]], score[order[:wanted]]

    def _score(self, labeller: Labeller, crops: Tensor, label: int) -> Tensor:
        """Return the observer's cross-entropy (N,) of crops (N, C, H, W) as learners would see them."""
        labels = torch.full((len(crops),), label, device=self.device)
        logits = labeller.logits(self._shown(crops, label), self.normalisation)
        return F.cross_entropy(logits, labels, reduction="none")

    def _shown(self, crops: Tensor, label: int) -> Tensor:
        """Return crops (N, C, H, W) as they come out of the decode."""
        missing = -len(crops) % self.decode.cells
        whole = torch.cat([crops, crops[-1:].expand(missing, -1, -1, -1)])
        values = self.decode.encode(whole)
        return self.decode(values, torch.full((len(values),), label, device=self.device))[: len(crops)]

    # -- what comes of it ---------------------------------------------------------------------------------------------

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Change nothing: the images are chosen when the run starts.

        Args:
            batch: Not looked at.

        Returns:
            ``loss/observer``: the mean score of the crops that are stored.
        """
        return {"loss/observer": self.score}

    def teacher(self) -> Teacher:
        """Return the images, class by class, with the observer as their labeller if labels are soft."""
        description = self.data.description.with_normalisation(self.normalisation)
        metadata: Mapping[str, Any] = {
            "source": f"{type(self).__name__}, {self.order} crops",
            "seed": self.run.options.seed,
            "learner": learner_for(self.plan.learner, self.data.description),
            "augmentation": "none",
            "images_per_class": self.images_per_class,
            "start": "real",
        }
        made = teacher_of(self.decode, self.images.clone(), self.labels.clone(), description, metadata=metadata)
        return self.plan.label(made, self.observer, self.data.description) if self.soft_labels else made

    def samples(self) -> dict[str, Grid]:
        """Return the images as pixels, one column a class, at most ten rows; and as stored, if that differs."""
        rows = self.data.description.num_classes, self.images_per_class
        return class_grids(self.decode, self.images.unflatten(0, rows), self.labels.view(rows), self.normalisation)


def random_crops(images: Tensor, least: float, generator: torch.Generator) -> Tensor:
    """Return a random crop of each image, of its own shape and enlarged bilinearly to its size.

    Args:
        images: (N, C, H, W).
        least: Area of the smallest, as a part of the image's; areas are uniform from there to the whole.
        generator: Draws areas and places.
    """
    count = len(images)
    area = least + (1 - least) * torch.rand(count, generator=generator, device=generator.device)
    scale = area.sqrt().to(images.device)
    place = (2 * torch.rand(count, 2, generator=generator, device=generator.device) - 1).to(images.device)
    matrix = torch.zeros(count, 2, 3, device=images.device)
    matrix[:, 0, 0] = matrix[:, 1, 1] = scale
    matrix[:, :, 2] = place * (1 - scale)[:, None]
    points = F.affine_grid(matrix, list(images.shape), align_corners=False)
    # At its edge a crop would look half a pixel beyond the image.
    return F.grid_sample(images, points, align_corners=False, padding_mode="border")
