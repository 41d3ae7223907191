"""The data store: what is acknowledged is on disk, whoever is killed, and processes see each other."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import pytest

from monai_staging.errors import DataError, UsageError

from .conftest import DICOM, Running, label_of

if TYPE_CHECKING:
    from monai_staging.label.datastore import StudyDatastore

KILLS = 20


@pytest.fixture
def opened(monailabel: None, phantom_studies: Path, tmp_path: Path) -> Callable[[], StudyDatastore]:
    """``opened()``: a data store on one folder of studies of the test's own."""
    from monai_staging.label.datastore import StudyDatastore

    shutil.copytree(phantom_studies, tmp_path / "studies")
    return lambda: StudyDatastore(tmp_path / "studies")


def boxes(path: Path, number: int) -> str:
    path.write_text(json.dumps({"markups": [], "number": number, "padding": "x" * 100_000}))
    return str(path)


def test_studies_are_files_and_dicom_folders(opened: Callable[[], StudyDatastore], tmp_path: Path) -> None:
    (tmp_path / "studies" / "notes").mkdir()
    (tmp_path / "studies" / "notes" / "readme.txt").write_text("no study")
    (tmp_path / "studies" / "report.pdf").write_text("no study")
    store = opened()
    assert store.list_images() == [DICOM, "scan-1", "scan-2"]
    assert store.source(DICOM) == (tmp_path / "studies" / DICOM).resolve()
    assert nibabel.load(store.get_image_uri(DICOM)).ndim == nibabel.load(store.get_image_uri("scan-1")).ndim == 3
    shutil.copy(tmp_path / "studies" / "scan-1.nii", tmp_path / "studies" / "later.nii")
    (tmp_path / "studies" / "scan-2.nii").unlink()
    assert store.list_images() == [DICOM, "later", "scan-1"]


def test_two_processes_lose_nothing_of_each_other(opened: Callable[[], StudyDatastore], tmp_path: Path) -> None:
    first, second = opened(), opened()
    first.save_label("scan-1", boxes(tmp_path / "a.json", 1), "final", {"number": 1})
    second.save_label("scan-2", boxes(tmp_path / "a.json", 2), "final", {"number": 2})
    first.update_image_info(DICOM, {"seen": True})
    for store in (first, second, opened()):
        assert store.get_labeled_images() == ["scan-1", "scan-2"]
        assert store.get_label_info("scan-2", "final")["number"] == 2
        assert store.get_image_info(DICOM)["seen"] is True


def test_a_label_of_another_kind_takes_the_place_of_the_one_before(
    opened: Callable[[], StudyDatastore], tmp_path: Path
) -> None:
    store = opened()
    store.save_label("scan-1", boxes(tmp_path / "a.json", 1), "final", {})
    store.save_label("scan-1", str(label_of(tmp_path / "studies" / "scan-1.nii", tmp_path / "l.nii.gz")), "final", {})
    assert [path.name for path in (tmp_path / "studies" / "labels" / "final").iterdir()] == ["scan-1.nii.gz"]
    store.remove_label("scan-1", "final")
    assert opened().get_labeled_images() == []


def test_threads_do_not_trip_over_each_other(opened: Callable[[], StudyDatastore], tmp_path: Path) -> None:
    store, failed = opened(), []

    def save(tag: str) -> None:
        try:
            for number in range(5):
                store.save_label("scan-1", boxes(tmp_path / f"{tag}.json", number), tag, {"number": number})
                store.status()
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=save, args=(f"tag-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert {
        tag: opened().get_label_info("scan-1", tag)["number"] for tag in store.get_labels_by_image_id("scan-1")
    } == {f"tag-{number}": 4 for number in range(4)}


def test_studies_are_neither_overwritten_nor_deleted(opened: Callable[[], StudyDatastore], tmp_path: Path) -> None:
    store = opened()
    with pytest.raises(UsageError, match="not overwritten"):
        store.add_image("scan-1", str(tmp_path / "studies" / "scan-2.nii"), {})
    with pytest.raises(UsageError, match="not deleted"):
        store.remove_image("scan-1")
    with pytest.raises(UsageError, match="ending in"):
        store.save_label("scan-1", "label.png", "final", {})
    with pytest.raises(UsageError, match="Tag: "):
        store.save_label("scan-1", "label.json", "../x", {})


def test_a_damaged_index_is_said(opened: Callable[[], StudyDatastore], tmp_path: Path) -> None:
    opened()
    (tmp_path / "studies" / "datastore_v2.json").write_text("{")
    with pytest.raises(DataError, match=r"datastore_v2\.json: the index of labels is damaged"):
        opened()


def test_labels_outlive_kills(opened: Callable[[], StudyDatastore], tmp_path: Path) -> None:
    opened()
    acknowledged = tmp_path / "acknowledged"
    acknowledged.write_text("0")
    rng = random.Random(0)

    def save_for_ever(number: int) -> None:
        store = opened()
        with open(acknowledged, "a") as told:
            while True:
                number += 1
                store.save_label("scan-1", boxes(tmp_path / "sent.json", number), "final", {"number": number})
                told.write(f" {number}")
                told.flush()

    for _ in range(KILLS):
        before = int(acknowledged.read_text().split()[-1])
        child = os.fork()
        if child == 0:  # pragma: no cover  (it is killed)
            try:
                save_for_ever(before)
            finally:
                os._exit(1)
        deadline = time.monotonic() + 60
        while int(acknowledged.read_text().split()[-1]) == before and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        last = int(acknowledged.read_text().split()[-1])
        assert last > before
        store = opened()
        assert store.list_images() == [DICOM, "scan-1", "scan-2"]
        saved = json.loads(Path(store.get_label_uri("scan-1", "final")).read_text())["number"]
        noted = store.get_label_info("scan-1", "final")["number"]
        # What was being saved when it was killed may be there, or its file without its note.
        assert last <= noted <= saved <= last + 1


def test_a_killed_server_has_every_label_that_it_acknowledged(
    start_server: Callable[[Path], Running], opened: Callable[[], StudyDatastore], tmp_path: Path
) -> None:
    opened()
    server = start_server(tmp_path / "studies")
    acknowledged: dict[str, int] = {}

    def save(image: str) -> None:
        for count in range(1, 10_000):
            path = label_of(tmp_path / "studies" / f"{image}.nii", tmp_path / f"{image}.nii.gz", count=count)
            try:
                with open(path, "rb") as file:
                    fields: Any = {
                        "data": {"params": json.dumps({"count": count})},
                        "files": {"label": ("l.nii.gz", file)},
                    }
                    answer = server.ask("PUT", f"/datastore/label?image={image}", **fields)
            except OSError:
                return
            assert answer.status_code == 200, answer.text
            acknowledged[image] = count

    threads = [threading.Thread(target=save, args=(image,)) for image in ("scan-1", "scan-2")]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while len(acknowledged) < 2 or min(acknowledged.values()) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    server.process.send_signal(signal.SIGKILL)
    server.process.wait(30)
    for thread in threads:
        thread.join()
    store = opened()
    assert store.get_labeled_images() == ["scan-1", "scan-2"]
    for image, count in acknowledged.items():
        saved = int(np.count_nonzero(nibabel.load(store.get_label_uri(image, "final")).dataobj))
        assert count <= saved <= count + 1
        assert store.get_label_info(image, "final")["count"] >= count
