"""Generative Teaching Networks: a generator trained so that learners trained on its images do well on real data.

Such, Rawal, Lehman, Stanley, Clune 2020, "Generative Teaching Networks: Accelerating Neural Architecture Search by
Learning to Generate Synthetic Training Data". One meta-step: fresh learners take T steps of SGD with momentum on the
generator's batches; the loss of the trained learners on real data is differentiated through all T steps, and Adam moves
the generator, the latents of each step and each step's learning rate and momentum. docs/methods/gtn.md tells the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from gendistill import unroll
from gendistill.curriculum import Kind, make_curriculum
from gendistill.errors import UserError
from gendistill.grids import Grid
from gendistill.inner import InnerOptions, InnerTraining, Lesson, Task
from gendistill.inner.options import Statistics
from gendistill.inner.training import check_looks
from gendistill.nets.learners import default_learner
from gendistill.objects import build, laid_over
from gendistill.outer import RealLoss
from gendistill.poison import Poison, PoisonedLoss
from gendistill.renamed import reads_old_names
from gendistill.runs.watch import Watched
from gendistill.teacher import GeneratorTeacher, Teacher
from trainers.batch import Made
from trainers.checks import check_learned_rate
from trainers.learner_source import LearnerSource, Spec
from trainers.trainer import Trainer, trained


@dataclass(frozen=True, kw_only=True)
class GTNInner(InnerOptions):
    """How learners are trained; see :class:`gendistill.inner.InnerOptions`.

    Args:
        batch_size: B, synthetic images at each step; at least 2.
    """

    steps: int = 32
    batch_size: int = 64
    statistics: Statistics | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        self.require_count("batch_size", 2)
        self.require_exact("a curriculum has momenta, which the shortcut has not")


@reads_old_names(
    {
        "inner_steps": "inner.steps",
        "inner_batch_size": "inner.batch_size",
        "inner_optimizer": "inner.optimizer",
        "window": "inner.window",
        "statistics": "inner.statistics",
        "memory": "inner.memory",
        "batched_learners": "inner.batched",
    }
)
class GTNTrainer(Trainer):
    """Train a generator by differentiating through the training of learners.

    Args:
        generator: The network z (N, nz), y (N,) -> images, as ``class_path`` and ``init_args``; by default
            ``gendistill.nets.gtn.GTNGenerator``.
        learners: One learner spec, several of which every learner of a meta-step draws one, or the spec of a space of
            architectures (:class:`gendistill.nets.spaces.LearnerSpace`; random widths are one); by default the data
            set's default learner.
        inner: How learners are trained: steps, images at each of them, optimizer, window and what else there is in
            :class:`gendistill.inner.InnerOptions`.
        meta_batch: Freshly initialised learners in one meta-step, over all processes; they share the synthetic images.
        curriculum: "learned" (a trained latent for every image of every step), "batch_shuffled" and "all_shuffled"
            (trained latents, of which the batches or all items come in another order at every meta-step), "fixed"
            (drawn once and left) or "fresh" (drawn anew at every meta-step: no curriculum).
        learn_labels: Whether learners are told soft labels, one for every image, that are trained.
        real_every: Real data is looked at after every so many inner steps, and after the last; inside a window, counted
            back from its end.
        learning_rate: Initial learning rate of every inner step; positive.
        momentum: Initial momentum of every inner step, in (0, 1).
        learn_learning_rates: Whether each step's learning rate is trained (its logarithm is).
        learn_momenta: Whether each step's momentum is trained (its logit is, which keeps it in (0, 1)).
        meta_lr: Adam's learning rate for the generator and the latents.
        schedule_lr: Adam's learning rate for the learning rates and momenta.
        meta_betas: Adam's two decay rates.
        meta_lr_final: What is left of both learning rates at the end of their cosine decay, as a fraction in [0, 1].
        gradient_clip: Largest norm of the whole meta-gradient; 0 leaves it as it is.
        poison: ``"7:1"``, or source, target and weight of :class:`gendistill.poison.Poison`: learners are to take one
            class for another and to get the rest right.

    Raises:
        UserError: An option is out of range.
    """

    takes_terms = True

    def __init__(
        self,
        *,
        generator: Spec | None = None,
        learners: Spec | Sequence[Spec] | None = None,
        inner: GTNInner = GTNInner(),
        meta_batch: int = 1,
        curriculum: Kind = "learned",
        learn_labels: bool = False,
        real_every: int = 1,
        learning_rate: float = 0.02,
        momentum: float = 0.5,
        learn_learning_rates: bool = True,
        learn_momenta: bool = True,
        meta_lr: float = 0.01,
        schedule_lr: float = 0.02,
        meta_betas: tuple[float, float] = (0.9, 0.999),
        meta_lr_final: float = 0.1,
        gradient_clip: float = 1.0,
        poison: str | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if meta_batch < 1:
            raise UserError(f"meta_batch is {meta_batch}; give a whole number from 1")
        check_looks(real_every)
        chosen = GTNInner.of(inner)
        self.inner, self.real_every = InnerTraining(chosen), real_every
        check_learned_rate(learning_rate)
        if meta_lr <= 0 or schedule_lr <= 0:
            raise UserError(f"meta_lr and schedule_lr must be positive, got {meta_lr} and {schedule_lr}")
        if not 0 <= meta_lr_final <= 1 or gradient_clip < 0:
            raise UserError(
                f"meta_lr_final must lie in [0, 1] and gradient_clip be 0 or more, got {meta_lr_final}, {gradient_clip}"
            )
        self.generator_spec: Spec = laid_over(generator, {"class_path": "gendistill.nets.gtn.GTNGenerator"})
        self.source = None if learners is None else LearnerSource(learners)
        self.meta_batch = meta_batch
        self.poison_spec = poison
        self.curriculum_options: dict[str, Any] = {
            "kind": curriculum,
            "steps": chosen.steps,
            "batch_size": chosen.batch_size,
            "learning_rate": learning_rate,
            "momentum": momentum,
            "learn_learning_rates": learn_learning_rates,
            "learn_momenta": learn_momenta and chosen.optimizer == "sgd",
            "learn_labels": learn_labels,
        }
        # Made here once so that a wrong option is refused before any run starts.
        make_curriculum(nz=1, num_classes=2, generator=torch.Generator(), **self.curriculum_options)
        self.meta_lr = meta_lr
        self.schedule_lr = schedule_lr
        self.meta_betas = (float(meta_betas[0]), float(meta_betas[1]))
        self.meta_lr_final = meta_lr_final
        self.gradient_clip = gradient_clip

    # -- what a run holds ---------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Make the generator, the curriculum and the meta-optimiser."""
        self._check_run()
        description = self.data.description
        if self.source is None:
            self.source = LearnerSource(default_learner(description))
        self.poison = Poison.of(self.poison_spec, description)
        self.inner.record(self.run.options.cuda_graphs)
        sizes: dict[str, Any] = {"num_classes": description.num_classes, "image_shape": description.image_shape}
        with self.initialised("generator"):
            self.generator = self.place(build(self.generator_spec, nn.Module, **sizes))
        self.curriculum = make_curriculum(
            nz=cast(int, self.generator.nz),
            num_classes=description.num_classes,
            generator=self.run.streams["latents"],
            **self.curriculum_options,
        )
        images = [*self.generator.parameters(), *self.curriculum.contents()]
        groups = [
            {"params": images, "lr": self.meta_lr},
            {"params": self.curriculum.schedules(), "lr": self.schedule_lr},
        ]
        self.optimizer = torch.optim.Adam([group for group in groups if group["params"]], betas=self.meta_betas)
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(self.optimizer, self._decay)

    def _check_run(self) -> None:
        world = self.run.processes.world
        if self.meta_batch % world:
            raise UserError(
                f"meta_batch is {self.meta_batch}, which {world} processes cannot share equally; choose a multiple of "
                f"{world}"
            )

    def _decay(self, step: int) -> float:
        phase = min(step / self.steps, 1.0)
        return self.meta_lr_final + (1 - self.meta_lr_final) * 0.5 * (1 + math.cos(math.pi * phase))

    # -- one meta-step ------------------------------------------------------------------------------------------------

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Return real images (L, E, B, C, H, W) and labels (L, E, B) for this process's L learners.

        E is how often a learner's training looks at real data. All indices are drawn in every process, so that a
        learner meets the same real images however the learners are shared out.
        """
        rows = self.meta_batch * len(self.inner.looks(self.inner.options.steps, self.real_every))
        index = torch.stack([self.sampler.next() for _ in range(rows)])
        index = self.run.processes.shard(index.view(self.meta_batch, -1, self.batch_size)).to(self.run.device)
        images, labels = self.data.train.batch(index.flatten(), self.normalisation)
        return images.view(*index.shape, *images.shape[1:]), labels.view(index.shape)

    def _new_learners(self) -> list[nn.Module]:
        """Return this process's learners of this meta-step, each drawn and initialised from streams of its own."""
        assert self.source is not None
        specs = self.source.draw(self.meta_batch, self.run.streams.on_host("learners"))
        description = self.data.description
        learners = []
        for position, number in self._mine():
            with self.initialised(f"learner/{number}"):
                learner = build(
                    specs[position],
                    nn.Module,
                    num_classes=description.num_classes,
                    image_shape=description.image_shape,
                )
            learners.append(self.place(learner))
        return learners

    def _mine(self) -> list[tuple[int, int]]:
        """Return places in the meta-batch and numbers in the run of this process's learners of this meta-step."""
        mine = self.run.processes.shard(torch.arange(self.meta_batch)).tolist()
        return [(position, self.step * self.meta_batch + position) for position in mine]

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Make one meta-step; see the module's text.

        Args:
            batch: What :meth:`next_batch` returns.

        Returns:
            Scalars: ``loss/meta`` (mean over the looks at real data; what is descended), ``loss/final`` and
            ``accuracy/meta`` (after the last inner step, on real training images), ``gradient/norm`` (before clipping),
            ``lr/inner`` and ``momentum/inner`` (means over the inner steps). A poisoned run adds ``attack/success``.
        """
        curriculum, options = self.curriculum, self.inner.options
        end = self.inner.end(lambda: self.run.streams.on_host("window"))
        lesson = curriculum.lesson(self.run.streams[curriculum.stream], end)
        shared = unroll.SharedImages(
            self.generator,
            *lesson,
            first=self.inner.first(end),
            keep_graph=options.memory == "full",
            context=self.autocast,
        )
        self.optimizer.zero_grad(set_to_none=True)
        report = self._teach(batch, shared, end)
        # Before the images' own way back, which passes what is shared with it for the last time.
        moved = [*trained(self.optimizer), *shared.leaves]
        self.add_extra(partial(self._made, shared), moved, shared.rows, retain_graph=True)
        shared.backward()
        parameters = list(trained(self.optimizer))
        self.run.processes.average_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.gradient_clip or math.inf)
        self.optimizer.step()
        self.scheduler.step()
        return {
            **report,
            "gradient/norm": norm.detach(),
            "lr/inner": curriculum.learning_rates.detach().mean(),
            "momentum/inner": curriculum.momenta.detach().mean(),
        }

    def _made(self, shared: unroll.SharedImages) -> Made:
        """Return the images of the steps that are differentiated, for losses beside the meta-loss."""
        images, latents, classes, labels = shared.differentiated()
        return Made(images, classes, labels if labels.is_floating_point() else None, latents)

    def _teach(self, batch: tuple[Tensor, Tensor], shared: unroll.SharedImages, end: int) -> dict[str, Tensor]:
        """Train all learners for ``end`` steps and send the gradient of their mean loss into what they saw."""
        looks = self.inner.looks(end, self.real_every)
        outers = [
            self.inner.real_loss(learner, looks, images, labels, self.poison)
            for learner, images, labels in zip(self._new_learners(), *batch, strict=True)
        ]
        seeds = [self.seed_of(f"draws/{number}") for _, number in self._mine()]
        tasks = [Task(outer.learner, outer, seed) for outer, seed in zip(outers, seeds, strict=True)]

        def lesson(task: Task) -> Lesson:
            rates, momenta = self.curriculum.learning_rates[:end], self.curriculum.momenta[:end]
            return Lesson(shared.images, shared.labels, rates, momenta)

        losses = []
        for taught in self.inner.train(tasks, lesson, precision=self.run.options.precision):
            loss = taught.loss / len(looks)
            (loss / len(tasks)).backward()
            losses.append(loss.detach())
        return {"loss/meta": torch.stack(losses).sum() / len(tasks)} | _noted(outers)

    # -- what comes of it ---------------------------------------------------------------------------------------------

    def watched(self) -> Watched:
        """Return the learned rates, the generator's weights, the meta-gradient and what learners reach."""
        learned = self.curriculum_options["learn_learning_rates"]
        return Watched(
            rates=self.curriculum.learning_rates.detach() if learned else None,
            rates_option="--trainer.schedule_lr",
            moved={"the generator's weights": list(self.generator.parameters())},
            moved_option="--trainer.meta_lr",
            gradients={"gradient/norm": "the meta-gradient"},
            accuracy=None if self.poison else "accuracy/meta",
            accuracy_images=self.meta_batch * self.batch_size,
        )

    def samples(self) -> dict[str, Grid]:
        """Return one image of each class at each of the first ten steps as pixels, one row a step."""
        classes = self.data.description.num_classes
        batches = self.teacher().batches(10, classes, self.run.streams["samples"])
        shown = [(images[:classes], labels[:classes]) for images, labels, _ in batches]
        pixels = self.normalisation.invert(torch.cat([images for images, _ in shown])).clamp(0, 1)
        told = torch.cat([labels.argmax(1) if labels.ndim == 2 else labels for _, labels in shown]).tolist()
        names = tuple(self.data.description.class_names[kind] for kind in told)
        return {"curriculum": Grid(pixels, min(classes, len(pixels)), names)}

    def teacher(self) -> Teacher:
        """Return the generator with its curriculum, learning rates and momenta, as learners met them in training."""
        assert self.source is not None
        specs, sgd = self.source.specs, self.inner.options.optimizer == "sgd"
        metadata: dict[str, Any] = {"learner": [dict(spec) for spec in specs], "seed": self.run.options.seed}
        metadata |= self.inner.metadata()
        if self.poison is not None:
            metadata |= self.poison.metadata()
        curriculum = self.curriculum
        return GeneratorTeacher(
            self.generator,
            self.data.description.with_normalisation(self.normalisation),
            **curriculum.stored(),
            learning_rates=curriculum.learning_rates.detach().clone(),
            momenta=curriculum.momenta.detach().clone() if sgd else None,
            batch_norm="batch",
            metadata=metadata,
        )


def _noted(outers: Sequence[RealLoss]) -> dict[str, Tensor]:
    """Return means over the learners of what was noted at their last look."""
    noted = {"loss/final": [o.final_loss for o in outers], "accuracy/meta": [o.final_accuracy for o in outers]}
    poisoned = [outer.final_success for outer in outers if isinstance(outer, PoisonedLoss)]
    if poisoned:
        noted["attack/success"] = poisoned
    return {name: torch.stack(values).mean() for name, values in noted.items()}
