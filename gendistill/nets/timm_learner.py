"""Learners of timm: any of its classifiers, with fresh weights, for images of a data set's size."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gendistill.class_names import TIMM_PREFIX
from gendistill.errors import UserError, did_you_mean
from gendistill.nets.learners import Learner


class TimmLearner(Learner):
    """A classifier of timm, drawn anew; nothing is downloaded.

    Its first layer takes the images' channels and, where the network depends on the size of images (a ViT), it is built
    for theirs. Networks for images of 224 pixels halve their maps five times: small images are better seen large
    (``--image-size``, or a network for them).

    Args:
        num_classes: Number of classes K, at least 2.
        image_shape: (C, H, W) of the images.
        model: Name in timm, such as ``resnet18`` or ``vit_tiny_patch16_224``.
        patch_size: Pixels of a patch's side, of networks that cut images into patches: ViTs, and the first layer of
            ConvNeXt. Small images take small ones, such as 4 (1 of ConvNeXt). None: the network's own.

    Raises:
        UserError: timm is not installed or has no such network, or it does not take such images.

    Source:
        Wightman 2019, "PyTorch Image Models".
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: tuple[int, int, int],
        model: str = "resnet18",
        patch_size: int | None = None,
    ) -> None:
        super().__init__(num_classes, image_shape)
        if patch_size is not None and not 1 <= patch_size <= min(image_shape[1:]):
            raise UserError(
                f"patch_size is {patch_size}; give from 1 to the {min(image_shape[1:])} pixels of the images"
            )
        self.model = created(model, self.image_shape, num_classes, patch_size)
        head = self.model.get_classifier()
        if not isinstance(head, nn.Linear):
            raise UserError(f"timm's '{model}' does not end in one linear layer; choose another, such as resnet18")
        self.probe(model)

    @property
    def classifier(self) -> nn.Linear:  # type: ignore[override]
        """The last linear layer."""
        head: nn.Linear = self.model.get_classifier()
        return head

    def features(self, x: Tensor) -> Tensor:
        """Return the vectors (N, F) that the last linear layer sees for images (N, C, H, W)."""
        found: Tensor = self.model.forward_head(self.model.forward_features(x), pre_logits=True)
        return found

    def probe(self, model: str) -> None:
        """See that images of this shape go through, before anything is trained.

        Raises:
            UserError: They do not.
        """
        training = self.training
        try:
            with torch.no_grad():
                logits = self.eval()(torch.zeros(2, *self.image_shape))
        except (RuntimeError, AssertionError, ValueError, TypeError) as error:
            raise _unfit(model, self.image_shape, error) from error
        finally:
            self.train(training)
        if logits.shape != (2, self.num_classes):
            raise UserError(f"timm's '{model}' gives outputs of shape {tuple(logits.shape)} and classifies no images")


def created(model: str, image_shape: tuple[int, int, int], num_classes: int, patch_size: int | None = None) -> Any:
    """Return a network of timm without trained weights, for images of a shape; 0 classes leave the last layer out.

    Raises:
        UserError: timm is not installed or has no such network, or it does not take such images.
    """
    try:
        import timm
    except ImportError as error:
        raise UserError(f"'{TIMM_PREFIX}{model}' needs timm; pip install 'gendistill[timm]'") from error
    if not timm.is_model(model):  # also what would be read from a hub, such as hf_hub:...
        hint = did_you_mean(model, timm.list_models())
        raise UserError(f"timm has no network '{model}'; {hint}timm.list_models() names all of them")
    channels, *size = image_shape
    options: dict[str, Any] = {"pretrained": False, "in_chans": channels, "num_classes": num_classes}
    options |= {} if patch_size is None else {"patch_size": patch_size}
    try:
        try:
            return timm.create_model(model, img_size=tuple(size), **options)
        except TypeError:  # a network that takes images of every size
            return timm.create_model(model, **options)
    except (RuntimeError, AssertionError, ValueError, TypeError, ZeroDivisionError) as error:
        raise _unfit(model, image_shape, error) from error


def _unfit(model: str, image_shape: tuple[int, ...], error: Exception) -> UserError:
    channels, height, width = image_shape
    reason = " ".join(str(error).split())[:160] or type(error).__name__
    return UserError(
        f"timm's '{model}' does not take images of {height}x{width} pixels and {channels} channels ({reason}); bring "
        "images to another size, or choose another network"
    )
