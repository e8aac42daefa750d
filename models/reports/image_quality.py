"""What is wrong with one image, by fixed rules on its grey values; no model is asked. Pure.

A flag says that a result may not be trusted, never what the image shows. Thresholds were fixed on
the public phantoms (`models.phantoms.draw`) and, for the last two, on the training part of a public
set of real MRI: on either each flag is raised for fewer than one image in a hundred. `make
bench-flags` measures them on the part that was held out; docs/reports.md has the figures.

    nearly blank image    fewer than 4 % of the pixels are brighter than 24
    low contrast          of the pixels brighter than 24, the 95th percentile lies less than 40 grey
                          levels above the 5th
    saturation            more than 12 % of the pixels are at least 254
    tissue at the border  more than half of the outermost pixels are brighter than 48
    image noise           a standard deviation above 12, by the median of the difference of two
                          Laplacians (after Immerkaer 1996), which edges hardly enter
    blurred image         of the Laplacian's sizes, the 95th percentile is below 0.45 of the
                          contrast

Noise and blur are judged at about 64 pixels a side, to which larger images are reduced by means of
blocks: finer noise and blur than that does not reach a classifier of this size either.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.reports.facts import QualityFlag

DARK: Final = 24
LEAST_TISSUE: Final = 0.04
LEAST_CONTRAST: Final = 40.0
WHITE: Final = 254
MOST_WHITE: Final = 0.12
BORDER_GREY: Final = 48
MOST_BORDER: Final = 0.5
JUDGED_SIDE: Final = 64
MOST_NOISE: Final = 12.0
LEAST_SHARPNESS: Final = 0.45


def quality_flags(image: NDArray[np.uint8]) -> tuple[QualityFlag, ...]:
    """The flags of an image uint8 [S, S], in a fixed order; empty where nothing is wrong."""
    tissue = image[image > DARK]
    found: list[QualityFlag] = []
    contrast = float(np.diff(np.percentile(tissue, (5, 95)))[0]) if tissue.size else 0.0
    if tissue.size < LEAST_TISSUE * image.size:
        found.append("nearly blank image")
    elif contrast < LEAST_CONTRAST:
        found.append("low contrast")
    if float((image >= WHITE).mean()) > MOST_WHITE:
        found.append("saturation")
    border = np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
    if float((border > BORDER_GREY).mean()) > MOST_BORDER:
        found.append("tissue at the border")
    small = _reduced(image)
    if noise_level(small) > MOST_NOISE:
        found.append("image noise")
    # Of an image without tissue or contrast there is nothing that could be sharp.
    if "nearly blank image" not in found and contrast >= LEAST_CONTRAST:
        sizes = np.abs(_laplacian(small))
        if float(np.percentile(sizes, 95)) < LEAST_SHARPNESS * contrast:
            found.append("blurred image")
    return tuple(found)


def noise_level(image: NDArray[np.float64]) -> float:
    """Standard deviation of white noise in an image [S, S], in grey levels.

    J. Immerkaer, "Fast noise variance estimation" (1996), with the median in place of the mean. It
    reads low where much of the image is flat black, which clips half of the noise.
    """
    rows = image[:-2] - 2.0 * image[1:-1] + image[2:]
    both = rows[:, :-2] - 2.0 * rows[:, 1:-1] + rows[:, 2:]
    return float(np.sqrt(np.pi / 2.0) / 6.0 * np.median(np.abs(both)))


def _laplacian(image: NDArray[np.float64]) -> NDArray[np.float64]:
    inner = image[1:-1, 1:-1]
    return image[:-2, 1:-1] + image[2:, 1:-1] + image[1:-1, :-2] + image[1:-1, 2:] - 4.0 * inner


def _reduced(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """An image of 64 to 127 pixels a side by means of whole blocks; smaller ones as they are."""
    block = max(1, image.shape[0] // JUDGED_SIDE)
    side = image.shape[0] // block
    cut = image[: side * block, : side * block].astype(np.float64)
    return cut.reshape(side, block, side, block).mean(axis=(1, 3))
