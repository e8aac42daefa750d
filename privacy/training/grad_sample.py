"""Per-image gradients by Opacus, made right or refused.

Opacus 1.6 hooks each layer and computes gradients image by image. Where that is silently wrong, a
clipped sum bounds nothing and epsilon is fiction. So:

- a layer may say that its gradient is another's (`same_gradient_as`), where it computes the same
  in another order; `check_sums` and `privacy.training.gradient_check` hold it to that;
- Conv2d has its own sampler (`privacy.training.conv_gradients`): Opacus' is wrong for
channels-last;
- `check_model` refuses what mixes images of a batch (batch statistics), what remembers them
  (running statistics), what Opacus computes differently from PyTorch (padding modes, embeddings
  that rescale), gradient checkpointing, half precision, and any layer whose parameters Opacus
  would have to guess at: a layer with children *and* parameters of its own, or an unknown layer
  whose forward takes more than one argument;
- `check_rows` and `check_sums` look at real batches: one gradient for each image in every
  parameter, and their sum equal to the gradient that PyTorch computed by itself. Layers skipped,
  used functionally or fed something else than the batch show there.

What neither can see is a model that mixes images in its forward by plain tensor operations;
`privacy.training.gradient_check` compares against one unit at a time and does.
"""

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar

import torch
from opacus import GradSampleModule
from opacus.grad_sample.functorch import prepare_layer
from opacus.validators import ModuleValidator
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from privacy.errors import GradientError
from privacy.training.conv_gradients import conv2d_grad_sample

SUM_TOLERANCE = 1e-3
"""Largest relative difference of sums that rounding may explain (seen: 1e-5)."""
_FLOOR = 1e-5
_EMBEDDING_OPTIONS = ("max_norm", "padding_idx", "scale_grad_by_freq", "sparse")
_Sampler = Callable[[nn.Module, list[Tensor], Tensor], dict[nn.Parameter, Tensor]]


