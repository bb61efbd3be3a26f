"""The two halves of a GAN that is divided between a server and a site: nothing of its step is written again.

Each half is the whole :class:`~trainers.gan.GANTrainer`, without the network that is at the other side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.errors import DivergenceError, UserError
from gendistill.losses import adversarial
from gendistill.nets.modes import frozen, untracked
from gendistill.runs.attributes import not_finite
from gendistill.runs.context import RunContext
from gendistill.seeds import Streams, derive_seed
from gendistill.teacher import GeneratorTeacher
from trainers.batch import Batch
from trainers.gan import GANTrainer
from trainers.score_estimators import Estimator

OWN = ("train_step", "discriminator_step", "learn_to_tell", "generator_step", "generator_loss", "fakes")
"""Parts of a step that are divided, so that a base has none of its own."""
BALANCES = ("none", "rms")


def check_base(base: GANTrainer) -> None:
    """Refuse a GAN that cannot be divided.

    Raises:
        UserError: It has a step of its own, terms or another loss that see both networks at once.
    """
    name = type(base).__name__
    if own := [part for part in OWN if getattr(type(base), part) is not getattr(GANTrainer, part)]:
        raise UserError(f"{name} has a {own[0]} of its own, which cannot be divided between a server and sites")
    if base.terms or base.has_own_loss:
        raise UserError("base has terms or an extra_loss, which see real and generated images at once; leave them out")
    if base.initial_generator is not None:
        raise UserError("base has an initial_generator; a site's discriminator would have to be given to the server")


def require_batch(gan: GANTrainer, data: RealData) -> None:
    """Refuse data with fewer images than a batch: its size is agreed on, so no side may lower it by itself.

    Raises:
        UserError: There are fewer.
    """
    if gan.batch_size > len(data.train):
        raise UserError(
            f"the base's batch_size is {gan.batch_size}, but there are {len(data.train)} training images here; give "
            f"all sides 1 to {len(data.train)} (base.init_args.batch_size of the trainer)"
        )


def context_of(run: RunContext, number: int) -> RunContext:
    """Return the context of one site's GAN: streams of its own, those of the first from the run's own seed."""
    seed = run.options.seed if number == 0 else derive_seed(run.options.seed, f"site/{number}")
    options = replace(run.options, seed=seed)
    return replace(run, options=options, streams=Streams(seed, run.device), metrics={}, warnings=[], step=0)


class Loss:
    """What a site has of a generator: the loss that it descends."""

    def __init__(self, loss_type: str) -> None:
        self.loss_type = loss_type

    def compute_gan_loss(self, output: Tensor, output_real: Tensor | None = None) -> Tensor:
        """Return the generator's loss from logits of its images; see ``BaseGenerator``."""
        return adversarial.generator_loss(self.loss_type, output, output_real)


