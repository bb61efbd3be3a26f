"""What gradient and distribution matching share: stored images, moved until networks take them for real ones.

A step draws real images of every class and compares them with the synthetic ones of the same class in a network.
Classes are taken in small groups. A group's real images are read, normalised and augmented when its turn comes, and it
has a backward pass of its own: what a step needs beside the synthetic images does not grow with the number of classes.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, get_args

import torch
from torch import Tensor, nn

from gendistill.data.augment import parse
from gendistill.data.operations import Strength
from gendistill.data.real import RealData
from gendistill.data.sampling import ClassSampler
from gendistill.data.siamese import SIAMESE_MODES, Siamese, draw_siamese
from gendistill.decodes.choice import Choice, decode_of
from gendistill.errors import UserError
from gendistill.evaluation.protocols import named_strategy
from gendistill.grids import Grid
from gendistill.nets.ema import warmed
from gendistill.nets.learners import learner_for
from gendistill.nets.modes import running_layers
from gendistill.nets.parts import images_at_once
from gendistill.nets.statistics import set_statistics
from gendistill.notes import note
from gendistill.runs.context import RunContext
from gendistill.runs.watch import Watched
from gendistill.seeds import stream
from gendistill.teacher import Teacher
from gendistill.teacher.decoded import teacher_of
from trainers.batch import Batch, Made
from trainers.checks import check_words
from trainers.class_sizes import check_stored, lower_images, taken_whole
from trainers.decoding import Shown, class_grids, encoded
from trainers.image_optimisers import Kind, image_optimiser
from trainers.labellers import LabellerPlan
from trainers.stored_start import check_start, is_stored, stored_images
from trainers.terms.hosts import TrainerHost, with_learner
from trainers.terms.over_groups import rows_of
from trainers.terms.probe_kinds import KINDS, make_probes
from trainers.terms.probes import Probe, Trunk
from trainers.trainer import Trainer

STARTS = ("real", "noise")
STATISTICS_BATCH = 16
"""Real images of each class that a network with batch norm takes its statistics from, as in the papers' code."""
STATISTICS_AT_ONCE = 160
"""Of these images so many pass through the network together, ten classes' as a rule."""


