"""torchvision's ResNet-18 as the registry has it: grey, with GroupNorm, nothing in place.

GroupNorm for the reason said in `models.classifiers.small_cnn`. A file of its own, because
torchvision takes seconds to import and no other network needs it.
"""

from __future__ import annotations

from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet


class _Block(BasicBlock):
    """torchvision's block without its in-place addition, which per-sample hooks cannot bear."""

    def forward(self, x: Tensor) -> Tensor:
        """Two convolutions and a skip connection: [B, C, H, W] to [B, C', H', W']."""
        skip = x if self.downsample is None else self.downsample(x)
        inner = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(inner)) + skip)


def resnet18(classes: int) -> ResNet:
    """Torchvision's ResNet-18 for grey images, with GroupNorm and nothing in place.

    Parameter names are torchvision's, so that its weights can be loaded where shapes agree.

    Args:
        classes: number of logits.

    Returns:
        A module from [B, 1, S, S] to [B, classes], 11.2 million parameters.
    """
    net = ResNet(_Block, [2, 2, 2, 2], num_classes=classes, norm_layer=_group_norm)
    net.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(net.conv1.weight, mode="fan_out", nonlinearity="relu")
    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return net


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(32, channels // 4), channels)
