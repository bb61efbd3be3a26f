"""Private gradient matching: images that give random networks the noisy gradients of private ones.

After Chen, Kerkouche, Fritz 2022, "Private Set Generation with Discriminative Information" (PSG). Each of K networks
gives one private sum, which is kept and matched as long as one likes; PSG makes a new one for every step. As in Zhao,
Mopuri, Bilen 2021 ("Dataset Condensation with Gradient Matching") and unlike PSG classes are matched one by one: a
record has one class, so the sums of all classes cost what one of them costs. docs/methods/private-teachers.md tells the
rest.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.data.siamese import Siamese
from gendistill.decodes.choice import Choice
from gendistill.errors import UserError
from gendistill.losses.matching import gradient_distance
from gendistill.runs.counter import counter_of
from trainers.checks import check_counts
from trainers.image_optimisers import Kind
from trainers.matching import MatchingTrainer
from trainers.private import check_class_size, check_spare, sample_rate
from trainers.private_released import ReleasedTrainer, changed
from trainers.private_start import check_public_start, count_start
from trainers.record_gradients import in_shapes, record_gradients


def record_loss(applied: Any, image: Tensor, label: Tensor) -> Tensor:
    """Return a record's cross-entropy."""
    return F.cross_entropy(applied(image[None]), label[None])


class PrivateGradientMatchingTrainer(ReleasedTrainer, MatchingTrainer):
    """Match the noisy gradients of K random networks, each of a sample of private images and released once.

    A sum has as many numbers as the network has parameters, and as many times its noise: a narrow one tells more.

    Args:
        class_size: About how many images a class has: a public number, from which the rate of a sample follows.
        networks: K.
        clip: Norm to which a record's gradient is clipped.
        spare: Sums that the noise leaves room for beyond K. A crash in the moment between counting a sum and keeping
            it costs one.
        sample: Records that a sample of all classes has on average.
        by_class: A sum for each class, which its images match; without it one of all classes together (PSG), in which
            much of what tells classes apart cancels out.
        images_per_class: See :class:`~trainers.matching.MatchingTrainer`.
        decode: See there.
        images: What images start from: ``noise``; a private teacher, whose sums count here, too; or a public one.
        public_start: Declares that no private image has gone into what the run starts from, images or the generator of
            a ``decode``; what is declared goes into the teacher's file.
        lr_images: Rate of the images, in normalised units; it falls to zero along a cosine.
        momentum: SGD's momentum of the images.
        optimizer: See :class:`~trainers.matching.MatchingTrainer`; PSG's is ``sgd``.
        ema_decay: See there.
        learner: The network, with random weights; without batch norm.
        augment: What is done to images before the network sees them, drawn once for each network and class, the same
            for real and synthetic images.
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
        networks: int = 100,
        clip: float = 0.1,
        spare: int = 2,
        sample: int = 2048,
        by_class: bool = True,
        images_per_class: int = 10,
        decode: Choice = None,
        images: str = "noise",
        public_start: bool = False,
        lr_images: float = 0.1,
        momentum: float = 0.5,
        optimizer: Kind = "adam",
        ema_decay: float = 0.99,
        learner: dict[str, Any] | None = None,
        augment: str | None = "none",
        epsilon: float = 1.0,
        delta: float = 1e-5,
        accountant: str = "rdp",
        unit: str = "one image",
    ) -> None:
        check_counts(sample=sample, networks=networks)
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
            augment=augment,
        )
        if not 0 < clip < float("inf"):
            raise UserError(f"clip is {clip}; give a positive norm")
        self.public_start, self.networks = public_start, networks
        self.class_size, self.clip, self.spare = check_class_size(class_size), float(clip), check_spare(spare)
        self.sample, self.by_class = sample, by_class

    def build(self) -> None:
        """Make the images, then the noisy gradients: those that are on the disk stay, the others are released."""
        super().build()
        classes = self.data.description.num_classes
        whole = f"{classes} classes of {self.class_size} images"
        self.rate = sample_rate(self.sample, self.class_size * classes, whole)
        count_start(self)
        self.noise_multiplier = self.ledger.noise_for(self.networks + self.spare, self.rate)
        self.sums.at_once = 32
        counter = counter_of(self.run, "private gradients", "networks")
        for place in range(self.networks):
            self.released(place, self.gradient_network(place))
            counter(place + 1, self.networks)

    def gradient_network(self, place: int) -> nn.Module:
        """Return the network of a sum, whose weights want gradients."""
        return self.network_of(place).requires_grad_(True)

    def released(self, place: int, network: nn.Module) -> Tensor:
        """Return the noisy mean gradients in a sum's network, (K, P) of each class or (1, P) of all, from its file."""
        change = self.change_of(place)
        total = self.sums.release(
            self.sum_name_of(place, rate=self.rate, clip=self.clip, by_class=self.by_class),
            lambda images, labels: record_gradients(network, record_loss, changed(change, images, labels), labels),
            purpose=f"gradient of a random network, {'each class' if self.by_class else 'all classes'}",
            bound=self.clip,
            noise=self.noise_multiplier,
            rate=self.rate,
            by_class=self.by_class,
        )
        rows = total if self.by_class else total[None]
        return rows.to(self.device) / (self.sample / len(rows))

    @property
    def classes_together(self) -> int:
        """All classes, where they have one sum together."""
        return 1 if self.by_class else self.data.description.num_classes

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Move all images by one step, in one of the networks.

        Args:
            batch: Of the stand-in; not looked at.

        Returns:
            ``loss/gradients``: the distance to the noisy gradients, summed over classes.
        """
        self.choose_network()
        network = self.gradient_network(self.chosen)
        self.wanted = self.released(self.chosen, network)
        return {"loss/gradients": self.match(network, batch[0])}

    def group_distance(self, network: Any, index: Tensor, change: Siamese, shown: Tensor, first_class: int) -> Tensor:
        """Return the distances to the noisy gradients of some classes; see the base class."""
        images = change(shown, first_class)
        classes = torch.arange(first_class, first_class + len(shown), device=self.device)
        loss = F.cross_entropy(network(images.flatten(0, 1)), classes.repeat_interleave(shown.shape[1]))
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        found = torch.autograd.grad(loss, parameters, create_graph=True)
        return gradient_distance(in_shapes(self.wanted[first_class], network), found)

    def distance(self, network: Any, real: Tensor, synthetic: Tensor, first_class: int) -> Tensor:
        """Not used: there are no real images to compare with; see :meth:`group_distance`."""
        raise NotImplementedError
