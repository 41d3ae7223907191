"""A small study with two lesions, and what is reported of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from monai_staging.cohort.dicom import Series, read_series, scan
from monai_staging.cohort.volume import Volume
from monai_staging.measure import measure_lesion
from monai_staging.outputs.dicom_sources import SourceImages, lesion_uid, read_sources
from monai_staging.outputs.findings import (
    Algorithm,
    Category,
    Findings,
    LesionFinding,
    Model,
    Site,
    StagingFinding,
)
from monai_staging.tnm import TNM, categories

ALGORITHM = Algorithm(
    "predict", "0.1.0", (Model("segmentation", "sha256:" + "5e" * 32), Model("staging", "sha256:" + "57" * 32))
)
KINDS = ((Category.PRIMARY, Site.RIGHT_UPPER_LOBE), (Category.NODE, Site.MEDIASTINUM), (Category.NODULE, Site.LUNG))


@dataclass(frozen=True, eq=False)
class Study:
    """A series as it was read, and what is reported of it."""

    series: Series
    volume: Volume
    sources: SourceImages
    mask: np.ndarray
    findings: Findings

    created = datetime(2026, 1, 2, 3, 4, 5, 600000)

    def without_lesions(self) -> Findings:
        return replace(self.findings, lesions=())


def reported(mask: np.ndarray, volume: Volume, sources: SourceImages, edition: str = "8") -> Findings:
    lesions = []
    for label in range(1, int(mask.max()) + 1):
        category, site = KINDS[(label - 1) % len(KINDS)]
        measured = measure_lesion(mask == label, volume.affine, volume.array, edition=edition)
        uid = lesion_uid(sources, ALGORITHM, label)
        lesions.append(LesionFinding(label, f"Lesion {label}", uid, category, site, measured, 0.1 + 0.2, 2 / 3))
    t = lesions[0].measurement.size_t.members if lesions else frozenset(categories("t", edition))
    tnm = TNM(t, frozenset(categories("n", edition)), {"M0"}, edition)
    probabilities = {"IIIA": 0.25, "IIIB": 0.75}
    staging = StagingFinding(
        tnm,
        tnm.groups,
        confidence=0.9,
        t_probabilities={"T1": 0.1, "T2a": 0.2, "T4": 0.7},
        n_probabilities={"N0": 0.5, "N2": 0.5},
        m_probabilities={"M0": 1.0},
        group_probabilities=probabilities,
        reasons=("Größe: 12 mm", "M0: nothing found"),
        not_assessed=("pericardium", "brain (outside the scan)", "chest wall"),
    )
    return Findings(tuple(lesions), staging, ALGORITHM)


@pytest.fixture(scope="session")
def report() -> Callable[..., Findings]:
    """``report(mask, volume, sources)``: findings with a lesion for each label."""
    return reported


@pytest.fixture(scope="session")
def study_of() -> Callable[..., Study]:
    """``study_of(folder, paint)``: the CT series in a folder, with the mask that ``paint(volume)`` makes."""

    def make(folder: Path, paint: Callable[[Volume], np.ndarray], **options: str) -> Study:
        (series,) = (series for series in scan(folder) if series.modality == "CT")
        volume = read_series(series)
        sources = read_sources(series)
        mask = paint(volume)
        return Study(series, volume, sources, mask, reported(mask, volume, sources, **options))

    return make


def two_lesions(volume: Volume) -> np.ndarray:
    """One inside, over several slices; one that touches three faces of the volume."""
    mask = np.zeros(volume.shape, np.uint8)
    mask[2:5, 2:4, 1:4] = 1
    mask[3, 4, 2] = 1
    mask[-2:, -1:, -2:] = 2
    return mask


@pytest.fixture
def study(write_ct: Callable[..., object], study_of: Callable[..., Study]) -> Study:
    """Six slices of 9 x 11 pixels: no frame after the first starts on a byte."""
    written = write_ct(count=6, shape=(9, 11))
    return study_of(written.folder, two_lesions)