class Half:
    """What both halves share: their state.

    Args:
        gan: The GAN, not attached yet.
        run: The run; its number of steps and its seed.
        data: What it learns from, or at the server what says how images look.
    """

    def __init__(self, gan: GANTrainer, run: RunContext, data: RealData) -> None:
        require_batch(gan, data)
        gan.attach(run, data)
        self.gan, self.run = gan, run

    @property
    def round(self) -> int:
        """Completed rounds."""
        return self.run.step

    def state_dict(self) -> dict[str, Any]:
        """Return the networks that are here, their optimisers, the streams and the round."""
        return {"gan": self.gan.state_dict(), "streams": self.run.streams.state_dict(), "round": self.round}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a state back."""
        self.gan.load_state_dict(state["gan"])
        self.run.streams.load_state_dict(state["streams"])
        self.run.step = int(state["round"])


class DiscriminatorHalf(Half):
    """A site's half: the discriminator and the private images.

    Args:
        gan: The GAN, not attached yet.
        run: The run.
        data: The private images.
        feedback: ``gradient``: of the generator's loss with respect to its images; ``score``: the logits alone.
    """

    def __init__(self, gan: GANTrainer, run: RunContext, data: RealData, feedback: str) -> None:
        super().__init__(gan, run, data)
        self.feedback = feedback
        for name in ("_generate", "ema", "generator_optimizer"):
            setattr(gan, name, None)
        gan.generator = Loss(gan.loss_type)
        self.measured: dict[str, Tensor] = {}

    def answer(self, images: Tensor, labels: Tensor | None) -> Tensor:
        """Learn from a round's images, and return what the discriminator then says of the last batch of them.

        Args:
            images: ((n_dis + answers) B, C, H, W); B for each update, then those that are answered.
            labels: As many; None without.

        Returns:
            The gradient (B, C, H, W) of the generator's loss with respect to them, or the logits (B,).

        Raises:
            DivergenceError: The discriminator, or what it says, is NaN or infinite.
        """
        gan, size = self.gan, self.gan.batch_size
        images = images.to(self.run.device)
        labels = None if labels is None else labels.to(self.run.device)

        def part(first: int, last: int | None) -> Batch:
            return Batch(images[first:last], None if labels is None else labels[first:last])

        gan.set_learning_rates(("discriminator_optimizer",))
        for update in range(gan.n_dis):
            self.learn(update, part(update * size, (update + 1) * size))
        gan.discriminator_optimizer.zero_grad(set_to_none=True)
        asked = part(gan.n_dis * size, None)
        with frozen(gan.discriminator):
            if self.feedback == "score":
                with torch.no_grad():
                    values = torch.cat([gan.discriminate(piece) for piece in _pieces(asked, size)]).flatten()
            else:
                leaf = asked.images.detach().requires_grad_()
                loss = gan.adversarial_loss(gan.discriminate(asked._replace(images=leaf)))
                gan.record("loss/generator", loss)
                (values,) = torch.autograd.grad(loss, leaf)
        gan._real = None
        self.measured = gan.recorded()
        self.run.step += 1
        if not bool(values.isfinite().all()):
            raise DivergenceError(f"what the discriminator says is NaN or infinite in round {self.round}")
        return values

    def learn(self, update: int, fake: Batch) -> None:
        """Make one of a round's updates of the discriminator, on private images and these."""
        gan = self.gan
        gan._real = gan.in_packs(Batch(*gan.next_batch()))
        gan.learn_to_tell(gan._real, fake)

    def metrics(self) -> Mapping[str, float]:
        """Return the losses of the last round."""
        return {name: float(value) for name, value in self.measured.items()}


def _pieces(batch: Batch, size: int) -> list[Batch]:
    """Return a batch in pieces of a size: norms over the batch see as many images as ever."""
    images = batch.images.split(size)
    labels = [None] * len(images) if batch.labels is None else batch.labels.split(size)
    return [Batch(*piece) for piece in zip(images, labels, strict=True)]


class Teaching:
    """The teacher GAN's discriminator, D_global, as one site's generator meets it.

    Args:
        gan: The trained GAN of the server's own data.
        live: Whether it goes on learning, from that data and this generator's images.
    """

    def __init__(self, gan: GANTrainer, *, live: bool) -> None:
        self.gan, self.live = gan, live

    @property
    def moves(self) -> bool:
        """Whether it has a state of its own for each site: it learns, or draws real images for a loss of pairs."""
        return self.live or self.gan.loss_type == adversarial.RELATIVISTIC

    def gradient(self, real: Batch | None, fake: Batch) -> Tensor:
        """Return the gradient of the generator's loss under D_global with respect to its images."""
        gan, leaf = self.gan, fake.images.detach().requires_grad_()
        with frozen(gan.discriminator), untracked(gan.discriminator):
            gan._real = real
            loss = gan.adversarial_loss(gan.discriminate(fake._replace(images=leaf)))
            gan._real = None
            (found,) = torch.autograd.grad(loss, leaf)
        return found