class MatchingTrainer(Trainer):
    """Move ``images_per_class`` images of every class until a subclass's distance from real ones is small.

    Args:
        images_per_class: Synthetic images of each class, as they are stored; 1 or more.
        decode: What stands between stored images and those that networks see: None: nothing; ``{factor: 2}``: a
            formation, each stored image showing 2 x 2; or any other of :mod:`gendistill.decodes`.
        labeller: A network that labels what learners of the images will be shown, after augmentation:
            :class:`trainers.labellers.LabellerPlan`. None: the images' classes.
        images: What they start from: ``real`` training images, ``noise`` (standard normal), or images that are stored
            somewhere, as :func:`gendistill.teacher.open_teacher` names them: a teacher file, a run,
            ``real:kcenter=10``. A decode that shows several images in one starts from as many, all different.
        lr_images: Learning rate of the images, in normalised units; positive. Images are not clipped.
        momentum: SGD's momentum, in [0, 1).
        optimizer: ``sgd``, as published for most methods, or ``adam``, whose steps do not depend on the loss's scale.
        ema_decay: Decay of the moving average of the images that is the teacher, in [0, 1), such as 0.99; 0: the images
            themselves. At step t it is at most (1 + t) / (10 + t), so that the start is soon forgotten.
        real_batch: Real images of each class at every step; of a class with fewer all of them.
        learner: The network to compare in, as ``class_path`` and ``init_args``; by default the data set's default
            learner. A narrower one saves time; who learns from the images later need not be like it.
        probe: Where the networks come from: ``state: fresh`` (a new random one each time, the default), ``pool``
            (networks of all ages, trained meanwhile), ``growing`` (a pool that starts small, IDM's), ``interpolated``
            (between first and trained weights, NCFM's) or ``pretrained``, with the options of that kind; see
            :mod:`trainers.terms.trained_probes` and :mod:`trainers.terms.pools`.
        augment: ``dsa`` (differentiable siamese augmentation; without ``flip`` where mirrored images are no images of
            the data set), ``none``, or names joined by ``_``; see :func:`gendistill.data.augment.parse`.
        augment_mode: ``single``: one of the names for each class and step, as DSA has it; ``all``: every name; ``idc``:
            flips, colours and cut-outs always and one of the others, as IDC and NCFM have it.
        strength: How far operations reach where not as far as DSA's, such as ``{rotate: 45}``; see
            :class:`gendistill.data.operations.Strength`.
        chunk: Images in one forward pass, about; None: as many as have maps that fit a CPU's cache (32 of 32x32 at a
            width of 128, at most 128), 2048 on a GPU, and fewer where images are larger.
        terms: See :class:`~trainers.trainer.Trainer`; a group of images is that of the classes taken together.

    Raises:
        UserError: An option is out of range.
    """

    takes_terms = True

    def __init__(
        self,
        *,
        images_per_class: int = 10,
        decode: Choice = None,
        labeller: dict[str, Any] | None = None,
        images: str = "real",
        lr_images: float = 0.1,
        momentum: float = 0.5,
        optimizer: Kind = "sgd",
        ema_decay: float = 0.0,
        real_batch: int = 256,
        learner: dict[str, Any] | None = None,
        probe: dict[str, Any] | None = None,
        augment: str | None = "dsa",
        augment_mode: str = "single",
        strength: dict[str, float] | None = None,
        chunk: int | None = None,
        terms: Sequence[str | Mapping[str, Any]] | None = None,
    ) -> None:
        super().__init__(terms=terms)
        counts = {
            "images_per_class": images_per_class,
            "real_batch": real_batch,
            "chunk": 1 if chunk is None else chunk,
        }
        for name, value in counts.items():
            if value < 1:
                raise UserError(f"{name} is {value}; give a whole number from 1")
        check_start("images", images, STARTS)
        if not lr_images > 0 or not 0 <= momentum < 1:
            raise UserError(f"lr_images must be positive and momentum lie in [0, 1), got {lr_images} and {momentum}")
        if not 0 <= ema_decay < 1:
            raise UserError(f"ema_decay is {ema_decay}; give a number in [0, 1)")
        if augment != "dsa":
            parse(augment)
        self.images_per_class, self.real_batch = images_per_class, real_batch
        self.decode, self.labeller = decode_of(decode), LabellerPlan.of(labeller)
        self.start = images
        check_words(optimizer=(optimizer, get_args(Kind)), augment_mode=(augment_mode, SIAMESE_MODES))
        self.lr_images, self.momentum, self.optimizer_kind = lr_images, momentum, optimizer
        self.ema_decay = ema_decay
        self.learner_spec, self.probe_spec = learner, with_learner(probe, learner)
        self.augment_mode = augment_mode
        self.augment, self.strength_given, self.strength = augment, dict(strength or {}), Strength.of(strength)
        self.chunk_wanted = chunk

    def tunable(self, device: torch.device) -> dict[str, tuple[Any, ...]]:
        """Return the base's, and how many images go through the network together."""
        chunks = ((16, 64, 128) if device.type == "cpu" else (512, 8192)) if self.chunk_wanted is None else ()
        return super().tunable(device) | {"trainer.chunk": chunks}

    def tune(self, option: str, value: Any) -> None:
        """Set ``chunk``."""
        if option != "chunk":
            super().tune(option, value)
        self.chunk_wanted = int(value)

    # -- what a run holds ---------------------------------------------------------------------------------------------

    def attach(self, run: RunContext, data: RealData) -> None:
        """Take the run and the data, and build.

        A step draws ``real_batch`` images of every class, so the base's ``batch_size`` is not used.
        """
        self.batch_size = run.processes.world
        super().attach(run, data)

    def build(self) -> None:
        """Make the images, their optimiser, the source of networks, and one that takes their weights."""
        description = self.data.description
        self.classes = ClassSampler(self.data.train.labels, description.num_classes, description.class_names)
        few = taken_whole(self.classes, self.real_batch, "--trainer.real_batch")
        self.rows = [min(size, self.real_batch) for size in self.classes.sizes] if few else []
        """Real images of each class at a step; none where all have ``real_batch``."""
        self.decode.attach(self.data, self.device)
        check_stored(description, self.shown_per_class)
        if self.start == "real":
            lower_images(self, self.classes, self.decode.cells)
        self.mine = self._share()
        if self.augment not in (None, "none") and description.kind != "pictures" and "augment" not in self.typed:
            note(f"--trainer.augment is {self.augment}, which is for pictures: {description.kind} are not augmented")
            self.augment = "none"
        self.strategy = named_strategy(self.augment, description)
        self.labels = torch.arange(description.num_classes, device=self.device).repeat_interleave(self.images_per_class)
        self.images = nn.Parameter(self._first_images())  # (K, M, C, H, W), or what the decode stores in their place
        self.optimizer = self.decode.kept(self.new_optimizer(self.images))
        self.average = self.images.detach().clone() if self.ema_decay else None
        self.probes = make_probes(self.probe_spec)
        if isinstance(self.probes, Trunk):
            kinds = ", ".join(kind for kind in KINDS if kind != "trunk")
            raise UserError(f"the probe's state is 'trunk', which is a discriminator's; choose one of {kinds}")
        self.probes.attach(TrainerHost(self, "matching", self.shown_images))
        self.labelling = self.labeller.attach(self)
        self.network = self.probes.new("network")
        self.chunk = self.chunk_wanted or images_at_once(self.device, description.image_shape, self.network)

    def new_optimizer(self, images: nn.Parameter) -> torch.optim.Optimizer:
        """Return what moves the images; SGD, as in the papers, where nothing else is asked for."""
        return image_optimiser(self.optimizer_kind, images, self.lr_images, self.momentum)

    @property
    def shown_per_class(self) -> int:
        """Images of each class that networks see."""
        return self.images_per_class * self.decode.cells

    def _share(self) -> range:
        """Return the classes of this process: classes, not images, are shared out, so that the sum stays the same."""
        processes, classes = self.run.processes, self.data.description.num_classes
        if processes.world > classes:
            raise UserError(f"{processes.world} processes cannot share {classes} classes; start at most {classes}")
        bounds = [classes * rank // processes.world for rank in (processes.rank, processes.rank + 1)]
        return range(*bounds)

    def _first_images(self) -> Tensor:
        generator, rows = self.run.streams["images"], (self.data.description.num_classes, self.images_per_class)
        if self.start == "noise":
            return self.decode.noise(self.labels, generator).to(self.device).unflatten(0, rows)
        if is_stored(self.start, STARTS):
            stored = stored_images(self.start, self.images_per_class, self.data, self.run, decode=self.decode).images
            return stored.unflatten(0, (self.images_per_class, -1)).transpose(0, 1).contiguous()
        index = self.classes.draw(self.shown_per_class, generator)
        real = self.data.train.batch(index.flatten(), self.normalisation)[0]
        return encoded(self.decode, real, "real images").unflatten(0, rows)

    # -- one step -----------------------------------------------------------------------------------------------------

    @abstractmethod
    def distance(self, network: Any, real: Tensor, synthetic: Tensor, first_class: int) -> Tensor:
        """Return the distance in a network, summed over some classes, differentiable in the synthetic images.

        Args:
            network: In evaluation mode; see :meth:`new_network`.
            real: (k, R, C, H, W) real images, augmented, row i of class ``first_class + i``.
            synthetic: (k, M, C, H, W), decoded and augmented in the same way.
            first_class: The class of the first row.
        """

    @property
    def classes_together(self) -> int:
        """Number of classes whose graphs are in memory at the same time."""
        return 1

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Draw ``real_batch`` images of every class, the same in every process, and return those of this one's classes.

        Returns:
            Indices (k, real_batch) of training images, a row a class, and labels (k * real_batch,); a group's images
            are read in :meth:`match`. Only the first images of a class that has fewer are different ones.
        """
        drawn = self.classes.draw(self.real_batch, self.run.streams["data"], repeat=True)
        index = drawn[self.mine.start : self.mine.stop]
        return index, self.data.train.labels[index.flatten()]

    def real_images(self, index: Tensor) -> Tensor:
        """Return training images (*, C, H, W), normalised, at indices (*)."""
        return self.data.train.batch(index.flatten(), self.normalisation)[0].unflatten(0, index.shape)

    def new_network(self) -> nn.Module:
        """Return the network with the weights of the next one, in evaluation mode; see :meth:`take_statistics`.

        Weights are copied, so that a network of a pool stays what it is; a compiled network is compiled only once.
        """
        return self.with_weights_of(self.probes.draw())

    def with_weights_of(self, probe: Probe) -> nn.Module:
        """Return the network with the weights of a probe; see :meth:`new_network`."""
        self.network.load_state_dict(probe.network.state_dict())
        self.take_statistics(self.network)
        return self.network.eval()

    def take_statistics(self, network: nn.Module) -> None:
        """Set a network's running statistics, if it has any, to those of 16 real images a class.

        With more than ten classes they are the mean of those of several batches, each of as many classes as can be.
        """
        if running_layers(network):
            index = self.classes.draw(STATISTICS_BATCH, self.run.streams["statistics"], repeat=True)
            parts = -(-index.numel() // STATISTICS_AT_ONCE)
            rows = (index.T if parts > 1 else index).flatten().tensor_split(parts)
            set_statistics(network, (self.data.train.batch(some, self.normalisation)[0] for some in rows))

    def shown_images(self, count: int, generator: torch.Generator) -> Batch:
        """Draw ``count`` of the images that networks see, with repetition, and their classes."""
        cells = self.decode.cells
        index = torch.randint(len(self.labels) * cells, (count,), generator=generator, device=generator.device)
        with torch.no_grad():
            images = self.decode.pick(self.images.detach().flatten(0, 1), self.labels, index)
        return Batch(self.in_memory_format(images), self.labels[index // cells])

    def match(self, network: nn.Module, real: Tensor, others: Sequence[Tensor] = ()) -> Tensor:
        """Move the images by one step of their optimiser.

        Args:
            network: See :meth:`new_network`.
            real: Indices (k, real_batch) of real images, as :meth:`next_batch` returns them.
            others: Leaves beside the images that the distance depends on; its gradient by them is put into ``.grad``.

        Returns:
            The distance before the step, of which the mean over processes is the sum over classes.
        """
        processes, together = self.run.processes, self.classes_together * self.shown_per_class
        change = self.siamese()
        gradient = torch.zeros_like(self.images)
        total = torch.zeros((), device=self.device)
        for first, last in self.groups():
            index = real[first - self.mine.start : last - self.mine.start]
            if self.rows:  # of a class that has fewer, all its images once, as the papers' code takes them
                index = index[:, : self.rows[first]]
            distance, gradient[first:last], *more = self._match_group(network, index, change, first, last, others)
            total = total + distance
            for leaf, found in zip(others, more, strict=True):
                leaf.grad = found if leaf.grad is None else leaf.grad + found
        self.optimizer.zero_grad(set_to_none=True)
        self.images.grad = gradient
        if self.terms or self.has_own_loss:
            shown = Shown(self.decode, self.images.flatten(0, 1), self.labels, self.labels)
            made = Made(shown.images, shown.labels)
            self.add_extra(lambda: made, [self.images, *shown.leaves], rows_of(len(made.images), together))
            shown.backward()
        processes.average_gradients([self.images, *others])
        self.optimizer.step()
        if self.average is not None:
            self.average.lerp_(self.images.detach(), 1 - warmed(self.ema_decay, self.step))
        return total * processes.world

    def groups(self) -> list[tuple[int, int]]:
        """Return the first class of each group and the class after its last; all have as many real images at a step."""
        found: list[tuple[int, int]] = []
        for label in self.mine:
            room = found and label - found[-1][0] < self.classes_together
            if room and (not self.rows or self.rows[label] == self.rows[found[-1][0]]):
                found[-1] = found[-1][0], label + 1
            else:
                found.append((label, label + 1))
        return found

    def _match_group(
        self, network: nn.Module, index: Tensor, change: Siamese, first: int, last: int, others: Sequence[Tensor]
    ) -> tuple[Tensor, ...]:
        """Return the distance of the classes ``first`` to ``last - 1``, and its gradient by their images (k, M, ...).

        After them come its gradients by ``others``. What is made for a group is gone when the next one's turn comes.
        """
        # A leaf of their own: the way back through a slice would write a gradient of all images for each group.
        own = self.images.detach()[first:last].requires_grad_()
        shown = self.decode.rows(own, self.labels.view(len(self.images), -1)[first:last])
        distance = self.group_distance(network, index, change, shown, first)
        # Gradients are averaged over processes, and each has its own classes: times their number is the sum.
        return distance.detach(), *torch.autograd.grad(distance * self.run.processes.world, [own, *others])

    def group_distance(self, network: Any, index: Tensor, change: Siamese, shown: Tensor, first_class: int) -> Tensor:
        """Return the distance of some classes, summed, from the real images that the step has drawn of them.

        Args:
            network: See :meth:`new_network`.
            index: (k, R) of the real images.
            change: The augmentation of the step.
            shown: (k, M, C, H, W), decoded, with the graph to what is stored.
            first_class: The class of the first row.
        """
        real = change(self.real_images(index), first_class)
        return self.distance(network, real, change(shown, first_class), first_class)

    def siamese(self) -> Siamese:
        """Draw this step's augmentation of every class."""
        description = self.data.description
        generator = stream(self.run.options.seed, f"siamese/{self.step}")
        shape, mode = description.image_shape, self.augment_mode
        return draw_siamese(self.strategy, description.num_classes, shape, generator, self.strength, mode)

    def in_memory_format(self, images: Tensor) -> Tensor:
        """Return images (N, C, H, W) in the memory format of the run's networks."""
        if self.run.options.channels_last:
            return images.contiguous(memory_format=torch.channels_last)
        return images

    # -- what comes of it ---------------------------------------------------------------------------------------------

    def learned(self) -> Tensor:
        """Return what is stored in the end (K, M, ...): the images or their average."""
        return self.images.detach() if self.average is None else self.decode.allowed(self.average)

    def teacher(self) -> Teacher:
        """Return the images, class by class, with what they were made for."""
        metadata = {
            "source": f"{type(self).__name__}, step {self.step}",
            "seed": self.run.options.seed,
            "learner": learner_for(self.probes.learner, self.data.description),
            "augmentation": self.strategy or "none",
            "augmentation_strength": self.strength_given,
            **({} if self.augment_mode == "single" else {"augmentation_mode": self.augment_mode}),
            "images_per_class": self.images_per_class,
            "start": self.start,
        }
        made = teacher_of(
            self.decode,
            self.learned().flatten(0, 1).clone(),
            self.labels.clone(),
            self.data.description.with_normalisation(self.normalisation),
            metadata=metadata,
        )
        return self.labeller.label(made, self.labelling, self.data.description)

    def watched(self) -> Watched:
        """Return the images, which are to move."""
        return Watched(moved={"the images": [self.images]}, moved_option="--trainer.lr_images")

    def samples(self) -> dict[str, Grid]:
        """Return the images as pixels, one column a class, at most ten rows; and as stored, if that differs."""
        labels = self.labels.view(len(self.images), -1)
        return class_grids(self.decode, self.learned(), labels, self.normalisation)
