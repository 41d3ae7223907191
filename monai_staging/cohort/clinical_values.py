"""Age, sex and smoking as tables and DICOM headers spell them."""

from __future__ import annotations

import re

from monai_staging.tnm.parse import plain

_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*(d|w|m|y|days?|weeks?|months?|years?)?")
_PER_YEAR = {"d": 365.25, "w": 52.18, "m": 12.0, "y": 1.0}
_SEXES = {"f": "F", "female": "F", "woman": "F", "m": "M", "male": "M", "man": "M"}
_SMOKING = {
    "never": ("never", "never smoker", "never smoked", "nonsmoker", "non smoker", "lifelong nonsmoker"),
    "former": ("former", "former smoker", "ex smoker", "exsmoker", "past smoker", "quit"),
    "current": ("current", "current smoker", "active smoker"),
}
_SMOKING_OF = {spelling: status for status, spellings in _SMOKING.items() for spelling in spellings}


def parse_age_years(value: object) -> float | None:
    """Years from ``67``, ``67.5``, ``"67 years"`` or DICOM's ``"058Y"`` (D, W, M, Y); ``None`` for anything else."""
    match = _AGE.fullmatch(plain(value))
    if match is None:
        return None
    years = float(match[1]) / _PER_YEAR[(match[2] or "y")[0]]
    return round(years, 2) if years <= 130 else None


def parse_sex(value: object) -> str | None:
    """``"F"`` or ``"M"``; ``None`` for anything else."""
    return _SEXES.get(plain(value))


def parse_smoking(value: object) -> str | None:
    """``"never"``, ``"former"`` or ``"current"``; ``None`` for anything else (a bare "yes" or 1 does not say which)."""
    return _SMOKING_OF.get(re.sub(r"[-\s]+", " ", plain(value)))
