"""Which learners meet the distilled images: fresh ones, well-trained ones, or ones trained on another data set."""

from __future__ import annotations

from typing import Any, Literal, get_args

import torch
from torch import nn

from gendistill.data.fingerprint import contents
from gendistill.errors import UserError, did_you_mean
from gendistill.evaluation.pretraining import Pretraining, load_source
from gendistill.evaluation.victims import trained_learners
from gendistill.initial import Initial
from gendistill.nets.learners import learner_for
from gendistill.runs.counter import counter_of
from gendistill.seeds import derive_seed
from trainers.trainer import Trainer

Victim = Literal["fresh", "trained"]


class DistillationLearners:
    """Makes the learners of every meta-step.

    Args:
        learner: Spec; None: the data set's default.
        fixed_layers: Layers from the image on whose first weights all share, or ``all``.
        weights: ``torch`` or ``xavier``, see :class:`gendistill.initial.Initial`.
        meta_batch: Learners in one meta-step, over all processes.
        victim: ``fresh`` or ``trained``.
        victims: Networks in the pool of trained ones.
        victim_updates: Updates of each.
        victim_lr: Their learning rate at the start.
        source: The data set that the pool is trained on; None: the one that is distilled.

    Raises:
        UserError: A value out of range, or two that exclude each other.
    """

    def __init__(
        self,
        learner: dict[str, Any] | None,
        fixed_layers: int | Literal["all"],
        weights: str,
        meta_batch: int,
        victim: Victim,
        victims: int,
        victim_updates: int,
        victim_lr: float,
        source: dict[str, Any] | None,
    ) -> None:
        for name, value in {"meta_batch": meta_batch, "victims": victims, "victim_updates": victim_updates}.items():
            if value < 1:
                raise UserError(f"{name} is {value}; give a whole number from 1")
        kinds = get_args(Victim)
        if victim not in kinds:
            raise UserError(f"victim is '{victim}'; {did_you_mean(victim, kinds)}use one of: {', '.join(kinds)}")
        if source is not None and victim != "trained":
            raise UserError("source says what networks are trained on first; set victim to trained, too")
        if victim == "trained" and fixed_layers:
            raise UserError("trained victims have weights of their own; set fixed_layers to 0")
        self.learner, self.fixed_layers, self.weights = learner, fixed_layers, weights
        self.meta_batch = meta_batch
        self.victim, self.victims, self.source = victim, victims, source
        self.training: dict[str, Any] = {"updates": victim_updates, "lr": victim_lr}

    def begin(self, trainer: Trainer) -> list[nn.Module]:
        """Work out where learners start, and return the pool of trained networks; an empty one for fresh learners.

        Raises:
            UserError: The learners cannot be shared by the processes, have fewer layers, or the source does not fit.
        """
        world, description, seed = trainer.run.processes.world, trainer.data.description, trainer.run.options.seed
        if self.meta_batch % world:
            raise UserError(
                f"meta_batch is {self.meta_batch}, which {world} processes cannot share equally; choose a multiple of "
                f"{world}"
            )
        self.initial = Initial.make(
            learner_for(self.learner, description),
            description,
            fixed_layers=self.fixed_layers,
            seed=seed,
            name="distillation/shared",
            weights=self.weights,
        )
        self.noted: dict[str, Any] = {"learner": self.initial.learner} | self.initial.metadata()
        if self.victim == "fresh":
            return []
        tell = counter_of(trainer.run, "victims", "updates")
        # Seeds far from 0, 1, ...: evaluation takes networks that distillation never met.
        base = derive_seed(seed, "distillation/victims") >> 8
        initial = self.initial if self.initial.metadata() else None
        if self.source is None:
            seeds = [base + place for place in range(self.victims)]
            spec = self.initial.learner
            return trained_learners(spec, trainer.data, seeds, initial=initial, progress=tell, **self.training)
        plan = Pretraining(
            {key: value for key, value in self.source.items() if key != "root"},
            self.initial.learner,
            self.training,
            self.victims,
            base,
            initial,
        )
        self.noted |= plan.metadata()
        source = load_source(self.source, description, trainer.device)
        trainer.other_data[source.description.name] = contents(source)
        return plan.pool(source, tell)

    def draw(self, trainer: Trainer, pool: list[nn.Module]) -> list[tuple[nn.Module, int]]:
        """Return this process's learners of this meta-step, and a seed for what each draws while it trains.

        Args:
            trainer: Whose meta-step.
            pool: What :meth:`begin` returned.
        """
        mine = trainer.run.processes.shard(torch.arange(self.meta_batch)).tolist()
        numbers = [trainer.step * self.meta_batch + place for place in mine]
        seeds = [trainer.seed_of(f"draws/{number}") for number in numbers]
        if pool:
            stream = trainer.run.streams.on_host("victims")
            chosen = torch.randint(self.victims, (self.meta_batch,), generator=stream, device=stream.device)
            return [(pool[int(chosen[place])], seed) for place, seed in zip(mine, seeds, strict=True)]
        description, seed = trainer.data.description, trainer.run.options.seed
        made = [
            self.initial.build(description, seed, f"learner/{n}").to(trainer.device, non_blocking=True) for n in numbers
        ]
        return list(zip(made, seeds, strict=True))
