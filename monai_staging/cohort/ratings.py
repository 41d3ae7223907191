"""What LIDC's readers rate of a nodule, and the rules of those ratings.

Source: McNitt-Gray et al., The LIDC data collection process for nodule detection and annotation, Academic Radiology
14(12), 2007.
"""

from __future__ import annotations

from collections.abc import Mapping

from monai_staging.cohort.numbers import is_integer
from monai_staging.errors import DataError

MALIGNANCY = (1, 2, 3, 4, 5)
"""Likelihood of malignancy: highly unlikely, moderately unlikely, indeterminate, moderately and highly suspicious."""
HIGHEST = {
    "subtlety": 5,
    "internalStructure": 5,
    "calcification": 6,
    "sphericity": 5,
    "margin": 5,
    "lobulation": 5,
    "spiculation": 5,
    "texture": 5,
}
"""The other ratings, as LIDC spells them, with their highest value. internalStructure has four, and one reader's 5."""
RATINGS = tuple(HIGHEST)


def check_ratings(malignancy: tuple[int, ...], ratings: Mapping[str, tuple[int, ...]]) -> None:
    """Raises :class:`DataError` for a rating that LIDC's scales do not have."""
    if not all(is_integer(value) and value in MALIGNANCY for value in malignancy):
        raise DataError(f"malignancy must be whole numbers from 1 to 5; found {malignancy!r}")
    for name, values in ratings.items():
        highest = HIGHEST.get(name)
        if highest is None:
            raise DataError(f"a rating must be one of {', '.join(RATINGS)}; found {name!r}")
        if not values or not all(is_integer(value) and 1 <= value <= highest for value in values):
            raise DataError(f"{name} must be whole numbers from 1 to {highest}; found {values!r}")
