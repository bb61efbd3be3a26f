"""What training in several processes must send: exact counts, the thesis' cost model, and that model corrected."""

from __future__ import annotations

from dataclasses import dataclass

CLASS = 8
"""Bytes of a class index."""


@dataclass(frozen=True)
class Sizes:
    """What of a GAN decides what is sent.

    Attributes:
        discriminator: Its trained numbers.
        generator: Its trained numbers.
        image: Numbers of an image.
        batch: Images a step, over all processes.
        updates: Of the discriminator in a step, ``n_dis``.
        labelled: Whether the networks are told classes.
        discriminator_norms: Numbers that its batch norms exchange in a forward pass; backwards they are as many.
        generator_norms: The generator's.
        weights: The generator's numbers that are averaged where weights are: trained ones and running statistics.
        width: Bytes of a number.
    """

    discriminator: int
    generator: int
    image: int
    batch: int
    updates: int = 1
    labelled: bool = False
    discriminator_norms: int = 0
    generator_norms: int = 0
    weights: int = 0
    width: int = 4

    @property
    def fakes(self) -> int:
        """Bytes of all images of a step, F of every pair together."""
        return self.width * self.image * self.batch


def data_parallel(sizes: Sizes, processes: int, steps: int) -> dict[str, int]:
    """Return the bytes that data-parallel training sends, by kind: a ring for each gradient."""
    ring = 2 * (processes - 1) * sizes.width
    found = {"gradients": steps * ring * (sizes.updates * sizes.discriminator + sizes.generator)}
    return found | _present({"statistics": steps * ring * (_judged(sizes) + _made(sizes, sizes.updates))})


def _judged(sizes: Sizes) -> int:
    """Return the numbers that the discriminator's batch norms exchange in a step: two passes an update, one more."""
    return 2 * (2 * sizes.updates + 1) * sizes.discriminator_norms


def _made(sizes: Sizes, without_graph: int) -> int:
    """Return those of the generator's, of so many passes without a graph and of one with it."""
    return (without_graph + 2) * sizes.generator_norms


def _present(found: dict[str, int]) -> dict[str, int]:
    return {kind: size for kind, size in found.items() if size}


def cut(
    sizes: Sizes,
    pairs: int,
    steps: int,
    *,
    served: bool = False,
    fresh_fakes: bool = True,
    generator_sync: str = "none",
    sync_every: int = 1,
) -> dict[str, int]:
    """Return the bytes that a GAN cut in two sends, by kind; losses alone, without what terms exchange.

    Args:
        sizes: Of the GAN.
        pairs: Discriminators, and generators.
        steps: Of training.
        served: Whether a server averages the discriminators' gradients; otherwise a ring does.
        fresh_fakes: Whether the generators' update has images of its own.
        generator_sync: ``none``, ``average_every_n`` or ``all_reduce``.
        sync_every: Steps between two averages of weights.
    """
    batches = sizes.updates + fresh_fakes
    found = {"fakes": steps * batches * sizes.fakes, "feedback": steps * sizes.fakes}
    if sizes.labelled:
        found["classes"] = steps * batches * CLASS * sizes.batch
    ring = 2 * (pairs - 1) * sizes.width
    gradients = (2 * pairs * sizes.width if served else ring) * sizes.updates * sizes.discriminator
    statistics = ring * _judged(sizes)
    if generator_sync == "all_reduce":
        gradients += ring * sizes.generator
        statistics += ring * _made(sizes, batches - 1)
    weights = steps // sync_every * ring * sizes.weights if generator_sync == "average_every_n" else 0
    return found | _present({"gradients": steps * gradients, "statistics": steps * statistics, "weights": weights})


@dataclass(frozen=True)
class Machines:
    """The other symbols of the thesis' model.

    Attributes:
        bandwidth: v, bytes a second.
        data: D, bytes of the data that is loaded once an epoch; 0 leaves it out.
        discriminator_seconds: t_D, of a step's batch through the discriminator.
        generator_seconds: t_G, of a step's batch through the generator.
        server_seconds: t_S, of the server for a byte.
    """

    bandwidth: float
    data: float = 0.0
    discriminator_seconds: float = 0.0
    generator_seconds: float = 0.0
    server_seconds: float = 0.0


def thesis(sizes: Sizes, processes: int, machines: Machines, *, labels: int = 0) -> dict[str, float]:
    """Return eq. 4.1, 4.2 and 4.3 as printed, in seconds an iteration: one g and one w for both networks, L sent back.

    Args:
        sizes: Of the GAN; g and w are those of the discriminator.
        processes: M, even.
        machines: The other symbols.
        labels: L, bytes; the thesis takes them for nothing.
    """
    m, v = processes, machines.bandwidth
    g = w = sizes.width * sizes.discriminator
    fakes = sizes.fakes / (m / 2)
    compute = machines.discriminator_seconds + machines.generator_seconds
    parallel = machines.data / v + m * 2 * w / v + m * 2 * g / v + compute / m + machines.server_seconds * (g + w) * m
    halves = (
        machines.data / v
        + m / 2 * (fakes + labels) / v
        + m * (w + g) / v
        + machines.discriminator_seconds / (m / 2)
        + machines.server_seconds * (g + w) * m / 2
    )
    difference = m / v * (w + g - (fakes + labels) / 2) + machines.server_seconds * (g + w) * m / 2
    return {"data parallel, eq. 4.1": parallel, "cut in two, eq. 4.2": halves, "difference, eq. 4.3": difference}


def corrected(sizes: Sizes, processes: int, *, generator_sync: bool = False) -> dict[str, float]:
    """Return bytes an iteration with a server, as the thesis has it, with what its equations miss.

    Only the M / 2 discriminators talk to the server, both networks have their own size, and what comes back is as large
    as what is sent: ``DP = 2 M (w_D + w_G)``, ``BP = M w_D + M F``, of which F is one pair's images. Every update
    of the discriminator is a round with the server, and the images are as many as its updates (``n_dis``).

    Args:
        sizes: Of the GAN.
        processes: M, even.
        generator_sync: Whether the generators' gradients are averaged, too.

    Returns:
        ``data parallel``, ``cut in two``, and ``break-even``: images of a pair's batch below which the latter is less.
    """
    m, k = processes, sizes.updates
    judge, maker = sizes.width * sizes.discriminator, sizes.width * sizes.generator
    image = sizes.width * sizes.image
    fakes = image * sizes.batch / (m / 2)
    parallel = 2 * m * (k * judge + maker)
    networks = m * (k * judge + (maker if generator_sync else 0))
    halves = networks + m / 2 * (k + 1) * fakes
    return {
        "data parallel": parallel,
        "cut in two": halves,
        "break-even": (parallel - networks) / (m / 2 * (k + 1) * image),
    }
