"""From what each step found to the findings of a study: which lesion T goes by, and what nobody looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from monai_staging.cohort.lesions import Part
from monai_staging.cohort.volume import Volume
from monai_staging.measure.lesion import Measurement, measure_lesion
from monai_staging.metrics.intervals import FloatArray
from monai_staging.outputs.findings import Algorithm, Category, Findings, LesionFinding, Site, StagingFinding
from monai_staging.tnm.categories import LETTERS, categories, main_category
from monai_staging.tnm.tables import stage_groups
from monai_staging.tnm.value import TNM

MALIGNANT = 0.5
"""From this probability on a lesion is taken for a tumour, where it is one at all: see `OutlinedLesion.tumour`."""
MIDDLE_MM = 10.0
"""What lies nearer to the middle of the lungs' box than this is in neither lung for sure."""
NOT_LOOKED_AT = (
    "lymph node stations one by one",
    "the whole body outside the scan",
    "whether further lesions are metastases",
)
"""Besides T descriptors; what the staging network learned of N and M is told as probabilities alone."""


@dataclass(frozen=True, eq=False)
class OutlinedLesion:
    """A lesion of a scan.

    Attributes:
        part: its voxels.
        box_mm: the detector's box, (6) corners, RAS mm; ``None`` where a reader saw it and the detector did not.
        score: the detector's; likewise.
        malignancy: probability, by the malignancy bundle, given that it is a lesion.
        sure: whether the score is high enough for a stage to rest on it, or a reader saw it.
    """

    part: Part
    box_mm: FloatArray | None
    score: float | None
    malignancy: float
    sure: bool = True

    @property
    def tumour(self) -> bool:
        """Whether it may be taken for the primary tumour."""
        return self.sure and self.malignancy >= MALIGNANT


@dataclass(frozen=True)
class StageSets:
    """What a staging network says, as it is reported: calibrated where there is a calibration.

    Attributes:
        probabilities: for each letter, by category.
        groups: by stage group, over the table.
        letter_sets: categories that hold the true one with ``confidence``; empty without a calibration.
        group_set: stage groups that do; empty without a calibration.
        confidence: of the sets; ``None`` without.
    """

    probabilities: Mapping[str, Mapping[str, float]]
    groups: Mapping[str, float]
    letter_sets: Mapping[str, tuple[str, ...]]
    group_set: tuple[str, ...]
    confidence: float | None


def order_lesions(lesions: Sequence[OutlinedLesion]) -> list[OutlinedLesion]:
    """The presumed primary tumour first, then from the largest to the smallest.

    The primary is the largest of those that are surely lesions and malignant with a probability of :data:`MALIGNANT` or
    more; where none is, the most probable one is first all the same, but no tumour.
    """
    by_size = sorted(lesions, key=lambda lesion: (-lesion.part.voxels, lesion.part.corner))
    tumours = [lesion for lesion in by_size if lesion.tumour]
    first = tumours[0] if tumours else max(by_size, key=lambda one: (one.sure, one.malignancy), default=None)
    return [] if first is None else [first, *(lesion for lesion in by_size if lesion is not first)]


def too_uncertain(lesions: Sequence[OutlinedLesion], least: str) -> tuple[str, ...]:
    """A warning of what would be a tumour if it were a lesion for sure.

    Args:
        lesions: in the order of their labels.
        least: the score that is needed, as text.
    """
    numbers = [
        str(label) if lesion.score is None else f"{label} (score {lesion.score:.2f})"
        for label, lesion in enumerate(lesions, start=1)
        if lesion.malignancy >= MALIGNANT and not lesion.tumour
    ]
    if not numbers:
        return ()
    which = ", ".join(numbers)
    return (f"Malignant by its looks, but with a score below {least} too uncertain to stage by: lesion {which}.",)


def combine(
    volume: Volume,
    lesions: Sequence[OutlinedLesion],
    uids: Sequence[str],
    learned: StageSets | None,
    lungs_mm: FloatArray,
    algorithm: Algorithm,
    edition: str,
) -> tuple[Findings, tuple[str, ...]]:
    """The findings of a study, and what a reader must be warned of.

    T of the findings is what the size of the presumed primary tumour leaves possible; N and M are whatever they were
    before, unknown. What a network has learned of the letters stays beside: probabilities, groups and sets.

    Args:
        volume: the scan.
        lesions: in the order of :func:`order_lesions`.
        uids: a tracking UID a lesion.
        learned: of the staging network; ``None`` where it was not asked.
        lungs_mm: (2, 3), box of the lungs.
        algorithm: what found it all.
        edition: of TNM.
    """
    findings = []
    for label, (lesion, uid) in enumerate(zip(lesions, uids, strict=True), start=1):
        part = lesion.part
        size = measure_lesion(part.mask, moved_to(volume.affine, part.corner), volume.array[part.box], edition=edition)
        primary = label == 1 and lesion.tumour
        findings.append(
            LesionFinding(
                label=label,
                tracking_id=f"lesion {label}",
                tracking_uid=uid,
                category=Category.PRIMARY if primary else Category.NODULE,
                site=site_of(part, volume, lungs_mm),
                measurement=on_scan(size, part.corner),
                score=lesion.score,
                malignancy=lesion.malignancy,
            )
        )
    staging, warnings = _stage(findings, sum(lesion.tumour for lesion in lesions[1:]), learned, edition)
    return Findings(tuple(findings), staging, algorithm), warnings


