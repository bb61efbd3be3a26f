"""Characteristic functions of features: two sets compared as whole distributions, and not by their means alone.

Wang et al. 2025, "Dataset Distillation with Neural Characteristic Function: A Minmax Perspective" (NCFM). The
characteristic function of features z_1 ... z_n at a frequency t is

    phi(t) = 1/n sum_i exp(j <t, z_i>) = 1/n sum_i cos <t, z_i> + j 1/n sum_i sin <t, z_i>

and two distributions are the same if and only if theirs agree at all t.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST = 1e-12
"""What stands under the root beside its argument, so that the gradient is finite where functions agree."""


def waves(features: Tensor, frequencies: Tensor) -> list[Tensor]:
    """Return what a characteristic function is the mean of.

    Args:
        features: (N, F) of N images; each is brought to length 1 first, as in the published code.
        frequencies: (T, F), t above.

    Returns:
        cos <t, z> and sin <t, z>, (N, T) each.
    """
    angles = F.normalize(features, dim=1) @ frequencies.T
    return [angles.cos(), angles.sin()]


def characteristic_distance(
    real: tuple[Tensor, Tensor], synthetic: tuple[Tensor, Tensor], *, amplitude: float = 0.5, phase: float = 0.5
) -> Tensor:
    """Return how far characteristic functions are apart, summed over classes.

    For every class c, with the functions phi_r of real and phi_s of synthetic features,

        mean over t of sqrt( a (|phi_r| - |phi_s|)^2 + b 2 (|phi_r| |phi_s| - Re(phi_r conj(phi_s))) )

    The first part compares amplitudes, how spread out features are; the second phases, where they lie. With a = b = 1
    the root is |phi_r - phi_s|.

    Args:
        real: Real and imaginary part of phi_r, (K, T) each, a row a class.
        synthetic: The same of phi_s.
        amplitude: a, from 0.
        phase: b, from 0.

    Returns:
        A scalar.
    """
    (real_cos, real_sin), (cos, sin) = real, synthetic
    # The length has no gradient at zero; the smallest normal float keeps it finite there and changes nothing elsewhere.
    tiny = torch.finfo(cos.dtype).tiny
    both = (real_cos.square() + real_sin.square() + tiny).sqrt() + (cos.square() + sin.square() + tiny).sqrt()
    # From differences of the parts, not of products, whose digits are lost where the functions nearly agree:
    # |p| - |q| = (|p|^2 - |q|^2) / (|p| + |q|), and what stands behind b is |p - q|^2 - (|p| - |q|)^2.
    across, up = real_cos - cos, real_sin - sin
    lengths = ((across * (real_cos + cos) + up * (real_sin + sin)) / both).square()
    angles = (across.square() + up.square() - lengths).clamp(min=0)
    return (amplitude * lengths + phase * angles + LEAST).sqrt().mean(1).sum()
