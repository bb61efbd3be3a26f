"""Many learners trained at once: every seed, and for every seed every learning rate.

All parameters stand in one matrix, one row a learner, so that an update is a handful of operations. Learners of one
seed start from the same weights and see the same batches. How gradients are computed depends on the machine:

- :class:`Separate`: each learner by itself, on as many cores as torch may use, one core each. Quickest on a CPU, where
  stacked convolutions become grouped ones there and cost more (``benchmarks/ensemble_evaluation.py``).
- :class:`~gendistill.evaluation.stacked.Stacked`: all learners in one forward and one backward pass. On a GPU this is
  quickest, where a small network's time is spent on starting kernels.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.bfloat16 import slowdown
from gendistill.data.description import Description
from gendistill.data.real import Split
from gendistill.errors import UserError
from gendistill.evaluation.optimisers import OPTIMISERS
from gendistill.evaluation.rates import Candidate
from gendistill.evaluation.update_loss import UpdateLoss
from gendistill.evaluation.workers import Workers
from gendistill.initial import Initial
from gendistill.nets import learners
from gendistill.nets.again import draws
from gendistill.nets.chance import Chance
from gendistill.notes import note
from gendistill.seeds import derive_seed, initialisation
from gendistill.untrusted import Spec

Batches = Sequence[tuple[Tensor, Tensor]]
LENDING = threading.Lock()
"""Held while torch's global generators are lent to one learner, for its first weights or for what its layers draw."""
PIXELS = 2**18
"""Pixels (not counting channels) that one network looks at in one go when its accuracy is measured."""


def build_learner(spec: Spec, description: Description, seed: int, initial: Initial | None = None) -> nn.Module:
    """Return a learner for a data set whose initial weights depend on ``seed`` alone (on the CPU).

    Where the teacher was made for particular first weights, ``initial`` says so and ``spec`` is its learner.
    """
    if initial is not None:
        return initial.build(description, seed, "evaluation/learner")
    with initialisation(seed, "evaluation/learner"):
        return learners.build_learner(spec, num_classes=description.num_classes, image_shape=description.image_shape)


