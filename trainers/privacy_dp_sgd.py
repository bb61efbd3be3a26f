"""A site's discriminator that learns by DP-SGD, so that whatever it answers is differentially private.

The server, and whoever sees its generators, sees answers alone, and these are made from private sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.privacy.ledger import Budget
from gendistill.privacy.mechanism import PrivateSums
from gendistill.privacy.stand_in import stand_in
from gendistill.runs.context import RunContext
from trainers.batch import Batch
from trainers.gan import GANTrainer
from trainers.privacy_sides import DiscriminatorHalf
from trainers.private import counted_in, require_no_statistics, sample_rate
from trainers.private_pairs import PairUpdates, check_divisible


class DPSGD:
    """How a site learns from single private images.

    Args:
        gan: The base, not attached yet.
        budget: What a site may spend.
        clip: Norm to which the gradient of a pair is clipped.
        site_size: About how many images a site has; public.

    Raises:
        UserError: An option is out of range, or the base cannot be trained so.
    """

    def __init__(self, gan: GANTrainer, budget: Budget, clip: float, site_size: int) -> None:
        check_divisible(gan.loss_type)
        for name, given, needed in (
            ("packing", gan.packing, 1), ("diff_augment", gan.diff_augment, None), ("r1", gan.r1, 0), ("r2", gan.r2, 0),
        ):  # fmt: skip
            if given != needed:
                raise UserError(
                    f"base's {name} is {given}, and with protect discriminator gradients are of single pairs of a "
                    f"private and a generated image; leave {name} out"
                )
        if not 0 < clip < float("inf"):
            raise UserError(f"clip is {clip}; give a positive norm")
        self.gan, self.budget, self.clip = gan, budget, clip
        if isinstance(site_size, bool) or not isinstance(site_size, int) or site_size < 1:
            raise UserError(f"site_size is {site_size!r}; give about how many images a site has, from 1")
        self.rate = sample_rate(gan.batch_size, site_size, f"a site of {site_size} images may")


class PrivateDiscriminatorHalf(DiscriminatorHalf):
    """A site's half whose discriminator sees private images through noisy sums of clipped gradients.

    The GAN is given grey images in the place of the private ones; the mechanism has these.

    Args:
        how: How it learns.
        run: The run, whose directory has the ledger and what was released.
        data: The private images.
        feedback: See :class:`~trainers.privacy_sides.DiscriminatorHalf`.
        config: Of the run, by which sums are made; None: not known.

    Raises:
        UserError: The discriminator mixes records, or what was spent is not known.
    """

    def __init__(
        self, how: DPSGD, run: RunContext, data: RealData, feedback: str, config: Mapping[str, Any] | None = None
    ) -> None:
        known = stand_in(data, how.gan.batch_size)
        super().__init__(how.gan, run, known, feedback)
        require_no_statistics(how.gan.discriminator)
        options = run.options
        self.ledger, releases = counted_in(run.directory, how.budget, config)
        self.sums = self.new_sums(
            data.train.to(run.device),
            known.description.num_classes,
            known.description.normalisation,
            self.ledger,
            releases,
        )
        self.pairs = PairUpdates(
            self.sums,
            updates=options.steps * how.gan.n_dis,
            rate=how.rate,
            size=how.gan.batch_size,
            clip=how.clip,
            seed=options.seed,
            keep=how.gan.n_dis * options.save_every,
            penalty=how.gan.gradient_penalty,
            labelled=how.gan.labelled,
        )

    @staticmethod
    def new_sums(*parts: object) -> PrivateSums:
        """Return the mechanism for the arguments of :class:`~gendistill.privacy.mechanism.PrivateSums`."""
        return PrivateSums(*parts)  # type: ignore[arg-type]

    def learn(self, update: int, fake: Batch) -> None:
        """Make one of a round's updates by a private sum."""
        gan = self.gan
        self.pairs.make(self.round * gan.n_dis + update, gan.discriminator, gan.discriminator_optimizer, fake)

    def state_dict(self) -> dict[str, Any]:
        """Return the half's state, and what was spent for it."""
        return super().state_dict() | {"ledger": self.ledger.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put a state back, if the ledger counts all that it was made with."""
        self.ledger.load_state_dict(state["ledger"])
        super().load_state_dict(state)

    def spending(self) -> str:
        """Return what was spent, in words."""
        ledger = self.ledger
        calls = sum(entry["calls"] for entry in ledger.entries())
        return (
            f"{calls} updates, epsilon {ledger.spent():.4g} at delta {ledger.budget.delta:g} (one image added or "
            f"removed, {ledger.accountant})"
        )
