"""Small phantom data of each kind that configs read, to check a package with where nobody gives any."""

from __future__ import annotations

from pathlib import Path

PATIENTS, MORE = 8, 20
"""To check with, and to learn ranges of 8-bit values from."""


def make_sample(kind: str, folder: Path, patients: int = PATIENTS) -> Path:
    """Makes phantoms of a kind in ``folder``; gives what a config's ``dataset_dir`` is.

    Args:
        kind: ``cohort`` (cancers), ``screening`` (rated nodules), ``nodules`` (patches), ``slides``, or ``none``.
        folder: an empty folder, or one that does not exist.
        patients: how many; of patches, twice as many nodules.
    """
    if kind in ("cohort", "screening"):
        from monai_staging.cohort.default import default_cohort

        disease = "cancer" if kind == "cohort" else "screening"
        return default_cohort(folder, patients, seed=5, resolution="tiny", workers=1, test=0.4, disease=disease)
    if kind == "nodules":
        from monai_staging.cohort.nodules.phantom import write_phantom_nodules

        return write_phantom_nodules(folder, 2 * patients, seed=3)
    if kind == "slides":
        from monai_staging.histology.phantom import HistologyConfig, default_slides

        return default_slides(folder, HistologyConfig(patients=patients, size=256, mitoses=16))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def dataset_dir(kind: str, sample: Path, run: tuple[str, ...]) -> Path:
    """What a run reads of a sample: slides are looked at as loose files where they are only inferred."""
    return sample / "images" if kind == "slides" and run[0] == "inference" else sample
