"""Multi-group GANs: several GANs trained side by side that now and then exchange their discriminators.

Wu 2022, chapter 3 (MGGAN). The exchange itself is that of generative adversarial parallelization (GAP, Im, Ma, Kim,
Taylor 2016); what MGGAN adds is when it happens and at which rates the groups learn around it
(:mod:`trainers.regrouping`). An ensemble, which never exchanges, is the control. docs/methods/mggan.md tells the rest.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.data.real import RealData
from gendistill.errors import UserError, did_you_mean
from gendistill.grids import Grid
from gendistill.nets.mixture import GeneratorMixture
from gendistill.objects import build
from gendistill.runs.context import RunContext
from gendistill.runs.watch import Watched
from gendistill.seeds import Streams, derive_seed
from gendistill.teacher import GeneratorTeacher, Teacher
from trainers.gan import GANTrainer
from trainers.regrouping import PRESETS, Regrouping, Schedule, pairing
from trainers.trainer import Trainer

BASE = {"class_path": "trainers.gan.ConditionalGANTrainer"}
MOVES = ("run", "sampler", "generator", "_generate", "ema", "generator_optimizer")
"""What of a GAN belongs to its generator. The rest, the discriminator and all that trains it, stays where it is."""
TAUGHT_BY = ("mixture", "best")


class MGGANTrainer(Trainer):
    """Train k GANs of any base, which exchange their discriminators.

    A group is a :class:`~trainers.gan.GANTrainer` with random streams of its own; nothing of its step is written again.
    A generator is trained by the loss of the discriminator that it has, so groups of different bases (DCGAN beside
    WGAN) can exchange where their discriminators take the same images.

    Args:
        groups: k. With a list of bases it is their number.
        base: The GAN of every group, as ``class_path`` and ``init_args``, or a list of k of them.
        preset: ``mggan``, ``gap`` (a fixed interval, no window) or ``ensemble`` (no exchange); ``schedule`` is laid
            over it.
        schedule: Keys of :class:`trainers.regrouping.Schedule`.
        taught_by: What the run's teacher is: the ``mixture`` of all generators, the ``best`` one (on validation
            images), or the number of one.
        weights: Of a mixture: ``uniform``, or those that bring its features nearest to ``validation`` images.
        **kwargs: See :class:`~trainers.trainer.Trainer`; the batch size is the bases'.

    Raises:
        UserError: An option is out of range, or the bases do not go together.
    """

    def __init__(
        self,
        *,
        groups: int = 2,
        base: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        preset: str = "mggan",
        schedule: Mapping[str, Any] | None = None,
        taught_by: str | int = "mixture",
        weights: str = "uniform",
        **kwargs: Any,
    ) -> None:
        if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1:
            raise UserError(f"groups is {groups!r}; give a whole number from 1")
        if preset not in PRESETS:
            raise UserError(f"preset is '{preset}'; {did_you_mean(preset, PRESETS)}choose one of {', '.join(PRESETS)}")
        if weights not in ("uniform", "validation"):
            raise UserError(f"weights is '{weights}'; choose uniform or validation")
        specs = [dict(base or BASE)] * groups if base is None or isinstance(base, Mapping) else [dict(b) for b in base]
        if not specs:
            raise UserError("base is an empty list; give the GAN of each group")
        self.schedule = Schedule.of(PRESETS[preset] | dict(schedule or {}))
        self.preset, self.taught_by, self.weights = preset, taught_by, weights
        # The class is the user's own word, as in terms; each group is an object of its own.
        self.seats: list[GANTrainer] = [build(spec, GANTrainer) for spec in specs]
        number = taught_by if isinstance(taught_by, int) and not isinstance(taught_by, bool) else None
        if taught_by not in TAUGHT_BY and (number is None or not 0 <= number < len(specs)):
            raise UserError(
                f"taught_by is {taught_by!r}; give mixture, best, or the number of a group, 0 to {len(specs) - 1}"
            )
        if len({seat.labelled for seat in self.seats}) > 1:
            raise UserError("base has GANs with and without labels; their discriminators cannot be exchanged")
        if len({seat.batch_size for seat in self.seats}) > 1:
            raise UserError("the groups' batch_size differ; give every base the same one")
        super().__init__(**{**kwargs, "batch_size": self.seats[0].batch_size})

    # -- what a run holds ---------------------------------------------------------------------------------------------

    def attach(self, run: RunContext, data: RealData) -> None:
        """Take the run and the data, and build the groups; the first is the base GAN with the run's own streams."""
        self.contexts = [self._context(run, number) for number in range(len(self.seats))]
        super().attach(run, data)

    @staticmethod
    def _context(run: RunContext, number: int) -> RunContext:
        if number == 0:
            return run
        options = replace(run.options, seed=derive_seed(run.options.seed, f"group/{number}"))
        return replace(run, options=options, streams=Streams(options.seed, run.device), metrics={}, warnings=[])

    def build(self) -> None:
        """Build the groups; each has a discriminator that takes the others' images."""
        self.streams = [context.streams for context in self.contexts[1:]]
        for seat, context in zip(self.seats, self.contexts, strict=True):
            seat.attach(context, self.data)
            self.other_data |= seat.other_data
        self.holds = list(range(len(self.seats)))
        self._rates_at_first = [
            [[group["initial_lr"] for group in optimizer.param_groups] for optimizer in (
                seat.generator_optimizer, seat.discriminator_optimizer)]
            for seat in self.seats
        ]  # fmt: skip
        if self._chooses() and len(self.data.validation) < 2:
            raise UserError(
                f"'{self.data.description.name}' has no validation images to choose generators by; give taught_by: "
                "mixture with weights: uniform, or the number of a group"
            )
        updates = max(seat.n_dis for seat in self.seats)
        epoch = max(1, len(self.data.train) // (self.batch_size * updates))
        self.regrouping = Regrouping(self.schedule, len(self.seats), epoch)

    def notes_on_length(self, step: int, before: int, now: int) -> list[str]:
        """Return what the groups say, each sentence once."""
        return list(dict.fromkeys(one for seat in self.seats for one in seat.notes_on_length(step, before, now)))

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the groups, of their streams and of the exchanges."""
        return {"holds": list(self.holds)} | super().state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the state back: first who has whose discriminator, then what each holds."""
        self.arrange(state["holds"])
        super().load_state_dict(state)
        self._follow()

    def arrange(self, holds: Sequence[int]) -> None:
        """Bring generators to the discriminators: seat s gets that of group ``holds[s]``."""
        parts = {
            group: {name: getattr(seat, name) for name in MOVES}
            for group, seat in zip(self.holds, self.seats, strict=True)
        }
        for group, seat in zip(holds, self.seats, strict=True):
            for name, value in parts[group].items():
                setattr(seat, name, value)
            # The loss that a generator descends is that of the discriminator that it has.
            seat.generator.loss_type = seat.loss_type
        self.holds = list(holds)

    def exchange(self) -> None:
        """Give every group the discriminator of another."""
        drawn = pairing(self.schedule.pairing, len(self.seats), self.run.streams.on_host("pairing"))
        self.arrange([self.holds[place] for place in drawn])

    def of_group(self, number: int) -> GANTrainer:
        """Return the GAN that has the generator of a group now."""
        return self.seats[self.holds.index(number)]

    # -- one step -----------------------------------------------------------------------------------------------------

    def next_batch(self) -> tuple[Tensor, Tensor]:
        """Return the first group's real batch; the others draw theirs in their turn."""
        self._follow()
        return self.of_group(0).next_batch()

    def _follow(self) -> None:
        for context in self.contexts:
            context.step = self.run.step

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Make a step of every group, one after another, and exchange discriminators where the schedule says so.

        Returns:
            The scalars of a GAN as means over the groups; with more groups than one ``loss/generator/<group>``,
            ``rate/<group>`` (the multiple of its rate at the start) and ``exchanges``, their number so far.
        """
        self._follow()
        self._set_rates()
        found = []
        for number in range(len(self.seats)):
            seat = self.of_group(number)
            found.append(seat.train_step(batch if number == 0 else seat.next_batch()))
        if len(found) == 1:
            return found[0]
        losses = torch.stack([self.run.processes.mean(values["loss/generator"].detach()) for values in found])
        factors = list(self.regrouping.factors)
        if self.regrouping.after(self.step + 1, losses):
            self.exchange()
        shared = [name for name in found[0] if all(name in values for values in found)]
        means = {name: torch.stack([values[name].detach() for values in found]).mean() for name in shared}
        own = {f"loss/generator/{number}": loss for number, loss in enumerate(losses.unbind())}
        rates = {f"rate/{n}": torch.full((), factor, device=self.device) for n, factor in enumerate(factors)}
        count = torch.full((), float(len(self.regrouping.exchanges)), device=self.device)
        return means | own | rates | {"exchanges": count}

    def _set_rates(self) -> None:
        """Let both networks of a group start from its rate: the factor belongs to the group, the base rate to each."""
        if self.regrouping.off:
            return
        for number, factor in enumerate(self.regrouping.factors):
            place = self.holds.index(number)
            seat = self.seats[place]
            for optimizer, rates in (
                (seat.generator_optimizer, self._rates_at_first[number][0]),
                (seat.discriminator_optimizer, self._rates_at_first[place][1]),
            ):
                for group, rate in zip(optimizer.param_groups, rates, strict=True):
                    group["initial_lr"] = rate * factor

    # -- what comes of it ---------------------------------------------------------------------------------------------

    def modules(self) -> dict[str, nn.Module]:
        """Return the networks of all groups."""
        return {
            f"group{number}/{name}": module
            for number in range(len(self.seats))
            for name, module in self.of_group(number).modules().items()
        }

    def optimizers(self) -> dict[str, torch.optim.Optimizer]:
        """Return the optimisers of all groups, by the group that has them now."""
        return {
            f"group{number}/{name}": optimizer
            for number in range(len(self.seats))
            for name, optimizer in self.of_group(number).optimizers().items()
        }

    def watched(self) -> Watched:
        """Return the generators' weights; one group alone watches what its base does."""
        if len(self.seats) == 1:
            return self.seats[0].watched()
        weights = [parameter for seat in self.seats for parameter in seat.generator.parameters()]
        return Watched(moved={"the generators' weights": weights})

    def _chooses(self) -> bool:
        """Return whether the teacher is chosen on validation images."""
        return self.taught_by == "best" or (self.taught_by == "mixture" and self.weights == "validation")

    def teachers(self) -> list[GeneratorTeacher]:
        """Return every group's generator as a teacher, in the order of the groups."""
        found = []
        for number in range(len(self.seats)):
            teacher = self.of_group(number).teacher()
            assert isinstance(teacher, GeneratorTeacher)
            found.append(teacher)
        return found

    def teacher(self) -> Teacher:
        """Return the mixture, the best generator, or one: what ``taught_by`` asks for.

        What is chosen on validation images is chosen at the end of the run; until then a mixture is uniform, and the
        best is the first.
        """
        teachers = self.teachers()
        if len(teachers) == 1:
            return teachers[0]
        facts: dict[str, Any] = {
            "groups": len(teachers), "preset": self.preset, "exchanges": list(self.regrouping.exchanges)
        }  # fmt: skip
        chosen = self.taught_by if isinstance(self.taught_by, int) else 0
        weights = [1.0] * len(teachers)
        if self._chooses() and self.step >= self.steps:
            from gendistill.evaluation.mixing import best_member, mixture_weights

            if self.taught_by == "best":
                chosen, facts["distances"] = best_member(teachers, self.data)
            else:
                weights, facts["distance"] = mixture_weights(teachers, self.data)
        source = f"{type(self).__name__}, step {self.step}"
        if self.taught_by != "mixture":
            facts["group"] = chosen
            one = copy.copy(teachers[chosen])
            one.metadata = one.metadata | {"source": source, "seed": self.run.options.seed, "mggan": facts}
            return one
        network = GeneratorMixture([teacher.network for teacher in teachers], weights)
        facts["weights"] = network.weights
        metadata = {"source": source, "seed": self.run.options.seed, "mggan": facts}
        return GeneratorTeacher(network, teachers[0].description, metadata=metadata)

    def samples(self) -> dict[str, Grid]:
        """Return each group's pictures."""
        if len(self.seats) == 1:
            return self.seats[0].samples()
        return {
            f"generator/{number}": pictures
            for number in range(len(self.seats))
            for pictures in self.of_group(number).samples().values()
        }
