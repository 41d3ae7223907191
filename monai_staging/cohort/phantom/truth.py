"""The truth of one phantom: lesions as measured, labels as the TNM rules give them, and how the table spells them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from monai_staging.cohort.phantom.config import EDITION, PREFIX
from monai_staging.cohort.phantom.plan import ClinicalPlan
from monai_staging.tnm import TNM, main_category, stage_group

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class LesionTruth:
    """One lesion.

    Attributes:
        label: its value in the label map, its segment number and its ROI number.
        kind: ``primary``, ``nodule`` (a further malignant nodule of the same lung, or one of no known nature), ``node``
            or ``metastasis``.
        site: lobe, station or organ.
        center_mm: centre of its box, RAS mm.
        size_mm: extents of its box along the world's axes, mm.
        diameter_mm: longest diameter of the shape that was placed, mm; None for fluid.
        solid_diameter_mm: longest diameter of its solid part, mm (0 for pure ground glass); None for fluid.
        malignancy: made-up readers' ratings, 1 to 5; empty where nobody rated it.
    """

    label: int
    kind: str
    site: str
    center_mm: Triple
    size_mm: Triple
    diameter_mm: float | None
    solid_diameter_mm: float | None
    malignancy: tuple[int, ...] = ()


@dataclass(frozen=True)
class PhantomTruth:
    """Everything known of one phantom.

    ``t``, ``n`` and ``m`` are the true categories; ``recorded_t`` and so on what the clinical table says, which
    may be less; all are empty where nothing was staged. ``nuisances`` describes the scan; ``subtype`` is the histology
    where the phantoms have one; ``cancer`` whether one of the nodules is a cancer, where the phantoms are screened.
    """

    patient: str
    study: str
    series: str
    t: str
    n: str
    m: str
    stage: str
    descriptors: tuple[str, ...]
    age: int
    sex: str
    smoking: str
    recorded_t: str
    recorded_n: str
    recorded_m: str
    recorded_stage: str
    lesions: tuple[LesionTruth, ...]
    nuisances: dict[str, float | str]
    edition: str = EDITION
    prefix: str = PREFIX
    subtype: str | None = None
    cancer: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain data; ``subtype``, ``cancer`` and ``malignancy`` only where there is one."""
        document = asdict(self)
        for name in ("subtype", "cancer"):
            if document[name] is None:
                del document[name]
        for lesion in document["lesions"]:
            if not lesion["malignancy"]:
                del lesion["malignancy"]
        return document

    @staticmethod
    def from_json(document: dict[str, Any]) -> PhantomTruth:
        """From what `to_json` gave."""
        lesions = tuple(map(_lesion, document["lesions"]))
        return PhantomTruth(**{**document, "lesions": lesions, "descriptors": tuple(document["descriptors"])})


def _lesion(row: dict[str, Any]) -> LesionTruth:
    values: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in row.items()}
    return LesionTruth(**values)


def spell(category: str, spelling: str) -> str:
    """A category as a clinical table writes it: ``full`` T2a, ``main`` T2, ``bare`` 2, ``unknown`` TX."""
    if spelling == "unknown":
        return category[0] + "X"
    if spelling == "full" or category == "Tis":
        return category
    main = main_category(category)
    return main[1:] if spelling == "bare" else main


def recorded(t: str, n: str, m: str, clinical: ClinicalPlan) -> tuple[str, str, str, str]:
    """The letters as the table writes them, and the stage group where they leave only one."""
    rt, rn, rm = (spell(value, clinical.spelling[letter]) for letter, value in zip("tnm", (t, n, m), strict=True))
    return rt, rn, rm, TNM.parse(rt, rn, rm, edition=EDITION, prefix=PREFIX).group or ""


def true_stage(t: str, n: str, m: str) -> str:
    """The stage group of the true letters."""
    return stage_group(t, n, m, EDITION)
