"""Generative Teaching Networks: a generator trained so that learners trained on its images do well on real data.

Such, Rawal, Lehman, Stanley, Clune 2020, "Generative Teaching Networks: Accelerating Neural Architecture Search by
Learning to Generate Synthetic Training Data". One meta-step: fresh learners take T steps of SGD with momentum on the
generator's batches; the loss of the trained learners on real data is differentiated through all T steps, and Adam moves
the generator, the latents of each step and each step's learning rate and momentum. docs/methods/gtn.md tells the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gendistill import unroll
from gendistill.curriculum import Curriculum, Kind
from gendistill.errors import UserError
from gendistill.nets.learners import default_learner
from gendistill.objects import build
from gendistill.outer import RealLoss
from gendistill.teacher import GeneratorTeacher, Teacher
from trainers.trainer import Trainer, trained

Spec = Mapping[str, Any]


class GTNTrainer(Trainer):
    """Train a generator by differentiating through the training of learners.

    Args:
        generator: The network z (N, nz), y (N,) -> images, as ``class_path`` and ``init_args``; by default
            ``gendistill.nets.gtn.GTNGenerator``.
        learners: One learner spec, or several of which every learner of a meta-step draws one; by default the data
            set's default learner.
        inner_steps: T, the steps that a learner takes; at least 1.
        inner_batch_size: B, synthetic images at each of them; at least 2.
        meta_batch: Freshly initialised learners in one meta-step, over all processes; they share the synthetic images.
        curriculum: "learned" (a trained latent for every image of every step), "fixed" (the same, drawn once and left)
            or "fresh" (drawn anew at every meta-step: no curriculum).
        real_every: Real data is looked at after every so many inner steps, and after the last.
        learning_rate: Initial learning rate of every inner step; positive.
        momentum: Initial momentum of every inner step, in (0, 1).
        learn_learning_rates: Whether each step's learning rate is trained (its logarithm is).
        learn_momenta: Whether each step's momentum is trained (its logit is, which keeps it in (0, 1)).
        meta_lr: Adam's learning rate for the generator and the latents.
        schedule_lr: Adam's learning rate for the learning rates and momenta.
        meta_betas: Adam's two decay rates.
        meta_lr_final: What is left of both learning rates at the end of their cosine decay, as a fraction in [0, 1].
        gradient_clip: Largest norm of the whole meta-gradient; 0 leaves it as it is.
        memory: "full" (fastest; memory grows with T) or "recompute" (flat in T, a third more time).

    Raises:
        UserError: An option is out of range.
    """

    def __init__(
        self,
        *,
        generator: Spec | None = None,
        learners: Spec | Sequence[Spec] | None = None,
        inner_steps: int = 32,
        inner_batch_size: int = 64,
        meta_batch: int = 1,
        curriculum: Kind = "learned",
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
        memory: unroll.Memory = "full",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("meta_batch", meta_batch), ("real_every", real_every)):
            if value < 1:
                raise UserError(f"{name} is {value}; give a whole number from 1")
        if memory not in unroll.MEMORY_MODES:
            raise UserError(f"memory is '{memory}'; use one of: {', '.join(unroll.MEMORY_MODES)}")
        if meta_lr <= 0 or schedule_lr <= 0:
            raise UserError(f"meta_lr and schedule_lr must be positive, got {meta_lr} and {schedule_lr}")
        if not 0 <= meta_lr_final <= 1 or gradient_clip < 0:
            raise UserError(
                f"meta_lr_final must lie in [0, 1] and gradient_clip be 0 or more, got {meta_lr_final}, {gradient_clip}"
            )
        self.generator_spec: Spec = generator or {"class_path": "gendistill.nets.gtn.GTNGenerator"}
        self.learner_specs: list[Spec] | None = (
            None if learners is None else [learners] if isinstance(learners, Mapping) else list(learners)
        )
        self.meta_batch = meta_batch
        self.real_every = real_every
        self.curriculum_options: dict[str, Any] = {
            "steps": inner_steps,
            "batch_size": inner_batch_size,
            "kind": curriculum,
            "learning_rate": learning_rate,
            "momentum": momentum,
            "learn_learning_rates": learn_learning_rates,
            "learn_momenta": learn_momenta,
        }
        # Made here once so that a wrong option is refused before any run starts.
        Curriculum(nz=1, num_classes=2, generator=torch.Generator(), **self.curriculum_options)
        self.meta_lr = meta_lr
        self.schedule_lr = schedule_lr
        self.meta_betas = (float(meta_betas[0]), float(meta_betas[1]))
        self.meta_lr_final = meta_lr_final
        self.gradient_clip = gradient_clip
        self.memory = memory

    # -- what a run holds ---------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Make the generator, the curriculum and the meta-optimiser."""
        self._check_run()
        description = self.data.description
        if self.learner_specs is None:
            self.learner_specs = [default_learner(description)]
        sizes: dict[str, Any] = {"num_classes": description.num_classes, "image_shape": description.image_shape}
        with self.initialised("generator"):
            self.generator = self.place(build(self.generator_spec, nn.Module, **sizes))
        self.curriculum = Curriculum(
            nz=cast(int, self.generator.nz),
            num_classes=description.num_classes,
            generator=self.run.streams["latents"],
            **self.curriculum_options,
        )
        images = list(self.generator.parameters())
        if isinstance(self.curriculum.latents, nn.Parameter):
            images.append(self.curriculum.latents)
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
        if self.run.options.precision != "float32":
            raise UserError(
                f"run.precision is {self.run.options.precision}; a GTN differentiates twice and trains in float32 only"
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
        rows = self.meta_batch * len(self._real_steps())
        index = torch.stack([self.sampler.next() for _ in range(rows)])
        index = self.run.processes.shard(index.view(self.meta_batch, -1, self.batch_size)).to(self.run.device)
        images, labels = self.data.train.batch(index.flatten(), self.normalisation)
        return images.view(*index.shape, *images.shape[1:]), labels.view(index.shape)

    def _real_steps(self) -> list[int]:
        """Numbers of steps done after which real data is looked at; the last is T."""
        steps = len(self.curriculum.labels)
        return [step for step in range(1, steps + 1) if step % self.real_every == 0 or step == steps]

    def _new_learners(self) -> list[nn.Module]:
        """Return this process's learners of this meta-step, each drawn and initialised from streams of its own."""
        specs = self.learner_specs or []
        generator = self.run.streams["learners"]
        choice = torch.randint(len(specs), (self.meta_batch,), generator=generator, device=generator.device)
        description = self.data.description
        learners = []
        for position in self.run.processes.shard(torch.arange(self.meta_batch)).tolist():
            with self.initialised(f"learner/{self.step * self.meta_batch + position}"):
                learner = build(
                    specs[int(choice[position])],
                    nn.Module,
                    num_classes=description.num_classes,
                    image_shape=description.image_shape,
                )
            learners.append(learner.to(self.run.device))
        return learners

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Make one meta-step; see the module's text.

        Args:
            batch: What :meth:`next_batch` returns.

        Returns:
            Scalars: ``loss/meta`` (mean over the looks at real data; what is descended), ``loss/final`` and
            ``accuracy/meta`` (after the last inner step, on real training images), ``gradient/norm`` (before clipping),
            ``lr/inner`` and ``momentum/inner`` (means over the inner steps).
        """
        real_images, real_labels = batch
        curriculum = self.curriculum
        latents, labels = curriculum.latents, curriculum.labels
        if latents is None:
            # The same in every process: learners in all of them see the same images.
            latents = curriculum.draw(self.run.streams["latents"])
        with torch.set_grad_enabled(self.memory == "full"), parametrize.cached():
            # One call a step: the generator's normalisation sees one step's batch. Its weights are the same in all.
            images = torch.stack([self.generator(z, y) for z, y in zip(latents, labels, strict=True)])
        # A leaf that all learners share: their gradients add up here and pass through the generator once.
        shown = images.detach().requires_grad_()
        self.optimizer.zero_grad(set_to_none=True)
        learners = self._new_learners()
        losses, finals, accuracies = [], [], []
        for learner, real_x, real_y in zip(learners, real_images, real_labels, strict=True):
            looks = RealLoss(learner, self._real_steps(), real_x, real_y)
            rates, momenta = curriculum.learning_rates, curriculum.momenta
            result = unroll.unrolled_loss(learner, shown, labels, rates, momenta, looks, memory=self.memory)
            loss = result.loss / len(real_x)
            (loss / len(learners)).backward()
            losses.append(loss.detach())
            finals.append(looks.final_loss)
            accuracies.append(looks.final_accuracy)
        assert shown.grad is not None
        if self.memory == "full":
            images.backward(shown.grad)
        else:
            for step in range(len(labels)):
                self.generator(latents[step], labels[step]).backward(shown.grad[step])
        parameters = list(trained(self.optimizer))
        self.run.processes.average_gradients(parameters)
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.gradient_clip or math.inf)
        self.optimizer.step()
        self.scheduler.step()
        return {
            "loss/meta": torch.stack(losses).mean(),
            "loss/final": torch.stack(finals).mean(),
            "accuracy/meta": torch.stack(accuracies).mean(),
            "gradient/norm": norm.detach(),
            "lr/inner": curriculum.learning_rates.detach().mean(),
            "momentum/inner": curriculum.momenta.detach().mean(),
        }

    # -- what comes of it ---------------------------------------------------------------------------------------------

    def samples(self) -> dict[str, Tensor]:
        """Return one image of each class at each of the first ten steps as pixels, one row a step."""
        classes = self.data.description.num_classes
        batches = self.teacher().batches(10, classes, self.run.streams["samples"])
        images = torch.cat([images[:classes] for images, _, _ in batches])
        return {"curriculum": self.normalisation.invert(images).clamp(0, 1)}

    def teacher(self) -> Teacher:
        """Return the generator with its curriculum, learning rates and momenta, as learners met them in training."""
        curriculum = self.curriculum
        ordered = curriculum.latents is not None
        return GeneratorTeacher(
            self.generator,
            self.data.description.with_normalisation(self.normalisation),
            latents=curriculum.latents.detach().clone() if curriculum.latents is not None else None,
            labels=curriculum.labels.clone() if ordered else None,
            learning_rates=curriculum.learning_rates.detach().clone(),
            momenta=curriculum.momenta.detach().clone(),
            batch_norm="batch",
            metadata={"learner": self.learner_specs, "seed": self.run.options.seed},
        )
