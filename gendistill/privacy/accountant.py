"""What a number of noisy sums costs: epsilon of calls, and the noise that a budget asks for.

A call is a Gaussian mechanism: a sum of L2 sensitivity 1 with normal noise of standard deviation ``noise``, of all
records or of a Poisson sample of rate ``rate``. Calls may be chosen in view of the earlier ones' results.

Calls on all records compose exactly: T of noise s are one of noise s / sqrt(T), and

    delta(epsilon) = Phi(mu / 2 - epsilon / mu) - exp(epsilon) Phi(-mu / 2 - epsilon / mu),  mu = sqrt(T) / s

(Balle and Wang 2018, "Improving the Gaussian Mechanism for Differential Privacy", theorem 8). With a sampled call among
them Opacus accounts for all: by Renyi divergences (``rdp``; Mironov, Talwar, Zhang 2019) or by privacy loss
distributions (``prv``; Gopi, Lee, Wutschitz 2021), both for Poisson samples and records that are added or removed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from gendistill.errors import UserError

ACCOUNTANTS = ("rdp", "prv")
ANALYTIC = "analytic Gaussian"
ORDERS = (*(1 + step / 10 for step in range(1, 100)), *range(12, 64), 80, 128, 256, 512)
"""Of the Renyi divergences: those that Opacus takes, and some larger ones for small budgets."""
LARGEST = 1e6
"""More noise, or a larger epsilon, than anything here has use for."""


class Call(NamedTuple):
    """Some private sums of one kind.

    Attributes:
        noise: Standard deviation of the noise over the sensitivity; 0: none, which costs without bound.
        rate: Chance of each record to be in a sum; 1: all are.
        times: How many sums.
    """

    noise: float
    rate: float = 1.0
    times: int = 1


def gaussian_delta(epsilon: float, mu: float) -> float:
    """Return delta of a Gaussian mechanism at ``epsilon``; ``mu`` is the sensitivity over the noise.

    Source: theorem 8, Balle and Wang 2018.
    """
    if mu <= 0:
        return 0.0
    if math.isinf(mu):
        return 1.0
    from scipy import special  # here: every command reads promises, few compute one, and scipy loads slowly

    # In logarithms: exp(epsilon) overflows where its factor vanishes.
    second = math.exp(min(epsilon + float(special.log_ndtr(-epsilon / mu - mu / 2)), 0.0))
    return float(max(special.ndtr(mu / 2 - epsilon / mu) - second, 0.0))


def gaussian_epsilon(mu: float, delta: float) -> float:
    """Return the smallest epsilon for which a Gaussian mechanism is (epsilon, delta)-private; see above."""
    if gaussian_delta(0.0, mu) <= delta:
        return 0.0
    from scipy import optimize

    high = 1.0
    while gaussian_delta(high, mu) > delta:
        high *= 2
        if high > LARGEST:
            return math.inf
    found = optimize.brentq(lambda epsilon: gaussian_delta(epsilon, mu) - delta, 0.0, high, xtol=1e-12, rtol=1e-12)
    return float(found)


def name_of(calls: Iterable[Call], accountant: str = "rdp") -> str:
    """Return who accounts for calls: the exact formula where all are of all records, else the accountant's name."""
    return ANALYTIC if all(call.rate == 1.0 for call in calls) else accountant


def epsilon_of(calls: Sequence[Call], delta: float, accountant: str = "rdp") -> float:
    """Return what calls cost together.

    Args:
        calls: Of one ledger.
        delta: In (0, 1).
        accountant: ``rdp`` or ``prv``, for calls on samples.

    Returns:
        Epsilon, an upper bound; infinite where there is no noise.

    Raises:
        UserError: Opacus is not installed, or an accountant of another name was asked for.
    """
    calls = [call for call in calls if call.times]
    if not calls:
        return 0.0
    if any(call.noise <= 0 for call in calls):
        return math.inf
    if name_of(calls) == ANALYTIC:
        return gaussian_epsilon(math.sqrt(sum(call.times / call.noise**2 for call in calls)), delta)
    return _prv(tuple(calls), delta) if _known(accountant) == "prv" else _rdp(calls, delta)


def noise_for(
    epsilon: float,
    delta: float,
    count: int,
    rate: float = 1.0,
    accountant: str = "rdp",
    *,
    beside: Sequence[Call] = (),
) -> float:
    """Return the smallest noise with which ``count`` calls of one rate cost at most ``epsilon``.

    Args:
        epsilon: Positive.
        delta: In (0, 1).
        count: Number of calls.
        rate: See :class:`Call`.
        accountant: See :func:`epsilon_of`.
        beside: Calls that were made already, and count, too.

    Returns:
        Within a ten-thousandth above the smallest one.

    Raises:
        UserError: No noise is large enough, or :func:`epsilon_of` refuses.
    """

    def excess(logarithm: float) -> float:
        return epsilon_of([*beside, Call(math.exp(logarithm), rate, count)], delta, accountant) - epsilon

    low, high = math.log(0.05), math.log(0.1)
    while excess(high) > 0:
        low, high = high, high + math.log(2)
        if high > math.log(LARGEST):
            raise UserError(f"no noise gives epsilon {epsilon:g} at delta {delta:g}; ask for a larger epsilon")
    while high - low > 1e-4 if rate < 1 else high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > 0 else (low, middle)
    return math.exp(high)


def _known(accountant: str) -> str:
    if accountant not in ACCOUNTANTS:
        raise UserError(f"accountant is '{accountant}'; choose one of: {', '.join(ACCOUNTANTS)}")
    return accountant


def _opacus(module: str) -> Any:
    """Return a module of Opacus, or say how to get it."""
    import importlib

    try:
        return importlib.import_module(f"opacus.accountants{module}")
    except ImportError as error:
        raise UserError(
            "sums of samples are accounted for by Opacus, which is not installed; pip install 'gendistill[privacy]', "
            "or use a method whose sums are of all records"
        ) from error


@lru_cache(maxsize=256)
def _divergences(noise: float, rate: float) -> Any:
    """Return the Renyi divergences of one call, at all orders."""
    found = _opacus(".analysis.rdp").compute_rdp(q=rate, noise_multiplier=noise, steps=1, orders=ORDERS)
    return found


def _rdp(calls: Sequence[Call], delta: float) -> float:
    import warnings

    total = sum(call.times * _divergences(call.noise, call.rate) for call in calls)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that the best order is the first or the last: a looser bound, a sound one
        found, _ = _opacus(".analysis.rdp").get_privacy_spent(orders=ORDERS, rdp=total, delta=delta)
    return float(found)


@lru_cache(maxsize=256)
def _prv(calls: tuple[Call, ...], delta: float) -> float:
    accountant = _opacus("").PRVAccountant()
    accountant.history = [(call.noise, call.rate, call.times) for call in calls]
    return float(accountant.get_epsilon(delta))
