"""From what was placed to the truth: lesions that are really in the image, renumbered, and the labels they give."""

from __future__ import annotations

from collections.abc import Mapping

from monai_staging.cohort.phantom.cancer import Cancer
from monai_staging.cohort.phantom.canvas import Canvas
from monai_staging.cohort.phantom.config import EDITION
from monai_staging.cohort.phantom.dicom_ct import Identity
from monai_staging.cohort.phantom.draw import box
from monai_staging.cohort.phantom.metastases import Fluid, m_category
from monai_staging.cohort.phantom.nodes import n_category
from monai_staging.cohort.phantom.place import Placed
from monai_staging.cohort.phantom.plan import ClinicalPlan, DiseasePlan
from monai_staging.cohort.phantom.scanner import Scanner
from monai_staging.cohort.phantom.screening import ScreeningPlan
from monai_staging.cohort.phantom.truth import LesionTruth, PhantomTruth, recorded, true_stage
from monai_staging.cohort.sources.lung_pet_ct_dx import SUBTYPES
from monai_staging.tnm import Descriptor, descriptors, t_from_size


def t_category(diameter_mm: float, solid_mm: float, found: tuple[Descriptor, ...]) -> str:
    """T of a primary whose every descriptor is known; solid throughout where both diameters are equal."""
    part_mm = None if solid_mm >= diameter_mm else solid_mm
    absent = [d for d in descriptors(EDITION) if d not in found]
    return t_from_size(diameter_mm, EDITION, solid_mm=part_mm, present=found, absent=absent).at_least


def measure(
    canvas: Canvas, lesions: list[Placed], fluids: list[Fluid], ratings: Mapping[int, tuple[int, ...]] | None = None
) -> list[LesionTruth]:
    """Measures what is in the label map; ``ratings`` are the readers', by label.

    Lesions without a voxel (smaller than one, or outside the field of view) are dropped, and the rest renumbered
    from one, in the canvas's label map too.
    """
    everything: list[Placed | Fluid] = [*lesions, *fluids]
    everything.sort(key=lambda item: item.label)
    kept = [item for item in everything if item.label in canvas.extents]
    canvas.renumber({item.label: number for number, item in enumerate(kept, start=1)})
    rows, rated = [], ratings or {}
    for number, item in enumerate(kept, start=1):
        centre, size = box(canvas, number)
        if isinstance(item, Fluid):
            rows.append(LesionTruth(number, "metastasis", item.site, centre, size, None, None))
        else:
            longest, solid = round(item.diameter_mm, 3), round(item.solid_diameter_mm, 3)
            rows.append(
                LesionTruth(number, item.kind, item.site, centre, size, longest, solid, rated.get(item.label, ()))
            )
    return rows


def cancer_truth(
    identity: Identity, canvas: Canvas, plan: DiseasePlan, cancer: Cancer, clinical: ClinicalPlan
) -> PhantomTruth:
    """The truth of a cancer: its lesions as measured, and the labels they give."""
    primary = cancer.primary
    seen = all(nodule.label in canvas.extents for nodule in primary.nodules)
    rows = measure(canvas, cancer.lesions, cancer.fluids)
    lesion = primary.lesion
    found = tuple(primary.descriptors) if seen else ()
    t = t_category(lesion.diameter_mm, min(lesion.solid_diameter_mm, lesion.diameter_mm), found)
    n = n_category([row.site for row in rows if row.kind == "node"], plan.side)
    m = m_category([row.site for row in rows if row.kind == "metastasis"])
    letters = recorded(t, n, m, clinical)
    return PhantomTruth(
        patient=identity.patient, study=identity.study_uid, series=identity.series_uid, t=t, n=n, m=m,
        stage=true_stage(t, n, m), descriptors=tuple(d.value for d in found), age=clinical.age, sex=clinical.sex,
        smoking=clinical.smoking, recorded_t=letters[0], recorded_n=letters[1], recorded_m=letters[2],
        recorded_stage=letters[3], lesions=tuple(rows), nuisances=_nuisances(canvas.scanner),
        subtype=None if plan.subtype is None else SUBTYPES[plan.subtype],
    )  # fmt: skip


def nodules_truth(
    identity: Identity, canvas: Canvas, nodules: list[Placed], clinical: ClinicalPlan,
    screening: ScreeningPlan | None = None,
) -> PhantomTruth:  # fmt: skip
    """The truth of a scan with nodules: nobody has staged anything, so there are no letters."""
    ratings = {} if screening is None else dict(enumerate(screening.ratings, start=1))
    return PhantomTruth(
        patient=identity.patient, study=identity.study_uid, series=identity.series_uid, t="", n="", m="", stage="",
        descriptors=(), age=clinical.age, sex=clinical.sex, smoking=clinical.smoking, recorded_t="", recorded_n="",
        recorded_m="", recorded_stage="", lesions=tuple(measure(canvas, nodules, [], ratings)),
        nuisances=_nuisances(canvas.scanner), cancer=None if screening is None else screening.cancer,
    )  # fmt: skip


def _nuisances(scanner: Scanner) -> dict[str, float | str]:
    return {
        "spacing_mm": scanner.spacing_mm, "slice_spacing_mm": scanner.slice_spacing_mm,
        "slice_thickness_mm": scanner.slice_thickness_mm, "noise_hu": scanner.noise_hu, "kernel": scanner.kernel,
        "sharpness": scanner.sharpness, "phase": scanner.phase, "field_of_view_mm": scanner.field_of_view_mm,
        "x_mm": scanner.offset_mm[0], "y_mm": scanner.offset_mm[1], "roll_deg": scanner.roll_deg,
        "motion_mm": scanner.motion_mm,
    }  # fmt: skip
