"""IDC in one file: sheets of 2 x 2 images whose gradients are matched in networks that train on real data.

Kim et al. 2022, "Dataset Condensation via Efficient Synthetic-Data Parameterization".
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill.data.augment import augment
from gendistill.seeds import stream
from trainers.gradient_matching import GradientMatchingTrainer


class IDCLike(GradientMatchingTrainer):
    """Match gradients through a formation, and train the network on real images in between.

    Args:
        factor: Cells along a side of each stored image.
        net_batches: Batches of real images that the network learns from after each match.
        net_batch: Images in each.
        **kwargs: See :class:`trainers.gradient_matching.GradientMatchingTrainer`.
    """

    def __init__(self, factor: int = 2, net_batches: int = 4, net_batch: int = 64, **kwargs: Any) -> None:
        super().__init__(decode={"factor": factor}, distance="mse", inner_loops=1, **kwargs)
        self.net_batches, self.net_batch = net_batches, net_batch

    def train_network(self) -> Tensor:
        """Train the network on real images, augmented; return its last loss."""
        draws = stream(self.run.options.seed, f"idc/{self.step}")
        optimizer = torch.optim.SGD(self.network.parameters(), lr=self.lr_network, momentum=0.9, weight_decay=5e-4)
        self.network.train()
        for _ in range(self.net_batches):
            index = torch.randint(len(self.data.train), (self.net_batch,), generator=draws).to(self.device)
            images, labels = self.data.train.batch(index, self.normalisation)
            loss = F.cross_entropy(self.network(augment(images, self.strategy, draws)), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self.network.eval()
        return loss.detach()
