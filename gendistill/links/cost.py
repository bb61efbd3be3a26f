"""What training in several processes must send: exact counts, the thesis' cost model, and that model corrected."""

from __future__ import annotations

from dataclasses import dataclass

FLOAT = 4
"""Bytes of a number."""
CLASS = 8
"""Bytes of a class index."""


@dataclass(frozen=True)
class Sizes:
    """What of a GAN decides what is sent.

    Attributes:
        discriminator: Its trained numbers.
        generator: Its trained numbers.
        weights: The generator's numbers that are averaged where weights are: trained ones and running statistics.
        image: Numbers of an image.
        batch: Images a step, over all processes.
        updates: Of the discriminator in a step, ``n_dis``.
        labelled: Whether the networks are told classes.
    """

    discriminator: int
    generator: int
    weights: int
    image: int
    batch: int
    updates: int = 1
    labelled: bool = False

    @property
    def fakes(self) -> int:
        """Bytes of all images of a step, F of every pair together."""
        return FLOAT * self.image * self.batch


def data_parallel(sizes: Sizes, processes: int, steps: int) -> dict[str, int]:
    """Return the bytes that data-parallel training sends, by kind: a ring for each gradient."""
    ring = 2 * (processes - 1) * FLOAT
    return {"gradients": steps * ring * (sizes.updates * sizes.discriminator + sizes.generator)}


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
    """Return the bytes that a GAN cut in two sends, by kind.

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
    times = 2 * pairs if served else 2 * (pairs - 1)
    gradients = times * FLOAT * sizes.updates * sizes.discriminator
    ring = 2 * (pairs - 1) * FLOAT
    if generator_sync == "all_reduce":
        gradients += ring * sizes.generator
    if gradients:
        found["gradients"] = steps * gradients
    if generator_sync == "average_every_n" and pairs > 1:
        found["weights"] = steps // sync_every * ring * sizes.weights
    return found


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
    g = w = FLOAT * sizes.discriminator
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
    judge, maker = FLOAT * sizes.discriminator, FLOAT * sizes.generator
    image = FLOAT * sizes.image
    fakes = image * sizes.batch / (m / 2)
    parallel = 2 * m * (k * judge + maker)
    networks = m * (k * judge + (maker if generator_sync else 0))
    halves = networks + m / 2 * (k + 1) * fakes
    return {
        "data parallel": parallel,
        "cut in two": halves,
        "break-even": (parallel - networks) / (m / 2 * (k + 1) * image),
    }