class Ensemble(ABC):
    """Learners of S seeds and C candidates each, learner ``s * C + c`` in row ``s * C + c`` of the matrix.

    Args:
        spec: The learner, see :func:`gendistill.objects.build`.
        description: The data set, for its shape, classes and the normalisation of test images.
        seeds: One a learner's initial weights.
        candidates: Ways to train.
        optimizer: ``sgd``, ``adam`` or ``adamw``.
        device: Where to train.
        workers: Runs learners side by side.
        initial: What the teacher says of its learners' first weights, see :mod:`gendistill.initial`; None: nothing.
        temperature: What logits are divided by in the loss, that of the labels
            (:attr:`gendistill.evaluation.lessons.Lessons.temperature`).
        precision: In which updates are computed, ``float32`` or ``bfloat16``; accuracy is measured in float32.
        compile: Whether updates are compiled, where each learner has its own and draws nothing.
    """

    def __init__(
        self,
        spec: Spec,
        description: Description,
        seeds: Sequence[int],
        candidates: Sequence[Candidate],
        *,
        optimizer: str,
        device: torch.device,
        workers: Workers,
        initial: Initial | None = None,
        temperature: float = 1.0,
        precision: str = "float32",
        compile: bool = False,
    ) -> None:
        self.description, self.temperature = description, temperature
        self.precision, self.compile = precision, compile
        if precision == "bfloat16" and (factor := slowdown(device)):
            note(f"bfloat16 is some {factor:.0f} times slower here than float32, which is another setting")
        self.seeds = list(seeds)
        self.candidates = list(candidates)
        self.workers = workers
        self.networks = [
            build_learner(spec, description, seed, initial).to(device) for seed in seeds for _ in candidates
        ]
        first = self._trained(self.networks[0])
        self.shapes = {name: parameter.shape for name, parameter in first.items()}
        rows = [torch.cat([p.detach().flatten() for p in self._trained(net).values()]) for net in self.networks]
        self.parameters = torch.stack(rows)
        self.optimiser = OPTIMISERS[optimizer](self.parameters)

    @staticmethod
    def _trained(network: nn.Module) -> dict[str, nn.Parameter]:
        return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}

    def softened(self, logits: Tensor) -> Tensor:
        """Return logits as the loss takes them, at the temperature of the labels."""
        return logits if self.temperature == 1 else logits / self.temperature

    @property
    def compiles(self) -> bool:
        """Whether updates are compiled, from the first one on."""
        return False

    @property
    def parameter_count(self) -> int:
        """Parameters of one learner, trained or not."""
        return sum(parameter.numel() for parameter in self.networks[0].parameters())

    def views(self, rows: Tensor) -> dict[str, Tensor]:
        """Return rows (..., P) cut into the learner's parameters by name, each (..., *shape), sharing storage."""
        pieces = torch.split(rows, [shape.numel() for shape in self.shapes.values()], dim=-1)
        return {
            name: piece.unflatten(-1, shape) if shape else piece.squeeze(-1)
            for (name, shape), piece in zip(self.shapes.items(), pieces, strict=True)
        }

    def state(self, member: int) -> dict[str, Tensor]:
        """Return by name all that a member's next update depends on besides its parameters, sharing storage.

        These are what the optimiser remembers and the network's buffers, such as running statistics.
        """
        remembered = {f"optimiser.{name}": rows[member] for name, rows in self.optimiser.memory().items()}
        return remembered | {f"buffer.{name}": value for name, value in self._buffers(member).items()}

    def go_on(self, member: int, parameters: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        """Put a member where it was when its parameters and its :meth:`state` were these.

        Raises:
            KeyError, RuntimeError: They are of another network.
        """
        with torch.no_grad():
            for name, value in self.views(self.parameters[member]).items():
                value.copy_(parameters[name])
            for name, value in self.state(member).items():
                value.copy_(state[name])

    @abstractmethod
    def _buffers(self, member: int) -> dict[str, Tensor]:
        """Return a member's buffers by name, sharing storage."""

    @abstractmethod
    def train(self, batches: Sequence[Batches], start: int) -> None:
        """Train every learner on the next batches of its seed.

        Args:
            batches: For each seed images (B, C, H, W), normalised as the data set is, and labels (B,) or (B, K).
            start: Updates made so far.
        """

    @abstractmethod
    def _right(self, members: Sequence[int], images: Tensor, labels: Tensor) -> Tensor:
        """Return which images each member answers rightly (M, N), in evaluation mode."""

    def accuracy(self, members: Sequence[int], split: Split) -> Tensor:
        """Return the fraction of a split's images that each member answers rightly, (M,) float64 on the CPU.

        Args:
            members: See :meth:`right_by_class`.
            split: Images and labels.
        """
        return self.right_by_class(members, split).sum(1).double() / len(split)

    def right_by_class(self, members: Sequence[int], split: Split) -> Tensor:
        """Return how many of a split's images of each class each member answers rightly.

        A learner whose logits are not finite (it diverged) has answered wrongly.

        Args:
            members: Rows of learners, M of them.
            split: Images and labels.

        Returns:
            (M, K) int64 on the CPU.

        Raises:
            UserError: The split is empty: 0 of 0 would be NaN, which a maximum takes for the best.
        """
        if not len(split):
            raise UserError("there are no images to measure accuracy on; choose another split, or a single rate")
        chunk = max(64, PIXELS // (split.images.shape[-1] * split.images.shape[-2]))
        device = self.parameters.device
        classes = torch.arange(self.description.num_classes, device=device)
        count = torch.zeros(len(members), len(classes), dtype=torch.float64, device=device)
        for index in torch.arange(len(split), device=split.labels.device).split(chunk):
            images, labels = split.batch(index, self.description.normalisation)
            # One product on the device, exact as long as a chunk has fewer than 2^24 images.
            count += self._right(members, images, labels).float() @ (labels[:, None] == classes).float()
        return count.cpu().long()


def right(logits: Tensor, labels: Tensor) -> Tensor:
    """Return which answers (..., N) of logits (..., N, K) are right for labels (N,); not finite means wrong."""
    return (logits.argmax(-1) == labels) & logits.isfinite().all(-1)


class Separate(Ensemble):
    """Learners that are trained side by side, each by its own forward and backward passes.

    What their layers draw in training, as dropout does, comes from the learner's seed and the update alone, whoever is
    trained beside it and on however many cores.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._draw: bool | None = None  # not known yet
        self._loss = UpdateLoss(self.precision, self.temperature, self.compile)
        for row, network in zip(self.parameters, self.networks, strict=True):
            for name, view in self.views(row).items():
                network.get_parameter(name).data = view

    @property
    def compiles(self) -> bool:
        """Whether updates are compiled, from the first one on."""
        return self._loss.compiles

    def _buffers(self, member: int) -> dict[str, Tensor]:
        return dict(self.networks[member].named_buffers())

    def train(self, batches: Sequence[Batches], start: int) -> None:
        """Train every learner on the next batches of its seed; see :meth:`Ensemble.train`."""

        if self._draw is None:
            with LENDING:  # it looks at the global generators, which others of the process may lend to their learners
                self._draw = draws(self.networks[0], batches[0][0][0])
            if not self._draw:
                # By a worker: what is compiled is compiled for as many cores as torch has there.
                self.workers.map(lambda batch: self._loss.prepare(self.networks[0], *batch), batches[0][:1])

        def one(member: int) -> None:
            seed, place = divmod(member, len(self.candidates))
            self._train(member, self.candidates[place], batches[seed], start)

        self.workers.map(one, range(len(self.networks)))

    def _train(self, member: int, candidate: Candidate, batches: Batches, start: int) -> None:
        network = self.networks[member].train()
        parameters = list(self._trained(network).values())
        row = slice(member, member + 1)
        for step, (images, labels) in enumerate(batches, start):
            with self._lent(member, step):
                loss = self._loss(network, images, labels)
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
            gradient = torch.cat([gradient.flatten() for gradient in gradients])[None]
            rate, momentum = candidate.rates[step], candidate.momenta[step]
            self.optimiser.update(row, gradient, step, rate, momentum, candidate.weight_decay)

    @contextmanager
    def _lent(self, member: int, step: int) -> Iterator[None]:
        """Lend a learner the random numbers of an update, if it draws any."""
        if not self._draw:
            yield
            return
        chance = Chance(self.networks[member], self.parameters.device)
        seed = derive_seed(self.seeds[member // len(self.candidates)], f"draws/{step}")
        with LENDING, chance.seeded(seed):
            yield

    def _right(self, members: Sequence[int], images: Tensor, labels: Tensor) -> Tensor:
        @torch.no_grad()
        def one(member: int) -> Tensor:
            return right(self.networks[member].eval()(images), labels)

        return torch.stack(self.workers.map(one, members))
