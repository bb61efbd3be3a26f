"""Networks written for torch-mimicry, trained unchanged: each network makes its own training step.

The order of calls, arguments and learning rates is that of torch-mimicry's trainer (Lee and Town 2020); the loop,
checkpoints and exact resume are this project's. See docs/methods/mimicry.md.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.data.description import Normalisation, symmetric
from gendistill.errors import UserError
from gendistill.grids import Grid
from gendistill.mimicry import (
    Checkpoint,
    GeneratorAdapter,
    MetricLog,
    build_network,
    latest_pair,
    load_weights,
    read_checkpoint,
    write_checkpoint,
)
from gendistill.notes import note
from gendistill.objects import laid_over
from gendistill.runs.attributes import not_finite
from gendistill.runs.watch import Watched
from gendistill.spelling import option
from gendistill.teacher import GeneratorTeacher, Teacher
from gendistill.teacher.network import snapshot
from trainers.length import linear_decay
from trainers.penalty_check import no_penalty
from trainers.trainer import Trainer

Spec = Mapping[str, Any]
LR_DECAYS = ("linear", "none")
PENALTY = "compute_gradient_penalty_loss"
"""What torch-mimicry calls the penalty that a discriminator's own training step may take."""
EXTRAS: dict[str, Any] = {"scaler": None}
"""Arguments that only some versions of torch-mimicry pass; a train_step that does not take them runs without."""