class GeneratorHalf(Half):
    """The server's half of one site: its generator, the teacher, and the joint restraint loss.

    ``alpha E[-log D_site(G(z))] + (1 - alpha) E[-log D_global(G(z))]``, Eq. (5.9), Wu 2022; for other losses the
    logarithm is theirs.

    Args:
        gan: The GAN, not attached yet.
        run: The run.
        data: The server's own data.
        alpha: Weight of the site's discriminator, in [0, 1]; the thesis calls it the student's.
        warmup: Rounds at the beginning in which alpha is 1.
        balance: ``none``, or ``rms``: both gradients are brought to a root mean square of 1 before they are weighed.
        teaching: The teacher's discriminator; None where alpha is 1.
        estimator: Makes gradients of scores; None where gradients arrive.
    """

    def __init__(
        self,
        gan: GANTrainer,
        run: RunContext,
        data: RealData,
        *,
        alpha: float,
        warmup: int,
        balance: str,
        teaching: Teaching | None,
        estimator: Estimator | None,
    ) -> None:
        super().__init__(gan, run, data)
        for name in ("discriminator", "_judge", "discriminator_optimizer"):
            setattr(gan, name, None)
        self.alpha, self.warmup, self.balance = alpha, warmup, balance
        self.teaching, self.estimator = teaching, estimator

    def fakes(self) -> tuple[Tensor, Tensor | None]:
        """Return the images of the round that the half is at, and their labels; the half stays as it is."""
        before = self.run.streams.state_dict()
        with torch.no_grad(), untracked(self.gan.generator):
            batches = [self.gan.fakes() for _ in range(self.gan.n_dis + 1)]
            if self.estimator is not None:
                batches[-1] = self.estimator.asked(batches[-1], self.run.streams)
        self.run.streams.load_state_dict(before)
        self.gan._latents = None
        images = torch.cat([batch.images for batch in batches])
        labels = [batch.labels for batch in batches if batch.labels is not None]
        return images, torch.cat(labels) if labels else None

    def learn(self, feedback: Tensor) -> None:
        """Descend the joint restraint loss by what the site answered, and go to the next round.

        Raises:
            DivergenceError: The generator became NaN or infinite.
        """
        gan = self.gan
        gan.set_learning_rates(("generator_optimizer",))
        with torch.no_grad(), untracked(gan.generator):
            judged = [gan.fakes() for _ in range(gan.n_dis)] if self._is_live else [self._skip()]
        fake = gan.fakes()
        seen = Batch(fake.images.detach(), fake.labels)
        feedback = feedback.to(self.run.device)
        if self.estimator is not None:
            feedback = self.estimator.gradient(seen, feedback, self.run.streams)
        gradient = self._joint(feedback, seen, judged)
        # The derivative of this with respect to the images is the gradient, to the bit.
        gan.update((fake.images * gradient).sum(), gan.generator_optimizer)
        gan.ema.update(gan.generator)
        gan._latents = None
        gan.recorded()
        self.run.step += 1
        if bad := not_finite(gan.generator.state_dict()):
            raise DivergenceError(f"its generator's '{bad[0]}' is NaN or infinite after round {self.round}")

    @property
    def weight(self) -> float:
        """alpha in this round."""
        return 1.0 if self.round < self.warmup or self.teaching is None else self.alpha

    @property
    def _is_live(self) -> bool:
        return self.weight < 1 and self.teaching is not None and self.teaching.live

    def _skip(self) -> Batch:
        """Draw what the discriminator's batches drew, without making images."""
        gan, batch = self.gan, Batch(torch.empty(0), None)
        generate, gan._generate = gan._generate, lambda x, *told: x
        for _ in range(gan.n_dis):
            batch = gan.fakes()
        gan._generate = generate
        return batch

    def _joint(self, feedback: Tensor, fake: Batch, judged: list[Batch]) -> Tensor:
        if self.weight == 1:
            return feedback
        assert self.teaching is not None
        teacher = self.teaching.gan
        real = None
        if self.teaching.live:
            for batch in judged:
                real = teacher.in_packs(Batch(*teacher.next_batch()))
                teacher.learn_to_tell(real, batch)
        elif self.teaching.moves:
            real = teacher.in_packs(Batch(*teacher.next_batch()))
        other = self.teaching.gradient(real, fake)
        if self.balance == "rms":
            feedback, other = _unit(feedback), _unit(other)
        return self.weight * feedback + (1 - self.weight) * other

    def teacher(self) -> GeneratorTeacher:
        """Return the site's generator."""
        made = self.gan.teacher()
        assert isinstance(made, GeneratorTeacher)
        return made

    def state_dict(self) -> dict[str, Any]:
        """Return the generator's state, and that of a teacher that goes on learning and of the estimator."""
        more: dict[str, Any] = {}
        if self.teaching is not None and self.teaching.moves:
            more["teaching"] = {"gan": self.teaching.gan.state_dict()}
            more["teaching"]["streams"] = self.teaching.gan.run.streams.state_dict()
        if self.estimator is not None:
            more["estimator"] = self.estimator.state_dict()
        return super().state_dict() | more

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a state back."""
        super().load_state_dict(state)
        if self.teaching is not None and self.teaching.moves:
            self.teaching.gan.load_state_dict(state["teaching"]["gan"])
            self.teaching.gan.run.streams.load_state_dict(state["teaching"]["streams"])
        if self.estimator is not None:
            self.estimator.load_state_dict(state["estimator"])


def _unit(gradient: Tensor) -> Tensor:
    """Return a gradient with a root mean square of 1; one that is 0 stays."""
    size = gradient.square().mean().sqrt()
    return gradient / size.clamp(min=torch.finfo(size.dtype).tiny)
