"""Feedback that is clipped and noised before it leaves a site, and the privacy that it has spent."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from gendistill.errors import GendistillError, UserError
from gendistill.files import atomic_write
from gendistill.json_file import SEAL, Is, Keys, is_whole, read_json, sealed, size, text, whole
from gendistill.privacy.ledger import require_ledger
from gendistill.privacy.noise import system_noise


class Spent(GendistillError):
    """The site's budget does not allow another release; nothing of it has left."""


def epsilon_of(rho: float, delta: float) -> float:
    """Return the epsilon of a mechanism that is rho-zCDP; Proposition 1.3, Bun and Steinke 2016."""
    return rho + 2 * math.sqrt(rho * math.log(1 / delta))


class Sanitiser:
    """Clips each row of the feedback to a norm and adds Gaussian noise, and counts what was released.

    One record that is replaced may change the whole discriminator, and with it every row by 2C at most: a release of B
    rows has sensitivity 2C sqrt(B) and is rho-zCDP with rho = 2B / sigma^2 (that of GS-WGAN, Chen et al. 2020, without
    amplification). The server chooses its questions after seeing answers, which composition allows.

    Args:
        clip: C, positive.
        noise_multiplier: sigma; the noise's standard deviation is sigma * C. 0 clips alone, which promises nothing.
        delta: Of (epsilon, delta).
        epsilon: Most that may be spent; None: as much as the rounds cost.
        ledger: File with the number of releases, which is written before each of them; None: kept in memory.
        begun: Whether something is there that was made with it, so that there must be a file.

    Raises:
        UserError: A value is out of range, or the ledger is damaged or lost.
    """

    def __init__(
        self,
        clip: float,
        noise_multiplier: float = 0.0,
        *,
        delta: float = 1e-5,
        epsilon: float | None = None,
        ledger: Path | None = None,
        begun: bool = False,
        noise: Callable[[tuple[int, ...]], Tensor] = system_noise,
    ) -> None:
        if not 0 < clip < math.inf:
            raise UserError(f"clip is {clip}; give a positive norm")
        if not 0 <= noise_multiplier < math.inf:
            raise UserError(f"noise_multiplier is {noise_multiplier}; give 0 or more")
        if not 0 < delta < 1:
            raise UserError(f"delta is {delta}; give a number between 0 and 1")
        if epsilon is not None and not (noise_multiplier and 0 < epsilon < math.inf):
            raise UserError(f"epsilon is {epsilon} with noise_multiplier {noise_multiplier}; both must be positive")
        self.clip, self.sigma, self.delta, self.limit, self.ledger = clip, noise_multiplier, delta, epsilon, ledger
        self._noise = noise
        self.rho, self.releases = 0.0, 0
        if ledger is None:
            return
        if not ledger.exists():
            require_ledger(ledger, begun)
            return
        form = {"rho": Is(size, "a number"), "releases": Is(whole, "a number"), SEAL: Is(text, "a checksum")}
        known = read_json(ledger, Keys(form))
        if not is_whole(known):
            raise UserError(
                f"'{ledger}' is damaged: it does not match its checksum; what was spent is not known, so nothing more "
                "may leave here: choose another run.name and count this run's whole budget as spent"
            )
        self.rho, self.releases = float(known["rho"]), int(known["releases"])

    @property
    def epsilon(self) -> float:
        """What was spent so far; infinite without noise."""
        if not self.releases:
            return 0.0
        return epsilon_of(self.rho, self.delta) if self.sigma else math.inf

    def state_dict(self) -> dict[str, float]:
        """Return what was spent."""
        return {"rho": self.rho, "releases": self.releases}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Go on from it; what this object has spent already is not given back."""
        self.rho, self.releases = max(self.rho, state["rho"]), max(self.releases, int(state["releases"]))

    def release(self, values: Tensor) -> Tensor:
        """Return what may leave: rows (B, ...) clipped and noised.

        Raises:
            Spent: It would cost more than is allowed; asked before anything is made.
        """
        cost = 2 * len(values) / self.sigma**2 if self.sigma else 0.0
        if self.limit is not None and epsilon_of(self.rho + cost, self.delta) > self.limit:
            raise Spent(
                f"{self.releases} releases have spent epsilon {self.epsilon:.4g} of {self.limit:g} (delta "
                f"{self.delta:g}); another one would exceed it, so this site stops here"
            )
        self._note(cost)
        norms = values.double().flatten(1).norm(dim=1) if values.dim() > 1 else values.double().abs()
        factor = (self.clip / norms.clamp(min=1e-300)).clamp(max=1.0).view(-1, *[1] * (values.dim() - 1))
        clipped = values.double() * factor
        if self.sigma:
            clipped = clipped + self.sigma * self.clip * self._noise(tuple(values.shape))
        return clipped.to(values.dtype)

    def _note(self, cost: float) -> None:
        """Count a release before it is made: a crash in between counts one too many, never one too few."""
        self.rho, self.releases = self.rho + cost, self.releases + 1
        self.write()

    def write(self) -> None:
        """Write the ledger, if there is one."""
        if self.ledger is not None:
            content = json.dumps(sealed({"rho": self.rho, "releases": self.releases})) + "\n"
            atomic_write(self.ledger, lambda file: file.write(content.encode()))
