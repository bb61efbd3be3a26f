"""PrivacyGAN: generators at a server learn from discriminators at sites, whose images stay there.

Wu 2022, chapter 5. A server has the teacher GAN of its own data and one generator a site; a site has its private images
and its discriminator. What travels is in :mod:`gendistill.federated.messages`. As a trainer of one process it simulates
all sides, by the same messages and the same bytes; ``gendistill privacy serve`` and ``join`` divide it among machines.
docs/methods/privacy-gan.md tells what this protects and what it does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.federated import HONEST, private_line
from gendistill.federated.messages import FEEDBACK, Terms
from gendistill.federated.sanitise import Sanitiser
from gendistill.federated.server import Hub, Seat
from gendistill.federated.shares import GLOBAL_SPLITS, SPLITS, Shares
from gendistill.federated.site import InProcess, Site
from gendistill.grids import Grid
from gendistill.losses import adversarial
from gendistill.nets.mixture import GeneratorMixture
from gendistill.notes import note
from gendistill.objects import build
from gendistill.plain import plain
from gendistill.privacy.ledger import FILE_NAME, Budget, Ledger
from gendistill.privacy.promise import KEY, promise
from gendistill.privacy.stand_in import stand_in
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.loop import train
from gendistill.runs.watch import Watched
from gendistill.seeds import Streams, derive_seed
from gendistill.teacher import GeneratorTeacher, Teacher
from trainers.gan import GANTrainer
from trainers.initial_networks import new_network, start_from
from trainers.privacy_dp_sgd import DPSGD, PrivateDiscriminatorHalf
from trainers.privacy_sides import (
    BALANCES,
    DiscriminatorHalf,
    GeneratorHalf,
    Teaching,
    check_base,
    context_of,
    require_batch,
)
from trainers.private import Withheld, require_no_looks
from trainers.score_estimators import ESTIMATORS, Estimator, EvolutionStrategies, Surrogate
from trainers.trainer import Trainer

BASE = {"class_path": "trainers.gan.ConditionalGANTrainer", "init_args": {"n_dis": 1}}
TEACHERS = ("frozen", "live")
PROTECTED = ("feedback", "discriminator")
COVERS = "training images of each site"
PUBLIC = (
    "about how many images a site has (site_size)",
    "the server's own images, and how a simulation divides images",
)


class PrivacyGANTrainer(Trainer):
    """Train a generator a site by the joint restraint loss, Eq. (5.9), Wu 2022.

    Args:
        clients: Sites.
        base: The GAN of every site, and the teacher, as ``class_path`` and ``init_args``.
        alpha: Weight of the site's discriminator in (0, 1]; the teacher's is 1 - alpha. 1 is a local GAN.
        teacher: ``frozen``: the teacher's discriminator stays as it was trained (the thesis); ``live``: each site's
            generator has a copy that goes on learning from the server's data and that generator's images.
        teacher_steps: Steps that the teacher GAN is trained at the beginning, on the server's data.
        teacher_run: Directory of a GAN's run that is the teacher instead.
        warmup: Rounds at the beginning in which alpha is 1.
        balance: ``none``; ``rms``: both gradients are brought to the same size before alpha weighs them.
        feedback: What a site answers: ``gradient`` of its loss at the generated images, or ``score``, one number each.
        estimator: How the server makes gradients of scores: ``surrogate`` or ``es`` (evolution strategies).
        surrogate_updates: Of the surrogate in each round.
        es_scale: How far evolution strategies move images, in units of their range [-1, 1].
        protect: Where a site's clip and noise are: on the ``feedback`` that leaves it, or on the gradients by which its
            ``discriminator`` learns from single private images (DP-SGD), so that all that leaves is private.
        clip: Norm to which a site clips each row of its feedback, or each gradient; None: it does not.
        noise_multiplier: Noise on clipped feedback, from the operating system: its standard deviation over ``clip``. On
            gradients it is as much as ``epsilon`` asks for.
        delta: Of a site's (epsilon, delta).
        epsilon: Most that a site spends before it stops; None: as much as the rounds cost.
        site_size: About how many images a site has: a public number, from which the rate of a sample of private images
            follows; for ``protect: discriminator``.
        split: In a simulation, how the training images are divided among sites: ``random``, or ``classes``: class k is
            that of site k mod ``clients``. The server asks a site about images of its classes alone, and its mixture
            makes an image by a generator that knows the class; so it does for sites with data of their own.
        client_images: In a simulation, images of each site; None: all that fall to it.
        global_split: In a simulation, the server's data: all training images with the sites' own (``superset``, the
            thesis), half of them that no site has (``disjoint``), or other classes than the sites' (``shifted``).
        taught_by: What the run's teacher is: the ``mixture`` of all generators, or the number of one.
        **kwargs: See :class:`~trainers.trainer.Trainer`; the batch size is the base's.

    Raises:
        UserError: An option is out of range, or the base cannot be divided.
    """

    def __init__(
        self,
        *,
        clients: int = 3,
        base: Mapping[str, Any] | None = None,
        alpha: float = 0.4,
        teacher: Literal["frozen", "live"] = "frozen",
        teacher_steps: int = 500,
        teacher_run: str | None = None,
        warmup: int = 0,
        balance: Literal["none", "rms"] = "none",
        feedback: Literal["gradient", "score"] = "gradient",
        estimator: Literal["surrogate", "es"] = "surrogate",
        surrogate_updates: int = 5,
        es_scale: float = 0.05,
        protect: Literal["feedback", "discriminator"] = "feedback",
        clip: float | None = None,
        noise_multiplier: float = 0.0,
        delta: float = 1e-5,
        epsilon: float | None = None,
        site_size: int | None = None,
        split: Literal["random", "classes"] = "random",
        client_images: int | None = None,
        global_split: Literal["superset", "disjoint", "shifted"] = "disjoint",
        taught_by: str | int = "mixture",
        **kwargs: Any,
    ) -> None:
        counts = {"clients": clients, "surrogate_updates": surrogate_updates} | (
            {} if client_images is None else {"client_images": client_images}
        )
        for name, value in counts.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f"{name} is {value!r}; give a whole number from 1")
        for name, value in (("warmup", warmup), ("teacher_steps", teacher_steps)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise UserError(f"{name} is {value!r}; give a whole number from 0")
        if not 0 < alpha <= 1:
            raise UserError(f"alpha is {alpha}; give a weight above 0 and at most 1 (1: the teacher has no say)")
        if not 0 < es_scale < math.inf:
            raise UserError(f"es_scale is {es_scale}; give a positive number")
        for name, given, allowed in (
            ("teacher", teacher, TEACHERS), ("balance", balance, BALANCES), ("feedback", feedback, FEEDBACK),
            ("estimator", estimator, ESTIMATORS), ("split", split, SPLITS),
            ("global_split", global_split, GLOBAL_SPLITS), ("protect", protect, PROTECTED),
        ):  # fmt: skip
            if given not in allowed:
                raise UserError(f"{name} is {given!r}; choose one of {', '.join(allowed)}")
        if noise_multiplier and clip is None:
            raise UserError(
                "noise_multiplier is given without clip, so the noise has no size; give --trainer.clip, too"
            )
        number = taught_by if isinstance(taught_by, int) and not isinstance(taught_by, bool) else None
        if taught_by != "mixture" and (number is None or not 0 <= number < clients):
            raise UserError(f"taught_by is {taught_by!r}; give mixture, or the number of a site, 0 to {clients - 1}")
        self.base = dict(base or BASE)
        self.clients, self.alpha, self.teacher_kind, self.warmup, self.balance = (
            clients,
            alpha,
            teacher,
            warmup,
            balance,
        )
        self.teacher_steps, self.teacher_run = teacher_steps, teacher_run
        self.feedback, self.estimator, self.surrogate_updates, self.es_scale = (
            feedback, estimator, surrogate_updates, es_scale
        )  # fmt: skip
        self.clip, self.noise_multiplier, self.delta, self.epsilon = clip, noise_multiplier, delta, epsilon
        self.protect, self.site_size = protect, site_size
        self.shares = Shares(clients, split, client_images, global_split)
        self.taught_by = taught_by
        self._simulates = False
        self._withheld: Withheld | None = None
        gan = self._gan()
        check_base(gan)
        if feedback == "score" and (gan.packing > 1 or gan.loss_type == adversarial.RELATIVISTIC):
            raise UserError(
                "feedback is score, but the base judges images together; give packing 1 and another loss_type"
            )
        super().__init__(**{**kwargs, "batch_size": gan.batch_size})
        if protect == "discriminator":
            self.dp_sgd(gan)
        elif site_size is not None:
            raise UserError("site_size is given, but protect is feedback; give --trainer.protect discriminator, too")
        self.sanitiser()  # so that its options are looked at now

    def dp_sgd(self, gan: GANTrainer) -> DPSGD:
        """Return how sites learn from single private images by noisy gradients.

        Raises:
            UserError: An option is missing or out of range, or the base cannot be trained so.
        """
        if self.clip is None or self.epsilon is None or self.site_size is None:
            raise UserError(
                "protect is discriminator, which needs trainer.epsilon, trainer.clip (the norm of a gradient, such as "
                "1.0) and trainer.site_size (about how many images a site has, a public number)"
            )
        if self.noise_multiplier:
            raise UserError(
                "noise_multiplier is given; with protect discriminator it follows from epsilon: leave it out"
            )
        if self.shares.server == "superset" and self.alpha < 1:
            raise UserError(
                "global_split is superset, so the server's teacher has seen the private images, and no noise at the "
                "sites helps; choose disjoint or shifted"
            )
        return DPSGD(gan, Budget(self.epsilon, self.delta), self.clip, self.site_size)

    def honest(self) -> str:
        """Return what a site's officer is to read first."""
        if self.protect == "discriminator":
            assert self.epsilon is not None
            return private_line(self.epsilon, self.delta)
        return HONEST

    def _gan(self) -> GANTrainer:
        """Return a new GAN of the base."""
        found: GANTrainer = build(self.base, GANTrainer)
        return found

    # -- what a server and a site take of it --------------------------------------------------------------------------

    def agreement(self, run: RunContext, data: RealData) -> Terms:
        """Return what both sides must agree on."""
        gan, description = self._gan(), data.description
        channels, height, width = description.image_shape
        if description.kind == "texts":
            raise UserError(f"'{description.name}' holds texts; PrivacyGAN is for pictures and points")
        return Terms(
            steps=run.options.steps,
            batch=gan.batch_size,
            updates=gan.n_dis,
            save_every=run.options.save_every,
            channels=channels,
            height=height,
            width=width,
            classes=description.num_classes if gan.labelled else 0,
            limit=1.0 if description.kind == "pictures" else 2.0**20,
            answers=2 if (self.feedback, self.estimator) == ("score", "es") else 1,
            feedback=self.feedback,
        )

    def sanitiser(self, ledger: Path | None = None, *, begun: bool = False) -> Sanitiser | None:
        """Return what clips and noises a site's feedback; None where nothing does."""
        if self.protect == "discriminator":
            return None
        if self.clip is None:
            if self.epsilon is not None:
                raise UserError("epsilon is given without clip and noise_multiplier; give both, or leave it out")
            return None
        limits: dict[str, Any] = {"delta": self.delta, "epsilon": self.epsilon}
        return Sanitiser(self.clip, self.noise_multiplier, ledger=ledger, begun=begun, **limits)

    def discriminator_half(self, run: RunContext, data: RealData, number: int = 0) -> DiscriminatorHalf:
        """Return the half of one site, whose private images are ``data``."""
        gan, context = self._gan(), context_of(run, number)
        if self.protect == "discriminator":
            # In a simulation the config is in the run's own directory, above those of its sites.
            config = (self.run if self._simulates else run).directory.read_config()
            return PrivateDiscriminatorHalf(self.dp_sgd(gan), context, data, self.feedback, config)
        return DiscriminatorHalf(gan, context, data, self.feedback)

    def generator_halves(self, run: RunContext, data: RealData, count: int) -> list[GeneratorHalf]:
        """Return the halves of a server, one a site; the teacher is trained first.

        Args:
            run: The run.
            data: The server's own data, which is not private to the sites.
            count: Number of sites.
        """
        first = self._teaching(run, data) if self.alpha < 1 else None
        return [self._generator_half(run, data, number, first) for number in range(count)]

    def _generator_half(self, run: RunContext, data: RealData, number: int, first: Teaching | None) -> GeneratorHalf:
        context = context_of(run, number)
        gan, teaching = self._gan(), first
        if first is not None and first.moves:
            copy = self._teacher_gan(run, data, number)
            for name in ("generator", "discriminator"):
                getattr(copy, name).load_state_dict(getattr(first.gan, name).state_dict())
            teaching = Teaching(copy, live=first.live)
        estimator: Estimator | None = None
        if self.feedback == "score":
            loss_type = gan.loss_type

            def loss(scores: Tensor) -> Tensor:
                return adversarial.generator_loss(loss_type, scores)

            estimator = EvolutionStrategies(loss, self.es_scale, 1.0)
            if self.estimator == "surrogate":
                # Its weights come from another name than those of the site's discriminator.
                shell = self._gan()
                shell.run, shell.data = context, data
                network = new_network(
                    shell, "discriminator", gan.discriminator_spec, (), loss_type=loss_type, drawn_as="surrogate"
                )
                estimator = Surrogate(network, loss, self.surrogate_updates, gan.lr_discriminator)
        kinds = self.shares.kinds_of_site(data.description.num_classes, number) if gan.labelled else None
        gan.kinds = None if kinds is None else torch.tensor(kinds, device=run.device)
        return GeneratorHalf(
            gan, context, data, alpha=self.alpha, warmup=self.warmup, balance=self.balance, teaching=teaching,
            estimator=estimator,
        )  # fmt: skip

    def _teacher_gan(self, run: RunContext, data: RealData, number: int | None = None) -> GANTrainer:
        """Return a GAN of the server's own data, new."""
        name = "teacher" if number is None else f"teacher/{number}"
        steps = max(1, self.teacher_steps) if number is None else run.options.steps
        options = replace(run.options, seed=derive_seed(run.options.seed, name), steps=steps)
        gan = self._gan()
        require_batch(gan, data)
        gan.attach(replace(run, options=options, streams=Streams(options.seed, run.device), step=0, metrics={}), data)
        return gan

    def _teaching(self, run: RunContext, data: RealData) -> Teaching:
        """Return the teacher: that of a run, or one that is trained now."""
        gan = self._teacher_gan(run, data)
        if self.teacher_run is not None:
            found = start_from(self.teacher_run, data, gan.normalisation, labelled=gan.labelled)
            if found.discriminator is None:
                raise UserError(
                    f"teacher_run '{self.teacher_run}' is no run of a GAN, whose discriminator is the teacher; give "
                    "the directory of one, or leave it out"
                )
            found.fill(gan.discriminator, "discriminator")
            found.fill(gan.generator, "generator")
        elif not run.directory.has_state:  # a run that is continued puts back what was trained
            if self.teacher_steps == 0:
                raise UserError(f"alpha is {self.alpha}, but there is no teacher; give teacher_steps or teacher_run")
            while gan.step < self.teacher_steps:
                gan.train_step(gan.next_batch())
                gan.recorded()
                gan.run.step += 1
        return Teaching(gan, live=self.teacher_kind == "live")

    def train_teacher(self, run: RunContext, data: RealData) -> None:
        """Train the teacher GAN as a run of its own below the server's, which is continued where it stopped.

        Args:
            run: The server's run.
            data: The server's own data.
        """
        if self.alpha == 1 or self.teacher_run is not None or self.teacher_steps == 0:
            return
        seed, name = derive_seed(run.options.seed, "teacher"), f"{run.options.name}/teacher"
        options = replace(run.options, name=name, seed=seed, steps=self.teacher_steps, tune="off", fresh=False)
        train(self._gan(), data, options, config={"trainer": plain(self.base), "run": options.to_dict()})
        self.teacher_run = str(run.directory.path / "teacher")

    def mixed(self, halves: list[Any]) -> Teacher:
        """Return the mixture of all generators as one teacher."""
        teachers = [half.teacher() for half in halves]
        if len(teachers) == 1:
            return self._marked(teachers[0])
        description = teachers[0].description
        kinds = [self.shares.kinds_of_site(description.num_classes, number) for number in range(len(teachers))]
        knows = [one for one in kinds if one is not None] if halves[0].gan.labelled else []
        network = GeneratorMixture([teacher.network for teacher in teachers], knows=knows or None)
        # A class that no site was asked for is one that none has learned.
        classes = sorted({kind for one in knows for kind in one}) or None
        return self._marked(GeneratorTeacher(network, description, classes=classes, metadata=teachers[0].metadata))

    def _marked(self, teacher: GeneratorTeacher) -> GeneratorTeacher:
        guarantee = "feedback" if self.noise_multiplier else "none"
        guarantee = "discriminator" if self.protect == "discriminator" else guarantee
        if guarantee != "none" and not self._simulates:
            # What a site does is its own affair: the server knows what it asked for.
            guarantee += ", by the server's config; each site's privacy.json says what was kept"
        facts: dict[str, Any] = {"clients": self.clients, "alpha": self.alpha, "teacher": self.teacher_kind}
        facts |= {"feedback": self.feedback, "noise_multiplier": self.noise_multiplier, "formal_guarantee": guarantee}
        teacher.metadata = teacher.metadata | {"privacy_gan": facts}
        return teacher

    # -- all sides in one process -------------------------------------------------------------------------------------

    def known_of(self, data: RealData) -> RealData:
        """Return what the run may know beside its sites and its server: all, or grey images where these are private."""
        if self.protect != "discriminator":
            return data
        known = stand_in(data, self.batch_size)
        self._withheld = Withheld(replace(data, description=known.description))
        return known

    def build(self) -> None:
        """Build a hub and its sites, which talk within the process."""
        if self.run.processes.world > 1:
            raise UserError(
                "PrivacyGAN simulates its sites in one process; start it without torchrun, or use gendistill privacy "
                "serve"
            )
        self._simulates = True
        if self._withheld is not None:
            require_no_looks(self.run.options)
        note(self.honest())
        terms = self.agreement(self.run, self.data)
        seed = self.run.options.seed
        data = self.data if self._withheld is None else self._withheld.records.to(self.device)
        server = self.shares.of_server(data, seed)
        self.generators = self.generator_halves(self.run, server, self.clients)
        first = self.generators[0].teaching
        self.teacher_gan = None if first is None or first.moves else first.gan
        self.discriminators = [
            self.discriminator_half(self._site_run(number), self.shares.of_site(data, number, seed), number)
            for number in range(self.clients)
        ]
        names = [f"site-{number}" for number in range(self.clients)]
        seats = {name: Seat(half) for name, half in zip(names, self.generators, strict=True)}
        run = bytes(16)
        self._hub = Hub(run, terms, seats, lambda line: None)
        ledgers = [self._site_run(number).directory.path / FILE_NAME for number in range(self.clients)]
        begun = self.run.directory.has_state
        self.sanitisers = [self.sanitiser(ledger if self.noise_multiplier else None, begun=begun) for ledger in ledgers]
        self._sites = [
            Site(run, terms, half, InProcess(self._hub, name), sanitiser=sanitiser)
            for name, half, sanitiser in zip(names, self.discriminators, self.sanitisers, strict=True)
        ]

    def _site_run(self, number: int) -> RunContext:
        """Return the run with the folder of a site that is simulated, where its ledger is."""
        return replace(self.run, directory=RunDirectory(self.run.directory.path / "sites", f"site-{number}"))

    def tunable(self, device: torch.device) -> dict[str, tuple[Any, ...]]:
        """Return nothing where a trial of speed would make private sums, too."""
        return {} if self.protect == "discriminator" else super().tunable(device)

    def notes_on_length(self, step: int, before: int, now: int) -> list[str]:
        """Return what the base says."""
        return self._gan().notes_on_length(step, before, now)

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Return nothing: each site draws from its own images."""
        return torch.empty(0), torch.empty(0, dtype=torch.int64)

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Make a round of every site.

        Returns:
            The scalars of a GAN as means over the sites; with more sites than one ``loss/generator/<number>``;
            ``traffic/mebibytes``, all that has travelled since this process began.
        """
        for site in self._sites:
            site.turn()
        found = [half.measured for half in self.discriminators]
        values = {name: torch.stack([one[name].detach() for one in found]).mean() for name in found[0]}
        if len(found) > 1 and "loss/generator" in values:
            values |= {f"loss/generator/{number}": one["loss/generator"] for number, one in enumerate(found)}
        travelled = sum(site.traffic.total for site in self._sites) / 2**20
        return values | {"traffic/mebibytes": torch.tensor(travelled)}

    def traffic(self) -> dict[str, Any]:
        """Return each site's ledger of messages, of this process."""
        return {f"site-{number}": site.traffic.to_dict() for number, site in enumerate(self._sites)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a state back; sites join the hub again."""
        super().load_state_dict(state)
        for seat, site in zip(self._hub.seats.values(), self._sites, strict=True):
            seat.round = site.round = self.discriminators[0].round

    # -- what comes of it ---------------------------------------------------------------------------------------------

    def modules(self) -> dict[str, Any]:
        """Return the networks of all sites."""
        found: dict[str, Any] = {}
        for number, (generator, discriminator) in enumerate(zip(self.generators, self.discriminators, strict=True)):
            found |= {f"site{number}/{name}": module for name, module in generator.gan.modules().items()}
            found |= {f"site{number}/{name}": module for name, module in discriminator.gan.modules().items()}
        return found

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers of all sites."""
        found: dict[str, torch.optim.Optimizer] = {}
        for number, (generator, discriminator) in enumerate(zip(self.generators, self.discriminators, strict=True)):
            found |= {f"site{number}/{name}": one for name, one in generator.gan.optimizers().items()}
            found |= {f"site{number}/{name}": one for name, one in discriminator.gan.optimizers().items()}
        return found

    def watched(self) -> Watched:
        """Return the generators' weights."""
        weights = [parameter for half in self.generators for parameter in half.gan.generator.parameters()]
        return Watched(moved={"the generators' weights": weights})

    def teacher(self) -> Teacher:
        """Return the mixture of all generators, or one, with what it promises."""
        one = self.taught_by if isinstance(self.taught_by, int) else None
        made = self.mixed(list(self.generators)) if one is None else self._marked(self.generators[one].teacher())
        halves = [half for half in self.discriminators if isinstance(half, PrivateDiscriminatorHalf)]
        if halves:
            # A record is at one site, so that what all tell of it is what its own site tells.
            ledgers = [half.ledger for half in (halves if one is None else [halves[one]])]
            made.metadata |= {KEY: promise(max(ledgers, key=Ledger.spent), PUBLIC) | {"covers": COVERS}, "data": {}}
        return made

    def samples(self) -> Mapping[str, Tensor | Grid]:
        """Return each site's pictures."""
        return {
            f"site/{number}": pictures
            for number, half in enumerate(self.generators)
            for pictures in half.gan.samples().values()
        }
