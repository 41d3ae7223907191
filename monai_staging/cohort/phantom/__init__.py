"""Synthetic chest CTs with exact truth, written as raw DICOM studies. Not patients: everything here is made up."""

from monai_staging.cohort.phantom.config import Disease, PhantomConfig, Resolution
from monai_staging.cohort.phantom.plan import DiseasePlan, plan_clinical, plan_disease
from monai_staging.cohort.phantom.scanner import Scanner, draw_scanner
from monai_staging.cohort.phantom.study import Phantom, render_phantom, write_phantom_study
from monai_staging.cohort.phantom.tree import write_phantom_tree, write_tables
from monai_staging.cohort.phantom.truth import LesionTruth, PhantomTruth

__all__ = [
    "Disease",
    "DiseasePlan",
    "LesionTruth",
    "Phantom",
    "PhantomConfig",
    "PhantomTruth",
    "Resolution",
    "Scanner",
    "draw_scanner",
    "plan_clinical",
    "plan_disease",
    "render_phantom",
    "write_phantom_study",
    "write_phantom_tree",
    "write_tables",
]
