"""Settings of augmentation, as values that refuse nonsense; importing them imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

from models.errors import AugmentError


@dataclass(frozen=True, kw_only=True)
class AugmentSettings:
    """How far training images are varied; every default means "not at all".

    Attributes:
        horizontal_flip: mirror left and right, for each image with probability one half.
        shift: largest shift along each axis, as a fraction of the image, 0 to 0.5.
        rotate_deg: largest rotation either way, degrees, 0 to 180.
        scale: largest change of size; 0.1 draws factors from 0.9 to 1.1; 0 to 0.5.
        brightness: largest change of brightness; 0.1 draws factors from 0.9 to 1.1; 0 to 0.9.
    """

    horizontal_flip: bool = False
    shift: float = 0.0
    rotate_deg: float = 0.0
    scale: float = 0.0
    brightness: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            AugmentError: a value is not finite or out of its range.
        """
        if not isinstance(self.horizontal_flip, bool):
            raise AugmentError(f"horizontal_flip is {self.horizontal_flip!r}; give true or false")
        limits = {"shift": 0.5, "rotate_deg": 180.0, "scale": 0.5, "brightness": 0.9}
        for name, most in limits.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise AugmentError(f"{name} is {value!r}; give a number from 0 to {most}")
            if not 0 <= value <= most:  # NaN is not
                raise AugmentError(f"{name} is {value}; give a number from 0 to {most}")