class UnitGradSampleModule(GradSampleModule):
    """Opacus' wrapper with our samplers and hooks; Opacus' own table stays as it is.

    Gradients are caught by a hook on each layer's output tensor. Opacus' module hooks wrap outputs
    in views, on which in-place operations (``out += identity`` in torchvision's ResNets) fail.
    """

    GRAD_SAMPLERS: ClassVar[dict[type[nn.Module], _Sampler]] = {
        **{t: f for t, f in GradSampleModule.GRAD_SAMPLERS.items() if t is not nn.Conv3d},
        nn.Conv2d: conv2d_grad_sample,
    }  # Conv3d unfolds like Conv2d; without an entry it goes to functorch, slower and right

    def __init__(self, model: nn.Module, **options: Any) -> None:
        same = {
            type(module): self.GRAD_SAMPLERS[module.same_gradient_as]  # type: ignore[index]
            for module in model.modules()
            if hasattr(module, "same_gradient_as")
        }
        self.GRAD_SAMPLERS = {**type(self).GRAD_SAMPLERS, **same}  # type: ignore[misc]
        super().__init__(model, **options)

    def add_hooks(self, **_options: object) -> None:
        """Hook every layer that holds trainable parameters."""
        if hasattr(self._module, "autograd_grad_sample_hooks"):
            raise ValueError("hooks would be added twice to the same model")
        layers = list(self.iterate_submodules(self._module))
        for module in layers:
            if type(module) not in self.GRAD_SAMPLERS:
                prepare_layer(module)  # copies the layer, so before it has hooks
        handles = [module.register_forward_hook(self._catch) for module in layers]
        self._module.autograd_grad_sample_hooks = handles
        self.autograd_grad_sample_hooks = handles
        self.enable_hooks()

    def unwrap(self) -> nn.Module:
        """Remove every hook and attribute that Opacus added, even after a failed step.

        Returns:
            The model itself, as it was given.
        """
        model: nn.Module = self.to_standard_module()
        for module in model.modules():
            for name in ("activations", "max_batch_len"):
                if name in module.__dict__:
                    delattr(module, name)
        for parameter in model.parameters():
            parameter.grad = None
        return model

    def forget(self) -> None:
        """Drop what a forward or backward pass left, be it half done."""
        for module in self._module.modules():
            module.__dict__.pop("activations", None)
        for parameter in trainable(self._module).values():
            parameter.grad_sample = parameter.grad = None  # type: ignore[attr-defined]
            parameter._forward_counter = 0  # type: ignore[attr-defined]

    def _catch(self, module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
        if not (self.hooks_enabled and module.training and torch.is_grad_enabled()):
            return
        if len(inputs) != 1 or not isinstance(inputs[0], Tensor) or not isinstance(output, Tensor):
            raise GradientError(
                f"a {type(module).__name__} was called with {len(inputs)} positional arguments; "
                "a layer with parameters must take one tensor, by position, and return one"
            )
        for parameter in module.parameters(recurse=False):
            if parameter.requires_grad:
                parameter._forward_counter += 1  # type: ignore[attr-defined]
        output.register_hook(partial(self._caught, module, inputs[0].detach()))

    def _caught(self, module: nn.Module, activation: Tensor, gradient: Tensor) -> None:
        module.activations = [[activation]]  # type: ignore[assignment]
        self.capture_backprops_hook(
            module, None, (gradient,), loss_reduction="sum", batch_first=True
        )


def per_sample(model: nn.Module) -> UnitGradSampleModule:
    """Wrap a model so that a backward pass of summed losses leaves per-image gradients.

    After ``losses.sum().backward()`` each trainable parameter `p` has ``p.grad_sample`` of shape
    [n_images, *p.shape].

    Args:
        model: in training mode; modified in place until `unwrap`.

    Returns:
        The wrapper; the model itself may be called too.

    Raises:
        GradientError: a layer has no right per-sample gradient.
    """
    check_model(model)
    try:
        return UnitGradSampleModule(model, batch_first=True, loss_reduction="sum", strict=True)
    except (NotImplementedError, ValueError) as error:
        raise GradientError(f"Opacus cannot wrap this model: {error}"[:500]) from error


def check_model(model: nn.Module) -> None:
    """Refuse a model for which a per-sample gradient would be wrong or would leak.

    Args:
        model: in training mode.

    Raises:
        GradientError: names every layer concerned, why, and what to use instead.
    """
    if not model.training:
        raise GradientError("the model must be in training mode; call model.train()")
    if not any(p.requires_grad for p in model.parameters()):
        raise GradientError("the model has no trainable parameter; unfreeze what is to be learnt")
    problems = [
        f"{name or 'the model'} ({type(module).__name__}): {problem}"
        for name, module in model.named_modules()
        for problem in _problems(module)
    ]
    problems += [str(error) for error in ModuleValidator.validate(model, strict=False)]
    if problems:
        raise GradientError("no right per-sample gradient: " + "; ".join(problems)[:2000])


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that training changes, by name, each once."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def check_rows(model: nn.Module, *, n_images: int) -> None:
    """After a backward pass: every trainable parameter has one gradient for each image.

    Args:
        model: wrapped by `per_sample`, between backward and clipping.
        n_images: number of images in the batch.

    Raises:
        GradientError: a parameter got none, or another number of rows.
    """
    for name, parameter in trainable(model).items():
        samples = getattr(parameter, "grad_sample", None)
        if not isinstance(samples, Tensor):
            raise GradientError(
                f"no per-sample gradient for {name}: it is unused, or used outside its layer's "
                "forward; freeze it, or call its layer"
            )
        if len(samples) != n_images:
            raise GradientError(
                f"{len(samples)} per-sample gradients for {name} from {n_images} images; keep the "
                "batch as the first dimension of every layer's input"
            )


def check_sums(model: nn.Module) -> None:
    """After a backward pass of summed losses: per-image gradients must add up to the gradient.

    A batch with a NaN or an infinity is not judged; its unit is dropped later.

    Args:
        model: wrapped by `per_sample`, between backward and clipping.

    Raises:
        GradientError: a parameter's per-image gradients are wrong.
    """
    named = trainable(model)
    grads = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in named.items()}
    total = torch.stack([g.norm() for g in grads.values()]).norm()
    for name, parameter in named.items():
        samples = parameter.grad_sample.flatten(1)  # type: ignore[attr-defined]
        error = (samples.sum(0) - grads[name].flatten()).norm()
        scale = samples.norm(dim=1).sum() + grads[name].norm()
        if torch.isfinite(total + scale) and error > SUM_TOLERANCE * scale + _FLOOR * total:
            raise GradientError(
                f"the per-sample gradients of {name} do not add up to its gradient; its layer is "
                "used in a way that Opacus misreads"
            )


def _problems(module: nn.Module) -> Iterator[str]:
    if isinstance(module, _BatchNorm):
        yield "normalises with statistics of the batch; use nn.GroupNorm"
    if getattr(module, "track_running_stats", False):
        yield "remembers statistics of private images; set track_running_stats=False"
    if getattr(module, "gradient_checkpointing", False):
        yield "uses gradient checkpointing; switch it off"
    own = [p for p in module.parameters(recurse=False) if p.requires_grad]
    if not own:
        return
    if any(p.dtype not in (torch.float32, torch.float64) for p in own):
        yield "has parameters in half precision, too coarse to clip; use float32"
    if type(module) is nn.Conv1d and module.padding_mode != "zeros":
        yield f"pads by {module.padding_mode!r}, which Opacus takes for zeros; pad before it"
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        used = [name for name in _EMBEDDING_OPTIONS if getattr(module, name, None)]
        if used or getattr(module, "padding_idx", None) is not None:
            yield f"uses {', '.join(used) or 'padding_idx'}; per-sample gradients ignore it"
    known = getattr(module, "same_gradient_as", type(module))
    if known not in UnitGradSampleModule.GRAD_SAMPLERS:
        yield from _unknown(module)


def _unknown(module: nn.Module) -> Iterator[str]:
    """Layers left to functorch: right only for one tensor in, and no layers inside."""
    if any(True for _ in module.children()):
        yield "holds parameters beside other layers; put them into a layer of their own"
    names: list[Any] = list(inspect.signature(module.forward).parameters)
    if len(names) != 1:
        yield f"takes {len(names)} arguments; a layer with parameters must take one tensor"
