"""The labels that an archive has: those reports among its SR that :mod:`monai_staging.label.labels_dicom` wrote.

Each report is retrieved and read once; what it says is kept in a file that is derived, and may be deleted at any time.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from monai_staging.dicomweb import Archive, find_archived, find_instances, retrieve_object
from monai_staging.errors import DataError
from monai_staging.files import write_json_atomic
from monai_staging.outputs.annotation import TITLE, read_annotation

FORMAT = 1
"""Of the file; one of another format is made again."""
_SEG = "1.2.840.10008.5.1.4.1.1.66.4"
logger = logging.getLogger("monai_staging.label")


@dataclass(frozen=True)
class ArchivedLabel:
    """A label in the archive.

    Attributes:
        image: SeriesInstanceUID of the images it is of.
        study: StudyInstanceUID.
        tag: see :class:`monai_staging.outputs.annotation.Annotation`.
        saved_at: ISO 8601, UTC.
        info: what was entered.
        report: SeriesInstanceUID and SOPInstanceUID of the report.
        seg: those of the SEG; empty where nothing is marked.
        boxes: whether it is boxes, not a mask.
        withdrawn: whether it says that there is no label any more.
    """

    image: str
    study: str
    tag: str
    saved_at: str
    report: tuple[str, str]
    seg: tuple[str, str] | tuple[()] = ()
    info: Mapping[str, Any] = field(default_factory=dict, hash=False)
    boxes: bool = False
    withdrawn: bool = False

    @property
    def ending(self) -> str:
        """Of its file."""
        return ".json" if self.boxes else ".nii.gz"


class ArchiveIndex:
    """What is known of an archive's labels.

    Args:
        archive: that is asked.
        path: where it is kept.

    Attributes:
        known: what `labels` gave last.
    """

    def __init__(self, archive: Archive, path: Path) -> None:
        self.archive = archive
        self.path = path
        self.known: dict[str, dict[str, ArchivedLabel]] = {}
        self._reports: dict[str, ArchivedLabel | None] | None = None

    def labels(self) -> dict[str, dict[str, ArchivedLabel]]:
        """By image and tag the label that counts, the one saved last, after looking for new ones.

        Raises:
            Unavailable: the archive cannot be reached, or refuses.
        """
        known = self._read() if self._reports is None or not self.path.is_file() else self._reports
        found = {one.series: one.study for one in find_archived(self.archive, "SR") if _may_be_ours(one.description)}
        new = {series: self._look(series, study) for series, study in found.items() if series not in known}
        self._reports = {series: label for series, label in {**known, **new}.items() if series in found}
        if new or len(self._reports) < len(known):
            document = {series: None if own is None else asdict(own) for series, own in self._reports.items()}
            write_json_atomic(self.path, {"format": FORMAT, "reports": document})
        latest: dict[str, dict[str, ArchivedLabel]] = {}
        every = [own for own in self._reports.values() if own is not None]
        for label in sorted(every, key=lambda own: (own.saved_at, own.report)):
            latest.setdefault(label.image, {})[label.tag] = label
        self.known = {
            image: {tag: own for tag, own in tags.items() if not own.withdrawn} for image, tags in latest.items()
        }
        return self.known

    def _look(self, series: str, study: str) -> ArchivedLabel | None:
        address = self.archive.study(study, series)
        for instance in find_instances(address):
            dataset = retrieve_object(address, instance)
            try:
                return label_of_report(dataset)
            except DataError as error:
                logger.warning("series %s: %s", series, error)
        return None

    def _read(self) -> dict[str, ArchivedLabel | None]:
        try:
            document = json.loads(self.path.read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                return {}
            return {series: None if own is None else _from_json(own) for series, own in document["reports"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}


def label_of_report(dataset: Any) -> ArchivedLabel | None:
    """The label that a report is of; None where it is another's report.

    Raises:
        DataError: it is of a label, and damaged.
    """
    annotation = read_annotation(dataset)
    if annotation is None:
        return None
    images: list[str] = []
    seg: tuple[str, str] | tuple[()] = ()
    for study in dataset.get("CurrentRequestedProcedureEvidenceSequence") or []:
        for series in study.get("ReferencedSeriesSequence") or []:
            for item in (series.get("ReferencedSOPSequence") or [])[:1]:
                if item.ReferencedSOPClassUID == _SEG:
                    seg = (str(series.SeriesInstanceUID), str(item.ReferencedSOPInstanceUID))
                else:
                    images.append(str(series.SeriesInstanceUID))
    if len(images) != 1:
        raise DataError(f"The report of a label refers to one series of images; found {len(images)}.")
    return ArchivedLabel(
        image=images[0],
        study=str(dataset.StudyInstanceUID),
        tag=annotation.tag,
        saved_at=annotation.saved_at.isoformat(timespec="microseconds"),
        report=(str(dataset.SeriesInstanceUID), str(dataset.SOPInstanceUID)),
        seg=seg,
        info=dict(annotation.parameters),
        boxes=bool(annotation.markups),
        withdrawn=annotation.withdrawn,
    )


def _may_be_ours(description: str) -> bool:
    """A server need not tell what a series is called."""
    return not description or description.startswith(TITLE)


def _from_json(own: Mapping[str, Any]) -> ArchivedLabel:
    return ArchivedLabel(**{**own, "report": tuple(own["report"]), "seg": tuple(own["seg"])})