class MimicryTrainer(Trainer):
    """Train a generator and a discriminator that own their ``train_step``, as classes of torch-mimicry do.

    One step is ``n_dis`` calls of the discriminator's ``train_step``, each with other real images, then one call of the
    generator's with the last of them.

    Args:
        generator: The generator, as ``class_path`` and ``init_args``; by default torch-mimicry's SNGANGenerator32.
        discriminator: The discriminator; by default torch-mimicry's SNGANDiscriminator32.
        n_dis: Updates of the discriminator in one step, at least 1.
        lr_generator: Adam's learning rate for the generator.
        lr_discriminator: Adam's learning rate for the discriminator.
        betas: Adam's two decay rates.
        lr_decay: ``linear`` (the rates at step t, from 0, are those at the start times 1 - t / steps) or ``none``.
        continue_from: ``log_dir`` of a torch-mimicry run: a new run starts with its last networks, optimisers and step.
        checkpoint_every: Steps between two pairs of torch-mimicry checkpoints in the run's directory, written at the
            last step too; 0 writes none.
        **kwargs: See :class:`~trainers.trainer.Trainer`.

    Raises:
        UserError: An option is out of range.
    """

    def __init__(
        self,
        *,
        generator: Spec | None = None,
        discriminator: Spec | None = None,
        n_dis: int = 5,
        lr_generator: float = 2e-4,
        lr_discriminator: float = 2e-4,
        betas: tuple[float, float] = (0.0, 0.9),
        lr_decay: str = "linear",
        continue_from: str | None = None,
        checkpoint_every: int = 0,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value, least in (("n_dis", n_dis, 1), ("checkpoint_every", checkpoint_every, 0)):
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UserError(f"{name} is {value!r}; give a whole number from {least}")
        if lr_generator <= 0 or lr_discriminator <= 0:
            raise UserError(
                f"learning rates must be positive, got lr_generator {lr_generator}, lr_discriminator {lr_discriminator}"
            )
        if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
            raise UserError(f"betas are {betas}; give two numbers of at least 0 and below 1")
        if lr_decay not in LR_DECAYS:
            raise UserError(f"lr_decay is '{lr_decay}'; use one of: {', '.join(LR_DECAYS)}")
        self.generator_spec: Spec = laid_over(generator, {"class_path": "torch_mimicry.nets.sngan.SNGANGenerator32"})
        self.discriminator_spec: Spec = laid_over(
            discriminator, {"class_path": "torch_mimicry.nets.sngan.SNGANDiscriminator32"}
        )
        self.n_dis = n_dis
        self.lr_generator = lr_generator
        self.lr_discriminator = lr_discriminator
        self.betas = (float(betas[0]), float(betas[1]))
        self.lr_decay = lr_decay
        self.continue_from = continue_from
        self.checkpoint_every = checkpoint_every

    @property
    def normalisation(self) -> Normalisation:
        """Images in [-1, 1], the range of the generator's tanh."""
        return symmetric(self.data.description.image_shape[0])

    # -- what a run holds ---------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Make both networks and their optimisers; put torch-mimicry's checkpoints in, where a new run has some."""
        if self.run.processes.world > 1:
            raise UserError(
                "a network that makes its own training step cannot share its gradients with other processes; train it "
                "in one process"
            )
        if self.run.options.precision != "float32":
            raise UserError(
                f"run.precision is {self.run.options.precision}, but a network that makes its own training step "
                "chooses its precision itself; use float32"
            )
        self.generator = self._network("generator", self.generator_spec)
        self.discriminator = self._network("discriminator", self.discriminator_spec)
        self._check_images()
        self._check_penalty()
        self.generator_optimizer = torch.optim.Adam(self.generator.parameters(), self.lr_generator, self.betas)
        self.discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), self.lr_discriminator, self.betas
        )
        self._generator_extras = accepted_extras(self.generator.train_step)
        self._discriminator_extras = accepted_extras(self.discriminator.train_step)
        if self.continue_from is not None and not self.run.directory.has_state:
            self._take_checkpoints(self.continue_from)

    def _network(self, name: str, spec: Spec) -> Any:
        with self.initialised(name):
            network = build_network(spec, self.data.description)
        if not callable(getattr(network, "train_step", None)):
            raise UserError(
                f"the {name} {type(network).__name__} has no train_step; a network without one is trained by "
                "trainers.gan.GANTrainer"
            )
        return self.place(network)

    def _check_images(self) -> None:
        adapter = GeneratorAdapter(self.generator)
        labels = torch.zeros(2, dtype=torch.int64, device=self.device)
        with torch.no_grad():
            # On a copy in eval mode: statistics, power iterations and random numbers stay as they are.
            made = snapshot(adapter).eval()(torch.zeros(2, adapter.nz, device=self.device), labels)
        description = self.data.description
        if tuple(made.shape[1:]) != tuple(description.image_shape):
            channels, height, _ = made.shape[1:]
            raise UserError(
                f"{type(self.generator).__name__} makes images of shape {tuple(made.shape[1:])}, but "
                f"'{description.name}' has {tuple(description.image_shape)}; torch-mimicry has a class for each size, "
                f"with three channels: choose the one that fits, or bring the images of a folder to its shape with "
                f"{option('image_size')} {height} and {option('channels')} {channels}"
            )

    def _check_penalty(self) -> None:
        """Say where a discriminator that offers a gradient penalty normalises by its batch; its step is its own."""
        if not callable(getattr(self.discriminator, PENALTY, None)):
            return
        parameters = inspect.signature(self.discriminator.forward).parameters
        takes_labels = int(getattr(self.discriminator, "num_classes", 0) or 0) > 0 and len(parameters) > 1

        def judge(network: nn.Module, images: Tensor) -> Tensor:
            labels = torch.zeros(len(images), dtype=torch.int64, device=images.device)
            answered = network(images, labels) if takes_labels else network(images)
            logits: Tensor = answered[0] if isinstance(answered, tuple) else answered
            return logits

        if (why := no_penalty(self.discriminator, judge, self.data.description.image_shape, 0)) is not None:
            note(f"{why}; its train_step may take one all the same")

    def _take_checkpoints(self, directory: str) -> None:
        files = latest_pair(directory)
        checkpoints = {name: read_checkpoint(path) for name, path in files.items()}
        steps = {name: checkpoint.step for name, checkpoint in checkpoints.items()}
        if len(set(steps.values())) > 1:
            raise UserError(f"the checkpoints in '{directory}' are of different steps: {steps}")
        for name, network, optimizer in (
            ("netG", self.generator, self.generator_optimizer),
            ("netD", self.discriminator, self.discriminator_optimizer),
        ):
            checkpoint = checkpoints[name]
            load_weights(network, checkpoint.model, files[name])
            if checkpoint.optimizer is not None:
                if bad := not_finite(checkpoint.optimizer):
                    raise UserError(f"the optimiser in '{files[name]}' holds NaN or infinite values in '{bad[0]}'")
                try:
                    optimizer.load_state_dict(checkpoint.optimizer)
                    for group in optimizer.param_groups:
                        group |= {"betas": self.betas, "eps": group["eps"]}
                except (ValueError, KeyError, TypeError) as error:
                    raise UserError(f"the optimiser in '{files[name]}' is not Adam's for this network") from error
        self.run.step = steps["netG"]

    # -- one step -----------------------------------------------------------------------------------------------------

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Let the discriminator make ``n_dis`` updates and the generator one.

        The networks draw noise from torch's global generators. The loop lends these to the run, seeded, and saves and
        restores them, so that a run resumes exactly and leaves those of the program around it alone.

        Args:
            batch: The first of the ``n_dis`` real batches: images (B, C, H, W) in [-1, 1] and labels (B,). The others
                are drawn here.

        Returns:
            What the networks logged, by ``group/name``, such as ``loss/errD``; of the discriminator's updates the last.
        """
        for optimizer, rate in (
            (self.generator_optimizer, self.lr_generator),
            (self.discriminator_optimizer, self.lr_discriminator),
        ):
            for group in optimizer.param_groups:
                group["lr"] = self._rate(rate, self.step)
        log = MetricLog(self.device)
        for update in range(self.n_dis):
            if update:
                batch = self.next_batch()
            returned = self.discriminator.train_step(
                real_batch=batch,
                netG=self.generator,
                optD=self.discriminator_optimizer,
                log_data=log,
                global_step=self.step,
                device=self.device,
                **self._discriminator_extras,
            )
            log.include(returned)
        returned = self.generator.train_step(
            real_batch=batch,
            netD=self.discriminator,
            optG=self.generator_optimizer,
            log_data=log,
            global_step=self.step,
            device=self.device,
            **self._generator_extras,
        )
        log.include(returned)
        done = self.step + 1
        if self.checkpoint_every and (done % self.checkpoint_every == 0 or done == self.steps):
            self._write_checkpoints(done)
        return log.scalars()

    def notes_on_length(self, step: int, before: int, now: int) -> list[str]:
        """Say how learning rates that fall to 0 at the end change with the length of the run."""
        return linear_decay(self.lr_decay, step, before, now)

    def _rate(self, start: float, step: int) -> float:
        # In torch-mimicry's order of operations, for the same bits.
        return start if self.lr_decay == "none" else start + step / self.steps * (0.0 - start)

    def _write_checkpoints(self, step: int) -> None:
        for name, network, optimizer, rate in (
            ("netG", self.generator, self.generator_optimizer, self.lr_generator),
            ("netD", self.discriminator, self.discriminator_optimizer, self.lr_discriminator),
        ):
            state = optimizer.state_dict()
            # torch-mimicry saves the rate of the step to come.
            state["param_groups"] = [group | {"lr": self._rate(rate, step)} for group in state["param_groups"]]
            folder = self.run.directory.path / "checkpoints"
            write_checkpoint(folder, name, Checkpoint(network.state_dict(), state, step))

    # -- what comes of it ---------------------------------------------------------------------------------------------

    def watched(self) -> Watched:
        """Return the generator's weights, and the discriminator's loss under torch-mimicry's name for it."""
        return Watched(
            moved={"the generator's weights": list(self.generator.parameters())},
            collapsed={"loss/errD": (1e-9, "the discriminator's loss stays at 0: it learns no more")},
        )

    def teacher(self) -> Teacher:
        """Return the generator with fresh noise, its batch norm in eval mode.

        The labels of a generator that takes none are random, so that its images can be judged but teach nothing.
        """
        adapter = GeneratorAdapter(self.generator)
        metadata = {"source": f"{type(self.generator).__name__}, step {self.step}", "seed": self.run.options.seed}
        if not adapter.conditional:
            metadata["notes"] = "the generator takes no labels; the labels beside its images are random"
        return GeneratorTeacher(
            adapter, self.data.description.with_normalisation(self.normalisation), metadata=metadata
        )

    def samples(self) -> dict[str, Grid]:
        """Return generated images of the same noise each time, pixels in [0, 1]: a square with one column a class."""
        classes = min(self.data.description.num_classes, 10)
        generator = self.run.streams["samples"]
        noise = torch.randn(classes**2, self.generator.nz, generator=generator, device=self.device)
        with torch.no_grad():
            images = GeneratorAdapter(self.generator)(noise, torch.arange(classes**2, device=self.device) % classes)
        return {"generator": Grid(self.normalisation.invert(images.float()).clamp(0, 1), classes)}


def accepted_extras(train_step: Callable[..., Any]) -> dict[str, Any]:
    """Return those of :data:`EXTRAS` that a ``train_step`` takes, by name or because it takes any."""
    parameters = inspect.signature(train_step).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    return {name: value for name, value in EXTRAS.items() if takes_any or name in parameters}
