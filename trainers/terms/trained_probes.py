"""Probes that learn: one that was trained before the run, or a pool of all ages. ``pools.py`` has other pools."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NotRequired, TypedDict, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.data.augment import MODES, augment, parse
from gendistill.data.cutmix import cutmix
from gendistill.errors import UserError
from gendistill.evaluation.protocols import named_strategy
from gendistill.evaluation.protocols import strategy as without_flip
from gendistill.evaluation.rates import SCHEDULES, schedule_factor
from gendistill.runs.attributes import capture, restore
from gendistill.runs.counter import counter_of
from gendistill.runs.head_start import HeadStart
from gendistill.seeds import stream
from trainers.batch import Batch
from trainers.checks import check_words
from trainers.terms.probes import Host, Probe, Probes, ShowingHost

BETWEEN_WORDS = 20
"""Updates after which it is said how far they are."""
LearnFrom = Literal["real", "synthetic"]
MEMORY = 0.9
"""What the running mean of a network's accuracy keeps at each update."""


class Member(TypedDict):
    """A network that is trained while it serves as a probe."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    age: int
    accuracy: NotRequired[Tensor]
    """Running mean of its accuracy on what it learns from; an older version's states lack it, and it starts at 0."""
    first: NotRequired[dict[str, Tensor]]
    """The weights that it began with, where they are wanted."""


