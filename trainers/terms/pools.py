"""Further pools of probes: one that grows (IDM), and networks between their first and their trained weights (NCFM)."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gendistill.errors import UserError
from gendistill.seeds import stream
from trainers.checks import check_counts
from trainers.terms.probes import Host, Probe
from trainers.terms.trained_probes import Member, Trained


class Growing(Trained):
    """A pool that begins with a few new networks and gets one more now and then; when it is full, the oldest leaves.

    Zhao et al. 2023, "Improved Distribution Matching for Dataset Condensation" (IDM): each network is as likely to be
    drawn as any other, and between two draws ``taught`` random ones take ``steps`` updates each.

    Args:
        size: Networks in the pool, at most; 1 or more.
        first: Networks at the start, 1 to ``size``.
        every: Draws after which a new network comes.
        taught: Networks that learn between two draws; one may be taken twice.
        steps: Updates of each.
        batch_size: Images an update.
        weight_decay: Of SGD.
        **kwargs: See :class:`~trainers.terms.trained_probes.Trained`. All defaults are the published ones.

    Raises:
        UserError: An option is out of range.
    """

    def __init__(
        self,
        *,
        size: int = 100,
        first: int = 3,
        every: int = 30,
        taught: int = 2,
        steps: int = 10,
        batch_size: int = 256,
        weight_decay: float = 5e-4,
        **kwargs: Any,
    ) -> None:
        super().__init__(steps=steps, batch_size=batch_size, weight_decay=weight_decay, **kwargs)
        check_counts(size=size, first=first, every=every, taught=taught)
        if self.schedule != "constant":
            raise UserError(
                f"a growing pool's schedule is '{self.schedule}', but its networks learn without end; leave it constant"
            )
        self.size, self.first, self.every, self.taught = size, min(first, size), every, taught

    def attach(self, host: Host) -> None:
        """Make the first networks."""
        super().attach(host)
        self.members = [self.born(f"first/{position}") for position in range(self.first)]

    def draw(self) -> Probe:
        """Return a network, after updates of some."""
        draws = stream(self.host.trainer.run.options.seed, f"probes/growing/{self.count}")
        if self.count:
            for place in torch.randint(len(self.members), (self.taught,), generator=draws).tolist():
                self.teach(self.members[place], self.steps)
            if self.count % self.every == 0:
                self.members.append(self.born(str(self.count)))
                del self.members[: -self.size]
        self.count += 1
        return self.probe(self.members[int(torch.randint(len(self.members), (1,), generator=draws))])

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the state back, into as many networks as were there."""
        wanted = len(state["members"])
        self.members = self.members[:wanted]
        self.members += [self.born(f"restored/{place}") for place in range(len(self.members), wanted)]
        super().load_state_dict(state)


class Interpolated(Trained):
    """Networks whose weights lie between those they began with and those they were trained to before the run.

    Wang et al. 2025 (NCFM): l theta_first + (1 - l) theta_trained, l uniform in [0, 1), of one of them at random.

    Args:
        size: Networks, 1 or more; the published code has 20.
        steps: Updates of each, before the run.
        **kwargs: See :class:`~trainers.terms.trained_probes.Trained`.

    Raises:
        UserError: An option is out of range.
    """

    def __init__(self, *, size: int = 20, steps: int = 200, **kwargs: Any) -> None:
        super().__init__(steps=steps, **kwargs)
        check_counts(size=size)
        self.size = size

    def attach(self, host: Host) -> None:
        """Make the networks and train them, unless the run's saved state brings them."""
        super().attach(host)
        self.members = [self._begun(f"first/{position}") for position in range(self.size)]
        if not host.trainer.run.directory.has_state:
            self.teach_before([self.steps] * self.size)
        self.between = self.new("between")

    def draw(self) -> Probe:
        """Return a network between two; its accuracy is that of the trained one."""
        draws = stream(self.host.trainer.run.options.seed, f"probes/interpolated/{self.count}")
        self.count += 1
        member = self.members[int(torch.randint(self.size, (1,), generator=draws))]
        share = float(torch.rand((), generator=draws))
        first, trained = member["first"], member["network"].state_dict()
        mixed = {
            name: torch.lerp(value, first[name], share) if value.is_floating_point() else value
            for name, value in trained.items()
        }
        self.between.load_state_dict(mixed)
        return Probe(self.between, dict(self.between.named_parameters()), accuracy=self.accuracy(member))

    def _begun(self, name: str) -> Member:
        member = self.born(name)
        member["first"] = _copied(member["network"])
        return member


def _copied(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