def _stage(
    lesions: Sequence[LesionFinding], others: int, learned: StageSets | None, edition: str
) -> tuple[StagingFinding, tuple[str, ...]]:
    every = {letter: frozenset(categories(letter, edition)) for letter in LETTERS}
    reasons, warnings, not_assessed = [], [], []
    primary = lesions[0] if lesions and lesions[0].category is Category.PRIMARY else None
    if primary is None:
        what = "no lesion was found" if not lesions else "no lesion found is both certain and probably malignant"
        reasons.append(f"T is not measured: {what}")
    else:
        size = primary.measurement.size_t
        every["t"] = size.members
        reasons.append(f"T at least {size.at_least}: {'; '.join(size.reasons)} (lesion 1, presumed primary tumour)")
        not_assessed += [descriptor.value for descriptor in size.not_assessed]
        if others:
            warnings.append(
                f"{others} further lesion{'s are' if others > 1 else ' is'} probably malignant: if of the same tumour, "
                "T or M is higher than the size says."
            )
    tnm = TNM(every["t"], every["n"], every["m"], edition, "c")
    if learned is None:
        possible = stage_groups(tnm.t, tnm.n, tnm.m, edition)
        return StagingFinding(tnm, possible, reasons=tuple(reasons), not_assessed=(*not_assessed, *NOT_LOOKED_AT)), ()
    for letter in LETTERS:
        chances = learned.probabilities[letter]
        likeliest = max(chances, key=lambda name: chances[name])
        within = learned.letter_sets.get(letter, ())
        text = f"{letter.upper()} as learned: most probably {likeliest} ({chances[likeliest]:.2f})"
        if within and learned.confidence is not None:
            text += f", with {100 * learned.confidence:g} % confidence {' or '.join(within)}"
        reasons.append(text)
    warnings += _contradiction(tnm, learned, primary, edition)
    possible = stage_groups(tnm.t, tnm.n, tnm.m, edition)
    groups = learned.group_set or possible
    if not set(groups) & set(possible):
        warnings.append(
            f"The stage groups as learned ({', '.join(groups)}) and those that the measured T leaves possible have "
            "none in common."
        )
    return (
        StagingFinding(
            tnm,
            groups,
            learned.confidence if learned.group_set else None,
            t_probabilities=learned.probabilities["t"],
            n_probabilities=learned.probabilities["n"],
            m_probabilities=learned.probabilities["m"],
            group_probabilities=learned.groups,
            reasons=tuple(reasons),
            not_assessed=(*not_assessed, *NOT_LOOKED_AT),
        ),
        tuple(warnings),
    )


def _contradiction(tnm: TNM, learned: StageSets, primary: LesionFinding | None, edition: str) -> list[str]:
    """Where what was measured and what was learned do not go together."""
    if primary is None:
        return []
    order = [*dict.fromkeys(main_category(name) for name in categories("t", edition))]
    chances = dict.fromkeys(order, 0.0)
    for name, chance in learned.probabilities["t"].items():
        chances[main_category(name)] += chance
    likeliest = max(chances, key=lambda name: chances[name])
    least = main_category(primary.measurement.size_t.at_least)
    if order.index(likeliest) >= order.index(least):
        return []
    return [
        f"The size gives {least} at least, the staging network {likeliest} ({chances[likeliest]:.2f}): "
        "look at the outline of lesion 1."
    ]


def site_of(part: Part, volume: Volume, lungs_mm: FloatArray) -> Site:
    """The lung that a lesion lies in, by the side of the middle of the lungs' box."""
    middle = np.argwhere(part.mask).mean(axis=0) + part.corner
    x_mm = float(volume.affine[0, :3] @ middle + volume.affine[0, 3])
    away_mm = x_mm - float(lungs_mm[:, 0].mean())
    if abs(away_mm) < MIDDLE_MM:
        return Site.LUNG
    return Site.RIGHT_LUNG if away_mm > 0 else Site.LEFT_LUNG


def on_scan(size: Measurement, corner: Sequence[int]) -> Measurement:
    """A measurement of a box of voxels that begins at ``corner``, with the scan's own slice numbers."""
    return replace(size, axial_slice=size.axial_slice + corner[size.axial_axis])


def moved_to(affine: FloatArray, corner: Sequence[int]) -> FloatArray:
    """The affine of a box of voxels that begins at ``corner``."""
    moved = np.array(affine, dtype=np.float64)
    moved[:3, 3] += moved[:3, :3] @ np.asarray(corner)
    return moved
