"""An archive (DICOMweb) as MONAI Label's data store: its CT series are the studies, its SEG and SR the labels.

A label is a SEG and a report in the archive (see :mod:`monai_staging.label.labels_dicom`), and nowhere else: a folder
of this machine holds what was retrieved or derived, and which study was handed out to whom. The archive is never asked
to change or delete anything: a label that replaces another is a newer one of the same tag.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock

from monai_staging.cohort.sources.monailabel import INDEX as STORE
from monai_staging.dicomweb import Archive, find_archived, retrieve_object, retrieve_study, store
from monai_staging.dicomweb.qido import RemoteObject
from monai_staging.errors import UsageError
from monai_staging.files import atomic_path, write_text_atomic
from monai_staging.label.archive_index import ArchivedLabel, ArchiveIndex
from monai_staging.label.datastore import CONVERTED, FINAL, LABELS, StudyDatastore
from monai_staging.label.kinds import write_labels
from monai_staging.label.labels_dicom import read_label_map, sources_of, write_label
from monai_staging.label.letters import KEYS, letters_after
from monai_staging.label.names import check_tag, ending_of, text_of
from monai_staging.label.upstream import (
    DataModel,
    ImageLabelModel,
    ImageNotFoundException,
    LabelNotFoundException,
    LocalDatastoreModel,
)
from monai_staging.outputs.annotation import Annotation, read_annotation
from monai_staging.outputs.dicom_sr import read_sr
from monai_staging.predict.study import Study, open_study

REFRESH_S = 1.0
"""What the archive has is asked again after this time, by whoever needs it."""
DICOM, RETRIEVING, LABELLED = "dicom", ".retrieving", ".labelled"
"""Folders of series as they came, of those that are not whole yet, and of those with a final label."""
INDEX = "labels.json"
STUDY = "study"
"""Tag of the report that has what was entered for a study rather than for a label of it."""
_NOT_ENTERED = ("ts", "name", "archive")


class ArchiveDatastore(StudyDatastore):
    """The CT series of an archive and their labels; an image's name is its SeriesInstanceUID, as OHIF has it.

    Args:
        archive: the archive.
        work: folder for what is retrieved or derived; may be deleted while nothing uses it.

    Raises:
        Unavailable: the archive cannot be reached, or refuses.
        OSError: the folder cannot be written to.
    """

    def __init__(self, archive: Archive, work: Path) -> None:
        # Of this user alone: it holds patients' images.
        work.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._archive = archive
        self._index = ArchiveIndex(archive, work / INDEX)
        self._asked = float("-inf")
        self._asking = threading.Lock()
        super().__init__(work)

    def name(self) -> str:
        """URL of the archive."""
        return str(self._archive)

    def source(self, image_id: str) -> Path:
        """The series as a folder of DICOM files, retrieved when first asked, and again where the archive has more.

        Raises:
            ImageNotFoundException: there is none of this name.
            DataError: it cannot be retrieved whole.
        """
        info = self._item(image_id).image.info
        folder, wanted = self._folder(image_id), info.get("instances")
        making = Path(self._datastore_path, RETRIEVING)
        if folder.is_dir() and wanted in (None, len(os.listdir(folder))):
            return folder
        making.mkdir(exist_ok=True)
        with FileLock(making / f"{image_id}.lock"):
            if folder.is_dir() and wanted not in (None, len(os.listdir(folder))):
                # It was retrieved while it was still arriving there.
                os.replace(folder, making / image_id)
                Path(self._datastore_path, CONVERTED, f"{image_id}.nii").unlink(missing_ok=True)
            if not folder.is_dir():
                retrieve_study(self._archive.study(info["StudyInstanceUID"], image_id), making)
                folder.parent.mkdir(exist_ok=True)
                os.replace(making / image_id, folder)
        return folder

    def at_hand(self, image_id: str) -> Path | None:
        """The series where it was retrieved already."""
        folder = self._folder(image_id)
        return folder if folder.is_dir() else None

    def open(self, image_id: str) -> Study:
        """The series, read: the one that is named, whatever `monai-staging predict` would choose in its study."""
        return open_study(self.source(image_id), series=image_id, watch=iter)

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What is known of a series; see upstream."""
        return {**self._item(image_id).image.info, "path": str(self.at_hand(image_id) or "")}

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Path of a label as a file, on the voxels of its study; made of the archive's objects when first asked.

        Raises:
            LabelNotFoundException: there is no such label.
            SeriesRefused: its SEG is damaged.
        """
        label = self._archived(label_id, label_tag)
        folder = Path(self._datastore.label_path(label.tag), label.report[1])
        path = folder / (label_id + label.ending)
        if path.is_file():
            return str(path)
        address = self._archive.study(label.study)
        report = retrieve_object(address, RemoteObject(*label.report, ""))
        annotation = read_annotation(report)
        assert annotation is not None  # so it was found
        if annotation.markups:
            write_text_atomic(path, annotation.markups)
            return str(path)
        study = self.open(label_id)
        seg = retrieve_object(address, RemoteObject(*label.seg, "")) if label.seg else None
        labels = read_label_map(seg, read_sr(report), study.volume, sources_of(study).series.frame_of_reference)
        with atomic_path(path) as temporary:
            write_labels(temporary, labels, study.volume.affine)
        return str(path)

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: Mapping[str, Any]) -> str:
        """Saves a label as SEG and report. When this returns, the archive has both.

        Args:
            image_id: of its study.
            label_filename: a file with one of the endings of :data:`monai_staging.label.datastore.LABELS`.
            label_tag: ``final`` for an annotator's, ``original`` for a network's, or any other name.
            label_info: kept in the report; ``t``, ``n`` and ``m`` become its stage.

        Returns:
            The label's name, which is its study's.

        Raises:
            ImageNotFoundException: there is no such study.
            UsageError: the tag, the ending or the stage is none.
            DataError: the archive does not take it.
        """
        tag, path = check_tag(text_of(label_tag)), Path(label_filename)
        if tag == STUDY:
            raise UsageError(f"Tag: {STUDY} is kept for what is known of a study; take another.")
        boxes = ending_of(path.name, LABELS) == ".json"
        markups = json.dumps(json.loads(path.read_text(encoding="utf-8"))) if boxes else ""
        self._item(image_id)
        known = self._index.known.get(image_id, {})
        before = known.get(tag) or (known.get(STUDY) if tag == FINAL else None)
        letters = letters_after(label_info, {} if before is None else before.info)
        annotation = _annotation(tag, {**label_info, **letters}, markups=markups)
        self._store(image_id, None if boxes else path, annotation)
        return image_id

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Withdraws a label: a newer report says that it counts no more. Its objects stay in the archive."""
        label = self._archived(label_id, label_tag)
        letters = {key: label.info[key] for key in KEYS if key in label.info}
        if letters and label.tag == FINAL:
            # They are of the study, and stay.
            self.update_image_info(label_id, {**letters, "user": label.info.get("user", "")})
        self._store(label_id, None, _annotation(label.tag, label.info, withdrawn=True))

    def update_image_info(self, image_id: str, info: Mapping[str, Any]) -> None:
        """Adds to what is known of a study, in a report of its own; who was handed it is kept on this machine alone."""
        entered = {name: value for name, value in info.items() if name != "strategy"}
        if entered:
            self._item(image_id)
            own = self._index.known.get(image_id, {}).get(STUDY)
            before = {} if own is None else own.info
            letters = letters_after(entered, before)
            self._store(image_id, None, _annotation(STUDY, {**before, **entered, **letters}))
        if "strategy" in info:
            super().update_image_info(image_id, {"strategy": info["strategy"]})

    def update_label_info(self, label_id: str, label_tag: str, info: Mapping[str, Any]) -> None:
        """Adds to what is known of a label: it is saved again with that."""
        label = self._archived(label_id, label_tag)
        # Letters that were entered before are taken over where they still mean the same.
        others = {key: own for key, own in label.info.items() if key not in KEYS}
        self.save_label(label_id, self.get_label_uri(label_id, label_tag), label.tag, {**others, **info})

    def add_image(self, image_id: str, image_filename: str, image_info: Mapping[str, Any]) -> NoReturn:
        """Refused: studies reach an archive as DICOM."""
        raise UsageError("Image: this data store is an archive; send DICOM files to it (C-STORE, STOW-RS).")

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Files of every study with a final label, retrieved where they are not here yet; see upstream."""
        return [
            {"image": self.get_image_uri(name), "label": self.get_label_uri(name, "final")}
            for name in self.get_labeled_images()
        ]

    def as_folder(self) -> Path:
        """The studies with a final label and these labels as a folder's data store, for what reads one: links only."""
        folder, objects = Path(self._datastore_path, LABELLED), {}
        shutil.rmtree(folder, ignore_errors=True)
        for name in self.get_labeled_images():
            label = Path(self.get_label_uri(name, FINAL))
            places = {folder / name: self.source(name), folder / "labels" / FINAL / label.name: label}
            for place, path in places.items():
                place.parent.mkdir(parents=True, exist_ok=True)
                place.symlink_to(path.resolve())
            own = self._item(name)
            objects[name] = ImageLabelModel(image=own.image, labels={FINAL: own.labels[FINAL]})
        index = LocalDatastoreModel(name=self.name(), description="with a final label", objects=objects)
        write_text_atomic(folder / STORE, index.model_dump_json(exclude={"base_path"}, indent=2))
        return folder

    def _folder(self, image_id: str) -> Path:
        return Path(self._datastore_path, DICOM, image_id)

    def _archived(self, image_id: str, tag: str) -> ArchivedLabel:
        self._item(image_id)
        label = self._index.known.get(image_id, {}).get(text_of(tag))
        if label is None or label.tag == STUDY:
            raise LabelNotFoundException(f"Image {image_id!r} has no label with the tag {text_of(tag)[:60]!r}.")
        return label

    def _store(self, image_id: str, label: Path | None, annotation: Annotation) -> None:
        study = self.open(image_id)
        address = self._archive.study(sources_of(study).series.study)
        with tempfile.TemporaryDirectory(prefix="monai-staging-") as folder:
            # The report last: a label without one is none.
            store(address, write_label(Path(folder), label, study, annotation))
        self._refresh(at_once=True)

    def _item(self, image_id: str) -> Any:
        self._refresh()
        try:
            return super()._item(image_id)
        except ImageNotFoundException:
            self._refresh(at_once=True)
            return super()._item(image_id)

    def _notice(self) -> None:
        self._refresh()

    def _refresh(self, at_once: bool = False) -> None:
        """Asks the archive which series and labels it has."""
        with self._asking:
            if not at_once and time.monotonic() - self._asked < REFRESH_S:
                return
            series = find_archived(self._archive, "CT")
            labels = self._index.labels()
            self._asked = time.monotonic()
        with self._locked():
            before = self._datastore.objects
            objects = {}
            for own in series:
                strategy = {} if own.series not in before else before[own.series].image.info.get("strategy", {})
                found = dict(labels.get(own.series, {}))
                entered = found.pop(STUDY, None)
                info = {
                    **({} if entered is None else entered.info),
                    **({"strategy": strategy} if strategy else {}),
                    **{"StudyInstanceUID": own.study, "SeriesInstanceUID": own.series, "Modality": "CT"},
                    "instances": own.instances,
                }
                tags = {tag: DataModel(info=_told(label), ext=label.ending) for tag, label in found.items()}
                objects[own.series] = ImageLabelModel(image=DataModel(info=info), labels=tags)
            if objects != before:
                self._datastore.objects = objects
                self._update_datastore_file()

    def _reconcile_datastore(self) -> None:
        self._refresh(at_once=True)


def _annotation(tag: str, info: Mapping[str, Any], **more: Any) -> Annotation:
    parameters = {name: value for name, value in info.items() if name not in _NOT_ENTERED}
    return Annotation(tag, datetime.now(timezone.utc), parameters, str(parameters.get("user", "")), **more)


def _told(label: ArchivedLabel) -> dict[str, Any]:
    """What is known of a label, as a folder's data store has it, and where the archive has it."""
    objects = {"StudyInstanceUID": label.study, "SR": list(label.report), "SEG": list(label.seg)}
    saved_at = int(datetime.fromisoformat(label.saved_at).timestamp())
    return {**label.info, "ts": saved_at, "name": label.image + label.ending, "archive": objects}
