"""What the benchmarks are given where nobody gives them data: phantoms, made once in a folder."""

from __future__ import annotations

from pathlib import Path


def phantom_cohort(folder: Path, disease: str, patients: int, resolution: str = "default") -> Path:
    """A cohort of phantoms, made unless it is there.

    Args:
        folder: that it lies in, under a name that says what it is.
        disease: ``cancer``, ``nodules`` or ``screening``.
        patients: how many.
        resolution: ``tiny``, ``default`` or ``full``.
    """
    from monai_staging.cohort.default import default_cohort

    place = folder / f"{disease}-{resolution}-{patients}"
    return default_cohort(place, patients=patients, seed=3, resolution=resolution, workers=2, disease=disease)


def dicom_study(folder: Path, resolution: str = "full") -> Path:
    """A phantom's study as DICOM files, made unless it is there."""
    from monai_staging.cohort.phantom import PhantomConfig, Resolution, write_phantom_study

    place = folder / f"study-{resolution}"
    if not (place / "done").exists():
        write_phantom_study(place, 2, 3, PhantomConfig(resolution=Resolution(resolution)))
        (place / "done").touch()
    return place
