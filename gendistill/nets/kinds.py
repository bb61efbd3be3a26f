"""What kind of layer a module is: told by its type, not by the shape of its weights.

A layer here is a module with weights of its own that are drawn at random: a linear map, filters, a recurrent cell,
attention. Normalisations also have weights, some of two or three dimensions (``nn.LayerNorm((C, H, W))``), which start
at constants; an embedding's table is no map of images.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.rnn import RNNBase, RNNCellBase
from torch.nn.utils import parametrize
from torch.nn.utils.weight_norm import WeightNorm

from gendistill.errors import UserError

NORMALISATIONS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)
TABLES = (nn.Embedding, nn.EmbeddingBag)
MAPS = (nn.Linear, nn.Bilinear, _ConvNd)
OF_GATES = (RNNBase, RNNCellBase, nn.MultiheadAttention)
"""Layers whose matrices are several of equal shape, one under the other."""


def layers(network: nn.Module) -> list[nn.Module]:
    """Return a network's layers in its order; see the module's text.

    A module of another type than torch's own counts if it has a ``weight`` of two dimensions or more that does not
    start at a constant, as a scale does.
    """
    return [module for module in network.modules() if _is_layer(module)]


def _is_layer(module: nn.Module) -> bool:
    if isinstance(module, (*NORMALISATIONS, *TABLES)):
        return False
    if isinstance(module, (*MAPS, *OF_GATES)):
        return True
    weight = module._parameters.get("weight")
    if weight is None and parametrize.is_parametrized(module, "weight"):
        weight = module.weight  # type: ignore[assignment]
    return weight is not None and weight.ndim >= 2 and bool((weight != weight.flatten()[0]).any())


@torch.no_grad()
def draw_xavier(layer: nn.Module) -> None:
    """Draw a layer's weights from a normal with variance 2 / (fan in + fan out), and set its biases to zero.

    Where the weight is a direction times a length, or otherwise computed, it is the product that is drawn so; of a
    recurrent or an attention layer every matrix by itself.

    Raises:
        UserError: The layer computes its weight in a way that is not known here.
    """
    own = dict(layer.named_parameters(recurse=False))
    if isinstance(layer, OF_GATES):
        for name, parameter in own.items():
            if "bias" not in name:
                for matrix in parameter.split(_rows(layer, name, parameter)):
                    nn.init.xavier_normal_(matrix)
    else:
        put_weight(layer, nn.init.xavier_normal_(torch.empty_like(layer.weight)))  # type: ignore[arg-type]
    for name, parameter in own.items():
        if "bias" in name:
            nn.init.zeros_(parameter)


def _rows(layer: Any, name: str, parameter: Tensor) -> int:
    """Return the rows of one of the matrices that a parameter holds."""
    if name == "in_proj_weight":
        return int(layer.embed_dim)
    return int(layer.hidden_size) if name.startswith(("weight_ih", "weight_hh")) else len(parameter)


@torch.no_grad()
def put_weight(layer: Any, value: Tensor) -> None:
    """Give a layer the weight ``value``, also where its weight is made of other parameters.

    A layer of one's own that computes its weight has a method ``put_weight``.

    Raises:
        UserError: It is computed in a way that is not known here.
    """
    own = getattr(layer, "put_weight", None)
    length = next((hook for hook in layer._forward_pre_hooks.values() if isinstance(hook, WeightNorm)), None)
    if own is not None:
        own(value)
    elif parametrize.is_parametrized(layer, "weight"):
        layer.weight = value
    elif length is not None and length.name == "weight":
        layer.weight_v.copy_(value)
        layer.weight_g.copy_(torch.norm_except_dim(value, 2, length.dim))
        layer.weight = length.compute_weight(layer)
    elif "weight_orig" in layer._parameters:  # spectral norm and pruning by hooks
        layer.weight_orig.copy_(value)
    elif "weight" in layer._parameters:
        layer.weight.copy_(value)
    else:
        raise UserError(
            f"the weight of {type(layer).__name__} is computed, so it cannot be drawn; give the layer a method "
            "put_weight(value), or set weights to torch"
        )
