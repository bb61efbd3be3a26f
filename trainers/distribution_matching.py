"""Distribution matching: synthetic images whose features in many networks are distributed like those of the real ones.

Zhao & Bilen 2023, "Dataset Condensation with Distribution Matching" (arXiv 2110.04181), Algorithm 1, where means are
compared. There is no inner training: a step costs a forward pass of real images and a forward and backward pass of
synthetic ones. What has been added since are options: characteristic functions, representative real images and a
class-wise cross-entropy. docs/methods/distribution-matching.md tells the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.losses.matching import feature_matching
from gendistill.nets.compiled import compiled
from gendistill.seeds import stream
from trainers.characteristic import Characteristic, CharacteristicPlan
from trainers.chunks import class_means
from trainers.matching import MatchingTrainer
from trainers.representatives import Representatives
from trainers.terms.trained_probes import Trained

Features = Callable[[Any, Tensor], Tensor]


def _features(network: Any, images: Tensor) -> Tensor:
    found: Tensor = network.features(images)
    return found


class DistributionMatchingTrainer(MatchingTrainer):
    """Match each class's features in a network, another one at every step.

    For features f, real images x_ci and synthetic images s_cj of class c, augmented alike by A, the images are moved
    down

        sum over c of  D( {f(A(x_ci))}, {f(A(s_cj))} )  +  cross_entropy * a * mean_j CE(network(A(s_cj)), c)

    where D is the squared distance of means or, with ``characteristic``, that of characteristic functions, and a is the
    network's accuracy on what it has learned from.

    Args:
        lr_images: SGD's learning rate of the images; the published 1.0 belongs to the ConvNet of width 128. The loss is
            a sum over features, so a narrower network calls for a larger rate.
        characteristic: Compare characteristic functions of features (NCFM) and not their means: the options of
            :class:`trainers.characteristic.CharacteristicPlan`, such as ``{frequencies: 512}``.
        representatives: Take real images that stand for their class (DREAM): the options of
            :class:`trainers.representatives.Representatives`, such as ``{every: 10, among: 1000}``. None: random ones.
        cross_entropy: Weight of the class-wise cross-entropy (IDM), from 0; for networks that learn, ``probe: {state:
            pool}`` and the like. IDM's 0.5 a percent of accuracy, at a width of 128, is 50 here.
        compile: As ``run.compile``: compile the forward and backward pass, which needs a C++ compiler and some seconds
            at the start.
        **kwargs: See :class:`~trainers.matching.MatchingTrainer`.

    Raises:
        UserError: An option is out of range, or the network has no ``features``.
    """

    compiles: ClassVar[bool] = True

    def __init__(
        self,
        *,
        lr_images: float = 1.0,
        characteristic: dict[str, Any] | None = None,
        representatives: dict[str, Any] | None = None,
        cross_entropy: float = 0.0,
        compile: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(lr_images=lr_images, **kwargs)
        if not 0 <= cross_entropy < math.inf:
            raise UserError(f"cross_entropy is {cross_entropy}; give its weight, a number from 0")
        self.characteristic_plan = CharacteristicPlan.of(characteristic)
        self.representatives = Representatives.of(representatives, self.real_batch)
        self.cross_entropy = cross_entropy
        self.compile_asked = compile

    def build(self) -> None:
        """Make the images and the network, whose weights want no gradient."""
        super().build()
        self.compile = self.compile_asked or self.run.options.compile
        if not hasattr(self.network, "features"):
            raise UserError(
                f"distribution matching compares features, and {type(self.network).__name__} has no 'features'; name a "
                "learner of gendistill.nets.learners, or give yours a method features(x)"
            )
        self.network.requires_grad_(False)
        # Shapes are few and known: those of a chunk, of a last smaller one, and of the synthetic images.
        self.features: Features = compiled(_features) if self.compile else _features
        self.frequencies: Characteristic | None = None
        if self.characteristic_plan is not None:
            self.frequencies = Characteristic(self.characteristic_plan, self, self._feature_count())
        if self.representatives is not None:
            rows = self.data.description.num_classes, self.real_batch
            self.serving = torch.zeros(rows, dtype=torch.int64, device=self.device)
            """Real images of each class that serve until others are chosen."""
        if self.cross_entropy:
            self._check_classifier()
            self.accuracy = torch.zeros((), device=self.device)
            """Of this step's network."""

    def _feature_count(self) -> int:
        blank = torch.zeros(1, *self.data.description.image_shape, device=self.device)
        with torch.no_grad():
            return _features(self.network.eval(), self.in_memory_format(blank)).shape[1]

    def _check_classifier(self) -> None:
        if not isinstance(self.probes, Trained):
            raise UserError(
                "cross_entropy is weighed by the accuracy of networks that learn, and those of the probe's state do "
                "not; choose --trainer.probe '{state: pool}', growing, interpolated or pretrained, or cross_entropy 0"
            )
        if not isinstance(getattr(self.network, "classifier", None), nn.Module):
            raise UserError(
                f"cross_entropy asks the last layer of a network, and {type(self.network).__name__} has no "
                "'classifier'; name a learner of gendistill.nets.learners, or let yours keep its last layer as that"
            )

    @property
    def classes_together(self) -> int:
        """As many classes as one chunk has room for, by their synthetic and by their real images; at least one."""
        return max(1, self.chunk // max(self.shown_per_class, self.real_batch))

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Move all images by one step, in a network of its own.

        Args:
            batch: What :meth:`~trainers.matching.MatchingTrainer.next_batch` returns.

        Returns:
            ``loss/distribution``: the loss above, summed over classes.
        """
        network, index = self.new_network(), batch[0]
        if self.representatives is not None:
            if self.step % self.representatives.every == 0:
                self.serving = self._chosen(network, self.representatives)
            index = self.serving[self.mine.start : self.mine.stop]
        if self.frequencies is None:
            return {"loss/distribution": self.match(network, index)}
        self.frequencies.draw(self.step)
        loss = self.match(network, index, self.frequencies.leaves)
        self.frequencies.ascend()
        return {"loss/distribution": loss}

    def new_network(self) -> nn.Module:
        """Return the network with the weights of the next one; see the base class."""
        probe = self.probes.draw()
        if self.cross_entropy:
            assert probe.accuracy is not None
            self.accuracy.copy_(probe.accuracy)
        return self.with_weights_of(probe)

    def distance(self, network: Any, real: Tensor, synthetic: Tensor, first_class: int) -> Tensor:
        """Return the loss of some classes; see the base class.

        The graph of at most a chunk is kept; of a class with more images each part's is made anew on the way back.
        """
        # A compiled network is called as it is: it would be compiled anew for buffers that are exchanged.
        drawing = None if self.compile else network
        leaves = [] if self.frequencies is None else self.frequencies.leaves

        def answers(part: Tensor) -> list[Tensor]:
            features = self._of_images(network, part)
            if not self.cross_entropy:
                return self._statistics(features)
            with self.autocast():
                logits = network.classifier(features).to(part.dtype)
            return [*self._statistics(features), logits, logits.logsumexp(1, keepdim=True)]

        wanted = self._real_means(network, real, leaves)
        found = class_means(answers, synthetic, network=drawing, at_once=self.chunk, keep=self.chunk, weights=leaves)
        if self.frequencies is None:
            distance = feature_matching(wanted[0][:, None], found[0][:, None])
        else:
            distance = self.frequencies.distance(wanted, found[:2])
        if self.cross_entropy:
            # The mean of -log softmax(logits)_c is linear in what means were taken of.
            logits, normaliser = found[-2:]
            own = logits[:, first_class : first_class + len(logits)].diagonal()
            distance = distance + self.cross_entropy * self.accuracy * (normaliser[:, 0] - own).sum()
        return distance

    def _real_means(self, network: Any, real: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
        """Return the class means of statistics of real images, differentiable in the leaves alone."""
        if leaves:  # features of a group are kept, and only what is made of them is made anew on the way back
            with torch.no_grad():
                parts = real.flatten(0, 1).split(self.chunk)
                features = torch.cat([self._of_images(network, part) for part in parts]).unflatten(0, real.shape[:2])
            return class_means(self._statistics, features, at_once=self.chunk, keep=self.chunk, weights=leaves)
        with torch.no_grad():
            return class_means(lambda part: self._statistics(self._of_images(network, part)), real, at_once=self.chunk)

    def _of_images(self, network: Any, images: Tensor) -> Tensor:
        with self.autocast():
            return self.features(network, self.in_memory_format(images)).to(images.dtype)

    def _statistics(self, features: Tensor) -> list[Tensor]:
        """Return what of features (N, F) class means are compared of."""
        return [features] if self.frequencies is None else self.frequencies.of_images(features)

    def _chosen(self, network: Any, how: Representatives) -> Tensor:
        """Return real images (K, real_batch) that stand for their classes; a class with fewer repeats them."""
        drawn = self.classes.draw(how.among, self.run.streams["representatives"], repeat=True)
        found = torch.zeros(self.serving.shape, dtype=torch.float64, device=self.device)  # whole numbers, exactly
        columns = torch.arange(self.real_batch, device=self.device)

        def features(index: Tensor) -> Tensor:
            return torch.cat([self._of_images(network, self.real_images(part)) for part in index.split(self.chunk)])

        for label in self.mine:
            size = self.classes.sizes[label]
            draws = stream(self.run.options.seed, f"representatives/{self.step}/{label}")
            with torch.no_grad():
                own = how.choose(features, drawn[label, : min(size, how.among)], min(size, self.real_batch), draws)
            found[label] = own[columns % len(own)].double()
        return (self.run.processes.mean(found) * self.run.processes.world).round().long()
