"""Generative adversarial networks: the step that every GAN here shares, with and without labels.

A new loss is a term (``trainers/terms/``), or a subclass that overrides ``discriminator_loss`` or ``generator_loss``
and calls ``super()``; docs/methods/gan.md has the equations, the deviations from the papers and the logged curves.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gendistill.data.augment import parse
from gendistill.data.description import Normalisation
from gendistill.declared import accepted_arguments
from gendistill.errors import UserError
from gendistill.grids import Grid
from gendistill.links.cost import Sizes, data_parallel
from gendistill.losses.adversarial import RELATIVISTIC, check_loss_type
from gendistill.losses.penalty import gradient_penalty, zero_centred_penalty
from gendistill.nets.ema import EMA
from gendistill.nets.layers import BatchNorm2d
from gendistill.nets.modes import frozen, untracked
from gendistill.objects import as_spec, laid_over
from gendistill.runs.watch import Watched
from gendistill.teacher import GeneratorTeacher, Teacher
from trainers.batch import Batch, Made
from trainers.diff_augment import diff_augment as augmented
from trainers.initial_networks import Beginning, new_network, start_from
from trainers.length import linear_decay
from trainers.packing import completed, packed, repeated
from trainers.penalty_check import no_penalty
from trainers.terms.assemble import with_terms
from trainers.trainer import Trainer

Spec = Mapping[str, Any]
LR_DECAYS = ("linear", "none")
OPTIMIZERS = ("generator_optimizer", "discriminator_optimizer")
COLLAPSED = {"wasserstein": 1e-9}
"""How near to 0 the discriminator's loss must stay to say that it is 0; of other losses, which end there, 1e-3."""
SATURATED = (
    "the discriminator's loss stays at 0: it tells all images apart and learns no more, and the generator learns "
    "little from it; try a smaller --trainer.lr_discriminator or --trainer.n_dis, or --trainer.diff_augment"
)


