"""A GAN cut in two: a block that judges, a block that generates, and what passes between them.

A discriminator's block is the base GAN whose generated images come from elsewhere; a generator's block is the base GAN
whose loss is elsewhere. Images go one way, and the loss's gradient with respect to them comes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.links.exchanges import OWN, Circle
from gendistill.links.link import Link
from gendistill.nets.again import Remembered
from gendistill.nets.modes import frozen, untracked
from gendistill.runs.processes import Processes
from gendistill.seeds import Streams
from trainers.batch import Batch
from trainers.gan import GANTrainer

ROLES = ("discriminator", "generator", "server")


@dataclass(frozen=True)
class Layout:
    """Which process is which block: a discriminator's and a generator's by turns; an odd last one is the server.

    One process alone has both blocks of one pair.

    Attributes:
        world: How many processes there are.
    """

    world: int

    @property
    def pairs(self) -> int:
        """How many generators there are, and discriminators."""
        return max(1, self.world // 2)

    @property
    def server(self) -> int | None:
        """The process that averages the discriminators' gradients; None: they do it among themselves."""
        return self.world - 1 if self.world > 1 and self.world % 2 else None

    def role(self, rank: int) -> str:
        """Return what a process is; one alone counts as a discriminator's."""
        return "server" if rank == self.server else ROLES[rank % 2]

    def pair(self, rank: int) -> int:
        """Return the number of a process's pair."""
        return rank // 2

    def of(self, role: str) -> list[int]:
        """Return the processes of a role; those of all pairs' blocks where one process has both."""
        return [0] if self.world == 1 else [rank for rank in range(self.world) if self.role(rank) == role]

    def name(self, rank: int) -> str:
        """Return what a process is called in a sentence."""
        if rank == self.server:
            return "the server of the discriminators"
        return f"the {self.role(rank)} block of pair {self.pair(rank)}"

    def blocks(self) -> list[str]:
        """Return the names of all blocks that have a state."""
        return [f"{role} {pair}" for pair in range(self.pairs) for role in ROLES[:2]]


class Members(Processes):
    """The blocks of one role, of which this process is one.

    Args:
        processes: All processes.
        ranks: Those of the role.
        group: Theirs of torch.
        who: This block in words.
        server: Link to the server that averages gradients; None: they are summed in a ring.
        exchanging: Whether they average gradients at all.
    """

    def __init__(
        self,
        processes: Processes,
        ranks: Sequence[int],
        group: Any,
        who: str,
        *,
        server: Link | None = None,
        exchanging: bool = True,
        link: str = "everyone",
    ) -> None:
        place = list(ranks).index(processes.number)
        super().__init__(place, len(ranks), processes.local_rank, Circle(group, place, len(ranks), link, ranks))
        self._partners = processes.partners if processes.world > 1 else None
        self._who, self._server, self._exchanging = who, server, exchanging
        self._finite = Watcher(link, "", who)

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Replace each gradient by its mean, in a ring or by the server.

        Raises:
            Spoiled: This block's holds NaN or infinity.
        """
        if not self._exchanging or (self.world == 1 and self._server is None):
            return
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        flat = torch.cat([gradient.detach().reshape(-1) for gradient in gradients])
        if self._server is not None:
            self._server.send(flat, "gradients")
            flat = self._server.receive(flat)
        else:
            self._finite.require_finite(flat, "gradients")
            self.sum(flat, "gradients")
            flat /= self.world
        parts = flat.split([gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    @torch.no_grad()
    def average_weights(self, network: nn.Module) -> None:
        """Replace parameters, and buffers that are numbers with a point, by their means."""
        tensors = [t for t in (*network.parameters(), *network.buffers()) if t.is_floating_point()]
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        self._finite.require_finite(flat, "weights")
        self.sum(flat, "weights")
        flat /= self.world
        for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
            tensor.copy_(part.view_as(tensor))


class Watcher(Link):
    """What looks for NaN in exchanges that are no messages between two."""

    def _send(self, tensor: Tensor) -> None:
        raise NotImplementedError

    def _receive(self, like: Tensor) -> Tensor:
        raise NotImplementedError


class Absent:
    """Stands for the network of the other block: what is asked of it that needs no weights."""

    def __init__(self, network: nn.Module) -> None:
        self._network = (network.to("meta"),)  # not an attribute that is a module: it has no state here

    @property
    def loss_type(self) -> Any:
        """The loss that it was built for."""
        return getattr(self._network[0], "loss_type", None)

    def compute_gan_loss(self, *told: Tensor, **named: Tensor) -> Tensor:
        """Return its loss, which looks at logits alone."""
        loss: Tensor = self._network[0].compute_gan_loss(*told, **named)  # type: ignore[operator]
        return loss

    def modules(self) -> Iterator[nn.Module]:
        """Yield nothing."""
        yield from ()

    def parameters(self) -> Iterator[Tensor]:
        """Yield nothing."""
        yield from ()


class NoOptimizer:
    """Stands for the optimiser of the other block."""

    param_groups: Sequence[dict[str, Any]] = ()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Do nothing."""


