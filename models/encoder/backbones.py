"""torchvision's classifiers without their last layer: what an encoder may stand on.

Batch normalisation would let one patient's features depend on another's image. A backbone has
none, in whatever mode it is: in its place stands torchvision's `FrozenBatchNorm2d`, an affine map
with the published statistics (`frozen`), or group normalisation with the published scales (`group`;
Wu and He 2018, arXiv 1803.08494), which knows an image's own statistics only. No layer works in
place, so that per-sample gradients are well defined.

What comes out is what torchvision's last linear layer takes: one vector of the whole image, in
which places are averaged away. Images go in as ImageNet's do: three equal channels, its mean and
standard deviation.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.ops.misc import FrozenBatchNorm2d

from models.encoder.card import BackbonePart
from models.errors import WeightsError

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_STATISTICS = ("running_mean", "running_var")
_COUNT = "num_batches_tracked"
_NAMED = 3


class Backbone(nn.Module):
    """[B, 1, side, side], 0 black to 1 white, to [B, length]; random weights, evaluation mode."""

    def __init__(self, part: BackbonePart) -> None:
        super().__init__()
        net: nn.Module = get_model(part.architecture, weights=None)
        self.last, linear = _last(net)
        self.length = linear.in_features
        net.set_submodule(self.last, nn.Identity())
        for name, layer in list(net.named_modules()):
            if isinstance(layer, nn.BatchNorm2d):
                net.set_submodule(name, _group(layer) if part.norm == "group" else _frozen(layer))
            elif getattr(layer, "inplace", False):
                layer.inplace = False
        self.net = net
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """What the last layer took."""
        mean, deviation = (
            images.new_tensor(values)[:, None, None] for values in (_MEAN, _DEVIATION)
        )
        features: Tensor = self.net((images.expand(-1, 3, -1, -1) - mean) / deviation)
        return features

    def load_published(self, state: Mapping[str, Tensor], *, source: str) -> None:
        """Take the state of torchvision's whole classifier; its last layer is left out.

        Args:
            state: as `torch.save(net.state_dict(), ...)` wrote it; any number of classes.
            source: where it is from, for messages.

        Raises:
            WeightsError: other tensors than the backbone's; names some.
        """
        own = self.net.state_dict()
        given = {
            name: tensor.to(torch.float32)
            for name, tensor in state.items()
            if not name.startswith(f"{self.last}.") and not self._needless(name, own)
        }
        wrong = [
            f"{name} {_shape(given.get(name))} instead of {_shape(own.get(name))}"
            for name in sorted(own.keys() | given.keys())
            if _shape(given.get(name)) != _shape(own.get(name))
        ]
        if wrong:
            raise WeightsError(
                f"{source} holds other weights than this backbone's: {'; '.join(wrong[:_NAMED])}"
                + (f"; and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else "")
                + "; is it the state_dict of another architecture?"
            )
        self.net.load_state_dict(given)

    def _needless(self, name: str, own: Mapping[str, Tensor]) -> bool:
        """Statistics of batch normalisation that this backbone does without."""
        kind = name.rpartition(".")[2]
        return kind == _COUNT or (kind in _STATISTICS and name not in own)


def _last(net: nn.Module) -> tuple[str, nn.Linear]:
    """The last linear layer and its name."""
    linear = [(name, m) for name, m in net.named_modules() if isinstance(m, nn.Linear)]
    return linear[-1]


def _frozen(layer: nn.BatchNorm2d) -> nn.Module:
    frozen: nn.Module = FrozenBatchNorm2d(layer.num_features, eps=layer.eps)
    return frozen


def _group(layer: nn.BatchNorm2d) -> nn.GroupNorm:
    """At most 32 groups, of at least four channels where there are as many."""
    channels = layer.num_features
    most = max(1, min(32, channels // 4))
    groups = max(count for count in range(1, most + 1) if channels % count == 0)
    return nn.GroupNorm(groups, channels, eps=layer.eps)


def _shape(tensor: Tensor | None) -> list[int] | None:
    return None if tensor is None else list(tensor.shape)
