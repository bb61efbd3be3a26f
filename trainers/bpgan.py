"""BPGAN: a GAN cut in two across processes, discriminators here and generators there; Wu 2022, chapter 4.

The thesis sends "labels" back, which cannot train a generator; here the gradient of its loss with respect to the images
comes back. docs/methods/bpgan.md has the proof, the picture, what is counted and what it costs.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from gendistill.data.real import RealData
from gendistill.data.told import heard, told
from gendistill.errors import GendistillError, UserError, did_you_mean
from gendistill.links.cost import Sizes, cut
from gendistill.links.exchanges import OWN, Circle
from gendistill.links.link import BetweenProcesses, InProcess, Link, Spoiled
from gendistill.nets.mixture import GeneratorMixture
from gendistill.objects import build
from gendistill.runs.attributes import not_finite
from gendistill.runs.context import RunContext
from gendistill.runs.processes import Processes, StoppedByAnother
from gendistill.runs.watch import Watched
from gendistill.seeds import Streams, derive_seed
from gendistill.teacher import GeneratorTeacher, Teacher, save
from trainers.gan import GANTrainer, statistics, trained_numbers
from trainers.gan_blocks import DiscriminatorBlock, GeneratorBlock, Layout, Members, Server, require_cuttable
from trainers.initial_networks import new_network
from trainers.trainer import Trainer

Spec = Mapping[str, Any]
BASE: Spec = {"class_path": "trainers.gan.GANTrainer"}
SCHEDULES = ("sync", "pipelined")
SYNCS = ("none", "average_every_n", "all_reduce")


class BPGANTrainer(Trainer):
    """Train a GAN whose discriminator and generator are in different processes, started by ``gendistill torchrun``.

    Processes 0, 2, 4, ... have discriminators, 1, 3, 5, ... have generators, in pairs; the last of an odd number
    averages the discriminators' gradients, which an even number does in a ring. One process alone has both blocks. Real
    data is read by discriminators only.

    Args:
        base: The GAN of the discriminators' blocks, whose loss and ``n_dis`` count, as ``class_path`` and
            ``init_args``; its ``batch_size`` is over all pairs.
        generator_base: The GAN of the generators' blocks, of which the network, the optimiser and the average count;
            None: the same. The DCGAN's with a WGAN's critic as ``base`` is the thesis' DCWGAN.
        schedule: ``sync`` (a generator learns from the discriminator after its update, as in one process) or
            ``pipelined`` (from the discriminator before its update, while that is made).
        generator_sync: ``none`` (as many generators as pairs), ``average_every_n`` (their weights are averaged) or
            ``all_reduce`` (their gradients are, so that there is one generator).
        sync_every: Steps between two averages of weights, at least 1.
        fresh_fakes: Whether a generator learns from images of its own, as in one process, and not from those of the
            discriminator's last update, which is one batch less to send. None: with ``sync`` it does; with
            ``pipelined`` it cannot.
        taught_by: ``mixture`` of all generators, or the number of a pair; None: the mixture where they differ, else 0.
        link_delay: Seconds that every message between two blocks takes longer, to try a slow network.
        **kwargs: ``batch_size`` and ``terms`` are those of ``base``: leave them out.

    Raises:
        UserError: An option is out of range, or the two GANs do not fit.
    """

    reads_in_part: ClassVar[bool] = True

    def __init__(
        self,
        *,
        base: Spec | None = None,
        generator_base: Spec | None = None,
        schedule: str = "sync",
        generator_sync: str = "none",
        sync_every: int = 10,
        fresh_fakes: bool | None = None,
        taught_by: str | int | None = None,
        link_delay: float = 0.0,
        **kwargs: Any,
    ) -> None:
        for name, value, known in (("schedule", schedule, SCHEDULES), ("generator_sync", generator_sync, SYNCS)):
            if value not in known:
                hint = did_you_mean(str(value), known)
                raise UserError(f"{name} is '{value}'; {hint}choose one of {', '.join(known)}")
        if isinstance(sync_every, bool) or not isinstance(sync_every, int) or sync_every < 1:
            raise UserError(f"sync_every is {sync_every!r}; give a whole number from 1")
        if not 0 <= link_delay < 60:
            raise UserError(f"link_delay is {link_delay!r}; give seconds, at least 0 and below 60")
        if schedule == "pipelined" and fresh_fakes:
            raise UserError(
                "fresh_fakes is true, but with schedule: pipelined a generator learns from the images that the "
                "discriminator is about to learn from; leave it out"
            )
        number = isinstance(taught_by, int) and not isinstance(taught_by, bool) and taught_by >= 0
        if taught_by not in (None, "mixture") and not number:
            raise UserError(f"taught_by is {taught_by!r}; give mixture, or the number of a pair, from 0")
        self.schedule, self.generator_sync, self.sync_every = schedule, generator_sync, sync_every
        self.fresh_fakes = schedule == "sync" if fresh_fakes is None else bool(fresh_fakes)
        self.taught_by, self.link_delay = taught_by, float(link_delay)
        # The class is the user's own word, as in terms.
        self.judging: GANTrainer = build(dict(base or BASE), GANTrainer)
        self.making: GANTrainer = build(dict(generator_base or base or BASE), GANTrainer)
        for gan in (self.judging, self.making):
            require_cuttable(gan)
        for name in ("labelled", "batch_size", "packing"):
            one, other = getattr(self.judging, name), getattr(self.making, name)
            if one != other:
                raise UserError(
                    f"base has {name} {one} and generator_base {other}; the images of one are judged by the other, so "
                    "give both the same"
                )
        if kwargs.get("terms"):
            raise UserError("terms are those of the base GAN; give them in the init_args of base")
        kwargs.pop("terms", None)
        super().__init__(**{**kwargs, "batch_size": self.judging.batch_size})
        self.batch_unit = self.judging.packing  # so that all three are lowered alike where the data is small

    # -- who is what --------------------------------------------------------------------------------------------------

    def read(self, data: Callable[[], RealData], processes: Processes) -> RealData:
        """Read the data where there is a discriminator; the others are told what they must know of it."""
        layout = Layout(processes.world)
        self._name(processes, layout)
        found: RealData | None = None
        failed: GendistillError | None = None
        if layout.role(processes.rank) == "discriminator":
            try:
                found = data()
            except GendistillError as error:
                failed = error
        mine = (failed.exit_code if failed else 0, None if found is None or processes.rank else told(found))
        said = processes.everyone(mine, "description") or []
        if failed is not None:
            raise failed
        for rank, (code, _) in enumerate(said):
            if code:
                raise StoppedByAnother(processes.rank, rank, code, name=processes.name(rank))
        return heard(said[0][1]) if found is None else found

    @staticmethod
    def _name(processes: Processes, layout: Layout) -> None:
        if processes.world > 1:
            processes.partners.names = {rank: layout.name(rank) for rank in range(layout.world)}

    def attach(self, run: RunContext, data: RealData) -> None:
        """Take the run and the data, and find out which block this process is."""
        processes = run.processes
        self.layout = layout = Layout(processes.world)
        self.role, self.pair = layout.role(processes.rank), layout.pair(processes.rank)
        self._name(processes, layout)
        OWN.role = self.role
        if isinstance(self.taught_by, int) and self.taught_by >= layout.pairs:
            raise UserError(
                f"taught_by is {self.taught_by}, but {layout.world} processes make {layout.pairs} pairs; give a number "
                f"from 0 to {layout.pairs - 1}"
            )
        self._members = self._connect(processes, run.options.timeout)
        # Generators that differ have a batch of their own each, and share no statistics of it.
        apart = self.role == "generator" and self.generator_sync != "all_reduce"
        OWN.circle = Circle() if apart else self._members.circle
        super().attach(run, data)

    def sharing(self) -> Processes:
        """Return the blocks of this one's role."""
        return self._members

    def _connect(self, processes: Processes, timeout: float) -> Members:
        """Make all groups, in the same order everywhere, and the links of this process."""
        layout, rank = self.layout, processes.rank
        self._links: dict[str, Link] = {}
        if layout.world == 1:
            names = "the discriminator block of pair 0", "the generator block of pair 0"
            ends = InProcess.both("pair 0", ("discriminator", "generator"), names)
            self._links = {"generator": ends[0], "discriminator": ends[1]}
            return Members(processes, [0], None, "the only process")
        servers = [[other, layout.server] for other in layout.of("discriminator")] if layout.server is not None else []
        pairs = [[2 * pair, 2 * pair + 1] for pair in range(layout.pairs)]
        roles = [layout.of("discriminator"), layout.of("generator")]
        wanted = [*pairs, *roles, *([[layout.server]] if servers else []), *servers]
        groups = processes.groups(wanted, timeout)  # type: ignore[arg-type]
        who = f"{layout.name(rank)} (process {rank})"

        def link(name: str, group: Any, there: int) -> Link:
            return BetweenProcesses(name, self.role, who, group, rank, there, self.link_delay)

        if self.role == "server":
            for pair, group in enumerate(groups[len(pairs) + 3 :]):
                self._links[f"discriminator {pair}"] = link(f"server {pair}", group, 2 * pair)
            return Members(processes, [rank], groups[len(pairs) + 2], who, link="server")
        other = {"discriminator": "generator", "generator": "discriminator"}[self.role]
        self._links[other] = link(f"pair {self.pair}", groups[self.pair], rank ^ 1)
        if servers and self.role == "discriminator":
            self._links["server"] = link(f"server {self.pair}", groups[len(pairs) + 3 + self.pair], layout.world - 1)
        return Members(
            processes,
            layout.of(self.role),
            groups[len(pairs) + (self.role == "generator")],
            who,
            server=self._links.get("server"),
            exchanging=self.role == "discriminator" or self.generator_sync == "all_reduce",
            link=f"{self.role}s",
        )

    def build(self) -> None:
        """Build this process's block, or both."""
        self.streams = Streams(self.run.options.seed, self.device)
        self.judge: DiscriminatorBlock | None = None
        self.maker: GeneratorBlock | None = None
        self.server: Server | None = None
        self._contexts: list[RunContext] = []
        self._others: dict[str, Any] = {}
        self._others_at = -1
        if self.role == "discriminator":
            self.judge = DiscriminatorBlock(self._attached(self.judging), self._links["generator"])
        if self.role == "generator" or self.layout.world == 1:
            # What makes a loss is the discriminator's block's.
            self.making.terms, self.making.term_only = [], False
            apart = self.generator_sync == "none" and self.pair > 0
            seed = derive_seed(self.run.options.seed, f"pair/{self.pair}") if apart else self.run.options.seed
            gan = self._attached(self.making, seed)
            every = self.sync_every if self.generator_sync == "average_every_n" else 0
            self.maker = GeneratorBlock(gan, self._links["discriminator"], self._members, every)
        if self.role == "server":
            gan = self._attached(self.judging)
            size = sum(parameter.numel() for parameter in gan.discriminator.parameters() if parameter.requires_grad)
            dtype = next(gan.discriminator.parameters()).dtype
            self.server = Server(list(self._links.values()), torch.zeros(size, dtype=dtype, device=self.device))
            for name in ("generator", "discriminator", "ema", "generator_optimizer", "discriminator_optimizer"):
                delattr(gan, name)
        self._never_finite = set(not_finite(self._own()))

    def _attached(self, gan: GANTrainer, seed: int | None = None) -> GANTrainer:
        options = self.run.options if seed is None else replace(self.run.options, seed=seed)
        context = replace(
            self.run, options=options, streams=self.streams, processes=self._members, metrics={}, warnings=[]
        )
        self._contexts.append(context)
        gan.attach(context, self.data)
        self.other_data |= gan.other_data
        return gan

    # -- one step -----------------------------------------------------------------------------------------------------

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Return the discriminator's real batch; nothing where there is none."""
        self._follow()
        if self.judge is None:
            return torch.empty(0), torch.empty(0, dtype=torch.int64)
        return self.judge.gan.next_batch()

    def _follow(self) -> None:
        for context in self._contexts:
            context.step = self.run.step

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Make this process's part of a step.

        Args:
            batch: The first real batch, where there is a discriminator.

        Returns:
            The scalars of the base GAN, where there is a discriminator; else nothing.
        """
        self._follow()
        for block in (self.judge, self.maker):
            if block is not None:
                block.gan.set_learning_rates()
        for link in self._links.values():
            link.settle()
        (self._pipelined if self.schedule == "pipelined" else self._sync)(batch)
        return {} if self.judge is None else self.judge.gan.forget()

    def _sync(self, batch: tuple[Tensor, Tensor]) -> None:
        judge, maker, updates = self.judge, self.maker, self.judging.n_dis
        for update in range(updates):
            if maker is not None:
                maker.make(learning=not self.fresh_fakes and update == updates - 1)
            if judge is not None:
                judge.update(batch if update == 0 else judge.gan.next_batch())
            if self.server is not None:
                self.server.serve()
        if maker is not None and self.fresh_fakes:
            maker.make(learning=True)
        if judge is not None:
            judge.answer(None if self.fresh_fakes else judge.last)
        if maker is not None:
            maker.learn()

    def _pipelined(self, batch: tuple[Tensor, Tensor]) -> None:
        judge, maker, updates = self.judge, self.maker, self.judging.n_dis
        # In one process nothing is gained by it, and a picture would disturb the graph of images that wait.
        ahead = self.step + 1 < self.steps and self.layout.world > 1
        if maker is not None and not maker.waiting:
            self._make_all(maker)
        if judge is not None:
            while judge.waiting < updates:
                judge.fetch()
            judge.gan.see(batch)
            judge.answer(judge.last)
        if maker is not None:
            maker.learn()
            if ahead:
                # Made while the discriminator learns; a state that is saved meanwhile is that before.
                maker.remember(self.streams)
                self._make_all(maker)
        for update in range(updates):
            if judge is not None:
                judge.update(batch if update == 0 else judge.gan.next_batch())
            if self.server is not None:
                self.server.serve()
        if judge is not None and ahead:
            for _ in range(updates):
                judge.fetch()

    def _make_all(self, maker: GeneratorBlock) -> None:
        for update in range(self.judging.n_dis):
            maker.make(learning=update == self.judging.n_dis - 1)

    # -- what is saved ------------------------------------------------------------------------------------------------

    def _own(self) -> dict[str, Any]:
        """Return the states of this process's blocks."""
        found: dict[str, Any] = {}
        if self.judge is not None:
            found[f"discriminator {self.pair}"] = self.judge.state_dict(self.streams)
        if self.maker is not None:
            found[f"generator {self.pair}"] = self.maker.state_dict(self.streams)
        return found

    def bring_together(self) -> None:
        """Bring the states of all blocks to the main process.

        Raises:
            Spoiled: This block's holds NaN or infinity.
        """
        own = self._own()
        if bad := [name for name in not_finite(own) if name not in self._never_finite]:
            who = self.run.processes.name(self.run.processes.rank)
            raise Spoiled(f"{who} holds NaN or infinity in '{bad[0]}'")
        states = self.run.processes.everyone(own, "state", to=0)
        if states is not None:
            self._others = {name: part for parts in states[1:] for name, part in parts.items()}
            self._others_at = self.step
            if self.step >= self.steps and self.layout.pairs > 1:
                self._save_each()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all blocks that are known here."""
        return {"blocks": self._own() | self._others}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put this process's blocks back.

        Raises:
            UserError: The state is of another number of processes.
        """
        blocks = state.get("blocks")
        blocks = blocks if isinstance(blocks, dict) else {}
        lacking = [name for name in self.layout.blocks() if name not in blocks]
        if lacking or len(blocks) != len(self.layout.blocks()):
            was = "1 process" if len(blocks) == 2 and self.layout.pairs > 1 else f"{len(blocks)} blocks"
            raise UserError(
                f"the saved state is of {was}, but this run has {self.layout.world} processes with "
                f"{len(self.layout.blocks())} blocks; start as many processes as before, or set run.fresh to true"
            )
        for role, block in (("discriminator", self.judge), ("generator", self.maker)):
            if block is not None:
                part = blocks[f"{role} {self.pair}"]
                block.gan.load_state_dict(part["gan"])
                # With both blocks here the streams are the same ones, and come twice.
                self.streams.load_state_dict(part["streams"])
        self._others = {name: part for name, part in blocks.items() if name not in self._own()}
        self._others_at = self.step

    # -- what comes of it ---------------------------------------------------------------------------------------------

    def modules(self) -> dict[str, nn.Module]:
        """Return the networks of this process's blocks."""
        blocks = [block for block in (self.judge, self.maker) if block is not None]
        return {name: module for block in blocks for name, module in block.gan.modules().items()}

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers of this process's blocks."""
        blocks = [block for block in (self.judge, self.maker) if block is not None]
        return {name: optimizer for block in blocks for name, optimizer in block.gan.optimizers().items()}

    def watched(self) -> Watched:
        """Return what the base GAN watches of its discriminator."""
        return Watched() if self.judge is None else replace(self.judge.gan.watched(), moved={})

    def tunable(self, device: torch.device) -> dict[str, tuple[Any, ...]]:
        """Return nothing: a trial of one process says nothing of several."""
        return {}

    def expected(self, steps: int) -> dict[str, int]:
        """Return the bytes that all processes send in so many steps, by kind; known where the discriminator is."""
        if self.judge is None:
            return {}
        network = self._new_generator()
        weights = sum(t.numel() for t in (*network.parameters(), *network.buffers()) if t.is_floating_point())
        sizes = Sizes(
            discriminator=trained_numbers(self.judge.gan.discriminator),
            generator=trained_numbers(network),
            discriminator_norms=statistics(self.judge.gan.discriminator),
            width=next(self.judge.gan.discriminator.parameters()).element_size(),
            generator_norms=statistics(network),
            weights=weights,
            image=math.prod(self.data.description.image_shape),
            batch=self.batch_size,
            updates=self.judging.n_dis,
            labelled=self.judging.labelled,
        )
        return cut(
            sizes,
            self.layout.pairs,
            steps,
            served=self.layout.server is not None,
            fresh_fakes=self.fresh_fakes,
            generator_sync=self.generator_sync,
            sync_every=self.sync_every,
        )

    def _new_generator(self) -> Any:
        spec, loss_type = self.making.generator_spec, self.making.loss_type
        return new_network(self, "generator", spec, ("nz",), loss_type=loss_type)

    def teachers(self) -> list[GeneratorTeacher]:
        """Return every pair's generator as a teacher, in the main process."""
        known = self._own() | self._others
        description = self.data.description.with_normalisation(self.data.description.of_generators)
        found = []
        for pair in range(self.layout.pairs):
            network = self._new_generator()
            network.load_state_dict(known[f"generator {pair}"]["gan"]["ema"]["module"])
            network.eval()
            metadata = {
                "source": f"{type(self).__name__}, step {self.step}",
                "seed": self.run.options.seed,
                "bpgan": self._facts() | {"pair": pair},
            }
            found.append(GeneratorTeacher(network, description, metadata=metadata))
        return found

    def _facts(self) -> dict[str, Any]:
        facts = {"pairs": self.layout.pairs, "processes": self.layout.world, "schedule": self.schedule}
        return facts | {"generator_sync": self.generator_sync}

    def teacher(self) -> Teacher:
        """Return the mixture of the generators, or one of them: what ``taught_by`` asks for."""
        if not self.run.processes.main:
            raise GendistillError("only the main process knows all generators")
        teachers = self.teachers()
        by = self.taught_by
        if by is None:
            by = "mixture" if self.generator_sync == "none" else 0
        if isinstance(by, int) or len(teachers) == 1:
            return teachers[by if isinstance(by, int) else 0]
        network = GeneratorMixture([teacher.network for teacher in teachers])
        metadata = copy.deepcopy(teachers[0].metadata) | {"bpgan": self._facts() | {"weights": network.weights}}
        return GeneratorTeacher(network, teachers[0].description, metadata=metadata)

    def _save_each(self) -> None:
        """Write each generator as a teacher of its own."""
        for pair, teacher in enumerate(self.teachers()):
            save(teacher, self.run.directory.path / f"generator-{pair}.safetensors")

    def samples(self) -> dict[str, Tensor]:
        """Return each generator's pictures, of the same noise."""
        classes = min(self.data.description.num_classes, 10)
        pictures = {}
        for pair, teacher in enumerate(self.teachers()):
            drawn = torch.Generator(device=self.device)
            drawn.manual_seed(self.seed_of("samples"))
            noise = torch.randn(classes**2, teacher.network.nz, generator=drawn, device=self.device)  # type: ignore[call-overload]
            labels = (torch.arange(classes**2, device=self.device) % classes,) if self.making.labelled else ()
            with torch.no_grad():
                images = teacher.network(noise, *labels)
            name = "generator" if self.layout.pairs == 1 else f"generator/{pair}"
            pictures[name] = teacher.description.normalisation.invert(images.float()).clamp(0, 1)
        return pictures