class DiscriminatorBlock:
    """Trains the discriminator of a pair, and answers with the gradient of the generator's loss.

    Args:
        gan: The base GAN, attached; it keeps its discriminator alone.
        link: To the generator.
    """

    def __init__(self, gan: GANTrainer, link: Link) -> None:
        self.gan, self.link = gan, link
        gan.generator, gan.generator_optimizer = Absent(gan.generator), NoOptimizer()  # type: ignore[assignment]
        del gan.ema
        gan.generated = self._next
        self._fetched: list[Batch] = []
        self._last: Batch | None = None

    @property
    def waiting(self) -> int:
        """How many batches were fetched and not used."""
        return len(self._fetched)

    def _next(self) -> Batch:
        if not self._fetched:
            self.fetch()
        self._last = self._fetched.pop(0)
        return self._last

    def fetch(self) -> None:
        """Receive a batch of generated images, and their classes where the networks are told them."""
        gan, processes = self.gan, self.gan.run.processes
        count = gan.batch_size // processes.world
        labels = None
        if gan.labelled:
            labels = self.link.receive(torch.empty(count, dtype=torch.int64, device=gan.device))
        shape = gan.data.description.image_shape
        dtype = next(gan.discriminator.parameters()).dtype
        images = self.link.receive(torch.empty(count, *shape, dtype=dtype, device=gan.device))
        self._fetched.append(Batch(images, labels))

    def update(self, batch: tuple[Tensor, Tensor]) -> None:
        """Make one update of the discriminator, on real images and the generated ones that come next."""
        self.gan.discriminator_step(self.gan.see(batch))

    def answer(self, fake: Batch | None = None) -> None:
        """Send the gradient of the generator's loss with respect to generated images.

        Args:
            fake: These; None: those that come next.
        """
        gan = self.gan
        images, labels = self._next() if fake is None else fake
        images = images.detach().requires_grad_()
        gan.discriminator_optimizer.zero_grad(set_to_none=True)
        with frozen(gan.discriminator):
            loss = gan.generator_loss(Batch(images, labels))
            gan.record("loss/generator", loss)
            (feedback,) = torch.autograd.grad(loss, images)
        self.link.send(feedback, "feedback")

    @property
    def last(self) -> Batch:
        """The generated images of the last update, or the last ones fetched."""
        batch = self._fetched[-1] if self._fetched else self._last
        assert batch is not None
        return batch

    def state_dict(self, streams: Streams) -> dict[str, Any]:
        """Return the state of the GAN's half and of its random streams."""
        return {"gan": self.gan.state_dict(), "streams": streams.state_dict()}


class GeneratorBlock:
    """Makes images, and trains the generator of a pair by what is answered.

    Args:
        gan: The base GAN, attached; it keeps its generator alone.
        link: To the discriminator.
        members: The generators' blocks.
        average_every: Steps between two averages of the generators' weights; 0: none.
    """

    def __init__(self, gan: GANTrainer, link: Link, members: Members, average_every: int = 0) -> None:
        self.gan, self.link, self.members, self.average_every = gan, link, members, average_every
        gan.discriminator = Absent(gan.discriminator)
        gan.discriminator_optimizer = NoOptimizer()  # type: ignore[assignment]
        self._images: Tensor | None = None
        self._before: tuple[Remembered, dict[str, Any]] | None = None

    @property
    def waiting(self) -> bool:
        """Whether images were sent whose answer is still to come."""
        return self._images is not None

    def make(self, *, learning: bool) -> None:
        """Make a batch of images and send it.

        Args:
            learning: Whether the generator is to learn from what is answered; otherwise they are made as the base GAN
                makes them for its discriminator: without a graph, running statistics as they are.
        """
        gan = self.gan
        if learning:
            images, labels = gan.fakes()
            self._images = images
        else:
            with torch.no_grad(), untracked(gan.generator):
                images, labels = gan.fakes()
        if labels is not None:
            self.link.send(labels, "classes")
        self.link.send(images, "fakes")

    def learn(self) -> None:
        """Make one update of the generator with the gradient that comes back."""
        gan, images = self.gan, self._images
        assert images is not None
        feedback = self.link.receive(images.detach())
        # The gradient of this product with respect to the images is the feedback itself.
        gan.update((images * feedback).sum(), gan.generator_optimizer)
        if self.average_every and (gan.step + 1) % self.average_every == 0 and self.members.world > 1:
            self.members.average_weights(gan.generator)
        gan.ema.update(gan.generator)
        self._images = self._before = None

    def remember(self, streams: Streams) -> None:
        """Let the state be that of now, though images of the next step are made already."""
        self._before = Remembered(self.gan.generator, self.gan.device), streams.state_dict()
        self.link.ahead()

    def state_dict(self, streams: Streams) -> dict[str, Any]:
        """Return the state of the GAN's half and of its random streams; as it was before images were made ahead."""
        if self._before is None:
            return {"gan": self.gan.state_dict(), "streams": streams.state_dict()}
        remembered, drawn = self._before
        with remembered.again():
            return {"gan": self.gan.state_dict(), "streams": drawn}


class Server:
    """Averages the discriminators' gradients: the parameter server of the thesis, which keeps no weights here.

    Args:
        links: To the discriminators.
        like: Of the shape and type of all gradients, flat.
    """

    def __init__(self, links: Sequence[Link], like: Tensor) -> None:
        self.links, self.like = links, like

    def serve(self) -> None:
        """Average once."""
        total = torch.zeros_like(self.like)
        for link in self.links:
            total += link.receive(self.like)
        total /= len(self.links)
        for link in self.links:
            link.send(total, "gradients")


def require_cuttable(gan: GANTrainer) -> None:
    """Refuse a base GAN whose steps are its own, which nobody knows how to cut.

    Raises:
        UserError: It is one.
    """
    for name in ("train_step", "generator_step", "fakes"):
        if getattr(type(gan), name) is not getattr(GANTrainer, name):
            raise UserError(
                f"{type(gan).__name__} has a {name} of its own, which cannot be cut in two; change its losses instead, "
                "or train it in one process"
            )
    if gan.term_only and OWN.role == "server":
        raise UserError("term_only leaves no gradients to a server; start an even number of processes")
