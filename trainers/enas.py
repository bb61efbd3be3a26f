"""Architecture search with shared weights, in which the child's learning rate may be the distilled ones of a teacher.

Pham et al. 2018, "Efficient Neural Architecture Search via Parameter Sharing", reduced to what the experiment of
Bradley 2020, Sec. 3.1, needs: one network holds the operations of all cells; a policy draws children; each trains the
weights that it uses for one update, and REINFORCE moves the policy towards children that do well on validation data.
Bradley replaced the children's learning rate by the synthetic learning rates of data set distillation, and the search
failed. docs/methods/gtn-nas.md tells what happens here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.evaluation.ensemble import right
from gendistill.evaluation.private_teachers import require_public
from gendistill.nets.cells import EDGES, OPERATIONS, cell_name
from gendistill.nets.spaces import CellSpace
from gendistill.nets.supernet import SuperNet
from gendistill.objects import build
from gendistill.runs.watch import Watched
from gendistill.seeds import stream
from gendistill.teacher import Teacher
from gendistill.teacher.reference import open_teacher
from trainers.trainer import Trainer

Images = Literal["real", "teacher"]


class Policy(nn.Module):
    """Independent choices of an operation for every edge of a cell, at first all equally likely."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(len(EDGES), len(OPERATIONS)))

    def draw(self, generator: torch.Generator) -> Tensor:
        """Return the drawn operations' numbers (6,)."""
        return torch.multinomial(self.logits.detach().softmax(1), 1, generator=generator).flatten()

    def log_probability(self, chosen: Tensor) -> Tensor:
        """Return the logarithm of the probability of one choice (6,)."""
        return self.logits.log_softmax(1).gather(1, chosen[:, None]).sum()

    def entropy(self) -> Tensor:
        """Return the entropy of the whole choice."""
        return -(self.logits.softmax(1) * self.logits.log_softmax(1)).sum()


