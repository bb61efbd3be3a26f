"""Dataset Distillation: a few images that bring a learner far in a few steps of gradient descent.

Wang, Zhu, Torralba, Efros 2018, "Dataset Distillation", Algorithm 1; Bradley 2020, Algorithm 2 and section 3.2. One
meta-step: learners take T steps on the distilled images, E times over; the loss of the trained learners on real data is
differentiated through all T * E steps and moves the images, one learning rate a step and, if wanted, the labels.
docs/methods/dataset-distillation.md tells the rest.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.data.augment import apply
from gendistill.data.sampling import ClassSampler
from gendistill.decodes import Identity
from gendistill.decodes.choice import Choice, decode_of
from gendistill.errors import UserError
from gendistill.grids import Grid
from gendistill.inner import InnerOptions, InnerTraining, Lesson, ShownImages, Task
from gendistill.outer import RealLoss
from gendistill.poison import Poison, PoisonedLoss
from gendistill.renamed import reads_old_names
from gendistill.runs.watch import Watched
from gendistill.teacher import Teacher
from gendistill.teacher.decoded import teacher_of
from gendistill.teacher.generated import Generated
from trainers.batch import Made
from trainers.checks import check_counts, check_learned_rate
from trainers.class_sizes import check_stored, lower_images, lowered_batch
from trainers.decoding import Shown, decoded, pixels_of
from trainers.distillation_learners import DistillationLearners, Victim
from trainers.first_images import FirstImages, first_images
from trainers.labellers import LabellerPlan
from trainers.mini_batches import MiniBatches, ShowingOptions
from trainers.stored_start import Stored, check_start, is_stored, stored_images
from trainers.terms.over_groups import rows_of
from trainers.trainer import Trainer, trained

STARTS: tuple[FirstImages, ...] = ("noise", "real")


@dataclass(frozen=True, kw_only=True)
class DistillationInner(InnerOptions):
    """How learners are trained; see :class:`gendistill.inner.InnerOptions`.

    Args:
        steps: T, batches of distilled images, each with images of its own, and so steps of an epoch; at least 1. With
            ``batch_size`` the steps of a learner, which all show the same images.
        epochs: E, how often the T batches are shown; each epoch has learning rates of its own.
        batch_size: Mini-batches: ``images_per_class`` images of each class are distilled in all, and each step shows so
            many of them, the same number of every class, drawn anew; ``epochs`` is then 1. None: no.
    """

    steps: int = 10
    epochs: int = 3
    batch_size: int | None = None

    def __post_init__(self) -> None:
        self.require_count("epochs")
        self.require_count("batch_size")
        super().__post_init__()
        if self.batch_size is not None and self.epochs != 1:
            raise UserError(
                f"inner.batch_size shows the same images at all inner.steps, and inner.epochs is {self.epochs}; set "
                "inner.epochs to 1 and inner.steps to the steps of a learner (--trainer.inner.epochs 1)"
            )

    @property
    def total(self) -> int:
        """Steps that a learner takes in all: T E."""
        return self.steps * self.epochs

    @property
    def total_words(self) -> str:
        """What says how many they are."""
        return "inner.steps x inner.epochs"

    @property
    def sets(self) -> int:
        """Batches that have images of their own."""
        return self.steps if self.batch_size is None else 1


@reads_old_names(
    {
        "inner_steps": "inner.steps",
        "inner_epochs": "inner.epochs",
        "memory": "inner.memory",
        "window": "inner.window",
    }
)
class DatasetDistillationTrainer(Trainer):
    """Distil a data set into ``inner.steps`` batches of ``images_per_class`` images of every class.

    Args:
        inner: How learners are trained: steps, epochs, optimizer, window, mini-batches and what else there is in
            :class:`gendistill.inner.InnerOptions`.
        images_per_class: Images of each class in a batch, as they are stored; T times as many are distilled.
        decode: What stands between stored images and those that learners see: None: nothing; ``{factor: 2}``: a
            formation, each stored image showing 2 x 2; or any other of :mod:`gendistill.decodes`.
        labeller: A network that labels what learners of the images will be shown, after augmentation:
            :class:`trainers.labellers.LabellerPlan`. None: the images' own labels.
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
        momentum: Of the learner, in [0, 1); the paper's is 0, and so is Adam's.
        augment: How a learner's images are augmented anew at every step: ``dsa`` (without ``flip`` where mirrored
            images are no images of the data set), names joined by ``_`` (:func:`gendistill.data.augment.parse`), or
            None: not at all.
        augment_real: The same for the real images that learners are asked about; anew for every meta-step.
        augment_mode: ``single`` (one name of the strategy a batch), ``each`` (one an image) or ``all``.
        learn_labels: Whether labels are trained, too (Sucholutsky & Schonlau 2019): real numbers, at the start one-hot.
        meta_lr: Adam's learning rate for images, rates and labels.
        meta_betas: Adam's two decay rates.
        decay: What the meta learning rate is multiplied by after every ``decay_every`` meta-steps, in (0, 1].
        decay_every: Meta-steps between two decays; 0: none.
        gradient_clip: Largest norm of the whole meta-gradient; 0 leaves it as it is.
        average_clip: Largest norm as a multiple of what norms were on average, each with a tenth of the weight, as in
            RaT-BPTT's code (2); 0: no such limit.
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
    takes_terms = True

    def __init__(
        self,
        *,
        inner: DistillationInner = DistillationInner(),
        images_per_class: int = 1,
        decode: Choice = None,
        labeller: dict[str, Any] | None = None,
        learner: dict[str, Any] | None = None,
        fixed_layers: int | Literal["all"] = 0,
        weights: Literal["torch", "xavier"] = "torch",
        meta_batch: int = 1,
        images: str = "noise",
        learning_rate: float = 0.02,
        learn_learning_rates: bool = True,
        momentum: float = 0.0,
        augment: str | None = None,
        augment_real: str | None = None,
        augment_mode: str = "single",
        learn_labels: bool = False,
        meta_lr: float = 0.01,
        meta_betas: tuple[float, float] = (0.5, 0.999),
        decay: float = 0.5,
        decay_every: int = 0,
        gradient_clip: float = 0.0,
        average_clip: float = 0.0,
        poison: str | dict[str, Any] | None = None,
        victim: Victim = "fresh",
        victims: int = 20,
        victim_updates: int = 300,
        victim_lr: float = 0.05,
        source: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_counts(images_per_class=images_per_class)
        check_start("images", images, STARTS)
        check_learned_rate(learning_rate)
        if meta_lr <= 0 or not 0 <= momentum < 1:
            raise UserError(f"meta_lr must be positive and momentum lie in [0, 1), got {meta_lr} and {momentum}")
        if not 0 < decay <= 1 or decay_every < 0 or gradient_clip < 0 or average_clip < 0:
            raise UserError(
                "decay must lie in (0, 1], decay_every, gradient_clip and average_clip be 0 or more, got "
                f"{decay}, {decay_every}, {gradient_clip} and {average_clip}"
            )
        self.options = DistillationInner.of(inner)
        self.inner = InnerTraining(self.options)
        if momentum:
            self.options.require_exact(f"momentum is {momentum}")
            if self.options.optimizer != "sgd":
                raise UserError(
                    f"momentum is {momentum}, which {self.options.optimizer} does not use; leave it at 0 "
                    "(--trainer.momentum 0), or set inner.optimizer to sgd"
                )
        self.images_per_class = images_per_class
        self.decode, self.labeller = decode_of(decode), LabellerPlan.of(labeller)
        shown = images_per_class * self.decode.cells
        self.showing = ShowingOptions(
            self.options.sets, shown, self.options.batch_size, augment, augment_real, augment_mode
        )
        self.learners = DistillationLearners(
            learner, fixed_layers, weights, meta_batch, victim, victims, victim_updates, victim_lr, source
        )
        self.start = images
        self.learning_rate, self.learn_learning_rates = learning_rate, learn_learning_rates
        self.momentum, self.learn_labels = momentum, learn_labels
        self.meta_lr, self.meta_betas = meta_lr, (float(meta_betas[0]), float(meta_betas[1]))
        self.decay, self.decay_every, self.gradient_clip = decay, decay_every, gradient_clip
        self.average_clip = average_clip
        self.poison_spec = poison

    def build(self) -> None:
        """Make the images, their labels and rates, the learners' beginnings and the meta-optimiser."""
        self.inner.compile = self.run.options.compile
        description, sets = self.data.description, self.options.sets
        self.poison = Poison.of(self.poison_spec, description)
        self.inner.record(self.run.options.cuda_graphs)
        self.pool = self.learners.begin(self)
        check_stored(description, sets * self.images_per_class * self.decode.cells)
        if self.start == "real":
            known = ClassSampler(self.data.train.labels, description.num_classes, description.class_names)
            lower_images(self, known, sets * self.decode.cells, "inner.steps (each step has images of its own)")
        shown, count = self.images_per_class * self.decode.cells, description.num_classes
        batch = lowered_batch(self, self.options.batch_size, shown * count, "distilled images", count)
        self.options = replace(self.options, batch_size=batch)
        self.showing = replace(self.showing, per_class=shown, batch_size=batch)
        classes = torch.arange(description.num_classes, device=self.device).repeat(self.images_per_class)
        labels = classes.expand(sets, -1)  # (T, B): B holds every class images_per_class times
        count = sets * self.images_per_class
        self.decode.attach(self.data, self.device)
        first, learned = self._first(count)
        self.images = nn.Parameter(first.view(sets, len(classes), *self.decode.stored_shape))
        self.labels = labels.contiguous()
        if self.learn_labels:
            one_hot = F.one_hot(labels, description.num_classes).float()
            self.labels = nn.Parameter(one_hot if learned is None else learned.view(one_hot.shape).clone())
        total = self.options.total
        raw = math.log(math.expm1(self.learning_rate))  # softplus(raw) = learning_rate
        self.raw_rates = nn.Parameter(torch.full((total,), raw, device=self.device), self.learn_learning_rates)
        self.momenta = torch.full((total,), self.momentum, device=self.device)
        moved = [self.images, self.raw_rates] + ([self.labels] if isinstance(self.labels, nn.Parameter) else [])
        groups: list[Any] = [p for p in moved if p.requires_grad]
        if isinstance(self.decode, Generated):  # latents lie on the sphere, and nothing else does
            free = [{"params": groups[1:], "constraint": "none"}] if groups[1:] else []
            groups = [{"params": groups[:1]}, *free]
        self.optimizer = self.decode.kept(torch.optim.Adam(groups, lr=self.meta_lr, betas=self.meta_betas))
        self.labelling = self.labeller.attach(self)
        factor = self.decay if self.decay_every else 1.0  # not a length of the run, which may be continued further
        drawn = None if self.showing.nothing_drawn else (description, self.run.options.seed, self.device)
        self.batches = None if drawn is None else MiniBatches(self.showing, *drawn)
        self.norms = NormAverage(self.device) if self.average_clip else None
        self.scheduler = torch.optim.lr_scheduler.StepLR(self.optimizer, self.decay_every or 1, factor)

    def _first(self, count: int) -> Stored:
        """Return the first images, classes in turn, or in the order of a file whose soft labels are learned on."""
        if is_stored(self.start, STARTS):
            option = "images_per_class" if self.options.batch_size else "inner.steps x images_per_class"
            learned, decode = self.learn_labels, self.decode
            return stored_images(
                self.start, count, self.data, self.run, as_stored=learned, decode=decode, option=option
            )
        start: FirstImages = "real" if self.start == "real" else "noise"
        asked = "images_per_class or --trainer.inner.steps (each step has images of its own)"
        random = self.run.streams["images"]
        return Stored(first_images(start, count, self.data, random, lambda images: images, asked, self.decode), None)

    @property
    def classes(self) -> Tensor:
        """(B,) class of each stored image of a batch."""
        return torch.arange(self.data.description.num_classes, device=self.device).repeat(self.images_per_class)

    @property
    def learning_rates(self) -> Tensor:
        """(T E,) learning rates, positive."""
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
        self.shown = self._show()
        outers = self._teach(batch)
        moved, size = list(trained(self.optimizer)), self.images.shape[1] * self.decode.cells
        self.add_extra(self._made, [*moved, *self.shown.leaves], rows_of(len(self.images) * size, size))
        self.shown.backward()
        self.run.processes.average_gradients(moved)
        norm = self._clip(moved)
        self.optimizer.step()
        self.scheduler.step()
        successes = [outer.final_success for outer in outers if isinstance(outer, PoisonedLoss)]
        return {
            "loss/meta": torch.stack([outer.final_loss for outer in outers]).mean(),
            "accuracy/meta": torch.stack([outer.final_accuracy for outer in outers]).mean(),
            "gradient/norm": norm.detach(),
            "lr/inner": self.learning_rates.detach().mean(),
        } | ({"attack/success": torch.stack(successes).mean()} if self.poison else {})

    def _teach(self, batch: tuple[Tensor, Tensor]) -> list[RealLoss]:
        """Train this meta-step's learners, add the gradient of their mean loss, and return what was asked of each."""
        images, labels = batch
        if self.batches is not None:
            images = apply(images, self.batches.draw_real(len(images)))
        steps = self.inner.end(lambda: self.run.streams.on_host("window"))
        tasks, outers = [], []
        for learner, seed in self.learners.draw(self, self.pool):
            outers.append(self.inner.real_loss(learner, [steps], images[None], labels[None], self.poison))
            tasks.append(Task(learner, outers[-1], seed))
        shown = self._shown(steps)

        def lesson(task: Task) -> Lesson:
            stored = self._stored(steps) if shown is None else (shown.images, shown.labels)
            return Lesson(*stored, self.learning_rates[:steps], self.momenta[:steps])

        for taught in self.inner.train(tasks, lesson, precision=self.run.options.precision):
            (taught.loss / len(tasks)).backward()
        if shown is not None:
            shown.backward()
            self.shown.images.grad = shown.gradient().view_as(self.shown.images)
        return outers

    def _stored(self, steps: int) -> tuple[list[Tensor], list[Tensor]]:
        """Return images and labels of a learner's first steps as they are stored."""
        # One node for all: a slice for each step would write a gradient of the size of all batches on the way back.
        # The views keep the order of sums: each step's gradient is whole before it is added to another epoch's.
        every = self._batches()
        turns = [step % self.options.sets for step in range(steps)]
        images, labels = ([batches[turn].view_as(batches[turn]) for turn in turns] for batches in every)
        return images, labels

    def _show(self) -> Shown:
        """Return all stored images as learners see them."""
        classes = self.classes.repeat(len(self.images))
        if isinstance(self.decode, Identity):
            return Shown(self.decode, self.images, self.labels, classes)
        return Shown(self.decode, self.images.flatten(0, 1), self.labels.flatten(0, 1), classes)

    def _batches(self) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
        """Return images and labels of all T batches as learners see them, one tensor a batch."""
        images, labels = self.shown.images, self.shown.labels
        if not isinstance(self.decode, Identity):
            images, labels = (one.unflatten(0, (len(self.images), -1)) for one in (images, labels))
        return images.unbind(), labels.unbind()

    def _made(self) -> Made:
        """Return all images, an inner step's after another's, for losses beside that of the learners."""
        images, labels = (torch.cat(one) for one in self._batches())
        classes = self.classes.repeat(len(self.images)).repeat_interleave(self.decode.cells)
        return Made(images, classes, labels if self.learn_labels else None)

    def _shown(self, steps: int) -> ShownImages | None:
        """Return mini-batches of what is stored, augmented, for a learner's first steps; None where it is as stored."""
        if self.batches is None or self.showing.as_stored:
            return None
        every = self._batches()
        leaf, labels = torch.cat(every[0]).detach().requires_grad_(), torch.cat(every[1])
        showings = [(self._places(index), how) for index, how in self.batches.draw(steps)]
        return ShownImages(leaf, labels, showings, self.inner.first(steps))

    def _places(self, index: Tensor) -> Tensor:
        """Return where images (B,) stand that are numbered with the classes in turn, not the cells of a stored one."""
        cells, classes = self.decode.cells, self.data.description.num_classes
        if cells == 1:
            return index
        size = self.images.shape[1] * cells
        turn, kind = index % size // classes, index % classes
        return index // size * size + (turn // cells * classes + kind) * cells + turn % cells

    def _clip(self, moved: list[Tensor]) -> Tensor:
        """Limit the meta-gradient, and return its norm before."""
        norm = nn.utils.clip_grad_norm_(moved, self.gradient_clip or math.inf)
        if self.norms is not None:
            self.norms.clip(moved, norm, self.average_clip)
        return norm

    def teacher(self) -> Teacher:
        """Return the images in their order, with labels, rates and what learners start from."""
        metadata = {
            "source": f"{type(self).__name__}, step {self.step}",
            "seed": self.run.options.seed,
            "inner_steps": self.options.steps,
            "inner_epochs": self.options.epochs,
        }
        metadata |= self.learners.noted | self.inner.metadata()
        if self.poison is not None:
            metadata |= self.poison.metadata() | {"victim": self.learners.victim}
        mini, rates = self.options.batch_size, self.learning_rates.detach()
        made = teacher_of(
            self.decode,
            self.images.detach().flatten(0, 1).clone(),
            self.labels.detach().flatten(0, 1).clone(),
            self.data.description.with_normalisation(self.normalisation),
            classes=self.classes.repeat(len(self.images)),
            order="fixed" if mini is None else "stratified",
            batch_size=self.images.shape[1] if mini is None else None,
            images_at_once=mini,
            learning_rates=(rates if mini is None or self.learn_learning_rates else rates[:1]).clone(),
            momenta=self.momenta.clone() if self.momentum else None,
            metadata=metadata,
        )
        return self.labeller.label(made, self.labelling, self.data.description)

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

    def samples(self) -> dict[str, Grid]:
        """Return about ten rows of distilled images as pixels, a column a class, and as they are stored."""
        steps, names = max(1, 10 // self.images_per_class), self.data.description.class_names
        values, classes = self.images.detach()[:steps].flatten(0, 1), self.classes.repeat(min(steps, len(self.images)))
        with torch.no_grad():
            shown = decoded(self.decode, values, classes)[:: self.decode.cells]
        captions, columns = tuple(names[kind] for kind in classes.tolist()), len(names)
        pictures = {"distilled": Grid(self.normalisation.invert(shown).clamp(0, 1), columns, captions)}
        stored = pixels_of(self.decode, values)
        return pictures if stored is None else pictures | {"stored": Grid(stored, columns, captions)}


class NormAverage:
    """What norms of the meta-gradient were on average, the last one with a tenth of the weight.

    Args:
        device: Where gradients are.
    """

    DECAY = 0.9

    def __init__(self, device: torch.device) -> None:
        self.average = torch.full((), -1.0, device=device)  # below 0: there was none yet

    def clip(self, gradients_of: list[Tensor], norm: Tensor, factor: float) -> None:
        """Take a norm into the average, and scale gradients down to ``factor`` times that."""
        norm = norm.detach()
        self.average = torch.where(self.average < 0, norm, self.DECAY * self.average + (1 - self.DECAY) * norm)
        scale = (factor * self.average / (norm + 1e-6)).clamp(max=1)
        for value in gradients_of:
            if value.grad is not None:
                value.grad.mul_(scale)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the average."""
        return {"average": self.average}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from there."""
        self.average = state["average"].to(self.average.device)
