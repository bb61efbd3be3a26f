"""Latent search: images of a trained generator, chosen by descending in its latent space.

Projected gradient descent on the sphere of radius sqrt(d) (Bradley 2020, section 6.1; PULSE, Menon et al. 2020): the
generator stays as it is, and a few latents of each class move so that their images teach a random network what real
images of that class teach it. What is asked of the images is in ``latent_objectives/``, the parts of the search are in
``latents/``. docs/methods/latent-search.md tells the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gendistill import sphere
from gendistill.data.real import RealData
from gendistill.data.sampling import ClassSampler
from gendistill.data.scatter import scatter
from gendistill.errors import UserError, did_you_mean
from gendistill.grids import Grid
from gendistill.nets.learners import learner_for
from gendistill.objects import build
from gendistill.poison import require_made_here
from gendistill.renamed import reads_old_names
from gendistill.runs.context import RunContext
from gendistill.runs.watch import Watched
from gendistill.teacher import Teacher
from gendistill.teacher.generated import open_generator
from trainers.batch import Batch, Made
from trainers.class_sizes import check_stored, lower_images, taken_whole
from trainers.latent_objectives.assemble import CLASSES, WORDS, attach_objectives, build_objectives
from trainers.latent_objectives.meta_loss import MetaLoss, SearchInner
from trainers.latent_objectives.objective import SharedProbe
from trainers.latent_objectives.trajectory import TrajectoryMatching
from trainers.latents.film import Film
from trainers.latents.held_out import HeldOut
from trainers.latents.inversion import STARTS, Inversion
from trainers.latents.optimiser import check_optimizer, check_space, make_optimizer
from trainers.latents.space import Space, class_embeddings
from trainers.latents.teachers import Found, norms_of, path_of
from trainers.terms.over_groups import rows_of
from trainers.trainer import Trainer

COLLECT = ("final", "trajectory")
FILM_IMAGES = 50


@reads_old_names({"inner_steps": "inner.steps", "inner_lr": "inner.learning_rate", "memory": "inner.memory"})
class LatentSearchTrainer(Trainer):
    """Move ``images_per_class`` latents of every class until their images match real ones.

    Args:
        generator: A generator teacher: its ``.safetensors`` file, the directory of the run that trained it, or a
            torch-mimicry checkpoint (``.pth``).
        images_per_class: Latents, and so images, for each class; 1 or more.
        objective: What is asked: ``feature_matching`` (distribution matching), ``gradient_matching``, ``meta_loss``
            (the loss on real images of a network trained on the synthetic ones), ``trajectory_matching``, ``thesis``
            (eq. (4.6), Bradley 2020), ``confidence`` (of a classifier), the dotted path of a class or function of
            yours, or a list of ``{class_path, init_args, weight}``; see :mod:`trainers.latent_objectives`.
        constraint: Where latents may lie: ``sphere`` (radius sqrt(d)), ``none`` (Bradley 2020, Table 4.2), ``l2``
            (weight decay), ``clip`` (norm at most sqrt(d)) or ``truncation`` (entries at most ``truncation``).
        optimizer: ``adam``, ``sgd`` (momentum 0.9), or class_path and init_args of any other of torch, applied to the
            tangent part of the gradient on the sphere.
        lr: Step size in latent units (a latent has norm sqrt(d)); positive.
        l2: Weight decay of the latents with ``constraint: l2``.
        truncation: Largest absolute entry of a latent with ``constraint: truncation``; positive.
        real_batch: Real images of each class at every step; 1 or more. A class with fewer shows all of them, and again
            from the first.
        probe: The random network that is matched in, new at every step, as ``class_path`` and ``init_args``; by
            default the data set's default learner.
        inner: How networks are trained with ``meta_loss``: steps, learning_rate, optimizer and what else there is in
            :class:`gendistill.inner.InnerOptions`; students of ``trajectory_matching``, which have a block of their
            own, take its memory mode.
        poison: With ``meta_loss``, ``"7:1"``, or source, target and weight of :class:`gendistill.poison.Poison`:
            networks are to take one class for another. None: honest.
        start: ``random`` latents, or the ``inversion`` of real images.
        inversion: ``steps``, ``lr`` and ``draws`` of :class:`trainers.latents.inversion.Inversion`.
        layer: Search in what this layer of the generator gives, and not in its latents (GLaD); with constraint none
            or l2. The teacher then holds images. None: latents.
        embedding_lr: Step size of the generator's class embeddings, which then move, too; 0: they stay.
        collect: Images of the ``final`` latents, or of every step of their ``trajectory`` (the thesis).
        validate_every: Steps between two looks at what the search never saw; 0: none.
        criterion: ``gradient_cosine`` or ``accuracy``; see :class:`trainers.latents.held_out.HeldOut`.
        patience: Looks without a better value after which the search ends, with the best latents; 0: never.
        held_out_probes: Networks of the cosine.
        film_frames: Pictures of the path to keep, about; 0: none.

    Raises:
        UserError: An option is out of range, or the generator does not fit the data.
    """

    takes_terms = True
    WORDS: ClassVar[Mapping[str, str]] = WORDS | CLASSES
    """Classes that a config may name by a word of this trainer."""

    def __init__(
        self,
        generator: str,
        *,
        images_per_class: int = 10,
        objective: str | dict[str, Any] | Sequence[str | dict[str, Any]] = "feature_matching",
        constraint: str = "sphere",
        optimizer: str | dict[str, Any] = "adam",
        lr: float = 0.05,
        l2: float = 1e-2,
        truncation: float = 2.0,
        real_batch: int = 64,
        probe: dict[str, Any] | None = None,
        inner: SearchInner = SearchInner(),  # noqa: B008
        poison: str | dict[str, Any] | None = None,
        start: str = "random",
        inversion: dict[str, Any] | None = None,
        layer: str | None = None,
        embedding_lr: float = 0.0,
        collect: str = "final",
        validate_every: int = 0,
        criterion: str = "gradient_cosine",
        patience: int = 0,
        held_out_probes: int = 2,
        film_frames: int = 40,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value, allowed in (("start", start, STARTS), ("collect", collect, COLLECT)):
            if value not in allowed:
                hint = did_you_mean(value, allowed)
                raise UserError(f"the latent {name} is '{value}'; {hint}choose one of {', '.join(allowed)}")
        if images_per_class < 1 or real_batch < 1:
            raise UserError(f"images_per_class and real_batch must be at least 1, got {images_per_class}, {real_batch}")
        if lr <= 0 or embedding_lr < 0:
            raise UserError(f"lr must be positive and embedding_lr at least 0, got {lr} and {embedding_lr}")
        if collect == "trajectory" and (layer is not None or embedding_lr or patience):
            raise UserError("collect: trajectory keeps latents alone; leave out layer, embedding_lr and patience")
        check_space(constraint, layer)
        self.generator_reference = generator
        self.images_per_class, self.real_batch = images_per_class, real_batch
        self.constraint, self.constraint_options = constraint, {"weight_decay": l2, "truncation": truncation}
        self.optimizer_spec = check_optimizer(optimizer)
        self.lr, self.embedding_lr = lr, embedding_lr
        self.probe_spec = probe
        self.objectives = build_objectives(objective, search_inner=SearchInner.of(inner), poison=poison)
        if poison is not None and not any(isinstance(one, MetaLoss) for one in self.objectives):
            raise UserError(f"poison needs objective meta_loss, which asks what networks learn; it is {objective}")
        self.starts_from, self.inversion = start, Inversion.of(inversion)
        self.layer, self.collect = layer, collect
        self.held_out = HeldOut(validate_every, criterion, patience, held_out_probes)
        self.film_frames = film_frames

    # -- what a run holds ---------------------------------------------------------------------------------------------

    def attach(self, run: RunContext, data: RealData) -> None:
        """Take the run and the data, and build.

        A step draws ``real_batch`` images of every class, so ``batch_size`` is not used and must not be too large.
        """
        self.batch_size = run.processes.world
        super().attach(run, data)

    def build(self) -> None:
        """Open the generator and put the first latents where they start."""
        opened = open_generator(self.generator_reference, self.data, self.device)
        self.source, self.network = opened, opened.network
        classes = self.data.description.num_classes
        check_stored(self.data.description, self.images_per_class)
        self.classes = ClassSampler(self.data.train.labels, classes, self.data.description.class_names)
        if self.starts_from != "random":
            lower_images(self, self.classes)
        self.labels = torch.arange(classes, device=self.device).repeat_interleave(self.images_per_class)
        taken_whole(self.classes, self.real_batch, "--trainer.real_batch", again=True)
        self.space = Space(opened, self.labels, self.layer)
        self.base = self._first_latents()
        self.start = self.space.points(self.base).clone()
        self.latents = nn.Parameter(self.start.clone())
        self.embeddings = class_embeddings(self.network) if self.embedding_lr else []
        for weight in self.embeddings:
            weight.requires_grad_(True)
        self.first_embeddings = [weight.detach().clone() for weight in self.embeddings]
        self.optimizer = make_optimizer(
            self.optimizer_spec, self.latents, self.embeddings, lr=self.lr, embedding_lr=self.embedding_lr,
            constraint=self.constraint, **self.constraint_options,
        )  # fmt: skip
        self.norms, self.angles = norms_of(self.latents)[None], torch.zeros(1, device=self.device)
        self.trail: list[Tensor] = []
        if self.constraint == "truncation":  # the one that moves a latent before the first step
            self.start = self.latents.detach().clone()
        self.shared_probe = SharedProbe(self.probe)
        attach_objectives(self.objectives, self)
        self.poison = next((one.poison for one in self.objectives if isinstance(one, MetaLoss) and one.poison), None)
        if self.poison is not None:
            require_made_here(opened, self.generator_reference)
        self.held_out.prepare(self.data, self.run.streams, self.run.processes, self.new_network, self.probe_spec)
        self.film = Film(self.film_frames, self.steps)
        self._look(0)

    def _first_latents(self) -> Tensor:
        """Return the latents (N, nz) that the search starts at: uniform on the sphere, or those of real images.

        Raises:
            UserError: There are fewer real images of a class than latents.
        """
        source, stream = self.source, self.run.streams["latents"]

        def draw() -> Tensor:
            return sphere.uniform(len(self.labels), source.nz, stream).to(self.device)

        first = draw()
        if self.starts_from == "random" or self.run.directory.has_state:  # a saved state brings its own
            return first
        index = self.classes.draw(self.images_per_class, self.run.streams["inversion"])
        targets, _ = self.data.train.batch(index.flatten(), source.description.normalisation)
        latents = Space(source, self.labels)
        return self.inversion(
            lambda points: latents.render(points, points),
            targets,
            draw,
            # The features of a layer have no prior, but the latents that they start from have.
            "sphere" if self.layer is not None else self.constraint,
            **self.constraint_options,
        )

    # -- one step -----------------------------------------------------------------------------------------------------

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Draw ``real_batch`` images of every class, other ones in every process.

        Returns:
            Images (K * real_batch, C, H, W), class by class, and their labels.
        """
        processes = self.run.processes
        stream = self.run.streams["data"]
        draws = [self.classes.draw(self.real_batch, stream, repeat=True) for _ in range(processes.world)]
        return self.data.train.batch(draws[processes.rank].flatten(), self.normalisation)

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Move all latents of all classes by one step; do nothing once the search has ended.

        Args:
            batch: Real images (K * real_batch, C, H, W), class by class, and labels.

        Returns:
            ``loss/<objective>`` before its weight, ``latent/norm`` (mean) and ``latent/angle`` (mean angle travelled,
            radians); where it is validated, ``held_out/<criterion>``.
        """
        values: dict[str, Tensor] = {}
        if not self.held_out.stopped:
            with self.autocast():
                loss, values = self.loss(batch)
            self.update(loss, self.optimizer)
        with torch.no_grad():
            norms = norms_of(self.latents)
            angle = sphere.angle(self.start.flatten(1), self.latents.flatten(1)).mean()
            self.norms, self.angles = torch.cat([self.norms, norms[None]]), torch.cat([self.angles, angle[None]])
            if self.collect == "trajectory":
                self.trail.append(self.latents.detach().clone())
        if not self.held_out.stopped:
            self._look(self.step + 1)
            now = self.moving()
            values |= self.held_out.look(self.step + 1, self.images, now, lambda: self._found(now).teacher())
        return values | {"latent/norm": norms[0], "latent/angle": angle}

    def loss(self, batch: tuple[Tensor, Tensor], probe: nn.Module | None = None) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the weighted sum of the objectives, and each of them as ``loss/<name>``.

        Args:
            batch: See :meth:`train_step`.
            probe: The step's network, in training mode; None: a new one.
        """
        self.shared_probe = SharedProbe(self.probe if probe is None else probe.train)
        real, fake = Batch(*batch), Batch(self.images(), self.labels)
        parts, values = [], {}
        for objective in self.objectives:
            value = objective.value(real, fake)
            values[f"loss/{objective.name}"] = value.detach()
            parts.append(objective.weight * value)
        made = Made(fake.images, self.labels, latents=self.latents)
        with torch.autocast(self.device.type, enabled=False):
            extra = self.extra(made, rows_of(len(self.labels), self.images_per_class))
        if extra is not None:
            parts.append(extra)
        return torch.stack(parts).sum(), values

    def probe(self) -> Any:
        """Return a freshly initialised network; each step and process has its own."""
        return self.new_network(f"probe/{self.step}/{self.run.processes.rank}")

    def new_network(self, name: str) -> nn.Module:
        """Return a network of the probe's architecture; its weights depend on the run's seed and ``name`` only."""
        description = self.data.description
        with self.initialised(name):
            network = build(
                learner_for(self.probe_spec, description),
                nn.Module,
                num_classes=description.num_classes,
                image_shape=description.image_shape,
            )
        return self.place(network)

    def moving(self) -> list[Tensor]:
        """Return what moves: the points that are searched, then the class embeddings if they do."""
        return [self.latents, *self.embeddings]

    def images(self) -> Tensor:
        """Return the images (K * M, C, H, W) of the latents, with their graph, as real images are normalised."""
        made = self.space.render(self.latents, self.base)
        return self.source.description.normalisation.convert(made, self.normalisation)

    def _look(self, step: int) -> None:
        """Take a picture of the first latents of each class for the film."""
        count = min(self.images_per_class, max(1, FILM_IMAGES // self.data.description.num_classes))
        cloud = self.source.description.cloud

        def pictures() -> Tensor:
            pixels = self._pixels(self.latents, self._rows(count))
            return pixels if cloud is None else scatter(pixels, cloud)

        self.film.look(step, pictures)

    # -- what comes of it ---------------------------------------------------------------------------------------------

    def watched(self) -> Watched:
        """Return the latents, which are to move as long as the search goes on."""
        return Watched(moved={} if self.held_out.stopped else {"the latents": [self.latents]})

    def teacher(self) -> Teacher:
        """Return what was found, with patience the best of it; its metadata has the path of the latents."""
        return self._found(self.held_out.chosen() or self.moving(), self.trail).teacher()

    def start_teacher(self) -> Teacher:
        """Return the teacher that the search started from."""
        return self._found([self.start, *self.first_embeddings]).teacher()

    def _found(self, moved: Sequence[Tensor], trail: Sequence[Tensor] = ()) -> Found:
        """Return what the search has where what moves is at given values; see :meth:`moving`."""
        teaching = [one for one in self.objectives if isinstance(one, (MetaLoss, TrajectoryMatching))]
        metadata = ({} if self.poison is None else self.poison.metadata()) | {
            "source": f"{type(self).__name__}, step {self.step}",
            "seed": self.run.options.seed,
            "generator": dict(self.source.metadata),
            "learner": learner_for(self.probe_spec, self.data.description),
            "path": path_of(self.norms, self.angles, float(self.latents[0].numel() ** 0.5)),
        }
        for one in teaching[:1]:
            metadata |= one.inner.metadata()
        return Found(
            source=self.source,
            space=self.space,
            labels=self.labels,
            base=self.base,
            points=moved[0],
            embeddings=moved[1:],
            trail=trail,
            learning_rates=next(iter(teaching)).learning_rates() if teaching else None,
            metadata=metadata,
        )

    def samples(self) -> dict[str, Grid]:
        """Return the images at the start and now, one column a class, pixels in [0, 1]."""
        rows = self._rows(min(self.images_per_class, 10))
        classes = self.data.description.num_classes
        names = tuple(self.data.description.class_names[kind] for kind in self.labels[rows].tolist())
        points = {"start": self.start, "search": self.latents}
        return {name: Grid(self._pixels(where, rows), classes, names) for name, where in points.items()}

    def _rows(self, count: int) -> Tensor:
        """Return the indices of the first ``count`` images of every class, one row an image, one column a class."""
        return torch.arange(len(self.labels), device=self.device).view(-1, self.images_per_class).T[:count].flatten()

    @torch.no_grad()
    def _pixels(self, points: Tensor, chosen: Tensor) -> Tensor:
        made = self.space.render(points, self.base, chosen)
        return self.source.description.normalisation.invert(made).clamp(0, 1)
