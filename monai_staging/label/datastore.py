"""A folder of studies as MONAI Label's data store: NIfTI files and DICOM folders, and labels that outlive a crash.

The folder keeps MONAI Label's own layout (``datastore_v2.json``, ``labels/TAG/IMAGE.nii.gz``), so that its tools read
it. What is different: a label and the index are replaced whole, synchronised to disk, before a call returns; processes
read what another has written before they write; and a study is never overwritten or deleted.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from monai_staging.cohort.volume import write_volume
from monai_staging.errors import DataError, UsageError
from monai_staging.files import copy_atomic, sync_folder, write_text_atomic
from monai_staging.label.folders import holds_dicom
from monai_staging.label.letters import KEYS, keep_letters
from monai_staging.label.names import check_name, check_tag, ending_of, text_of
from monai_staging.label.upstream import (
    DataModel,
    ImageLabelModel,
    ImageNotFoundException,
    LabelNotFoundException,
    LocalDatastore,
    LocalDatastoreModel,
)
from monai_staging.predict.study import Study, open_study

IMAGES = (".nii.gz", ".nii")
"""Endings of studies that are one file; a study that is a folder of DICOM files has none."""
LABELS = (*IMAGES, ".json")
"""Endings of labels: label maps, and boxes as markups."""
FINAL = "final"
"""Tag of the labels that annotators have finished, and of what is entered for a study without a label."""
CONVERTED = ".converted"
"""Folder within the studies' of DICOM series as NIfTI, for viewers; derived, and may be deleted at any time."""


