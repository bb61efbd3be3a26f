"""Batch condensation: every batch of 64 images becomes one of 32 that gives networks the same gradients.

Bradley 2020, section 6.1: "an algorithm which takes in a single batch of 64 images and optimises some loss to create a
generated batch of 32 images with very similar gradients", for each batch of the training set, and again on the result.
docs/methods/batch-condensation.md tells the rest.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill import sphere
from gendistill.batch_coresets import batch_order, sizes
from gendistill.data.augment import apply, draw_parameters, parse
from gendistill.errors import UserError
from gendistill.evaluation.condensation_controls import CONTROLS, control
from gendistill.evaluation.condensation_metrics import image_gradients
from gendistill.losses.batch_gradients import batch_cosines, batch_gradients
from gendistill.losses.class_gradients import class_gradient_distance
from gendistill.losses.matching import DISTANCES
from gendistill.runs.watch import Watched
from gendistill.sphere_optimizer import SphereOptimizer
from gendistill.teacher import Teacher, open_teacher
from gendistill.teacher.stored import Order
from trainers.batch import Made
from trainers.checks import check_words
from trainers.chunks import images_at_once
from trainers.condensed_teacher import condensed_teacher
from trainers.latents.source import open_generator
from trainers.latents.space import Space
from trainers.stored_start import check_start, is_stored
from trainers.terms.hosts import TrainerHost
from trainers.terms.over_groups import rows_of
from trainers.terms.probe_kinds import make_probes
from trainers.terms.probes import Probe
from trainers.trainer import Trainer

Labels = Literal["given", "learned"]
STARTS = (*CONTROLS, "noise")
FRESH_AND_OLDER: tuple[Mapping[str, Any], ...] = (
    {"state": "fresh"},
    {"state": "pool", "size": 4, "steps": 200, "lr": 0.05},
)
"""Networks to match in when none are named: an untrained one, and one of a pool of all ages."""


class BatchCondensationTrainer(Trainer):
    """Condense each real batch of ``batch_size`` images into one of ``condensed_size``, all batches at once.

    Args:
        batch_size: Images of a real batch.
        condensed_size: Images of a condensed batch, 1 to ``batch_size - 1``.
        rounds: How often; each round makes batches smaller by the same factor: 64, 32, 16 with 2. The run's steps are
            shared out equally.
        num_batches: Real batches, those of one stratified epoch; None: all whole ones.
        start: What a condensed batch is at first: ``random``, ``loss``, ``herding``, ``kcenter`` (parts of its batch),
            ``mixup`` (means of random pairs), ``noise`` (standard normal, with the classes of a random part), or images
            that are stored somewhere, as :func:`gendistill.teacher.open_teacher` names them, batch after batch.
        features: Where herding and k-center measure: ``pixels``, ``classifier``, ``inception`` or an extractor's path.
        optimise: False leaves the start as it is: the control with that name.
        labels: ``given``: those of the start. ``learned``: any real numbers, beginning there (one-hot).
        generator: A generator teacher's file or run: latents are moved and not pixels; the start then says the classes
            only, which latents are drawn uniformly from the sphere for. None: pixels.
        lr: Adam's learning rate, of normalised pixels or of latents with norm sqrt(d); positive.
        lr_labels: Adam's learning rate of learned labels; positive.
        distance: ``cosine_layerwise``, ``l2`` or ``mse``; see :func:`gendistill.losses.matching.gradient_distance`.
        probes: Networks to match in: a list of ``state`` (``fresh``, ``pretrained``, ``pool``) and the options of that
            kind, see :mod:`trainers.terms.probes`; a step draws one of each. None: a fresh one and one of a pool.
        augment: Strategy by which a real batch and its condensed one are changed in the same way, such as
            ``color_crop_cutout_scale_rotate``; None: none.
        batches_at_once: Batches that a step moves, those of the next step being the next ones; None: all.
        vectorised: Several batches in one pass, for networks without batch norm in train mode; None: on a GPU. False:
            one batch after another. Either way the gradients are the same, and only what is in one pass has a graph.
        order: How the teacher shows its images: ``fixed`` (the batches as they were made) or ``stratified``.
        terms: See :class:`~trainers.trainer.Trainer`; they see the batches that a step moves, a group is one of them.

    Raises:
        UserError: An option is out of range.
    """

    takes_terms = True

    def __init__(
        self,
        *,
        batch_size: int = 64,
        condensed_size: int = 32,
        rounds: int = 1,
        num_batches: int | None = None,
        start: str = "random",
        features: str = "pixels",
        optimise: bool = True,
        labels: Labels = "given",
        generator: str | None = None,
        lr: float = 0.003,
        lr_labels: float = 0.01,
        distance: str = "cosine_layerwise",
        probes: list[dict[str, Any]] | None = None,
        augment: str | None = None,
        batches_at_once: int | None = 32,
        vectorised: bool | None = None,
        order: Order = "fixed",
        terms: Sequence[str | Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(batch_size, terms)
        check_words(
            labels=(labels, get_args(Labels)),
            distance=(distance, DISTANCES),
            order=(order, get_args(Order)),
        )
        check_start("start", start, STARTS)
        if is_stored(start, STARTS) and (rounds > 1 or generator is not None):
            raise UserError(f"start '{start}' holds pixels of one round; leave out rounds and generator with it")
        if rounds < 1 or (batches_at_once is not None and batches_at_once < 1):
            raise UserError(f"rounds and batches_at_once must be at least 1, got {rounds} and {batches_at_once}")
        if lr <= 0 or lr_labels <= 0:
            raise UserError(f"lr and lr_labels must be positive, got {lr} and {lr_labels}")
        if probes is not None and not probes:
            raise UserError("probes is an empty list; name at least one, or leave it out")
        self.sizes = sizes(batch_size, condensed_size, rounds)
        self.num_batches = num_batches
        self.start, self.features, self.optimise = start, features, optimise
        self.label_rule, self.generator_reference = labels, generator
        self.lr, self.lr_labels, self.distance = lr, lr_labels, distance
        self.probes = [make_probes(spec) for spec in (FRESH_AND_OLDER if probes is None else probes)]
        self.augment = augment if parse(augment) else None
        self.batches_at_once, self.vectorised = batches_at_once, vectorised
        self.order = order

    # -- what a run holds ---------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Cut one epoch into batches, prepare the probes and begin the first round."""
        rounds = len(self.sizes) - 1
        if not self.optimise and (self.terms or self.has_own_loss):
            raise UserError("optimise is false, and the batches stay as they start; leave terms and extra_loss out")
        if self.run.processes.world > 1:
            raise UserError("batch condensation runs in one process; start it without torchrun")
        if self.run.options.precision != "float32":
            raise UserError(f"run.precision is {self.run.options.precision}; gradients are matched in float32 only")
        if self.steps % rounds:
            raise UserError(f"run.steps is {self.steps}, which {rounds} rounds cannot share; choose a multiple")
        self.index = batch_order(self.data.train.labels, self.num_batches, self.sizes[0], self.run.options.seed)
        reference = self.generator_reference
        self.source = None if reference is None else open_generator(reference, self.data, self.device)
        for place, probes in enumerate(self.probes):
            probes.attach(TrainerHost(self, f"condensation/{place}"))
        self.at_once = self.vectorised if self.vectorised is not None else self.device.type != "cpu"
        images = images_at_once(self.device, self.data.description.image_shape)
        self.together = max(1, images // self.sizes[0]) if self.at_once else 1
        self.round = 0
        self.wanted: list[Tensor] = []  # images and labels of the batches that this round condenses, from round 1 on
        self._begin()
        if self.optimise and self.steps // rounds < len(self.values):
            moved, parts = self.steps // rounds, len(self.values)
            warnings.warn(
                f"{moved} steps of a round move the first {moved} of {parts} parts of the batches, the others stay as "
                f"they start; give run.steps from {rounds * parts} on, or a larger batches_at_once",
                stacklevel=2,
            )

    def _begin(self) -> None:
        """Make the condensed batches of a round, as they are at the start, and their optimisers."""
        images, labels = self._first()
        self.classes = labels.argmax(-1) if labels.is_floating_point() else labels
        if self.source is not None:
            drawn = sphere.uniform(labels[..., None].shape[:2].numel(), self.source.nz, self.run.streams["latents"])
            images = drawn.to(self.device).unflatten(0, self.classes.shape)
        if self.label_rule == "learned" and not labels.is_floating_point():
            labels = F.one_hot(labels, self.data.description.num_classes).float()
        self._hold(images, labels)

    def _hold(self, values: Tensor, labels: Tensor) -> None:
        """Make parameters of pixels or latents (T, S, ...) and labels, in parts that are moved together."""
        at_once = self.batches_at_once or len(values)
        self.values = [nn.Parameter(part.clone()) for part in values.split(at_once)]
        learned = self.label_rule == "learned"
        self.labels = [nn.Parameter(part.clone()) if learned else part.clone() for part in labels.split(at_once)]
        adam = torch.optim.Adam(self.values, lr=self.lr)
        self.optimizer = adam if self.source is None else SphereOptimizer(adam)
        self.label_optimizer = torch.optim.Adam(self.labels, lr=self.lr_labels) if learned else None

    def _first(self) -> tuple[Tensor, Tensor]:
        images, labels = self._target(slice(None))
        if is_stored(self.start, STARTS):
            return self._stored(images, labels)
        name, stream = "random" if self.start == "noise" else self.start, self.run.streams["start"]
        images, labels = control(
            name,
            images,
            labels,
            self.sizes[self.round + 1],
            self.data,
            stream,
            features=self.features,
            seed=self.run.options.seed,
        )
        if self.start == "noise":
            images = torch.randn(images.shape, generator=stream, device=stream.device).to(images)
        return images, labels

    def _stored(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images of a file cut into batches; of a run that is continued, whose state has them, anything."""
        size = self.sizes[1]
        if self.run.directory.has_state:
            return images[:, :size], labels[:, :size]
        stored = open_teacher(self.start, self.data, seed=self.run.options.seed)
        wanted = len(images) * size
        if stored.images_stored != wanted:
            held = "fresh images without end" if stored.images_stored is None else f"{stored.images_stored} images"
            raise UserError(
                f"'{self.start}' holds {held}, {len(images)} batches of {size} are {wanted}; choose num_batches and "
                "condensed_size so that they are as many"
            )
        values, targets = stored.everything()
        values = stored.description.normalisation.convert(values, self.normalisation).to(images)
        return values.unflatten(0, (-1, size)), targets.to(images.device).unflatten(0, (-1, size))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the state back; a run that is in a later round gets that round's shapes first."""
        self.round = int(state.get("round", 0))
        if self.round:
            self.wanted = [torch.empty_like(tensor, device=self.device) for tensor in state["wanted"]]
            values, labels = (torch.cat(list(state[name])).to(self.device) for name in ("values", "labels"))
            self.classes = labels.argmax(-1) if labels.is_floating_point() else labels
            self._hold(values, labels)
        super().load_state_dict(state)

    # -- one step -----------------------------------------------------------------------------------------------------

    @property
    def part(self) -> int:
        """Which part of the batches this step moves."""
        return self.step % (self.steps // (len(self.sizes) - 1)) % len(self.values)

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Return the batches (b, M, C, H, W) that this step condenses, and their labels (b, M) or (b, M, K).

        When a round is over, its result is what the next one condenses.
        """
        if self.step // (self.steps // (len(self.sizes) - 1)) > self.round:
            images, labels = self.condensed()
            self.wanted = [images.detach(), labels.detach().clone()]
            self.round += 1
            self._begin()
        at_once = self.batches_at_once or len(self.index)
        return self._target(slice(self.part * at_once, (self.part + 1) * at_once))

    def _target(self, batches: slice) -> tuple[Tensor, Tensor]:
        if self.round:
            return self.wanted[0][batches], self.wanted[1][batches]
        index = self.index[batches]
        images, labels = self.data.train.batch(index.flatten(), self.normalisation)
        return images.unflatten(0, index.shape), labels.unflatten(0, index.shape)

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Move the condensed batches of one part by one step, against all probes of this step.

        Args:
            batch: Images (b, M, C, H, W) and labels (b, M) or (b, M, K).

        Returns:
            ``loss/gradient_matching``, mean over batches and probes, and ``cosine/gradient``, the cosine of whole
            gradients, before the step: in networks that are new at every step.
        """
        images, labels = self._images(self.part), self.labels[self.part]
        gradients = [torch.zeros_like(images), torch.zeros_like(labels)] if self.optimise else []
        total, cosines = torch.zeros((), device=self.device), list[Tensor]()
        # Pass by pass and probe by probe, so that one pass's graph is in memory; gradients add up.
        for source in self.probes:
            probe, change = source.draw(), self._change()
            for first in range(0, len(images), self.together):
                rows = slice(first, first + self.together)
                real = change(batch[0][rows]), batch[1][rows]
                made = [values.detach()[rows].requires_grad_(values.requires_grad) for values in (images, labels)]
                distance, cosine = self._compare(probe, real, (change(made[0]), made[1]))
                if self.optimise:
                    moved = [values for values in made if values.requires_grad]
                    found = torch.autograd.grad(distance / len(self.probes), moved)
                    for gradient, part in zip(gradients, found, strict=False):
                        gradient[rows] += part
                total = total + distance.detach() / len(self.probes)
                cosines.append(cosine)
        if self.optimise:
            latents = self._descend_extra(images, labels, gradients)
            self._send(images, gradients[0])
            if latents is not None and (sent := self.values[self.part].grad) is not None:
                sent += latents
            if self.label_optimizer is not None:
                labels.grad = gradients[1]
            for optimizer in self._optimizers():
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)  # the other parts must not be moved by the next step
        return {
            "loss/gradient_matching": total / len(batch[0]),
            "cosine/gradient": torch.cat(cosines).mean(),
        }

    def _compare(self, probe: Probe, real: tuple[Tensor, Tensor], made: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the distance of some batches' gradients, summed over them, and the cosine of each (b,).

        Args:
            probe: Where.
            real: Images (b, M, C, H, W) and labels of real batches.
            made: The same of condensed ones (b, S, ...), with a graph where they are moved.
        """
        wanted, given = (
            batch_gradients(
                probe.logits, probe.parameters, *batch, create_graph=graph and self.optimise, at_once=self.at_once
            )
            for batch, graph in ((real, False), (made, True))
        )
        distance = class_gradient_distance(wanted, given, self.distance)
        return distance, batch_cosines(wanted, [part.detach() for part in given])

    def _descend_extra(self, images: Tensor, labels: Tensor, gradients: list[Tensor]) -> Tensor | None:
        """Add the gradients of losses beside the matching to those of the part's images and labels.

        Returns:
            The gradient of its latents apart from their images; None where there is none.
        """
        at_once = self.batches_at_once or len(self.index)
        classes = self.classes[self.part * at_once : (self.part + 1) * at_once].flatten()
        latents = None if self.source is None else self.values[self.part]
        own = [value.detach().requires_grad_(value.requires_grad) for value in (images, labels)]
        drawn = None if latents is None else latents.detach().requires_grad_()
        told = own[1].flatten(0, 1) if own[1].is_floating_point() else None
        made = Made(own[0].flatten(0, 1), classes, told, None if drawn is None else drawn.flatten(0, 1))
        self.add_extra(
            lambda: made, [*own, *([] if drawn is None else [drawn])], rows_of(len(classes), images.shape[1])
        )
        for gradient, value in zip(gradients, own, strict=True):
            if value.grad is not None:
                gradient += value.grad
        return None if drawn is None else drawn.grad

    def _change(self) -> Callable[[Tensor], Tensor]:
        """Draw an augmentation (b, N, C, H, W) -> (b, N, C, H, W) that all images of the step share."""
        if self.augment is None:
            return lambda images: images
        stream = self.run.streams["augment"]
        drawn = draw_parameters(self.augment, 1, self.data.description.image_shape, stream)
        return lambda images: apply(images.flatten(0, 1), drawn).view_as(images)

    def _send(self, images: Tensor, gradient: Tensor) -> None:
        """Send the gradient of the part's images to what they were made from."""
        values = self.values[self.part]
        if self.source is None:
            values.grad = gradient
        else:
            torch.autograd.backward(images, gradient, inputs=[values])

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.optimizer] if self.label_optimizer is None else [self.optimizer, self.label_optimizer]

    def _images(self, part: int) -> Tensor:
        """Return the condensed images (b, S, C, H, W) of one part, normalised as real ones, with their graph."""
        values = self.values[part]
        if self.source is None:
            return values
        at_once = self.batches_at_once or len(self.index)
        classes = self.classes[part * at_once : (part + 1) * at_once]
        latents = values.flatten(0, 1)
        made = Space(self.source, classes.flatten()).render(latents, latents)
        return self.source.description.normalisation.convert(made, self.normalisation).unflatten(0, classes.shape)

    # -- what comes of it ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def condensed(self) -> tuple[Tensor, Tensor]:
        """Return all condensed batches: images (T, S, C, H, W) and labels (T, S) or (T, S, K)."""
        images = [self._images(part) for part in range(len(self.values))]
        return torch.cat(images), torch.cat([part.detach() for part in self.labels])

    def watched(self) -> Watched:
        """Return what the condensed batches are made of, unless they are to stay what they are."""
        return Watched(moved={"the condensed batches": self.values} if self.optimise else {})

    def teacher(self) -> Teacher:
        """Return the condensed batches: stored images, or the generator with its latents as a curriculum."""
        sizes, batches, rounds = self.sizes, len(self.index), len(self.sizes) - 1
        looks = -(-batches // len(self.values)) * len(self.probes) if self.optimise else 0
        # What evaluation needs to find the real batches again, and what making the condensed ones cost.
        card = {
            "sizes": list(sizes[: self.round + 2]),
            "batches": batches,
            "start": self.start,
            "optimised": self.optimise,
            "image_gradients": image_gradients(sizes, self.steps // rounds, self.step, looks),
        }
        return condensed_teacher(
            torch.cat([part.detach() for part in self.values]),
            torch.cat([part.detach() for part in self.labels]),
            self.classes,
            source=self.source,
            description=self.data.description,
            order=self.order,
            metadata={
                "source": f"{type(self).__name__}, step {self.step}",
                "seed": self.run.options.seed,
                "condensation": card,
            },
        )

    def samples(self) -> dict[str, Tensor]:
        """Return the first condensed batches, one row each, pixels in [0, 1]."""
        columns = min(10, self.sizes[self.round + 1])
        with torch.no_grad():
            images = self._images(0)[:10, :columns].flatten(0, 1)
        return {"condensed": self.normalisation.invert(images).clamp(0, 1)}
