"""LIDC's XML: what four readers marked in one CT series, in the second, unblinded reading.

``LidcReadMessage`` (namespace http://www.nih.gov) holds a ``ResponseHeader`` with the series' UID and one
``readingSession`` a reader, with ``unblindedReadNodule`` (outlines, ``characteristics``) and ``nonNodule`` (a point). A
nodule under 3 mm has one point and no characteristics, or characteristics of 0.
"""

from __future__ import annotations

from pathlib import Path

from monai_staging.cohort.ratings import RATINGS, check_ratings
from monai_staging.cohort.readers import Outline, Reading
from monai_staging.cohort.sources.lidc_idri_readings import Marks
from monai_staging.cohort.sources.safe_xml import Element, read_root
from monai_staging.errors import DataError

UNRATED_OUTLINE = "unrated-outline"
MALFORMED_NODULE = "malformed-nodule"


def read_xml(path: Path) -> Marks | None:
    """What the readers marked; ``None`` for an XML that is no reading of a CT.

    A nodule that is not as it should be is among the refused ones; the others stand.

    Raises:
        DataError: it cannot be parsed, declares a document type, or names no series.
    """
    root = read_root(path)
    if _name(root) != "LidcReadMessage":
        return None
    header = next((child for child in root if _name(child) == "ResponseHeader"), root)
    series = _text(header, "SeriesInstanceUid")
    if not series:
        raise DataError(f"{path.name} is a LidcReadMessage without SeriesInstanceUid.")
    readings: list[Reading] = []
    refused: list[tuple[str, str]] = []
    counts = {"small": 0, "other": 0, "stray": 0}
    for session in (child for child in root if _name(child) == "readingSession"):
        for item in session:
            if _name(item) == "nonNodule":
                counts["other"] += 1
            elif _name(item) == "unblindedReadNodule":
                name = _text(item, "noduleID")
                try:
                    _add(item, name, readings, refused, counts)
                except (ValueError, DataError) as error:
                    refused.append((MALFORMED_NODULE, f"{path.name}, nodule {name!r}: {error}."))
    return Marks(series, _text(header, "StudyInstanceUID"), tuple(readings), tuple(refused), **counts)


def _add(
    item: Element, name: str, readings: list[Reading], refused: list[tuple[str, str]], counts: dict[str, int]
) -> None:
    rois = [child for child in item if _name(child) == "roi"]
    drawn = [roi for roi in rois if sum(_name(child) == "edgeMap" for child in roi) > 1]
    rated = next((child for child in item if _name(child) == "characteristics"), None)
    written = {} if rated is None else {_name(child): (child.text or "").strip() for child in rated}
    if not written or any(value in ("", "0") for value in written.values()):
        if drawn:
            found = (
                f"nodule {name!r}: {len(drawn)} outlines, ratings {written or 'none'}: not known to be 3 mm or more."
            )
            refused.append((UNRATED_OUTLINE, found))
        else:
            counts["small"] += 1
        return
    if not drawn:
        raise ValueError("ratings, and no outline of more than one point")
    counts["stray"] += len(rois) - len(drawn)
    malignancy = _integer(written.get("malignancy", ""), "malignancy")
    ratings = {rating: _integer(written.get(rating, ""), rating) for rating in RATINGS}
    check_ratings((malignancy,), {rating: (value,) for rating, value in ratings.items()})
    readings.append(Reading(name, tuple(map(_outline, drawn)), malignancy, ratings))


def _outline(roi: Element) -> Outline:
    inclusion = _text(roi, "inclusion").upper()
    if inclusion not in ("TRUE", "FALSE"):
        raise ValueError(f"inclusion must be TRUE or FALSE; found {inclusion!r}")
    points = tuple(
        (_integer(_text(edge, "xCoord"), "xCoord"), _integer(_text(edge, "yCoord"), "yCoord"))
        for edge in roi
        if _name(edge) == "edgeMap"
    )
    return Outline(points, float(_text(roi, "imageZposition")), inclusion == "TRUE", _text(roi, "imageSOP_UID"))


def _integer(text: str, name: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"{name} must be a whole number; found {text!r}") from None


def _name(element: Element) -> str:
    """The tag without its namespace."""
    return str(element.tag).rpartition("}")[2]


def _text(element: Element, name: str) -> str:
    """The text of the first child of that name; empty where there is none."""
    return next(((child.text or "").strip() for child in element if _name(child) == name), "")
