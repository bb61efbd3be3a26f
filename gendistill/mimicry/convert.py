"""Weights between torch-mimicry's SN-ResNet GANs (SNGAN, cGAN-PD) and this project's.

The networks are the same functions; what differs is how layers are named and what spectral norm keeps. torch-mimicry
has two kinds of it: torch's older hook (``weight_orig``, ``weight_u``, ``weight_v``), and a class of its own
(``weight``, ``sn_u``, ``sn_sigma``) in the heads of cGAN-PD, which in eval mode makes one more power iteration at each
call. Here all layers are parametrised (``parametrizations.weight``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.weights import below_shared

BLOCK = {"conv1": "c1", "conv2": "c2", "shortcut": "c_sc", "norm1": "b1", "norm2": "b2"}
ORIGINAL, U, V = (f"parametrizations.weight.{part}" for part in ("original", "0._u", "0._v"))
HOOK = {"weight_orig": ORIGINAL, "weight_u": U, "weight_v": V}


def from_mimicry(state: Mapping[str, Tensor], network: nn.Module) -> None:
    """Give a network of this project the weights of one of torch-mimicry.

    In eval mode both then compute the same.

    Args:
        state: State dict of torch-mimicry's network.
        network: A generator or discriminator of ``gendistill.nets.sngan`` or ``gendistill.nets.cgan_pd``.

    Raises:
        UserError: The weights are of another architecture or size.
    """
    _check_function(network)
    names = _layers(network)
    converted: dict[str, Tensor] = {}
    left = below_shared(state)
    for ours, theirs in names.items():
        part = {key: left.pop(f"{theirs}.{key}") for key in _keys(left, theirs)}
        if {"weight", "sn_u"} <= part.keys():
            weight = part.pop("weight")
            # One iteration further: the one that its eval mode makes at each call.
            v = F.normalize(part.pop("sn_u") @ weight.flatten(1), eps=1e-12)
            u = F.normalize(v @ weight.flatten(1).T, eps=1e-12)
            part.pop("sn_sigma", None)
            part |= {ORIGINAL: weight, U: u[0], V: v[0]}
        part = {HOOK.get(key, key): value for key, value in part.items()}
        converted |= {f"{ours}.{key}": value for key, value in part.items()}
    _load(network, converted | left, "torch-mimicry's weights")


def to_mimicry(network: nn.Module, target: nn.Module) -> None:
    """Give a network of torch-mimicry the weights of one of this project.

    In eval mode both then compute the same, but for its own kind of spectral norm (the embedding of cGAN-PD): there it
    makes one more power iteration, and the two agree as well as this project's has converged.

    Args:
        network: A generator or discriminator of ``gendistill.nets.sngan`` or ``gendistill.nets.cgan_pd``.
        target: torch-mimicry's network of the same architecture and size.

    Raises:
        UserError: They differ in architecture or size.
    """
    _check_function(network)
    state = {name: value.detach() for name, value in network.state_dict().items()}
    wanted = target.state_dict()
    converted: dict[str, Tensor] = {}
    for ours, theirs in _layers(network).items():
        part = {key: state.pop(f"{ours}.{key}") for key in _keys(state, ours)}
        if ORIGINAL in part:
            weight, u, v = (part.pop(key) for key in (ORIGINAL, U, V))
            if f"{theirs}.sn_u" in wanted:
                sigma = (u @ weight.flatten(1) @ v).reshape(1)
                part |= {"weight": weight, "sn_u": u[None], "sn_sigma": sigma}
            else:
                part |= {"weight_orig": weight, "weight_u": u, "weight_v": v}
        converted |= {f"{theirs}.{key}": value for key, value in part.items()}
    _load(target, converted | state, "this project's weights")


def generator_spec(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the network of this project that computes what a torch-mimicry generator does, read off its weights.

    Known are ResNet generators of one width: cGAN-PD, and DCGAN, WGAN-GP, SNGAN, SSGAN and InfoMax-GAN, which share one
    generator, for 32x32 images. DCGANGeneratorCIFAR has the same weights and another range of values; weights cannot
    tell it.

    Args:
        state: The generator's state dict.

    Returns:
        ``{"class_path": ..., "init_args": {...}}``.

    Raises:
        UserError: The weights are of another architecture.
    """
    state = below_shared(state)
    blocks = {int(match[1]) for key in state if (match := re.match(r"block(\d+)\.", key))}
    last = len(blocks) + 2
    try:
        if blocks != set(range(2, last)):
            raise KeyError("block2")
        (values, nz), ngf = state["l1.weight"].shape, state["block2.c1.weight"].shape[1]
        if any(state[f"block{index}.c_sc.weight"].shape[:2] != (ngf, ngf) for index in blocks):
            raise ValueError("the blocks differ in width")
        channels, bottom_width = state[f"c{last}.weight"].shape[0], math.isqrt(values // ngf)
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        raise UserError(
            "the checkpoint is not of a generator that this project knows (DCGAN, WGAN-GP, SNGAN, SSGAN, InfoMax-GAN "
            "or cGAN-PD for 32x32); name its class, see docs/methods/mimicry.md"
        ) from error
    size = bottom_width * 2 ** len(blocks)
    arguments: dict[str, Any] = {"image_shape": (channels, size, size), "nz": nz, "ngf": ngf}
    arguments["bottom_width"] = bottom_width
    embedding = state.get("block2.b1.embed.weight")
    if embedding is None:
        return {"class_path": "gendistill.nets.sngan.SNGANGenerator", "init_args": arguments}
    arguments["num_classes"] = embedding.shape[0]
    return {"class_path": "gendistill.nets.cgan_pd.CGANPDGenerator", "init_args": arguments}


def _layers(network: nn.Module) -> dict[str, str]:
    """Return torch-mimicry's name of each layer by this project's."""
    blocks = getattr(network, "blocks", None)
    if not isinstance(blocks, (nn.Sequential, nn.ModuleList)):
        raise UserError(
            f"{type(network).__name__} is not an SN-ResNet of gendistill.nets.sngan or gendistill.nets.cgan_pd"
        )
    last, first = len(blocks) + 1, 2 if hasattr(network, "nz") else 1
    names = {
        f"blocks.{index}.{ours}": f"block{index + first}.{theirs}"
        for index in range(len(blocks))
        for ours, theirs in BLOCK.items()
    }
    if hasattr(network, "nz"):
        return names | {"linear": "l1", "norm": f"b{last + 1}", "conv": f"c{last + 1}"}
    return names | {"linear": f"l{last}"} | ({"embedding": "l_y"} if hasattr(network, "embedding") else {})


def _keys(state: Mapping[str, Tensor], layer: str) -> list[str]:
    return [key.removeprefix(f"{layer}.") for key in state if key.startswith(f"{layer}.")]


def _check_function(network: nn.Module) -> None:
    for block in network.modules():
        if getattr(block, "upsampling", "bilinear") != "bilinear":
            raise UserError(
                "torch-mimicry's generators up-sample bilinearly; build the network with upsampling: bilinear"
            )
        if not getattr(block, "first", True) and not getattr(block, "shortcut_relu", True):
            raise UserError(
                "torch-mimicry's discriminators feed their shortcuts ReLU of the input; build the network with "
                "shortcut_relu: true"
            )


def _load(network: nn.Module, state: dict[str, Tensor], what: str) -> None:
    name, wanted = type(network).__name__, network.state_dict()
    for key in sorted(wanted.keys() ^ state.keys()):
        raise UserError(f"{what} do not fit {name}: '{key}' is in one of the two only")
    for key, tensor in wanted.items():
        if tensor.shape != state[key].shape:
            raise UserError(
                f"{what} do not fit {name}: '{key}' must have shape {tuple(tensor.shape)}, not "
                f"{tuple(state[key].shape)}"
            )
    with torch.no_grad():
        network.load_state_dict(state)