class Trained(Probes):
    """Networks that learn from images, by SGD with momentum and the host's own draws.

    Args:
        steps: Updates, at least 1; see the subclasses.
        lr: Learning rate, positive.
        batch_size: Images an update, at least 1.
        momentum: In [0, 1).
        weight_decay: Of SGD, from 0.
        schedule: Of the rate over an age of ``steps``; see :func:`gendistill.evaluation.rates.schedule_factor`.
        augment: Strategy for the images of an update, ``dsa`` or names joined by ``_``, without ``flip`` where mirrored
            images are no images of the data set; None: none.
        augment_mode: See :func:`gendistill.data.augment.draw_parameters`; ``idc`` as IDC, DREAM and NCFM have it.
        cutmix: Probability with which an update's images are mixed, 0..1; see :func:`gendistill.data.cutmix.cutmix`.
        learn: From ``real`` images, as published, or from the ``synthetic`` ones as they are at the time, which only a
            trainer of stored images has.
        **kwargs: See :class:`Probes`.

    Raises:
        UserError: An option is out of range.
    """

    def __init__(
        self,
        *,
        steps: int = 200,
        lr: float = 0.01,
        batch_size: int = 64,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        schedule: str = "constant",
        augment: str | None = None,
        augment_mode: str = "idc",
        cutmix: float = 0.0,
        learn: LearnFrom = "real",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if steps < 1 or batch_size < 1:
            raise UserError(f"a probe's steps and batch_size must be at least 1, got {steps} and {batch_size}")
        if lr <= 0 or not 0 <= momentum < 1:
            raise UserError(f"a probe's lr must be positive and its momentum in [0, 1), got {lr} and {momentum}")
        if not weight_decay >= 0:
            raise UserError(f"a probe's weight_decay must be at least 0, got {weight_decay}")
        check_words(
            learn=(learn, get_args(LearnFrom)), schedule=(schedule, SCHEDULES), augment_mode=(augment_mode, MODES)
        )
        if augment != "dsa":
            parse(augment)
        if not 0.0 <= cutmix <= 1.0:
            raise UserError(f"a probe's cutmix is {cutmix}; it is a probability, give a number from 0 to 1")
        self.steps = steps
        self.lr = lr
        self.batch_size = batch_size
        self.momentum = momentum
        self.weight_decay = weight_decay
        self.schedule = schedule
        self.augment = augment
        self.augment_mode = augment_mode
        self.cutmix = cutmix
        self.learn = learn
        self.updates = 0

    def attach(self, host: Host) -> None:
        """Take the host.

        Raises:
            UserError: It has no synthetic images, which networks are to learn from.
        """
        super().attach(host)
        if self.learn == "synthetic" and getattr(host, "shown", None) is None:
            raise UserError(
                "a probe learns from synthetic images only where a trainer stores them and its own probes are meant; "
                "choose learn: real"
            )
        description = host.trainer.data.description
        if self.cutmix and description.kind != "pictures":
            raise UserError(f"a probe's cutmix is for pictures; '{description.name}' holds {description.kind}, set it "
                            "to 0")  # fmt: skip
        named = named_strategy(self.augment, description)
        plainly = named in (None, "", "none")
        self.strategy = None if plainly else without_flip(str(named), description) or None

    def born(self, name: str) -> Member:
        """Return a new member of age 0."""
        network = self.new(name)
        return {"network": network, "optimizer": self._optimizer(network), "age": 0}

    def probe(self, member: Member) -> Probe:
        """Return a member as a probe."""
        network = member["network"]
        return Probe(network, dict(network.named_parameters()), accuracy=self.accuracy(member))

    def accuracy(self, member: Member) -> Tensor:
        """Return the running mean of a member's accuracy, a scalar in [0, 1]."""
        return member.setdefault("accuracy", torch.zeros((), device=self.host.trainer.device))

    def teach(self, member: Member, updates: int) -> None:
        """Make updates on random images."""
        network, optimizer = member["network"], member["optimizer"]
        network.train()
        for _ in range(updates):
            images, labels = self._changed(*self._images())
            for group in optimizer.param_groups:
                group["lr"] = self.lr * schedule_factor(self.schedule, min(member["age"], self.steps - 1), self.steps)
            with self.host.trainer.autocast():
                answers = network(images)
            loss = F.cross_entropy(answers.float(), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            likeliest = labels.argmax(1) if labels.is_floating_point() else labels
            right = (answers.detach().argmax(1) == likeliest).float().mean()
            self.accuracy(member).mul_(MEMORY).add_(right, alpha=1 - MEMORY)
            member["age"] += 1
        optimizer.zero_grad(set_to_none=True)
        network.train(self.mode == "train")

    def teach_before(self, updates: Sequence[int]) -> None:
        """Make the members' updates before the run's first step, and say how far that is.

        Args:
            updates: How many of each member.
        """
        kept = self._head_start(updates)
        self._go_on_from(kept.load())
        tell, total = counter_of(self.host.trainer.run, "probes", "updates"), sum(updates)
        for member, count in zip(self.members, updates, strict=True):
            while member["age"] < count:
                self.teach(member, min(BETWEEN_WORDS, count - member["age"]))
                tell(sum(one["age"] for one in self.members), total)
                kept.offer(self._learned)
        kept.offer(self._learned, done=True)

    def _head_start(self, updates: Sequence[int]) -> HeadStart:
        """Return where it is kept how far :meth:`teach_before` is, with everything that its outcome depends on."""
        host, options = self.host, self.host.trainer.run.options
        own = {name: getattr(self, name) for name in ("lr", "batch_size", "momentum", "weight_decay", "learn", "mode")}
        # Said only where it is something: what was kept before there were such options stays what it is.
        more = {"schedule": "constant", "strategy": None, "cutmix": 0.0}
        own |= {name: getattr(self, name) for name, off in more.items() if getattr(self, name) != off}
        own |= {"augment_mode": self.augment_mode} if self.strategy is not None else {}
        made_by = {
            "kind": type(self).__qualname__, "updates": list(updates), **own, "precision": options.precision,
            "channels_last": options.channels_last, "stream": host.draws.get_state(),
            "weights": [dict(member["network"].state_dict()) for member in self.members],
            "synthetic": capture(getattr(host.trainer, "images", None)) if self.learn == "synthetic" else None,
        }  # fmt: skip
        return HeadStart(host.trainer.run, f"probes {getattr(host, 'key', '')}", host.trainer.data, made_by)

    def _learned(self) -> dict[str, Any]:
        """Return what members have learned, and where the stream of their images stands."""
        return {
            "members": capture(self.members), "stream": self.host.draws.get_state(), "updates": self.updates
        }  # fmt: skip

    def _go_on_from(self, kept: dict[str, Any] | None) -> None:
        if kept is not None:
            restore(self.members, kept["members"])
            self.host.draws.set_state(kept["stream"].cpu())
            self.updates = int(kept.get("updates", 0))

    def state_dict(self) -> dict[str, Any]:
        """Return the counters and what was trained."""
        return super().state_dict() | {"updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put the state back."""
        super().load_state_dict(state)
        self.updates = int(state.get("updates", 0))

    def _optimizer(self, network: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(network.parameters(), lr=self.lr, momentum=self.momentum, weight_decay=self.weight_decay)

    def _changed(self, images: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return an update's images as they are augmented and mixed, and their labels, (N,) or (N, K)."""
        labels = cast(Tensor, labels)
        if self.strategy is None and not self.cutmix:
            return images, labels
        # A stream of its own for each update: on the CPU, where no choice is waited for, and without a state.
        host = self.host
        name = f"probes/{getattr(host, 'key', '')}/augment/{self.updates}"
        draws = stream(host.trainer.run.options.seed, name)
        self.updates += 1
        images = augment(images, self.strategy, draws, mode=self.augment_mode)
        if self.cutmix:
            classes = host.trainer.data.description.num_classes
            return cutmix(images, labels, classes, draws, probability=self.cutmix)
        return images, labels

    def _images(self) -> Batch:
        if self.learn == "synthetic":
            return cast(ShowingHost, self.host).draw_shown(self.batch_size)
        return self.host.draw_any(self.batch_size)


class Pretrained(Trained):
    """One network, trained for ``steps`` updates before the run and then left as it is."""

    def attach(self, host: Host) -> None:
        """Train the network, unless the run's saved state brings it."""
        super().attach(host)
        self.members = [self.born("pretrained")]
        if not host.trainer.run.directory.has_state:
            self.teach_before([self.steps])

    def draw(self) -> Probe:
        """Return the network."""
        return self.probe(self.members[0])


class Pool(Trained):
    """Partly trained networks of all ages, used in turn.

    A network takes ``refresh`` updates each time its turn comes, and is replaced by a new one when it is older than
    ``steps``. At the start the ages are spread evenly from 0 to ``steps``.

    Args:
        size: Networks in the pool, at least 1.
        refresh: Updates between two uses of a network; 0 keeps the pool as it is at the start.
        **kwargs: See :class:`Trained`; ``steps`` is the highest age.

    Raises:
        UserError: An option is out of range.
    """

    def __init__(self, *, size: int = 8, refresh: int = 1, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if size < 1 or refresh < 0:
            raise UserError(f"a pool's size must be at least 1 and its refresh at least 0, got {size} and {refresh}")
        self.size = size
        self.refresh = refresh

    def attach(self, host: Host) -> None:
        """Make the networks and bring them to their ages, unless the run's saved state brings them."""
        super().attach(host)
        self.members = [self.born(f"first/{position}") for position in range(self.size)]
        if not host.trainer.run.directory.has_state:
            self.teach_before([position * self.steps // self.size for position in range(self.size)])

    def draw(self) -> Probe:
        """Return the next network of the pool, after its updates."""
        member = self.members[self.count % self.size]
        if self.count >= self.size:
            if member["age"] + self.refresh > self.steps:
                # In place: what is saved and what is used stay the same objects.
                member["network"].load_state_dict(self.new(str(self.count)).state_dict())
                member["optimizer"] = self._optimizer(member["network"])
                member["age"] = 0
                self.accuracy(member).zero_()
            else:
                self.teach(member, self.refresh)
        self.count += 1
        return self.probe(member)