class StudyDatastore(LocalDatastore):
    """The studies of a folder and their labels.

    Args:
        studies: the folder; what MONAI Label keeps is written there.

    Raises:
        DataError: the index in it is damaged.
        OSError: it cannot be written to.
    """

    def __init__(self, studies: str | os.PathLike[str]) -> None:
        self._threads = threading.RLock()
        self._processes = FileLock(Path(studies) / ".lock")
        self._read: tuple[int, int] | None = None
        self._seen: dict[str, int] = {}
        super().__init__(os.fspath(studies), extensions=tuple(f"*{ending}" for ending in IMAGES), auto_reload=False)

    def as_folder(self) -> Path:
        """A folder with studies, labels and their index, for what reads one."""
        return Path(self._datastore_path)

    def source(self, image_id: str) -> Path:
        """The study as it came: its file, or its folder of DICOM files.

        Raises:
            ImageNotFoundException: there is none of this name.
        """
        return Path(self._datastore.image_path(), image_id + self._item(image_id).image.ext).resolve()

    def get_image_uri(self, image_id: str) -> str:
        """Path of the study as a file that viewers read: of a DICOM study its series as NIfTI, made when first asked.

        Raises:
            ImageNotFoundException: there is none of this name.
            DataError: a DICOM study cannot be trusted.
        """
        source = self.source(image_id)
        if source.is_file():
            return str(source)
        path = Path(self._datastore_path, CONVERTED, f"{image_id}.nii")
        if not path.is_file():
            write_volume(path, self.open(image_id).volume)
        return str(path)

    def at_hand(self, image_id: str) -> Path | None:
        """The study as it came; None where it would have to be fetched first.

        Raises:
            ImageNotFoundException: there is none of this name.
        """
        return self.source(image_id)

    def open(self, image_id: str) -> Study:
        """The study, read.

        Raises:
            ImageNotFoundException: there is none of this name.
            DataError: it cannot be trusted.
        """
        return open_study(self.source(image_id), watch=iter)

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What is known of a study; see upstream."""
        return {**self._item(image_id).image.info, "path": str(self.source(image_id))}

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """What is known of a label; see upstream."""
        return dict(self._label(label_id, label_tag).info)

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Path of a label's file."""
        ending = self._label(label_id, label_tag).ext
        return str(Path(self._datastore.label_path(text_of(label_tag)), label_id + ending).resolve())

    def add_image(self, image_id: str, image_filename: str, image_info: Mapping[str, Any]) -> str:
        """Adds a study that is one file.

        Raises:
            UsageError: the name cannot be one, or is taken: a study is never overwritten.
        """
        ending = ending_of(image_filename, IMAGES)
        check_name(image_id, "Image")
        with self._locked():
            if image_id in self._datastore.objects:
                raise UsageError(f"Image {image_id}: there is one of this name already; it is not overwritten.")
            name = image_id + ending
            copy_atomic(Path(image_filename), Path(self._datastore.image_path(), name))
            info = {**image_info, "ts": int(time.time()), "name": name}
            self._datastore.objects[image_id] = ImageLabelModel(image=DataModel(info=info, ext=ending))
            self._update_datastore_file()
        return image_id

    def remove_image(self, image_id: str) -> None:
        """Refused: a study is the only one of its kind, a label is not."""
        raise UsageError(f"Image {image_id}: studies are not deleted through the server; remove the file.")

    def save_label(self, image_id: str, label_filename: str, label_tag: str, label_info: Mapping[str, Any]) -> str:
        """Saves a label in place of the one of the same tag. When this returns, it is on disk.

        Args:
            image_id: of its study.
            label_filename: a file with one of the endings of :data:`LABELS`; it is copied.
            label_tag: ``final`` for an annotator's, ``original`` for a network's, or any other name.
            label_info: kept with it; T, N and M in it with the study too, so that they outlive the label, see
                :mod:`monai_staging.label.letters`.

        Returns:
            The label's name, which is its study's.

        Raises:
            ImageNotFoundException: there is no such study.
            UsageError: the tag or the ending is none, or a letter is wrong.
        """
        tag, ending = check_tag(text_of(label_tag)), ending_of(label_filename, LABELS)
        with self._locked():
            item = self._item(image_id)
            labels, study = item.labels, dict(item.image.info)
            letters = keep_letters(study, tag, label_info)
            folder = Path(self._datastore.label_path(tag))
            copy_atomic(Path(label_filename), folder / (image_id + ending))
            before = labels.get(tag)
            info = {**label_info, **letters, "ts": int(time.time()), "name": image_id + ending}
            item.image.info = study
            labels[tag] = DataModel(info=info, ext=ending)
            self._update_datastore_file()
            if before is not None and before.ext != ending:
                (folder / (image_id + before.ext)).unlink(missing_ok=True)
        return image_id

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Removes a label; see upstream."""
        with self._locked():
            path = Path(self.get_label_uri(label_id, label_tag))
            del self._item(label_id).labels[text_of(label_tag)]
            self._update_datastore_file()
            path.unlink(missing_ok=True)

    def update_image_info(self, image_id: str, info: Mapping[str, Any]) -> None:
        """Adds to what is known of a study; see upstream."""
        with self._locked():
            item = self._item(image_id)
            study = dict(item.image.info)
            keep_letters(study, FINAL, info)
            item.image.info = {**study, **{key: own for key, own in info.items() if key not in KEYS}}
            self._update_datastore_file()

    def update_label_info(self, label_id: str, label_tag: str, info: Mapping[str, Any]) -> None:
        """Adds to what is known of a label; see upstream."""
        with self._locked():
            item, label = self._item(label_id), self._label(label_id, label_tag)
            study = dict(item.image.info)
            letters = keep_letters(study, text_of(label_tag), info)
            item.image.info = study
            label.info.update({**info, **letters})
            self._update_datastore_file()

    def list_images(self) -> list[str]:
        """Names of all studies, in order; files that came or went since are noticed, as by the two below."""
        self._notice()
        return sorted(self._datastore.objects)

    def get_labeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Names of the studies with a final label."""
        return [name for name in self.list_images() if "final" in self._datastore.objects[name].labels]

    def get_unlabeled_images(self, label_tag: str | None = None, labels: list[str] | None = None) -> list[str]:
        """Names of the studies without."""
        return [name for name in self.list_images() if "final" not in self._datastore.objects[name].labels]

    def status(self) -> dict[str, Any]:
        """How many studies and labels there are; see upstream."""
        self._notice()
        return dict(super().status())

    def json(self) -> dict[str, Any]:
        """All that is known; see upstream."""
        self._notice()
        return dict(super().json())

    def _notice(self) -> None:
        """Looks again where a folder's time says that something has changed."""
        with self._locked():
            tags = {"original", "final"} | self._datastore.tags()
            folders = [self._datastore.image_path(), *map(self._datastore.label_path, sorted(tags))]
            times = {folder: os.stat(folder).st_mtime_ns for folder in folders if os.path.isdir(folder)}
            if times != self._seen:
                self._reconcile_datastore()
                self._seen = times

    def _item(self, image_id: str) -> Any:
        self._init_from_datastore_file()
        item = self._datastore.objects.get(image_id)
        if item is None:
            raise ImageNotFoundException(f"Image {image_id[:60]!r} is not in the data store.")
        return item

    def _label(self, label_id: str, tag: str) -> Any:
        label = self._item(label_id).labels.get(text_of(tag))
        if label is None:
            raise LabelNotFoundException(f"Image {label_id!r} has no label with the tag {text_of(tag)[:60]!r}.")
        return label

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Alone among threads and processes, and with what another process has written."""
        with self._threads, self._processes:
            self._init_from_datastore_file()
            yield

    # What upstream's constructor and `_reconcile_datastore` call.

    def _init_from_datastore_file(self, throw_exception: bool = False) -> None:
        with self._threads, self._processes:
            path = Path(self._datastore_config_path)
            try:
                found = path.stat()
            except FileNotFoundError:
                return
            if self._read == (found.st_ino, found.st_mtime_ns):
                return
            try:
                self._datastore = LocalDatastoreModel.model_validate_json(path.read_bytes())
            except ValueError as error:
                raise DataError(
                    f"{path.name}: the index of labels is damaged ({str(error).splitlines()[0]})."
                ) from None
            self._datastore.base_path = self._datastore_path
            self._read = (found.st_ino, found.st_mtime_ns)

    def _update_datastore_file(self, lock: bool = True) -> None:
        with self._threads, self._processes:
            path = Path(self._datastore_config_path)
            write_text_atomic(path, self._datastore.model_dump_json(exclude={"base_path"}, indent=2))
            sync_folder(path.parent)
            found = path.stat()
            self._read = (found.st_ino, found.st_mtime_ns)

    def _to_id(self, file: str) -> tuple[str, str]:
        ending = next((own for own in LABELS if file.endswith(own)), "")
        return file.removesuffix(ending), ending

    def _list_files(self, path: str, patterns: Any) -> dict[str, str]:
        images = path == self._datastore.image_path()
        names = sorted(name for name in os.listdir(path) if not name.startswith("."))
        known = self._datastore.objects
        return {
            name: name
            for name in names
            if name.endswith(IMAGES if images else LABELS)
            or (images and name != self._datastore.labels_dir and (name in known or holds_dicom(Path(path, name))))
        }