def whole(values: Tensor) -> Tensor:
    """Return values in float32 where they are in less."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


class GANTrainer(Trainer):
    """Train a generator against a discriminator, Goodfellow et al. 2014, without using labels.

    One step is ``n_dis`` updates of the discriminator, each on new real and new generated images, then one update of
    the generator.

    Args:
        generator: The network z (N, nz) -> images, as ``class_path`` and ``init_args``; by default SNGANGenerator.
        discriminator: The network images -> logits (N, 1); by default SNGANDiscriminator.
        loss_type: ``gan``, ``ns``, ``hinge``, ``wasserstein`` or ``relativistic``; given to both networks.
        n_dis: Updates of the discriminator in one step, at least 1.
        lr_generator: Adam's learning rate for the generator.
        lr_discriminator: Adam's learning rate for the discriminator.
        betas: Adam's two decay rates.
        lr_decay: ``linear`` (the rates at step t, from 0, are those at the start times 1 - t / steps) or ``none``.
        ema_decay: Decay of the average of the generator's weights that becomes the teacher, in [0, 1); 0 takes the
            weights themselves.
        gradient_penalty: Weight of the WGAN-GP penalty in the discriminator's loss; 0 leaves it out, 10 is published.
            A discriminator that normalises by its batch cannot have one.
        r1: gamma of the zero-centred penalty at real images: the discriminator's loss has gamma / 2 times the mean
            squared norm of its gradient there. 0 leaves it out.
        r2: The same at generated images.
        packing: How many images the discriminator judges together, joined along channels (PacGAN), at least 1; divides
            the batch size. With labels, the images of a pack are of one class.
        terms: What is added to the losses, each a dotted path or ``class_path`` and ``init_args``; see
            ``trainers/terms/``. Each is logged as ``train/term/<its name>``, before its weight.
        term_only: Whether terms replace the adversarial loss of the network that they apply to.
        initial_generator: A run of a GAN, whose networks this run starts from, or a generator teacher's file.
        diff_augment: How images are augmented before the discriminator, such as ``color_shift_cutout``; None: not.
        **kwargs: See :class:`~trainers.trainer.Trainer`.

    Raises:
        UserError: An option is out of range.
    """

    compiles: ClassVar[bool] = True
    takes_terms = True
    shares_batch = True
    generated: Callable[[], Batch] | None = None
    """Returns the next batch of generated images where another process makes them."""
    kinds: Tensor | None = None
    """Classes (K,) that generated images are drawn of; None: all."""
    labelled: ClassVar[bool] = False
    """Whether both networks are told the labels."""
    default_generator: ClassVar[str | Spec] = "gendistill.nets.sngan.SNGANGenerator"
    default_discriminator: ClassVar[str | Spec] = "gendistill.nets.sngan.SNGANDiscriminator"

    def __init__(
        self,
        *,
        generator: Spec | None = None,
        discriminator: Spec | None = None,
        loss_type: str = "hinge",
        n_dis: int = 5,
        lr_generator: float = 2e-4,
        lr_discriminator: float = 2e-4,
        betas: tuple[float, float] = (0.0, 0.9),
        lr_decay: str = "linear",
        ema_decay: float = 0.999,
        gradient_penalty: float = 0.0,
        r1: float = 0.0,
        r2: float = 0.0,
        packing: int = 1,
        terms: Sequence[str | Spec] = (),
        term_only: bool = False,
        initial_generator: str | None = None,
        diff_augment: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(terms=terms, **kwargs)
        if isinstance(n_dis, bool) or not isinstance(n_dis, int) or n_dis < 1:
            raise UserError(f"n_dis is {n_dis!r}; give a whole number from 1")
        if min(lr_generator, lr_discriminator) <= 0:
            raise UserError(f"lr_generator {lr_generator}, lr_discriminator {lr_discriminator}: both must be positive")
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise UserError(f"betas are {betas}; give two numbers of at least 0 and below 1")
        if lr_decay not in LR_DECAYS:
            raise UserError(f"lr_decay is '{lr_decay}'; use one of: {', '.join(LR_DECAYS)}")
        if not 0 <= ema_decay < 1:
            raise UserError(f"ema_decay is {ema_decay}; give a number of at least 0 and below 1")
        for name, weight in (("gradient_penalty", gradient_penalty), ("r1", r1), ("r2", r2)):
            if not 0 <= weight < math.inf:
                raise UserError(f"{name} is {weight}; give a weight of 0 or more")
        if isinstance(packing, bool) or not isinstance(packing, int) or packing < 1:
            raise UserError(f"packing is {packing!r}; give a whole number from 1")
        self.generator_spec: Spec = laid_over(generator, as_spec(self.default_generator))
        self.discriminator_spec: Spec = laid_over(discriminator, as_spec(self.default_discriminator))
        self.loss_type = check_loss_type(loss_type)
        self.n_dis = n_dis
        self.lr_generator = lr_generator
        self.lr_discriminator = lr_discriminator
        self.betas = (float(betas[0]), float(betas[1]))
        self.lr_decay = lr_decay
        self.ema_decay = ema_decay
        self.gradient_penalty = gradient_penalty
        self.r1, self.r2, self.packing = r1, r2, packing
        self.batch_unit = packing
        self.term_only = term_only
        self.initial_generator = initial_generator
        self.diff_augment = diff_augment if parse(diff_augment) else None

    @property
    def normalisation(self) -> Normalisation:
        """Images in [-1, 1], the range of the generator's tanh; points as coordinates."""
        return self.data.description.of_generators

    @property
    def judged_shape(self) -> tuple[int, int, int]:
        """Of what the discriminator sees: an image's (C, H, W), with the channels of all images of a pack."""
        channels, *size = self.data.description.image_shape
        return channels * self.packing, *size  # type: ignore[return-value]

    # -- what a run holds ---------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Make both networks, their optimisers and the average of the generator."""
        self._real: Batch | None = None
        self._latents: Tensor | None = None
        if self.term_only and not self.terms:
            raise UserError(
                "term_only is true, but there are no terms to train with; give terms, or leave term_only out"
            )
        needed = ("compute_gan_loss",)
        self.generator = new_network(self, "generator", self.generator_spec, ("nz", *needed), loss_type=self.loss_type)
        self._check_packs()
        self.discriminator = self.new_discriminator()
        self._check_penalties()
        self._generate, self._judge = self.compiled(self.generator), self.compiled(self.discriminator)
        self.ema = EMA(self.generator, self.ema_decay)
        if self.initial_generator is not None and not self.run.directory.has_state:
            self._begin(start_from(self.initial_generator, self.data, self.normalisation, labelled=self.labelled))
        self.generator_optimizer = self.make_optimizer(self.generator, self.lr_generator)
        self.discriminator_optimizer = self.make_optimizer(self.discriminator, self.lr_discriminator)

    def _begin(self, weights: Beginning) -> None:
        """Give the networks, and the average of the generator, the weights of a trained GAN."""
        weights.fill(self.generator, "generator")
        if weights.discriminator is not None:
            weights.fill(self.discriminator, "discriminator")
        if weights.ema is None:
            self.ema = EMA(self.generator, self.ema_decay)
        else:
            weights.fill_average(self.ema)

    def new_discriminator(self, drawn_as: str = "discriminator") -> Any:
        """Return a new discriminator, of packs.

        Args:
            drawn_as: What its initial weights are drawn as.
        """
        return new_network(
            self,
            "discriminator",
            self.discriminator_spec,
            ("compute_gan_loss",),
            loss_type=self.loss_type,
            image_shape=self.judged_shape,
            drawn_as=drawn_as,
        )

    def _check_packs(self) -> None:
        """Refuse a batch that does not divide into packs, or packs that a probe cannot look at."""
        world = self.run.processes.world
        if self.batch_size % (self.packing * world):
            among = f" in each of {world} processes" if world > 1 else ""
            raise UserError(
                f"batch_size {self.batch_size} does not divide into packs of {self.packing} images{among}; choose a "
                f"multiple of {self.packing * world} (--trainer.batch_size), or another --trainer.packing"
            )

    def _check_penalties(self) -> None:
        """Refuse a penalty of a discriminator that cannot have one."""
        names = [name for name in ("gradient_penalty", "r1", "r2") if getattr(self, name)]
        if not names or (why := self._no_penalty()) is None:
            return
        offered = "norm" in accepted_arguments(type(self.discriminator))
        without = "take layer, instance or spectral normalisation, or none"
        if offered:
            without = "give it norm: none (--trainer.discriminator.init_args.norm none)"
        given = " and ".join(f"--trainer.{name} is {getattr(self, name):g}" for name in names)
        leave = " ".join(f"--trainer.{name} 0" for name in names)
        raise UserError(f"{given}, but {why}; {without}, or leave the penalty out: {leave}")

    def _no_penalty(self) -> str | None:
        """Return why this discriminator cannot have a gradient penalty, None where it can."""

        def judge(network: nn.Module, images: Tensor) -> Tensor:
            labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
            logits: Tensor = network(images, *self._told(labels))
            return logits

        return no_penalty(self.discriminator, judge, self.judged_shape, self.run.options.seed)

    def make_optimizer(self, network: nn.Module, lr: float) -> torch.optim.Optimizer:
        """Return what trains a network; each of its groups says at what rate it starts (``initial_lr``)."""
        groups = [{"params": list(network.parameters()), "lr": lr, "initial_lr": lr}]
        return torch.optim.Adam(groups, betas=self.betas)

    # -- one step -----------------------------------------------------------------------------------------------------

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Make ``n_dis`` updates of the discriminator and one of the generator.

        Args:
            batch: The first of the ``n_dis`` real batches: images (B, C, H, W) in [-1, 1] and labels (B,). The others
                are drawn here.

        Returns:
            Scalars of the last discriminator update and of the generator update: ``loss/discriminator``,
            ``loss/generator``, ``prob/real``, ``prob/fake``, and whatever a loss has recorded.
        """
        self.set_learning_rates()
        for update in range(self.n_dis):
            self.discriminator_step(self.see(batch if update == 0 else self.next_batch()))
        self.generator_step()
        return self.forget()

    def see(self, batch: tuple[Tensor, Tensor]) -> Batch:
        """Return real images (B, C, H, W) and labels (B,) in packs; until the next ones losses look at them."""
        self._real = self.in_packs(Batch(*batch))
        return self._real

    def forget(self) -> dict[str, Tensor]:
        """Let a step's images go, and return its scalars."""
        self._real = self._latents = None
        return self.recorded()

    def discriminator_step(self, real: Batch) -> None:
        """Make one update of the discriminator on real images and as many new generated ones.

        The generated images are made without a graph. They are normalised by the statistics of their own batch, like
        those of the generator's update, but leave its running statistics alone: these describe the generator's own
        updates, however large ``n_dis`` is.
        """
        with torch.no_grad(), untracked(self.generator):
            fake = self.fakes()
        self.learn_to_tell(real, fake)

    def learn_to_tell(self, real: Batch, fake: Batch) -> None:
        """Make one update of the discriminator on these images."""
        loss = self.discriminator_loss(real, fake)
        self.record("loss/discriminator", loss)
        if loss.requires_grad:  # else it is a term alone, which does not look at the discriminator
            self.update(loss, self.discriminator_optimizer)

    def generator_step(self) -> None:
        """Make one update of the generator; the discriminator's parameters have no gradients during and after it."""
        self.discriminator_optimizer.zero_grad(set_to_none=True)
        with frozen(self.discriminator):
            loss = self.generator_loss(self.fakes())
            self.record("loss/generator", loss)
            self.update(loss, self.generator_optimizer)
        self.ema.update(self.generator)

    def discriminator_loss(self, real: Batch, fake: Batch) -> Tensor:
        """Return what the discriminator minimises, a scalar; override it and call ``super()`` to add a term.

        Args:
            real: Real images, this process's part.
            fake: As many generated images; no gradient flows back through them.
        """
        output_real, output_fake = self.discriminate(real), self.discriminate(fake)
        self.record_judgement(output_real.detach(), output_fake.detach())
        loss: Tensor = self.discriminator.compute_gan_loss(output_real=output_real, output_fake=output_fake)
        if self.gradient_penalty:
            penalty = self.penalty(real, fake)
            self.record("loss/gradient_penalty", penalty)
            loss = loss + self.gradient_penalty * penalty
        for name, gamma, batch in (("r1", self.r1, real), ("r2", self.r2, fake)):
            if gamma:
                penalty = self.zero_centred_penalty(batch)
                self.record(f"loss/{name}", penalty)
                loss = loss + gamma / 2 * penalty
        return with_terms(self, self.terms, loss, "discriminator", real, fake, term_only=self.term_only)

    def generator_loss(self, fake: Batch) -> Tensor:
        """Return what the generator minimises, a scalar; override it and call ``super()`` to add a term.

        Args:
            fake: Generated images, this process's part, with the generator's graph.
        """
        loss = self.adversarial_loss(self.discriminate(fake))
        loss = with_terms(self, self.terms, loss, "generator", self._real, fake, term_only=self.term_only)
        extra = self.own_loss(Made(fake.images, fake.labels, latents=self._latents))
        return loss if extra is None else loss + extra

    def adversarial_loss(self, output_fake: Tensor) -> Tensor:
        """Return the generator's adversarial loss, from the discriminator's logits of its images."""
        told = [output_fake]
        if getattr(self.generator, "loss_type", None) == RELATIVISTIC and self._real is not None:
            told.append(self.discriminate(self._real))
        loss: Tensor = self.generator.compute_gan_loss(*told)
        return loss

    def record_judgement(self, output_real: Tensor, output_fake: Tensor) -> None:
        """Log what the discriminator thinks of real and of generated images, as probabilities.

        Args:
            output_real: Its logits of real images, without a graph.
            output_fake: Its logits of generated images.
        """
        if self.loss_type == RELATIVISTIC:  # a logit says nothing by itself, the difference of a pair does
            output_real, output_fake = output_real - output_fake, output_fake - output_real
        self.record("prob/real", output_real.sigmoid().mean())
        self.record("prob/fake", output_fake.sigmoid().mean())

    # -- what losses use ----------------------------------------------------------------------------------------------

    def in_packs(self, real: Batch) -> Batch:
        """Return real images, of which each pack is of one class where the networks are told classes."""
        if self.packing == 1 or not self.labelled or real.labels is None:
            return real
        labels = real.labels[:: self.packing]
        others = self.draw_alike("packing", repeated(labels, self.packing - 1)).images
        return Batch(completed(real.images[:: self.packing], others, self.packing), repeated(labels, self.packing))

    def fakes(self) -> Batch:
        """Return a new batch of generated images, this process's part of ``batch_size``; labels are drawn first.

        Where the generator is elsewhere (:attr:`generated`) they come from there, without a graph.
        """
        if self.generated is not None:
            return self.generated()
        labels = None
        if self.labelled:
            stream, kinds = self.run.streams["noise"], self.kinds
            classes = self.data.description.num_classes if kinds is None else len(kinds)
            drawn = torch.randint(classes, (self.batch_size // self.packing,), generator=stream, device=stream.device)
            drawn = drawn if kinds is None else kinds[drawn]
            labels = self.run.processes.shard(repeated(drawn, self.packing))
        self._latents = self.noise(self.batch_size, self.generator.nz)
        with self.autocast():
            images = self._generate(self._latents, *self._told(labels))
        return Batch(whole(images), labels)

    def discriminate(self, batch: Batch) -> Tensor:
        """Return the discriminator's logits (B, 1) float32; under bfloat16 the forward pass is mixed precision.

        With ``packing`` m they are those of B / m packs.
        """
        images, labels = packed(batch._replace(images=augmented(self, batch.images, self.diff_augment)), self.packing)
        with self.autocast():
            logits: Tensor = self._judge(images, *self._told(labels))
        return whole(logits)

    def discriminate_exactly(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Return the discriminator's logits of packs in float32 always, for terms that differentiate twice."""
        logits: Tensor = self.discriminator(images, *self._told(labels))
        return logits

    def _told(self, labels: Tensor | None) -> tuple[Tensor | None, ...]:
        return (labels,) if self.labelled else ()

    def penalty(self, real: Batch, fake: Batch) -> Tensor:
        """Return the gradient penalty between packs of real and of generated images, at the real ones' labels."""
        generator = self.run.streams["penalty"]
        mix = torch.rand(self.batch_size // self.packing, generator=generator, device=generator.device)
        real, fake = packed(real, self.packing), packed(fake, self.packing)
        return gradient_penalty(
            lambda images: self.discriminate_exactly(images, real.labels),
            real.images,
            fake.images,
            mix=self.run.processes.shard(mix),
        )

    def zero_centred_penalty(self, batch: Batch) -> Tensor:
        """Return the mean squared norm of the gradient at images, through their augmentation; of a pack's as one."""

        def critic(images: Tensor) -> Tensor:
            seen = packed(Batch(augmented(self, images, self.diff_augment), batch.labels), self.packing)
            return self.discriminate_exactly(*seen)

        return zero_centred_penalty(critic, batch.images)

    def notes_on_length(self, step: int, before: int, now: int) -> list[str]:
        """Say how learning rates that fall to 0 at the end change with the length of the run."""
        return linear_decay(self.lr_decay, step, before, now)

    def set_learning_rates(self, names: Sequence[str] = OPTIMIZERS) -> None:
        """Give optimisers the rates of this step.

        Args:
            names: Which attributes.
        """
        # Computed from the step alone: no scheduler whose state could be lost, or that a longer run would upset.
        factor = 1 - self.step / self.steps if self.lr_decay == "linear" else 1.0
        for name in names:
            for group in getattr(self, name).param_groups:
                group["lr"] = group["initial_lr"] * factor

    # -- what comes of it ---------------------------------------------------------------------------------------------

    def watched(self) -> Watched:
        """Return the generator's weights, the discriminator's loss, and rates that a term learns."""
        rates = [rates for term in self.terms if (rates := term.learned_rates()) is not None]
        near = COLLAPSED.get(self.loss_type, 1e-3)
        own = not (self.term_only and any(term.acts_on("discriminator") for term in self.terms))
        return Watched(
            rates=torch.cat(rates) if rates else None,
            rates_option="schedule_lr of the term",
            moved={"the generator's weights": list(self.generator.parameters())},
            collapsed={"loss/discriminator": (near, SATURATED)} if own else {},
        )

    def expected(self, steps: int) -> dict[str, int]:
        """Return the bytes of the gradients that so many steps exchange, of all processes together."""
        world = self.run.processes.world
        return data_parallel(self.sizes(), world, steps) if world > 1 else {}

    def sizes(self) -> Sizes:
        """Return what of this GAN decides what several processes send."""
        return Sizes(
            discriminator=trained_numbers(self.discriminator),
            generator=trained_numbers(self.generator),
            discriminator_norms=statistics(self.discriminator),
            width=next(self.discriminator.parameters()).element_size(),
            generator_norms=statistics(self.generator),
            image=math.prod(self.data.description.image_shape),
            batch=self.batch_size,
            updates=self.n_dis,
            labelled=self.labelled,
        )

    def teacher(self) -> Teacher:
        """Return the averaged generator with fresh noise, its batch norm in eval mode."""
        return GeneratorTeacher(
            self.ema.module,
            self.data.description.with_normalisation(self.normalisation),
            classes=None if self.kinds is None else self.kinds.tolist(),
            metadata={"source": f"{type(self).__name__}, step {self.step}", "seed": self.run.options.seed},
        )

    def samples(self) -> dict[str, Grid]:
        """Return generated images of the same noise each time, pixels in [0, 1]: a square with one column a class."""
        kinds = (
            torch.arange(self.data.description.num_classes, device=self.device) if self.kinds is None else self.kinds
        )
        classes = min(len(kinds), 10)
        rows = classes if self.kinds is None else 10
        noise = torch.randn(
            rows * classes, self.generator.nz, generator=self.run.streams["samples"], device=self.device
        )
        labels = kinds[torch.arange(rows * classes, device=self.device) % classes]
        with torch.no_grad():
            images = self.ema.module(noise, *self._told(labels))
        pixels = self.normalisation.invert(images.float()).clamp(0, 1)
        shown = [self.data.description.class_names[kind] for kind in kinds[:classes].tolist()]
        names = shown * rows if self.labelled else []
        return {"generator": Grid(pixels, classes, tuple(names))}


def trained_numbers(network: nn.Module) -> int:
    """Return how many numbers of a network are trained."""
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)


def statistics(network: nn.Module) -> int:
    """Return how many numbers the batch norms of a network exchange in a forward pass, where a batch is shared out."""
    return sum(2 * module.num_features + 1 for module in network.modules() if isinstance(module, BatchNorm2d))


class ConditionalGANTrainer(GANTrainer):
    """Train a conditional generator against a conditional discriminator, Miyato and Koyama 2018.

    Labels of generated images are uniform over the classes, whatever their shares in the data. The arguments are those
    of :class:`GANTrainer`; the default networks are CGANPDGenerator and CGANPDDiscriminator.
    """

    labelled = True
    default_generator: ClassVar[str | Spec] = "gendistill.nets.cgan_pd.CGANPDGenerator"
    default_discriminator: ClassVar[str | Spec] = "gendistill.nets.cgan_pd.CGANPDDiscriminator"
