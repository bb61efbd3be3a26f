"""Dataset Distillation: a few images that bring a learner far in a few steps of gradient descent.

Wang, Zhu, Torralba, Efros 2018, "Dataset Distillation", Algorithm 1; Bradley 2020, Algorithm 2 and section 3.2. One
meta-step: learners take T steps on the distilled images, E times over; the loss of the trained learners on real data is
differentiated through all T * E steps and moves the images, one learning rate a step and, if wanted, the labels.
docs/methods/dataset-distillation.md tells the rest.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill import unroll
from gendistill.errors import UserError
from gendistill.outer import RealLoss
from gendistill.poison import Poison, PoisonedLoss
from gendistill.runs.watch import Watched
from gendistill.teacher import StoredImages, Teacher
from trainers.checks import check_learned_rate, check_words
from trainers.distillation_learners import DistillationLearners, Victim
from trainers.first_images import FirstImages, first_images
from trainers.stored_start import Stored, check_start, is_stored, stored_images
from trainers.trainer import Trainer, trained

STARTS: tuple[FirstImages, ...] = ("noise", "real")


class DatasetDistillationTrainer(Trainer):
    """Distil a data set into ``inner_steps`` batches of ``images_per_class`` images of every class.

    Args:
        inner_steps: T, batches and so steps of an epoch; at least 1.
        inner_epochs: E, how often the T batches are shown; each epoch has learning rates of its own.
        images_per_class: Images of each class in a batch; T times as many are distilled.
        learner: The network that learns, as ``class_path`` and ``init_args``; by default the data set's default
            learner.
        fixed_layers: Layers, from the image on, whose first weights all learners share: 0 (random initialisation),
            ``all`` (fixed) or a number between (Bradley 2020, section 3.2). Evaluation then starts there, too.
        weights: How first weights are drawn: ``torch`` (the layers' defaults) or ``xavier`` (the authors' code).
        meta_batch: Learners in one meta-step, over all processes.
        images: What distillation starts from: ``noise`` (standard normal), ``real`` (training images), or images that
            are stored somewhere, as :func:`gendistill.teacher.open_teacher` names them; learned labels start from its
            soft ones, learning rates from ``learning_rate``.
        learning_rate: Of every step at the start; positive. It is trained as softplus(raw), which keeps it positive.
        learn_learning_rates: Whether it is trained.
        momentum: Of the learner, in [0, 1); the paper's is 0.
        learn_labels: Whether labels are trained, too (Sucholutsky & Schonlau 2019): real numbers, at the start one-hot.
        meta_lr: Adam's learning rate for images, rates and labels.
        meta_betas: Adam's two decay rates.
        decay: What the meta learning rate is multiplied by after every ``decay_every`` meta-steps, in (0, 1].
        decay_every: Meta-steps between two decays; 0: none.
        gradient_clip: Largest norm of the whole meta-gradient; 0 leaves it as it is.
        memory: Memory mode of the unrolled training; see :mod:`gendistill.unroll`.
        window: Steps that are differentiated, those before a random end (RaT-BPTT, Feng et al. 2024): the learner
            takes the steps before them without a graph, and the loss is that at the window's end. None: all steps.
        poison: ``"7:1"``, or source, target and weight of :class:`gendistill.poison.Poison`: learners are to take one
            class for another. None: honest.
        victim: ``fresh`` learners, or ``trained`` ones: a pool of networks trained on the real data when the run
            starts, of which each meta-step draws some.
        victims: Size of that pool; 1: one network, whose weights the images may rely on.
        victim_updates: Updates on real data of each network in the pool.
        victim_lr: Their learning rate at the start; SGD with momentum 0.9 and a cosine.
        source: Adaptation (Wang et al. 2018, section 4.3): the data set that the pool is trained on, as ``name`` and,
            if need be, ``root``; the images then bring its networks to the data set of the run.

    Raises:
        UserError: An option is out of range.
    """

    compiles: ClassVar[bool] = True

    def __init__(
        self,
        *,
        inner_steps: int = 10,
        inner_epochs: int = 3,
        images_per_class: int = 1,
        learner: dict[str, Any] | None = None,
        fixed_layers: int | Literal["all"] = 0,
        weights: Literal["torch", "xavier"] = "torch",
        meta_batch: int = 1,
        images: str = "noise",
        learning_rate: float = 0.02,
        learn_learning_rates: bool = True,
        momentum: float = 0.0,
        learn_labels: bool = False,
        meta_lr: float = 0.01,
        meta_betas: tuple[float, float] = (0.5, 0.999),
        decay: float = 0.5,
        decay_every: int = 0,
        gradient_clip: float = 0.0,
        memory: unroll.Memory = "full",
        window: int | None = None,
        poison: str | dict[str, Any] | None = None,
        victim: Victim = "fresh",
        victims: int = 20,
        victim_updates: int = 300,
        victim_lr: float = 0.05,
        source: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        counts = {"inner_steps": inner_steps, "inner_epochs": inner_epochs, "images_per_class": images_per_class}
        for name, value in counts.items():
            if value < 1:
                raise UserError(f"{name} is {value}; give a whole number from 1")
        check_start("images", images, STARTS)
        check_words(memory=(memory, unroll.MEMORY_MODES))
        check_learned_rate(learning_rate)
        if meta_lr <= 0 or not 0 <= momentum < 1:
            raise UserError(f"meta_lr must be positive and momentum lie in [0, 1), got {meta_lr} and {momentum}")
        if not 0 < decay <= 1 or decay_every < 0 or gradient_clip < 0:
            raise UserError(
                "decay must lie in (0, 1], decay_every and gradient_clip be 0 or more, got "
                f"{decay}, {decay_every} and {gradient_clip}"
            )
        total = inner_steps * inner_epochs
        if window is not None and not 1 <= window <= total:
            raise UserError(f"window is {window}; it must lie in 1..{total} (inner_steps x inner_epochs)")
        self.inner_steps, self.inner_epochs, self.images_per_class = inner_steps, inner_epochs, images_per_class
        self.learners = DistillationLearners(
            learner, fixed_layers, weights, meta_batch, victim, victims, victim_updates, victim_lr, source
        )
        self.start = images
        self.learning_rate, self.learn_learning_rates = learning_rate, learn_learning_rates
        self.momentum, self.learn_labels = momentum, learn_labels
        self.meta_lr, self.meta_betas = meta_lr, (float(meta_betas[0]), float(meta_betas[1]))
        self.decay, self.decay_every, self.gradient_clip = decay, decay_every, gradient_clip
        self.memory, self.window = memory, window
        self.poison_spec = poison

    def build(self) -> None:
        """Make the images, their labels and rates, the learners' beginnings and the meta-optimiser."""
        if self.run.options.precision != "float32":
            given = self.run.options.precision
            raise UserError(f"run.precision is {given}; distillation differentiates twice and trains in float32 only")
        description = self.data.description
        self.poison = Poison.of(self.poison_spec, description)
        self.pool = self.learners.begin(self)
        self.compiled_step: unroll.CompiledStep | None = None
        classes = torch.arange(description.num_classes, device=self.device).repeat(self.images_per_class)
        labels = classes.expand(self.inner_steps, -1)  # (T, B): B holds every class images_per_class times
        count = self.inner_steps * self.images_per_class
        first, learned = self._first(count)
        self.images = nn.Parameter(first.view(self.inner_steps, len(classes), *description.image_shape))
        self.labels = labels.contiguous()
        if self.learn_labels:
            one_hot = F.one_hot(labels, description.num_classes).float()
            self.labels = nn.Parameter(one_hot if learned is None else learned.view(one_hot.shape).clone())
        total = self.inner_steps * self.inner_epochs
        raw = math.log(math.expm1(self.learning_rate))  # softplus(raw) = learning_rate
        self.raw_rates = nn.Parameter(torch.full((total,), raw, device=self.device), self.learn_learning_rates)
        self.momenta = torch.full((total,), self.momentum, device=self.device)
        moved = [self.images, self.raw_rates] + ([self.labels] if isinstance(self.labels, nn.Parameter) else [])
        self.optimizer = torch.optim.Adam([p for p in moved if p.requires_grad], lr=self.meta_lr, betas=self.meta_betas)
        factor = self.decay if self.decay_every else 1.0  # not a length of the run, which may be continued further
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, self.decay_every or 1, factor)

    def _first(self, count: int) -> Stored:
        """Return the first images, classes in turn, or in the order of a file whose soft labels are learned on."""
        if is_stored(self.start, STARTS):
            option = "inner_steps x images_per_class"
            return stored_images(self.start, count, self.data, self.run, as_stored=self.learn_labels, option=option)
        start: FirstImages = "real" if self.start == "real" else "noise"
        asked = "images_per_class or --trainer.inner_steps (each step has images of its own)"
        random = self.run.streams["images"]
        return Stored(first_images(start, count, self.data, random, lambda images: images, asked), None)

    @property
    def learning_rates(self) -> Tensor:
        """(T * E,) learning rates, positive."""
        return F.softplus(self.raw_rates)

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Return the real batch (B, C, H, W) and (B,) of this meta-step, the same for all learners (Algorithm 1)."""
        return self.data.train.batch(self.sampler.next(), self.normalisation)

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Make one meta-step; see the module's text.

        Args:
            batch: Real images (B, C, H, W) and true labels (B,).

        Returns:
            ``loss/meta`` and ``accuracy/meta`` on the real batch (mean over the learners), ``gradient/norm`` before
            clipping, ``lr/inner`` (mean over the steps) and, if poisoned, ``attack/success`` on the real batch.
        """
        self.optimizer.zero_grad(set_to_none=True)
        learners = self.learners.draw(self, self.pool)
        steps = self._last_step()
        if self.compiled_step is None:  # learners are alike: one's step does for all
            self.compiled_step = unroll.CompiledStep.where(learners[0][0], self.run.options.compile)
        losses, accuracies, successes = [], [], []
        for learner, seed in learners:
            look = self._look(learner, steps, batch)
            # The lesson anew for each learner: a backward pass frees the graph from the raw rates.
            lesson = self._lesson(steps)
            result = unroll.unrolled_loss(
                learner,
                *lesson,
                look,
                memory=self.memory,
                window=self.window,
                seed=seed,
                compiled=self.compiled_step,
            )
            (result.loss / len(learners)).backward()
            losses.append(look.final_loss)
            accuracies.append(look.final_accuracy)
            successes.append(look.final_success if isinstance(look, PoisonedLoss) else look.final_loss)
        moved = list(trained(self.optimizer))
        self.run.processes.average_gradients(moved)
        norm = nn.utils.clip_grad_norm_(moved, self.gradient_clip or math.inf)
        self.optimizer.step()
        self.scheduler.step()
        return {
            "loss/meta": torch.stack(losses).mean(),
            "accuracy/meta": torch.stack(accuracies).mean(),
            "gradient/norm": norm.detach(),
            "lr/inner": self.learning_rates.detach().mean(),
        } | ({"attack/success": torch.stack(successes).mean()} if self.poison else {})

    def _last_step(self) -> int:
        """Return after how many steps this meta-step's learners are asked; without a window after all of them."""
        total = len(self.raw_rates)
        if self.window is None:
            return total
        stream = self.run.streams["window"]
        return int(torch.randint(self.window, total + 1, (), generator=stream, device=stream.device))

    def _lesson(self, steps: int) -> tuple[list[Tensor], list[Tensor], Tensor, Tensor]:
        """Return images, labels, rates and momenta of a learner's first steps."""
        # One node for all: a slice for each step would write a gradient of the size of all batches on the way back.
        # The views keep the order of sums: each step's gradient is whole before it is added to another epoch's.
        every = self.images.unbind(), self.labels.unbind()
        turns = [step % self.inner_steps for step in range(steps)]
        images, labels = ([batches[turn].view_as(batches[turn]) for turn in turns] for batches in every)
        return images, labels, self.learning_rates[:steps], self.momenta[:steps]

    def _look(self, learner: nn.Module, steps: int, batch: tuple[Tensor, Tensor]) -> RealLoss:
        images, labels = batch[0][None], batch[1][None]
        if self.poison is None:
            return RealLoss(learner, [steps], images, labels)
        return PoisonedLoss(learner, [steps], images, labels, self.poison)

    def teacher(self) -> Teacher:
        """Return the images in their order, with labels, rates and what learners start from."""
        metadata = {
            "source": f"{type(self).__name__}, step {self.step}",
            "seed": self.run.options.seed,
            "inner_steps": self.inner_steps,
            "inner_epochs": self.inner_epochs,
        }
        metadata |= self.learners.noted
        if self.poison is not None:
            metadata |= self.poison.metadata() | {"victim": self.learners.victim}
        return StoredImages(
            self.images.detach().flatten(0, 1).clone(),
            self.labels.detach().flatten(0, 1).clone(),
            self.data.description.with_normalisation(self.normalisation),
            order="fixed",
            batch_size=self.images.shape[1],
            learning_rates=self.learning_rates.detach().clone(),
            momenta=self.momenta.clone() if self.momentum else None,
            metadata=metadata,
        )

    def watched(self) -> Watched:
        """Return the learned rates, the images, the meta-gradient and what learners reach."""
        return Watched(
            rates=self.learning_rates.detach() if self.learn_learning_rates else None,
            rates_option="--trainer.meta_lr",
            moved={"the images": [self.images]},
            moved_option="--trainer.meta_lr",
            gradients={"gradient/norm": "the meta-gradient"},
            accuracy=None if self.poison else "accuracy/meta",
            accuracy_images=self.batch_size,
        )

    def samples(self) -> dict[str, Tensor]:
        """Return the distilled images as pixels, one row a step, at most ten rows."""
        return {"distilled": self.normalisation.invert(self.images.detach()[:10].flatten(0, 1)).clamp(0, 1)}
