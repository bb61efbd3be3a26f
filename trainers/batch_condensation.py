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

from gendistill.batch_coresets import batch_order, sizes
from gendistill.data.augment import apply, draw_parameters, parse
from gendistill.decodes import Identity
from gendistill.decodes.choice import Choice, decode_of
from gendistill.errors import UserError
from gendistill.evaluation.condensation_controls import CONTROLS, control
from gendistill.evaluation.condensation_metrics import image_gradients
from gendistill.evaluation.protocols import named_strategy
from gendistill.grids import Grid
from gendistill.losses.batch_gradients import batch_cosines, batch_gradients
from gendistill.losses.class_gradients import class_gradient_distance
from gendistill.losses.matching import DISTANCES
from gendistill.nets.learners import learner_for
from gendistill.nets.modes import writes_statistics
from gendistill.nets.parts import images_at_once
from gendistill.runs.watch import Watched
from gendistill.teacher import Teacher, open_teacher
from gendistill.teacher.decoded import teacher_of
from gendistill.teacher.generated import Generated
from gendistill.teacher.stored import Order
from gendistill.words import counted
from trainers.batch import Made
from trainers.checks import check_words
from trainers.class_sizes import lowered
from trainers.decoding import Shown, decoded, pixels_of
from trainers.filled_cells import fill_cells
from trainers.stored_start import check_start, is_stored, stored_values
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
        decode: What stands between stored values and images: None: nothing; ``{factor: 2}``: a formation, each stored
            image showing 2 x 2 of its class; ``{generator: FILE}``: latents of a generator teacher's file or run are
            moved, and the start then says the classes only, for which latents are drawn uniformly from the sphere; or
            any other of :mod:`gendistill.decodes`.
        generator: The same as ``decode: {generator: ...}``.
        lr: Adam's learning rate, of normalised pixels or of latents with norm sqrt(d); positive.
        lr_labels: Adam's learning rate of learned labels; positive.
        distance: ``cosine_layerwise``, ``l2`` or ``mse``; see :func:`gendistill.losses.matching.gradient_distance`.
        probes: Networks to match in: a list of ``state`` (``fresh``, ``pretrained``, ``pool``) and the options of that
            kind, see :mod:`trainers.terms.probes`; a step draws one of each. None: a fresh one and one of a pool.
        augment: Strategy by which a real batch and its condensed one are changed in the same way: ``dsa`` (without
            ``flip`` where mirrored images are no images of the data set), names such as ``crop_scale``; None: none.
        batches_at_once: Batches that a step moves, those of the next step being the next ones; None: all.
        vectorised: Several batches in one pass; None: on a GPU. False, and always in a network with batch norm in train
            mode: one batch after another. The gradients are the same, and only what is in one pass has a graph.
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
        decode: Choice = None,
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
        if decode is not None and generator is not None:
            raise UserError("generator is a decode, too; give one of trainer.decode and trainer.generator")
        self.decode = decode_of(decode if generator is None else {"generator": generator})
        if is_stored(start, STARTS) and (rounds > 1 or isinstance(self.decode, Generated)):
            raise UserError(f"start '{start}' holds pixels of one round; leave out rounds and generator with it")
        if start == "mixup" and self.decode.cells > 1:
            raise UserError(
                "start mixup has soft labels, which several images in one cannot share; choose another start"
            )
        if rounds < 1 or (batches_at_once is not None and batches_at_once < 1):
            raise UserError(f"rounds and batches_at_once must be at least 1, got {rounds} and {batches_at_once}")
        if lr <= 0 or lr_labels <= 0:
            raise UserError(f"lr and lr_labels must be positive, got {lr} and {lr_labels}")
        if probes is not None and not probes:
            raise UserError("probes is an empty list; name at least one, or leave it out")
        self.sizes, self.condensed_size = sizes(batch_size, condensed_size, rounds), condensed_size
        self.num_batches = num_batches
        self.start, self.features, self.optimise = start, features, optimise
        self.label_rule = labels
        self.lr, self.lr_labels, self.distance = lr, lr_labels, distance
        self.probes = [make_probes(spec) for spec in (FRESH_AND_OLDER if probes is None else probes)]
        self.augment = augment if augment == "dsa" or parse(augment) else None
        self.batches_at_once, self.vectorised = batches_at_once, vectorised
        self.order = order

    # -- what a run holds ---------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Cut one epoch into batches, prepare the probes and begin the first round."""
        rounds = len(self.sizes) - 1
        if self.condensed_size >= self.batch_size > 1:
            lowered(self, "condensed_size", self.batch_size // 2, f"a batch has {self.batch_size} images")
        self.sizes = sizes(self.batch_size, self.condensed_size, rounds)  # a batch may be lowered to small data
        if not self.optimise and (self.terms or self.has_own_loss):
            raise UserError("optimise is false, and the batches stay as they start; leave terms and extra_loss out")
        if self.run.processes.world > 1:
            raise UserError("batch condensation runs in one process; start it without torchrun")
        if self.run.options.precision != "float32":
            raise UserError(f"run.precision is {self.run.options.precision}; gradients are matched in float32 only")
        if self.steps % rounds:
            raise UserError(f"run.steps is {self.steps}, which {rounds} rounds cannot share; choose a multiple")
        if self.num_batches is not None and (most := len(self.data.train) // self.sizes[0]):
            lowered(self, "num_batches", most, f"the training images make {counted(most, 'batch', 'batches')}")
        self.index = batch_order(self.data.train.labels, self.num_batches, self.sizes[0], self.run.options.seed)
        self.strategy = named_strategy(self.augment, self.data.description)
        self.decode.attach(self.data, self.device)
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
        if self.generated:
            drawn = self.decode.noise(self.classes.flatten(), self.run.streams["latents"])
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
        self.optimizer = self.decode.kept(adam)
        self.label_optimizer = torch.optim.Adam(self.labels, lr=self.lr_labels) if learned else None

    @property
    def generated(self) -> bool:
        """Whether values are latents of a generator, whose images are made together and not group by group."""
        return isinstance(self.decode, Generated)

    def _first(self) -> tuple[Tensor, Tensor]:
        """Return the first values (T, S, ...) and labels; of a generator any, which latents take the place of."""
        images, labels = self._target(slice(None))
        if is_stored(self.start, STARTS):
            return self._stored(images, labels)
        name, stream = "random" if self.start == "noise" else self.start, self.run.streams["start"]
        found, told = control(
            name,
            images,
            labels,
            self.sizes[self.round + 1],
            self.data,
            stream,
            features=self.features,
            seed=self.run.options.seed,
        )
        if self.generated:
            return found, told
        if self.start == "noise":
            classes = (told.argmax(-1) if told.is_floating_point() else told).flatten()
            return self.decode.noise(classes, stream).to(images).unflatten(0, told.shape[:2]), told
        if self.decode.cells > 1:
            found = fill_cells(found, told, images, labels, self.decode.cells, stream)
        return self.decode.encode(found.flatten(0, 1)).unflatten(0, told.shape[:2]), told

    def _stored(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the images of a file cut into batches; of a run that is continued, whose state has them, anything."""
        size = self.sizes[1]
        if self.run.directory.has_state:
            return images.new_zeros((len(images), size, *self.decode.stored_shape)), labels[:, :size]
        stored = open_teacher(self.start, self.data, seed=self.run.options.seed)
        values, targets, ready = (
            (None, None, True) if stored.images_stored is None else stored_values(stored, self.decode)
        )
        cells = 1 if ready else self.decode.cells
        wanted = len(images) * size * cells
        if values is None or targets is None or len(values) != wanted:
            held = "fresh images without end" if values is None else f"{len(values)} images"
            each = f" of {cells} each" if cells > 1 else ""
            raise UserError(
                f"'{self.start}' holds {held}, {len(images)} batches of {size}{each} are {wanted}; choose num_batches "
                "and condensed_size so that they are as many"
            )
        values = stored.description.normalisation.convert(values, self.normalisation).to(images)
        values = values if ready else self.decode.encode(values)
        targets = targets.to(images.device)[::cells]  # of several images in one the first says the label
        return values.unflatten(0, (-1, size)), targets.unflatten(0, (-1, size))

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
        shown = self._images(self.part) if self.generated else None
        values, labels, classes = self.values[self.part], self.labels[self.part], self._classes(self.part)
        images = values if shown is None else shown  # what is decoded group by group, or was made already
        gradients = [torch.zeros_like(images), torch.zeros_like(labels)] if self.optimise else []
        total, cosines = torch.zeros((), device=self.device), list[Tensor]()
        # Pass by pass and probe by probe, so that one pass's graph is in memory; gradients add up.
        for source in self.probes:
            probe, change = source.draw(), self._change()
            together = self.together if self._vectorised(probe) else 1
            for first in range(0, len(images), together):
                rows = slice(first, first + together)
                real = change(batch[0][rows]), batch[1][rows]
                made = [given.detach()[rows].requires_grad_(given.requires_grad) for given in (images, labels)]
                seen = self._decoded(made[0], classes[rows]) if shown is None else made[0]
                distance, cosine = self._compare(probe, real, (change(seen), self._told(made[1])))
                if self.optimise:
                    moved = [given for given in made if given.requires_grad]
                    found = torch.autograd.grad(distance / len(self.probes), moved)
                    for gradient, part in zip(gradients, found, strict=False):
                        gradient[rows] += part
                total = total + distance.detach() / len(self.probes)
                cosines.append(cosine)
        if self.optimise:
            latents = self._descend_extra(images, gradients)
            if shown is None:
                values.grad = gradients[0]
            else:
                torch.autograd.backward(shown, gradients[0], inputs=[values])
                if latents is not None and values.grad is not None:
                    values.grad += latents
            if self.label_optimizer is not None:
                labels.grad = gradients[1]
            for optimizer in self._optimizers():
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)  # the other parts must not be moved by the next step
        return {
            "loss/gradient_matching": total / len(batch[0]),
            "cosine/gradient": torch.cat(cosines).mean(),
        }

    def _vectorised(self, probe: Probe) -> bool:
        """Return whether several batches go through a probe in one pass; those whose statistics move cannot."""
        return self.at_once and not writes_statistics(probe.network)

    def _compare(self, probe: Probe, real: tuple[Tensor, Tensor], made: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Return the distance of some batches' gradients, summed over them, and the cosine of each (b,).

        Args:
            probe: Where.
            real: Images (b, M, C, H, W) and labels of real batches.
            made: The same of condensed ones (b, S, ...), with a graph where they are moved.
        """
        wanted, given = (
            batch_gradients(
                probe.logits,
                probe.parameters,
                *batch,
                create_graph=graph and self.optimise,
                at_once=self._vectorised(probe),
            )
            for batch, graph in ((real, False), (made, True))
        )
        distance = class_gradient_distance(wanted, given, self.distance)
        return distance, batch_cosines(wanted, [part.detach() for part in given])

    def _descend_extra(self, images: Tensor, gradients: list[Tensor]) -> Tensor | None:
        """Add the gradients of losses beside the matching to those of the part's values, or images, and labels.

        Args:
            images: The part's images where a generator has made them, else its values.
            gradients: Of these, and of the labels.

        Returns:
            The gradient of its latents apart from their images; None where there is none.
        """
        labels, classes = self.labels[self.part], self._classes(self.part).flatten()
        own, told = (value.detach().requires_grad_(value.requires_grad) for value in (images, labels))
        latents = self.values[self.part].detach().requires_grad_() if self.generated else None
        leaves = [own, told] if latents is None else [own, told, latents]
        decode = Identity() if self.generated else self.decode
        shown = Shown(decode, own.flatten(0, 1), told.flatten(0, 1), classes)
        soft = shown.labels if told.is_floating_point() else None
        drawn = None if latents is None else latents.flatten(0, 1)
        made = Made(shown.images, classes.repeat_interleave(decode.cells), soft, drawn)
        self.add_extra(
            lambda: made, [*leaves, *shown.leaves], rows_of(len(made.images), images.shape[1] * decode.cells)
        )
        shown.backward()
        for gradient, value in zip(gradients, (own, told), strict=True):
            if value.grad is not None:
                gradient += value.grad
        return None if latents is None else latents.grad

    def _change(self) -> Callable[[Tensor], Tensor]:
        """Draw an augmentation (b, N, C, H, W) -> (b, N, C, H, W) that all images of the step share."""
        if self.strategy is None:
            return lambda images: images
        stream = self.run.streams.on_host("augment")
        drawn = draw_parameters(self.strategy, 1, self.data.description.image_shape, stream)
        return lambda images: apply(images.flatten(0, 1), drawn).view_as(images)

    def _optimizers(self) -> list[torch.optim.Optimizer]:
        return [self.optimizer] if self.label_optimizer is None else [self.optimizer, self.label_optimizer]

    def _images(self, part: int) -> Tensor:
        """Return the condensed images (b, S * cells, C, H, W) of one part, as real ones are normalised, with graph."""
        return self._decoded(self.values[part], self._classes(part))

    def _classes(self, part: int) -> Tensor:
        """Return the classes (b, S) of one part's values."""
        at_once = self.batches_at_once or len(self.index)
        return self.classes[part * at_once : (part + 1) * at_once]

    def _decoded(self, values: Tensor, classes: Tensor) -> Tensor:
        if isinstance(self.decode, Identity):
            return values
        return decoded(self.decode, values.flatten(0, 1), classes.flatten()).unflatten(0, (len(values), -1))

    def _told(self, labels: Tensor) -> Tensor:
        """Return the labels (b, S * cells, ...) of images of values with labels (b, S, ...)."""
        cells = self.decode.cells
        return labels if cells == 1 else labels.repeat_interleave(cells, 1)

    # -- what comes of it ---------------------------------------------------------------------------------------------

    @torch.no_grad()
    def condensed(self) -> tuple[Tensor, Tensor]:
        """Return all condensed batches as they are shown: images (T, S * cells, C, H, W) and their labels."""
        images = [self._images(part) for part in range(len(self.values))]
        return torch.cat(images), self._told(torch.cat([part.detach() for part in self.labels]))

    def watched(self) -> Watched:
        """Return what the condensed batches are made of, unless they are to stay what they are."""
        return Watched(moved={"the condensed batches": self.values} if self.optimise else {})

    def teacher(self) -> Teacher:
        """Return the condensed batches as they are stored, or the generator with its latents as a curriculum."""
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
        fixed = self.order == "fixed"
        seen = [learner_for(probes.learner, self.data.description) for probes in self.probes] if self.optimise else []
        seen = [spec for place, spec in enumerate(seen) if spec not in seen[:place]]
        labels = torch.cat([part.detach() for part in self.labels])
        return teacher_of(
            self.decode,
            torch.cat([part.detach() for part in self.values]).flatten(0, 1),
            labels.flatten(0, 1),
            self.data.description,
            classes=self.classes.flatten(),
            order=self.order,
            batch_size=labels.shape[1] if fixed or self.generated else None,
            metadata={
                "source": f"{type(self).__name__}, step {self.step}",
                "seed": self.run.options.seed,
                "condensation": card,
                **({"learner": seen[0] if len(seen) == 1 else seen} if seen else {}),
            },
        )

    def samples(self) -> dict[str, Grid]:
        """Return the first condensed batches, one row each, pixels in [0, 1]."""
        columns = min(10, self.sizes[self.round + 1])
        with torch.no_grad():
            images = self._images(0)[:10, :columns].flatten(0, 1)
        class_names = self.data.description.class_names
        names = tuple(class_names[kind] for kind in self.classes[:10, :columns].flatten().tolist())
        pictures = {"condensed": Grid(self.normalisation.invert(images).clamp(0, 1), columns, names)}
        stored = pixels_of(self.decode, self.values[0][:10, :columns].flatten(0, 1))
        return pictures if stored is None else pictures | {"stored": Grid(stored, columns, names)}