class ENASTrainer(Trainer):
    """Search a cell with shared weights.

    Args:
        teacher: Reference of a distilled teacher (a run directory or a file): its learned learning rates, in turn and
            again from the first, and its momenta (0 where it learned none) are the children's.
        learning_rate: Constant learning rate of the children in place of the teacher's. None: the teacher's.
        momentum: Momentum beside a constant learning rate.
        images: What children train on: ``real`` images, or the ``teacher``'s batches in turn.
        space: Spec of a :class:`gendistill.nets.spaces.CellSpace`, for the size of the networks.
        policy_lr: Adam's learning rate for the policy.
        policy_samples: Children whose reward moves the policy at each step.
        reward_batch_size: Validation images by which a child is rewarded.
        baseline_decay: Of the moving mean of rewards that is subtracted, in [0, 1).
        entropy_weight: Of the policy's entropy in its loss.
        warm_up: Steps before the policy moves; until then children are drawn uniformly.
        finalists: Children drawn in the end, of which the best with shared weights on the validation split is found.

    Raises:
        UserError: An option is out of range.
    """

    def __init__(
        self,
        *,
        teacher: str,
        learning_rate: float | None = None,
        momentum: float = 0.9,
        images: Images = "real",
        space: Mapping[str, Any] | None = None,
        policy_lr: float = 0.05,
        policy_samples: int = 2,
        reward_batch_size: int = 64,
        baseline_decay: float = 0.9,
        entropy_weight: float = 1e-4,
        warm_up: int = 0,
        finalists: int = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if learning_rate is not None and learning_rate <= 0:
            raise UserError(f"learning_rate is {learning_rate}; give a positive number, or null for the teacher's")
        if images not in ("real", "teacher"):
            raise UserError(f"images is '{images}'; choose real or teacher")
        if min(policy_samples, reward_batch_size, finalists) < 1 or warm_up < 0:
            raise UserError(
                f"policy_samples ({policy_samples}), reward_batch_size ({reward_batch_size}) and finalists "
                f"({finalists}) must be at least 1 and warm_up ({warm_up}) at least 0"
            )
        if not 0 <= baseline_decay < 1 or not 0 <= momentum < 1 or policy_lr <= 0 or entropy_weight < 0:
            raise UserError(
                f"baseline_decay ({baseline_decay}) and momentum ({momentum}) must lie in [0, 1), policy_lr "
                f"({policy_lr}) be positive and entropy_weight ({entropy_weight}) not negative"
            )
        self.reference, self.learning_rate, self.momentum, self.images = teacher, learning_rate, momentum, images
        self.space = build(space or {"class_path": "gendistill.nets.spaces.CellSpace"}, CellSpace)
        self.policy_lr, self.policy_samples, self.reward_batch_size = policy_lr, policy_samples, reward_batch_size
        self.baseline_decay, self.entropy_weight = baseline_decay, entropy_weight
        self.warm_up, self.finalists = warm_up, finalists

    def build(self) -> None:
        """Make the network of all children, the policy, and both optimisers."""
        if self.run.processes.world > 1:
            raise UserError("ENASTrainer runs in one process; start it without torchrun")
        if not len(self.data.validation):
            raise UserError(f"'{self.data.description.name}' has no validation images, which reward the children")
        description = self.data.description
        self._teacher = open_teacher(self.reference, self.data, device=self.device)
        require_public(self._teacher, "children are rewarded, and one is chosen, by validation images")
        if self.learning_rate is None and self._teacher.learning_rates is None:
            raise UserError(
                f"the teacher '{self.reference}' learned no learning rates; give one that did, such as a GTN, or a "
                "learning_rate"
            )
        with self.initialised("supernet"):
            self.supernet = self.place(SuperNet(description.num_classes, description.image_shape, **self.space.shape))
        self.policy = self.place(Policy())
        self.optimizer = torch.optim.SGD(self.supernet.parameters(), lr=1.0, momentum=self.momentum)
        self.policy_optimizer = torch.optim.Adam(self.policy.parameters(), lr=self.policy_lr)
        self.baseline = torch.zeros((), device=self.device)
        taken = (self._teacher.learning_rates, self._teacher.momenta)
        self._schedule = [[] if values is None else values.tolist() for values in taken]
        steps = max(len(self._schedule[0]), 1)
        if self.images == "teacher":
            batches = self._teacher.batches(steps, self.batch_size, stream(self.run.options.seed, "enas/images"))
            convert = self._teacher.description.normalisation.convert
            shown = [(convert(x, self.normalisation), y) for x, y, _ in batches]
            told = self._teacher.labeller
            self._lessons = shown if told is None else [(x, told(x, self.normalisation)) for x, _ in shown]

    def schedule(self, step: int) -> tuple[float, float]:
        """Return learning rate and momentum of a step: the teacher's in turn, or the constant ones."""
        rates, momenta = self._schedule
        if self.learning_rate is not None or not rates:
            return self.learning_rate or 0.0, self.momentum
        turn = step % len(rates)
        return rates[turn], momenta[turn % len(momenta)] if momenta else 0.0

    def draw(self, count: int) -> tuple[Tensor, list[str]]:
        """Draw children from the policy.

        The program goes by what is drawn, so it waits for the device here, once for all of them.

        Args:
            count: How many.

        Returns:
            Numbers of their operations (count, 6), and their names.
        """
        generator = self.run.streams["architectures"]
        chosen = torch.stack([self.policy.draw(generator) for _ in range(count)])
        return chosen, [cell_name([OPERATIONS[number] for number in row]) for row in chosen.tolist()]

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Train one child for one update, then move the policy by the rewards of others.

        Returns:
            ``loss/child``, ``lr/child``, ``reward/mean`` (validation accuracy of children with shared weights) and
            ``policy/entropy``.
        """
        images, labels = self._lessons[self.step % len(self._lessons)] if self.images == "teacher" else batch
        moves = self.step >= self.warm_up
        chosen, cells = self.draw(1 + (self.policy_samples if moves else 0))
        self.supernet.choose(cells[0])
        rate, momentum = self.schedule(self.step)
        for group in self.optimizer.param_groups:
            group["lr"], group["momentum"] = rate, momentum
        loss = F.cross_entropy(self.supernet(images), labels)
        # Parameters of other children have no gradient and stay as they are, and so does their momentum.
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        reward = self._move_policy(chosen[1:], cells[1:]) if moves else torch.zeros((), device=self.device)
        return {
            "loss/child": loss.detach(),
            "lr/child": torch.full((), rate, device=self.device),
            "reward/mean": reward,
            "policy/entropy": self.policy.entropy().detach(),
        }

    def _move_policy(self, drawn: Tensor, cells: list[str]) -> Tensor:
        rewards, log_probabilities = [], []
        validation, generator = self.data.validation, self.run.streams["reward"]
        size = min(self.reward_batch_size, len(validation))
        for chosen, cell in zip(drawn, cells, strict=True):
            index = torch.randperm(len(validation), generator=generator, device=generator.device)[:size]
            rewards.append(self.shared_accuracy(cell, *validation.batch(index, self.normalisation)))
            log_probabilities.append(self.policy.log_probability(chosen))
        reward = torch.stack(rewards)
        advantage = reward - (self.baseline if self.step > self.warm_up else reward.mean())
        self.baseline = torch.lerp(reward.mean(), self.baseline, self.baseline_decay if self.step > self.warm_up else 0)
        loss = -(advantage * torch.stack(log_probabilities)).mean() - self.entropy_weight * self.policy.entropy()
        self.policy_optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.policy_optimizer.step()
        return reward.mean()

    @torch.no_grad()
    def shared_accuracy(self, cell: str, images: Tensor, labels: Tensor) -> Tensor:
        """Return the accuracy of a child with the shared weights on normalised images."""
        self.supernet.choose(cell)
        return right(self.supernet(images), labels).sum() / len(labels)

    def found(self) -> str:
        """Return the best of the finalists by shared weights on the whole validation split; changes no stream."""
        generator = stream(self.run.options.seed, f"enas/finalists/{self.step}", self.device)
        images, labels = self.data.validation.batch(
            torch.arange(len(self.data.validation), device=self.device), self.normalisation
        )
        names = [
            cell_name([OPERATIONS[number] for number in self.policy.draw(generator).tolist()])
            for _ in range(self.finalists)
        ]
        scores = [float(self.shared_accuracy(name, images, labels)) for name in names]
        return names[max(range(len(names)), key=scores.__getitem__)]

    def watched(self) -> Watched:
        """Return the rates of the children where they are the teacher's, and the policy's weights."""
        taken = self.learning_rate is None and self._teacher.learning_rates is not None
        moved = {"the policy's weights": list(self.policy.parameters())} if self.step > self.warm_up else {}
        return Watched(rates=self._teacher.learning_rates if taken else None, moved=moved)

    def teacher(self) -> Teacher:
        """Return the teacher that the rates came from, with the architecture found in its metadata."""
        name = self.found()
        self._teacher.metadata |= {"architecture": name, "learner": self.space.learner(name)}
        return self._teacher

    def samples(self) -> dict[str, Tensor]:
        """Return no pictures: the images are another run's."""
        return {}
