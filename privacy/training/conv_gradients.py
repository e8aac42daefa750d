"""Per-image gradients of Conv2d, right for every memory layout.

Opacus 1.6 unfolds the input with `as_strided`, which assumes NCHW strides. PyTorch passes on
channels-last tensors by itself (after attention, transposes, or a channels-last model), and then
the gradients are silently wrong, often zero. Making the input contiguous first is not enough: a
channels-last tensor of 1 x 1 pixels *is* contiguous, and padding makes it channels-last again.
`Tensor.unfold` knows about strides (and is as fast).
"""

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional


def conv2d_grad_sample(
    layer: nn.Module, activations: list[Tensor], backprops: Tensor
) -> dict[nn.Parameter, Tensor]:
    """Per-image gradients of one Conv2d call, in the form of an Opacus grad sampler.

    Handles stride, padding (``"same"`` and padding modes too), dilation and groups.

    Args:
        layer: a Conv2d.
        activations: its input, one tensor of shape [n, in_channels, height, width].
        backprops: gradient of the loss by its output, [n, out_channels, height', width'].

    Returns:
        Trainable parameter -> gradients, shape [n, *parameter.shape].
    """
    assert isinstance(layer, nn.Conv2d)  # noqa: S101 - Opacus' table is keyed by exact type
    gradients: dict[nn.Parameter, Tensor] = {}
    if layer.weight.requires_grad:
        patches = _patches(layer, activations[0].to(backprops.dtype))
        by_group = patches.reshape(len(backprops) * layer.groups, -1, patches.shape[-1])
        outgoing = backprops.reshape(len(by_group), -1, patches.shape[-1])
        weight = torch.bmm(outgoing, by_group.transpose(1, 2))
        gradients[cast("nn.Parameter", layer.weight)] = weight.reshape(
            len(backprops), *layer.weight.shape
        )
    if layer.bias is not None and layer.bias.requires_grad:
        gradients[cast("nn.Parameter", layer.bias)] = backprops.sum(dim=(2, 3))
    return gradients


def _patches(layer: nn.Conv2d, images: Tensor) -> Tensor:
    """What each output pixel sees: [n, in_channels x kernel height x kernel width, pixels]."""
    mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
    view = functional.pad(images, layer._reversed_padding_repeated_twice, mode=mode)
    for axis in (0, 1):
        reach = (layer.kernel_size[axis] - 1) * layer.dilation[axis] + 1
        view = view.unfold(2 + axis, reach, layer.stride[axis])[..., :: layer.dilation[axis]]
    _, _, height, width, *_ = view.shape
    return view.permute(0, 1, 4, 5, 2, 3).reshape(len(images), -1, height * width)
