"""All learners in one forward and one backward pass, by vmap over their stacked parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call, stack_module_state, vmap

from gendistill.evaluation.ensemble import Batches, Ensemble, right
from gendistill.evaluation.update_loss import forward
from gendistill.nets.chance import Chance
from gendistill.seeds import derive_seed


class Stacked(Ensemble):
    """Learners whose parameters are stacked; see :mod:`gendistill.evaluation.ensemble`.

    Networks must not branch on their values, which vmap cannot follow; batches of all seeds must be of one size. What
    their layers draw comes from the first seed and the update: other numbers for each learner, and for another company.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        everything, self.buffers = stack_module_state(self.networks)
        self.frozen = {name: value.detach() for name, value in everything.items() if name not in self.shapes}
        self.network = self.networks[0]
        self.networks = self.networks[:1]
        self.members = len(self.parameters)
        self.chance = Chance(self.network, self.parameters.device)
        device = self.parameters.device
        columns = [[c.rates, c.momenta, [c.weight_decay] * len(c.rates)] for c in self.candidates]
        table = torch.tensor(columns, dtype=torch.float64, device=device).float()
        # (3, T, E, 1): learning rate, momentum and weight decay of every update as columns over the learners.
        self.table = table.permute(1, 2, 0).tile(1, 1, self.members // len(self.candidates))[..., None]

    def _forward(self, parameters: dict[str, Tensor], buffers: dict[str, Tensor], images: Tensor) -> Tensor:
        def called(images: Tensor) -> Tensor:
            logits: Tensor = functional_call(self.network, {**parameters, **buffers}, (images,))
            return logits

        # Accuracy is measured in float32, as everywhere.
        return forward(called, images, self.precision if self.network.training else "float32")

    def _buffers(self, member: int) -> dict[str, Tensor]:
        return {name: value[member] for name, value in self.buffers.items()}

    def train(self, batches: Sequence[Batches], start: int) -> None:
        """Train every learner on the next batches of its seed; see :meth:`Ensemble.train`."""
        self.network.train()
        repeats = len(self.candidates)
        shared = all(stream is batches[0] for stream in batches)
        of_all = vmap(self._forward, in_dims=(0, 0, None if shared else 0), randomness="different")
        for step, at_once in enumerate(zip(*batches, strict=True), start):
            if shared:
                images, labels = at_once[0]
                labels = labels.expand(self.members, *labels.shape)
            else:
                images = torch.stack([images for images, _ in at_once]).repeat_interleave(repeats, 0)
                labels = torch.stack([labels for _, labels in at_once]).repeat_interleave(repeats, 0)
            parameters = {name: view.detach().requires_grad_() for name, view in self.views(self.parameters).items()}
            with self.chance.seeded(derive_seed(self.seeds[0], f"draws/{step}")):
                logits = of_all({**parameters, **self.frozen}, self.buffers, images)
            # The sum over learners of each one's mean over its batch: no learner's gradient touches another's.
            shown, told = self.softened(logits).flatten(0, 1), labels.flatten(0, 1)
            loss = F.cross_entropy(shown, told, reduction="sum") / labels.shape[1]
            gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True, materialize_grads=True)
            gradient = torch.cat([gradient.reshape(self.members, -1) for gradient in gradients], 1)
            rate, momentum, decay = self.table[0, step], self.table[1, step], self.table[2, step]
            self.optimiser.update(slice(None), gradient, step, rate, momentum, decay)

    @torch.no_grad()
    def _right(self, members: Sequence[int], images: Tensor, labels: Tensor) -> Tensor:
        self.network.eval()
        rows = torch.tensor(members, device=self.parameters.device)
        parameters = {**self.views(self.parameters[rows]), **{name: v[rows] for name, v in self.frozen.items()}}
        buffers = {name: value[rows] for name, value in self.buffers.items()}
        return right(vmap(self._forward, in_dims=(0, 0, None))(parameters, buffers, images), labels)
