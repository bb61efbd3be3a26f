"""RDED in one file: the crops of real images that a trained network finds easiest, and that network's soft labels.

Sun et al. 2024, "On the Diversity and Realism of Distilled Dataset: An Efficient Dataset Distillation Paradigm".
Nothing is optimised. The network, the observer, labels what learners are shown after augmentation; its bytes count.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill.data.sampling import ClassSampler
from gendistill.decodes.choice import decode_of
from gendistill.evaluation.victims import trained_learners
from gendistill.nets.learners import default_learner
from gendistill.teacher import Labeller, Teacher
from gendistill.teacher.decoded import teacher_of
from trainers.trainer import Trainer


class RDEDLike(Trainer):
    """Choose the easiest crop of each of many real images, then the easiest images, and stitch them.

    Args:
        images_per_class: Images of each class, as they are stored.
        factor: Crops along a side of each.
        candidates: Real images of each class that are looked at.
        crops: Crops of each.
        updates: Updates of the observer on real images.
        temperature: Of its soft labels.
        learner: The observer; None: the data set's default learner.
    """

    def __init__(
        self,
        images_per_class: int = 10,
        factor: int = 1,
        candidates: int = 300,
        crops: int = 5,
        updates: int = 300,
        temperature: float = 20.0,
        learner: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.images_per_class, self.candidates, self.crops = images_per_class, candidates, crops
        self.updates, self.temperature, self.learner = updates, temperature, learner
        self.decode = decode_of({"factor": factor})

    def build(self) -> None:
        """Train the observer and choose."""
        description, seed = self.data.description, self.run.options.seed
        self.decode.attach(self.data, self.device)
        spec = self.learner or default_learner(description)
        (self.observer,) = trained_learners(spec, self.data, [seed], updates=self.updates)
        sampler = ClassSampler(self.data.train.labels, description.num_classes, description.class_names)
        drawn = sampler.draw(min(self.candidates, sampler.smallest), self.run.streams["candidates"])
        self.labels = torch.arange(description.num_classes, device=self.device).repeat_interleave(self.images_per_class)
        chosen = [self.easiest(index, label) for label, index in enumerate(drawn)]
        self.images = self.decode.encode(torch.cat(chosen))

    @torch.no_grad()
    def easiest(self, index: Tensor, label: int) -> Tensor:
        """Return the crops of one class that the observer answers best, one of an image, easiest first."""
        images = self.data.train.batch(index, self.normalisation)[0]
        views, losses = [], []
        for _ in range(self.crops):
            shown = random_crops(images, self.run.streams["crops"])
            answers = self.observer.eval()(shown)
            views.append(shown)
            losses.append(F.cross_entropy(answers, torch.full_like(index, label), reduction="none"))
        loss, best = torch.stack(losses).min(0)
        easiest = loss.argsort()[: self.images_per_class * self.decode.cells]
        return torch.stack(views)[best[easiest], easiest]

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Do nothing: the images are chosen when the run starts."""
        return {"images": torch.ones((), device=self.device)}

    def teacher(self) -> Teacher:
        """Return the images with the observer as their labeller."""
        labeller = Labeller(self.observer, self.normalisation, temperature=self.temperature)
        return teacher_of(
            self.decode, self.images.clone(), self.labels, self.data.description,
            metadata={"source": "easiest crops", "seed": self.run.options.seed}, labeller=labeller,
        )  # fmt: skip


def random_crops(images: Tensor, generator: torch.Generator) -> Tensor:
    """Return a random square of each image, at least a quarter of its area, enlarged to its size."""
    count = len(images)
    scale = (0.25 + 0.75 * torch.rand(count, generator=generator, device=generator.device)).sqrt().to(images.device)
    shift = (2 * torch.rand(count, 2, generator=generator, device=generator.device) - 1).to(images.device)
    shift = shift * (1 - scale)[:, None]
    places = torch.zeros(count, 2, 3, device=images.device)
    places[:, 0, 0] = places[:, 1, 1] = scale
    places[:, :, 2] = shift
    return F.grid_sample(images, F.affine_grid(places, list(images.shape), align_corners=False), align_corners=False)
