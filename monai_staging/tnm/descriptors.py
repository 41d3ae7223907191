"""What raises T besides size: invasion, airways, further nodules; with the level each edition gives it.

Source: the T definitions of the 6th to 9th editions (8th: Goldstraw 2016). Only the level is stored, no wording.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from monai_staging.tnm.categories import check_edition


class Descriptor(str, Enum):
    """A finding that can raise T whatever the size."""

    MAIN_BRONCHUS = "main bronchus"
    MAIN_BRONCHUS_NEAR_CARINA = "main bronchus within 2 cm of the carina"
    VISCERAL_PLEURA = "visceral pleura"
    ATELECTASIS = "atelectasis to the hilum"
    ATELECTASIS_LUNG = "atelectasis of the whole lung"
    CHEST_WALL = "chest wall"
    PARIETAL_PLEURA = "parietal pleura"
    PERICARDIUM = "pericardium"
    PHRENIC_NERVE = "phrenic nerve"
    NODULE_SAME_LOBE = "another nodule in the same lobe"
    DIAPHRAGM = "diaphragm"
    MEDIASTINUM = "mediastinum"
    HEART = "heart"
    GREAT_VESSELS = "great vessels"
    TRACHEA = "trachea"
    CARINA = "carina"
    OESOPHAGUS = "oesophagus"
    VERTEBRA = "vertebra"
    RECURRENT_NERVE = "recurrent nerve"
    NODULE_OTHER_LOBE = "a nodule in another ipsilateral lobe"


@dataclass(frozen=True)
class _Levels:
    """The main T category a descriptor gives: in the 8th and 9th, the 7th and the 6th edition; None: none there."""

    current: str
    seventh: str | None
    sixth: str | None


_D = Descriptor
_LEVELS: dict[Descriptor, _Levels] = {
    _D.MAIN_BRONCHUS: _Levels("T2", "T2", "T2"),
    # Until the 7th edition the distance from the carina and the extent of the atelectasis counted.
    _D.MAIN_BRONCHUS_NEAR_CARINA: _Levels("T2", "T3", "T3"),
    _D.VISCERAL_PLEURA: _Levels("T2", "T2", "T2"),
    _D.ATELECTASIS: _Levels("T2", "T2", "T2"),
    _D.ATELECTASIS_LUNG: _Levels("T2", "T3", "T3"),
    _D.CHEST_WALL: _Levels("T3", "T3", "T3"),
    _D.PARIETAL_PLEURA: _Levels("T3", "T3", "T3"),
    _D.PERICARDIUM: _Levels("T3", "T3", "T3"),
    _D.PHRENIC_NERVE: _Levels("T3", "T3", None),
    # The 6th edition called it T4, and a nodule in another lobe M1.
    _D.NODULE_SAME_LOBE: _Levels("T3", "T3", "T4"),
    _D.DIAPHRAGM: _Levels("T4", "T3", "T3"),
    _D.MEDIASTINUM: _Levels("T4", "T4", "T4"),
    _D.HEART: _Levels("T4", "T4", "T4"),
    _D.GREAT_VESSELS: _Levels("T4", "T4", "T4"),
    _D.TRACHEA: _Levels("T4", "T4", "T4"),
    _D.CARINA: _Levels("T4", "T4", "T4"),
    _D.OESOPHAGUS: _Levels("T4", "T4", "T4"),
    _D.VERTEBRA: _Levels("T4", "T4", "T4"),
    _D.RECURRENT_NERVE: _Levels("T4", "T4", None),
    _D.NODULE_OTHER_LOBE: _Levels("T4", "T4", None),
}


def descriptor_level(descriptor: Descriptor, edition: str) -> str | None:
    """The lowest T category that ``descriptor`` gives in ``edition`` ("T2a", "T3", "T4"), None where it gives none.

    A T2 descriptor gives T2a where the edition divides T2; a larger size keeps its own T2b.
    """
    edition = check_edition(edition)
    levels = _LEVELS[Descriptor(descriptor)]
    level = levels.sixth if edition == "6" else levels.seventh if edition == "7" else levels.current
    return "T2a" if level == "T2" and edition != "6" else level


def descriptors(edition: str) -> tuple[Descriptor, ...]:
    """The descriptors that have a level in ``edition``."""
    return tuple(descriptor for descriptor in Descriptor if descriptor_level(descriptor, edition) is not None)
