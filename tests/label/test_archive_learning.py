"""Training from the labels of an archive, and scoring them, by real HTTP against a real Orthanc."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ..orthanc import Orthanc
from .conftest import Running
from .test_archive import kinds_of

TINY = {"epochs": 1, "patches": 1, "patch": [24, 24, 16], "batch_size": 1}
END_S = 400.0


def test_labels_of_an_archive_train_and_are_scored(
    start_server: Callable[..., Running], start_orthanc: Callable[..., Orthanc], empty_database: Path, tmp_path: Path
) -> None:
    from monai_staging.cohort.dicom import scan
    from monai_staging.cohort.phantom import PhantomConfig, Resolution, write_phantom_tree
    from monai_staging.dicomweb import store

    archive = start_orthanc()
    write_phantom_tree(tmp_path / "raw", 4, 13, PhantomConfig(resolution=Resolution.TINY), 1)
    names = []
    for series in scan(tmp_path / "raw", watch=iter):
        if series.modality == "CT":
            store(archive.address(series.study), series.files)
            names.append(series.series)
    shutil.copy(empty_database, tmp_path / "mlruns.db")
    options = ["--models", "outline_click", "--conf", "runs", str(tmp_path / "runs")]
    variables = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'mlruns.db'}", "OMP_NUM_THREADS": "1"}
    server = start_server(tmp_path / "work", *options, archive=archive.service, variables=variables)
    for name in names:
        image = tmp_path / "image.nii"
        image.write_bytes(server.ask("GET", "/datastore/image", params={"image": name}).content)
        kinds_of(image, tmp_path / "label.nii.gz")
        for tag in ("final", "reader-a") if name == names[0] else ("final",):
            with open(tmp_path / "label.nii.gz", "rb") as file:
                target = {"image": name, "tag": tag}
                server.ask("PUT", "/datastore/label", params=target, files={"label": (file.name, file)})
    (pair,) = server.ask("POST", "/scoring/agreement").json()["pairs"]
    assert pair["tags"] == ["final", "reader-a"] and pair["mean"]["dice"]["value"] == pytest.approx(1)
    begun = server.ask("POST", "/train/outline_click", json=TINY)
    assert begun.status_code == 200, begun.text
    deadline = time.monotonic() + END_S
    while (state := server.ask("GET", "/train/").json())["status"] == "RUNNING":
        assert time.monotonic() < deadline, state
        time.sleep(0.5)
    assert state["status"] == "DONE", state
    assert {len(state["split"][part]) for part in ("training", "validation")} == {2} and state["result"]["version"] >= 1
