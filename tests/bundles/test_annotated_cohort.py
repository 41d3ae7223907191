"""From labels of an annotation server to a trained network: outlines are enough for the segmentation bundle."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np

from monai_staging.cohort.ingest import IngestOptions, ingest
from monai_staging.cohort.splits import SplitOptions
from monai_staging.label.kinds import write_labels

BUNDLE = Path(__file__).parents[2] / "bundles" / "segmentation"
SHAPE, SPACING_MM = (48, 48, 24), (2.0, 2.0, 4.0)


def annotated(studies: Path, count: int) -> None:
    """A folder as the server leaves it: chests of noise with a primary and a nodule, outlined, and a T."""
    rng, objects = np.random.default_rng(0), {}
    affine = np.diag([-SPACING_MM[0], *SPACING_MM[1:], 1.0])
    places = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1) * SPACING_MM
    (studies / "labels" / "final").mkdir(parents=True)
    for number in range(1, count + 1):
        chest, labels = rng.normal(-850, 30, SHAPE), np.zeros(SHAPE, dtype=np.uint8, order="F")
        for kind, center_mm, radius_mm in ((1, (30, 30, 30), 11), (4, (70, 70, 70), 8)):
            inside = np.linalg.norm(places - center_mm, axis=-1) < radius_mm
            chest[inside], labels[inside] = 30, kind
        nibabel.save(nibabel.Nifti1Image(chest.round().astype(np.int16), affine), studies / f"scan-{number}.nii")
        write_labels(studies / "labels" / "final" / f"scan-{number}.nii.gz", labels, affine)
        final = {"ext": ".nii.gz", "info": {"t": "T1b|T1c"}}
        objects[f"scan-{number}"] = {"image": {"ext": ".nii", "info": {}}, "labels": {"final": final}}
    (studies / "datastore_v2.json").write_text(json.dumps({"name": "data", "description": "", "objects": objects}))


def test_labels_of_annotators_train_a_network(
    tmp_path: Path, run_bundle: Callable[..., subprocess.CompletedProcess[str]], reads_here: None
) -> None:
    annotated(tmp_path / "studies", 6)
    options = IngestOptions(split=SplitOptions(test=0.3, folds=0), workers=1)
    cohort = ingest("monailabel", tmp_path / "studies", tmp_path / "cohort", options).cohort
    assert [case.t for case in cohort.cases] == [("T1b", "T1c")] * 6
    result = run_bundle(
        *("run", "--config_file", BUNDLE / "train.json", "--dataset_dir", tmp_path / "cohort"),
        *("--epochs", "1", "--folds", "0", "--width", "0.5", "--size", "32", "--spacing_mm", "1.3"),
        *("--figures", "false", "--system_metrics", "false", "--resamples", "20", "--log_model", "false"),
        *("--output_dir", tmp_path / "run"),
        folder=tmp_path,
    )
    assert "monailabel nodules, test part: 4 nodules of 2 patients" in result.stdout
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["dice"]["n"] == 2
