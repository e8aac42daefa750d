"""Every error the models package raises, except those of the LLaMa reports.

    ModelsError
    ├── UnknownModelError    no classifier of that name, or a size it cannot be built for
    ├── ModelFileError       a model.py says something that is not allowed; carries the line
    ├── WeightsError         weights are malformed, too large, not finite or not of this model
    ├── MetricsError         predictions cannot be scored (NaN, no rows, shapes that disagree)
    ├── AugmentError         augmentation settings or images are out of range
    ├── PhantomError         phantoms were asked for that cannot be drawn
    └── GeneratorError       a diffusion generator's settings, images or labels are out of range

The reports' errors stand in `models.reports.errors`, under the same root. `exit_code` is what the
command line returns: 2, bad input.
"""

from __future__ import annotations


class ModelsError(Exception):
    """Base of all errors of this package."""

    exit_code = 2


class UnknownModelError(ModelsError):
    """No classifier of that name is registered, or it cannot be built for these sizes."""


class ModelFileError(ModelsError):
    """A researcher's `model.py` says something that is not allowed.

    Attributes:
        line: the line of the file, counted from 1; None where no line can be named.
    """

    def __init__(self, message: str, *, line: int | None = None) -> None:
        where = "model file" if line is None else f"model file, line {line}"
        super().__init__(f"{where}: {message}")
        self.line = line


class WeightsError(ModelsError):
    """Weights are malformed, too large, not finite or not those of this model."""


class MetricsError(ModelsError):
    """Predictions cannot be scored: NaN, no rows, or shapes that disagree."""


class AugmentError(ModelsError):
    """Augmentation settings or images are out of range."""


class PhantomError(ModelsError):
    """Phantoms were asked for that cannot be drawn."""


class GeneratorError(ModelsError):
    """A diffusion generator's settings, images or labels are out of range."""
