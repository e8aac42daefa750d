"""What is wrong with one image, by fixed rules on its grey values; no model is asked. Pure.

A flag says that a result may not be trusted, never what the image shows. Thresholds were fixed on
the public phantoms (`models.phantoms`), on which each flag is raised for fewer than one image in a
hundred (a test says so), and on their deliberately spoiled copies, on which it is raised.

    nearly blank image    fewer than 4 % of the pixels are brighter than 24
    low contrast          of the pixels brighter than 24, the 95th percentile lies less than 40 grey
                          levels above the 5th
    saturation            more than 12 % of the pixels are at least 254
    tissue at the border  more than half of the outermost pixels are brighter than 48
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.facts_parts import QualityFlag

DARK: Final = 24
LEAST_TISSUE: Final = 0.04
LEAST_CONTRAST: Final = 40.0
WHITE: Final = 254
MOST_WHITE: Final = 0.12
BORDER_GREY: Final = 48
MOST_BORDER: Final = 0.5


def quality_flags(image: NDArray[np.uint8]) -> tuple[QualityFlag, ...]:
    """The flags of an image uint8 [S, S], in a fixed order; empty where nothing is wrong."""
    tissue = image[image > DARK]
    found: list[QualityFlag] = []
    if tissue.size < LEAST_TISSUE * image.size:
        found.append("nearly blank image")
    elif float(np.diff(np.percentile(tissue, (5, 95)))[0]) < LEAST_CONTRAST:
        found.append("low contrast")
    if float((image >= WHITE).mean()) > MOST_WHITE:
        found.append("saturation")
    border = np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])
    if float((border > BORDER_GREY).mean()) > MOST_BORDER:
        found.append("tissue at the border")
    return tuple(found)
