"""Private gradient matching: images that give random networks the noisy gradients of private ones.

After Chen, Kerkouche, Fritz 2022, "Private Set Generation with Discriminative Information" (PSG), with few private
sums: each is matched several times, and networks learn from the synthetic images in between, which costs nothing. As
in Zhao, Mopuri, Bilen 2021 ("Dataset Condensation with Gradient Matching") and unlike PSG classes are matched one by
one: a record has one class, so the sums of all classes cost what one of them costs.
docs/methods/private-teachers.md tells the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.decodes.choice import Choice
from gendistill.errors import UserError
from gendistill.losses.matching import gradient_distance
from gendistill.nets.ema import warmed
from gendistill.nets.learners import build_learner, default_learner
from gendistill.teacher import Teacher
from trainers.checks import check_counts
from trainers.image_optimisers import Kind, fall
from trainers.matching import MatchingTrainer
from trainers.private import (
    PrivateTrainer,
    check_class_size,
    check_spare,
    require_no_statistics,
    sample_rate,
    sum_name,
)
from trainers.private_start import check_public_start, count_start
from trainers.record_gradients import in_shapes, record_gradients


def record_loss(applied: Any, image: Tensor, label: Tensor) -> Tensor:
    """Return a record's cross-entropy."""
    return F.cross_entropy(applied(image[None]), label[None])


