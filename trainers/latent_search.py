"""Latent search: images of a trained generator, chosen by descending in its latent space.

Projected gradient descent on the sphere of radius sqrt(d) (Bradley 2020, section 6.1; PULSE, Menon et al. 2020): the
generator stays as it is, and a few latents of each class move so that their images teach a random network what real
images of that class teach it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from gendistill import sphere, unroll
from gendistill.data.real import RealData
from gendistill.data.sampling import ClassSampler
from gendistill.errors import UserError, did_you_mean
from gendistill.losses.matching import feature_matching, gradient_distance
from gendistill.nets.learners import default_learner
from gendistill.objects import build
from gendistill.outer import RealLoss
from gendistill.poison import Poison, PoisonedLoss, require_made_here
from gendistill.runs.context import RunContext
from gendistill.sphere_optimizer import CONSTRAINTS, SphereOptimizer
from gendistill.teacher import GeneratorTeacher, Teacher
from gendistill.teacher.reference import open_teacher
from trainers.trainer import Trainer

OBJECTIVES = ("feature_matching", "gradient_matching", "meta_loss")
OPTIMIZERS = ("adam", "sgd")
PATH_POINTS = 101


class LatentSearchTrainer(Trainer):
    """Move ``images_per_class`` latents of every class until their images match real ones.

    Args:
        generator: A generator teacher: its ``.safetensors`` file, or the directory of the run that trained it.
        images_per_class: Latents, and so images, for each class; 1 or more.
        objective: ``feature_matching`` (distribution matching in a fresh random network at every step) or
            ``gradient_matching`` (the gradients that real and synthetic images give to a fresh random network) or
            ``meta_loss`` (the loss on real images of a fresh network trained on all synthetic ones).
        constraint: Where latents may lie: ``sphere`` (radius sqrt(d)), ``none`` (Bradley 2020, Table 4.2), ``l2``
            (weight decay) or ``clip`` (norm at most sqrt(d)).
        optimizer: ``adam`` or ``sgd`` (momentum 0.9), applied to the tangent part of the gradient on the sphere.
        lr: Step size in latent units (a latent has norm sqrt(d)); positive.
        l2: Weight decay of the latents with ``constraint: l2``.
        real_batch: Real images of each class at every step; 1 or more.
        probe: The random network that is matched in, as ``class_path`` and ``init_args``; by default the data set's
            default learner.
        inner_steps: Steps of plain gradient descent that the network takes with ``meta_loss``; at least 1.
        inner_lr: Learning rate of these steps; positive. The teacher keeps it.
        memory: Memory mode of these steps; see :mod:`gendistill.unroll`.
        poison: With ``meta_loss``, ``"7:1"``, or source, target and weight of :class:`gendistill.poison.Poison`:
            networks are to take one class for another. None: honest.

    Raises:
        UserError: An option is out of range, or the generator does not fit the data.
    """

    def __init__(
        self,
        generator: str,
        *,
        images_per_class: int = 10,
        objective: str = "feature_matching",
        constraint: str = "sphere",
        optimizer: str = "adam",
        lr: float = 0.05,
        l2: float = 1e-2,
        real_batch: int = 64,
        probe: dict[str, Any] | None = None,
        inner_steps: int = 10,
        inner_lr: float = 0.05,
        memory: unroll.Memory = "full",
        poison: str | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value, allowed in (
            ("objective", objective, OBJECTIVES),
            ("constraint", constraint, CONSTRAINTS),
            ("optimizer", optimizer, OPTIMIZERS),
            ("memory", memory, unroll.MEMORY_MODES),
        ):
            if value not in allowed:
                hint = did_you_mean(value, allowed)
                raise UserError(f"the latent {name} is '{value}'; {hint}choose one of {', '.join(allowed)}")
        if images_per_class < 1 or real_batch < 1:
            raise UserError(f"images_per_class and real_batch must be at least 1, got {images_per_class}, {real_batch}")
        if lr <= 0 or inner_lr <= 0 or inner_steps < 1:
            raise UserError(
                f"lr and inner_lr must be positive and inner_steps at least 1, got {lr}, {inner_lr} and {inner_steps}"
            )
        if poison is not None and objective != "meta_loss":
            raise UserError(f"poison needs objective meta_loss, which asks what networks learn; it is {objective}")
        self.generator_reference = generator
        self.images_per_class = images_per_class
        self.objective = objective
        self.constraint = constraint
        self.optimizer_name = optimizer
        self.lr = lr
        self.l2 = l2
        self.real_batch = real_batch
        self.probe_spec = probe
        self.inner_steps = inner_steps
        self.inner_lr = inner_lr
        self.memory = memory
        self.poison_spec = poison

    # -- what a run holds ---------------------------------------------------------------------------------------------

    def attach(self, run: RunContext, data: RealData) -> None:
        """Take the run and the data, and build.

        A step draws ``real_batch`` images of every class, so ``batch_size`` is not used and must not be too large.
        """
        self.batch_size = run.processes.world
        super().attach(run, data)

    def build(self) -> None:
        """Open the generator and put the first latents on the sphere, uniformly."""
        opened = open_teacher(self.generator_reference, self.data, device=self.device)
        if not isinstance(opened, GeneratorTeacher):
            raise UserError(
                f"'{self.generator_reference}' is a teacher of kind '{opened.kind}', which has no latent space; give a "
                "generator's file or run"
            )
        self.poison = Poison.of(self.poison_spec, self.data.description)
        if self.poison is not None:
            require_made_here(opened, self.generator_reference)
        self.source = opened
        self.network = opened.network
        classes = self.data.description.num_classes
        self.labels = torch.arange(classes, device=self.device).repeat_interleave(self.images_per_class)
        drawn = sphere.uniform(len(self.labels), opened.nz, self.run.streams["latents"])
        self.start = drawn.to(self.device)
        self.latents = nn.Parameter(self.start.clone())
        if self.optimizer_name == "adam":
            inner: torch.optim.Optimizer = torch.optim.Adam([self.latents], lr=self.lr)
        else:
            inner = torch.optim.SGD([self.latents], lr=self.lr, momentum=0.9)
        self.optimizer = SphereOptimizer(inner, self.constraint, weight_decay=self.l2)
        self.norms = self._norms(self.latents)[None]
        self.classes = ClassSampler(self.data.train.labels, classes)
        if self.real_batch > int(self.classes.counts.min()):
            raise UserError(
                f"real_batch is {self.real_batch}, but the smallest class has {int(self.classes.counts.min())} images; "
                "choose a smaller one"
            )

    # -- one step -----------------------------------------------------------------------------------------------------

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Draw ``real_batch`` images of every class, other ones in every process.

        Returns:
            Images (K * real_batch, C, H, W), class by class, and their labels.
        """
        processes = self.run.processes
        draws = [self.classes.draw(self.real_batch, self.run.streams["data"]) for _ in range(processes.world)]
        return self.data.train.batch(draws[processes.rank].flatten(), self.normalisation)

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Move all latents of all classes by one step, against a fresh random network.

        Args:
            batch: Real images (K * real_batch, C, H, W), class by class, and labels.

        Returns:
            ``loss/<objective>``, ``latent/norm`` (mean) and ``latent/angle`` (mean angle travelled, radians).
        """
        probe = self.probe()
        with self.autocast():
            loss = self._objective()(probe, batch)
        self.update(loss, self.optimizer)
        with torch.no_grad():
            norms = self._norms(self.latents)
            self.norms = torch.cat([self.norms, norms[None]])
            angle = sphere.angle(self.start, self.latents).mean()
        return {f"loss/{self.objective}": loss.detach(), "latent/norm": norms[0], "latent/angle": angle}

    def probe(self) -> Any:
        """Return a freshly initialised network with ``features``; each step and process has its own."""
        description = self.data.description
        with self.initialised(f"probe/{self.step}/{self.run.processes.rank}"):
            network = build(
                self.probe_spec or default_learner(description),
                nn.Module,
                num_classes=description.num_classes,
                image_shape=description.image_shape,
            )
        return self.place(network)

    def images(self) -> Tensor:
        """Return the images (K * M, C, H, W) of the latents, with their graph, as real images are normalised."""
        made = self.source.render(self.latents, self.labels)
        return self.source.description.normalisation.convert(made, self.normalisation)

    def _objective(self) -> Callable[[Any, tuple[Tensor, Tensor]], Tensor]:
        return {
            "feature_matching": self._features,
            "gradient_matching": self._gradients,
            "meta_loss": self._trained,
        }[self.objective]

    def _features(self, probe: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
        classes = self.data.description.num_classes
        with torch.no_grad():
            real = probe.features(batch[0])
        synthetic = probe.requires_grad_(False).features(self.images())
        return feature_matching(real.unflatten(0, (classes, -1)), synthetic.unflatten(0, (classes, -1)))

    def _gradients(self, probe: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
        parameters = list(probe.parameters())
        classes = self.data.description.num_classes
        synthetic = self.images().unflatten(0, (classes, -1))
        distances = []
        # One class after another: on a CPU a vectorised form is twice as slow and holds all classes' graphs at once.
        for label, (real, made) in enumerate(zip(batch[0].unflatten(0, (classes, -1)), synthetic, strict=True)):
            wanted = torch.autograd.grad(self._loss(probe, real, label), parameters)
            given = torch.autograd.grad(self._loss(probe, made, label), parameters, create_graph=True)
            distances.append(gradient_distance(wanted, given))
        return torch.stack(distances).sum()

    def _trained(self, probe: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
        look = RealLoss(probe, [self.inner_steps], batch[0][None], batch[1][None])
        if self.poison is not None:
            look = PoisonedLoss(probe, [self.inner_steps], batch[0][None], batch[1][None], self.poison)
        rates = self._inner_rates()
        images, labels = [self.images()] * self.inner_steps, [self.labels] * self.inner_steps
        momenta = torch.zeros_like(rates)
        return unroll.unrolled_loss(probe, images, labels, rates, momenta, look, memory=self.memory).loss

    def _inner_rates(self) -> Tensor:
        return torch.full((self.inner_steps,), self.inner_lr, device=self.device)

    def _loss(self, probe: Any, images: Tensor, label: int) -> Tensor:
        targets = torch.full((len(images),), label, device=images.device)
        return nn.functional.cross_entropy(probe(images), targets)

    @staticmethod
    def _norms(latents: Tensor) -> Tensor:
        norms = torch.linalg.vector_norm(latents.detach(), dim=-1)
        return torch.stack([norms.mean(), norms.min(), norms.max()])

    # -- what comes of it ---------------------------------------------------------------------------------------------

    def teacher(self) -> Teacher:
        """Return the generator with the latents found; its metadata has the path of their norms."""
        return GeneratorTeacher(
            self.network,
            self.source.description,
            latents=self.latents,
            labels=self.labels,
            learning_rates=self._inner_rates() if self.objective == "meta_loss" else None,
            batch_norm=self.source.batch_norm,
            metadata=({} if self.poison is None else self.poison.metadata())
            | {
                "source": f"{type(self).__name__}, step {self.step}",
                "seed": self.run.options.seed,
                "generator": dict(self.source.metadata),
                "learner": self.probe_spec or default_learner(self.data.description),
                "path": self.path(),
            },
        )

    def path(self) -> dict[str, Any]:
        """Return the norms of the latents over the steps (at most 101 points) and the sphere's radius."""
        steps = torch.linspace(0, len(self.norms) - 1, min(len(self.norms), PATH_POINTS)).round().long()
        mean, smallest, largest = self.norms[steps.to(self.norms.device)].T.tolist()
        return {
            "step": steps.tolist(),
            "norm_mean": mean,
            "norm_min": smallest,
            "norm_max": largest,
            "radius": float(self.latents.shape[1] ** 0.5),
        }

    def samples(self) -> dict[str, Tensor]:
        """Return the images at the start and now, one column a class, pixels in [0, 1]."""
        order = torch.arange(len(self.labels), device=self.device).view(-1, self.images_per_class).T.flatten()
        normalisation = self.source.description.normalisation
        return {
            name: normalisation.invert(self.source.generate(latents[order], self.labels[order])).clamp(0, 1)
            for name, latents in (("start", self.start), ("search", self.latents))
        }