class PrivateGradientMatchingTrainer(PrivateTrainer, MatchingTrainer):
    """Match the noisy gradient of a sample of private images, in a network that learned from the synthetic ones.

    Args:
        class_size: About how many images a class has: a public number, from which the rate of a sample follows.
        clip: Norm to which a record's gradient is clipped.
        spare: Sums that the noise leaves room for beyond ``run.steps``.
        sample: Records that a sample of all classes has on average.
        matches: Steps of the images for each private sum.
        by_class: A sum for each class, which its images match; without it one of all classes together (PSG), in
            which much of what tells classes apart cancels out.
        age: Updates on the synthetic images that a network has made at most when it is asked; each step draws how many.
        lr_network: SGD's rate of these updates.
        images_per_class: See :class:`~trainers.matching.MatchingTrainer`.
        decode: See there.
        images: What images start from: ``noise``; a private teacher, whose sums count here, too; or a public one.
        public_start: Declares that no private image has gone into what the run starts from, images or the generator of
            a ``decode``; what is declared goes into the teacher's file.
        lr_images: Rate of the images, in normalised units; it falls to zero along a cosine.
        momentum: SGD's momentum of the images.
        optimizer: See :class:`~trainers.matching.MatchingTrainer`; PSG's is ``sgd``.
        ema_decay: See there.
        learner: The network; without batch norm.
        epsilon: See :class:`~trainers.private.PrivateTrainer`, as for the others.
        delta: See there.
        accountant: See there.
        unit: See there.

    Raises:
        UserError: An option is out of range.
    """

    takes_terms = False
    public: ClassVar[tuple[str, ...]] = ("about how many images a class has (class_size)", "the random networks")

    def __init__(
        self,
        *,
        class_size: int | None = None,
        clip: float = 0.1,
        spare: int = 2,
        sample: int = 1024,
        matches: int = 10,
        by_class: bool = True,
        age: int = 0,
        lr_network: float = 0.01,
        images_per_class: int = 10,
        decode: Choice = None,
        images: str = "noise",
        public_start: bool = False,
        lr_images: float = 0.1,
        momentum: float = 0.5,
        optimizer: Kind = "adam",
        ema_decay: float = 0.99,
        learner: dict[str, Any] | None = None,
        epsilon: float = 1.0,
        delta: float = 1e-5,
        accountant: str = "rdp",
        unit: str = "one image",
    ) -> None:
        check_counts(sample=sample, matches=matches)
        check_public_start(images)
        super().__init__(
            epsilon=epsilon,
            delta=delta,
            accountant=accountant,
            unit=unit,
            images_per_class=images_per_class,
            decode=decode,
            images=images,
            lr_images=lr_images,
            momentum=momentum,
            optimizer=optimizer,
            ema_decay=ema_decay,
            real_batch=1,
            learner=learner,
            augment="none",
        )
        if not 0 < clip < float("inf") or not 0 < lr_network < float("inf"):
            raise UserError(f"clip and lr_network must be positive, got {clip} and {lr_network}")
        if isinstance(age, bool) or not isinstance(age, int) or age < 0:
            raise UserError(f"age is {age!r}; give a whole number from 0")
        self.public_start = public_start
        self.class_size, self.clip, self.spare = check_class_size(class_size), float(clip), check_spare(spare)
        self.sample, self.matches, self.age, self.lr_network = sample, matches, age, lr_network
        self.by_class = by_class

    def build(self) -> None:
        """Make the images, and find the noise."""
        super().build()
        require_no_statistics(self.network)
        self.spec = self.learner_spec or default_learner(self.data.description)
        classes = self.data.description.num_classes
        whole = f"{classes} classes of {self.class_size} images"
        self.rate = sample_rate(self.sample, self.class_size * classes, whole)
        count_start(self)
        self.noise_multiplier = self.ledger.noise_for(self.steps + self.spare, self.rate)
        self.sums.at_once = 32

    def distance(self, network: Any, real: Tensor, synthetic: Tensor, first_class: int) -> Tensor:
        """Not used: all classes are matched together; see :meth:`train_step`."""
        raise NotImplementedError

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Make one private sum, or one of each class, and match it.

        Args:
            batch: Of the stand-in; not looked at.

        Returns:
            ``loss/gradients``: the distance from the noisy gradient, of the last match.
        """
        network = self.aged_network()
        name = sum_name(
            f"step-{self.step:08d}", noise=self.noise_multiplier, rate=self.rate, clip=self.clip,
            by_class=self.by_class, seed=self.run.options.seed,
        )  # fmt: skip
        total = self.sums.release(
            name,
            lambda images, labels: record_gradients(network, record_loss, images, labels),
            purpose="gradients of a learner, class by class" if self.by_class else "gradient of a learner",
            bound=self.clip,
            noise=self.noise_multiplier,
            rate=self.rate,
            by_class=self.by_class,
        )
        saved = self.run.options.save_every
        self.sums.releases.forget_before("step-", (self.step // saved - 1) * saved)
        rows = total.to(self.device) if self.by_class else total.to(self.device)[None]
        wanted = [in_shapes(row / (self.sample / len(rows)), network) for row in rows]
        distance = torch.zeros((), device=self.device)
        for match in range(self.matches):
            done = self.step * self.matches + match
            fall(self.optimizer, self.lr_images, done, self.steps * self.matches)
            distance = self.match_gradients(network, wanted)
            if self.average is not None:
                self.average.lerp_(self.images.detach(), 1 - warmed(self.ema_decay, done))
        return {"loss/gradients": distance}

    def match_gradients(self, network: nn.Module, wanted: Sequence[Sequence[Tensor]]) -> Tensor:
        """Move the images by one step, and return the distance before it, summed over classes.

        Args:
            network: Whose gradients are compared.
            wanted: The gradients of each class, or the one of all, in the shapes of the parameters.
        """
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        images, labels = self.shown()
        distance = torch.zeros((), device=self.device)
        # Images come class by class, all classes having as many.
        for target, some, classes in zip(wanted, images.chunk(len(wanted)), labels.chunk(len(wanted)), strict=True):
            loss = F.cross_entropy(network(some), classes)
            found = torch.autograd.grad(loss, parameters, create_graph=True)
            distance = distance + gradient_distance(target, found)
        (gradient,) = torch.autograd.grad(distance, self.images)
        self.optimizer.zero_grad(set_to_none=True)
        self.images.grad = gradient
        self.optimizer.step()
        return distance.detach()

    def shown(self) -> tuple[Tensor, Tensor]:
        """Return all images (N, C, H, W) with their graph, and their labels (N,)."""
        rows = self.decode.rows(self.images, self.labels.view(len(self.images), -1))
        classes = torch.arange(len(rows), device=self.device).repeat_interleave(rows.shape[1])
        return rows.flatten(0, 1), classes

    def aged_network(self) -> nn.Module:
        """Return a new random network that has learned a while from the synthetic images, which are no secret."""
        description = self.data.description
        sizes: dict[str, Any] = {"num_classes": description.num_classes, "image_shape": description.image_shape}
        with self.initialised(f"release/{self.step}"):
            network = build_learner(self.spec, **sizes)
        network = self.place(network).eval()
        generator = self.run.streams.on_host("ages")
        updates = int(torch.randint(self.age + 1, (1,), generator=generator, device=generator.device))
        optimizer = torch.optim.SGD(network.parameters(), lr=self.lr_network, momentum=0.9)
        with torch.no_grad():
            images, labels = self.shown()
        for _ in range(updates):
            optimizer.zero_grad(set_to_none=True)
            F.cross_entropy(network(images), labels).backward()
            optimizer.step()
        network.zero_grad(set_to_none=True)
        return network

    def teacher(self) -> Teacher:
        """Return the images, with what they promise."""
        made = super().teacher()
        made.metadata |= self.promised()
        return made
