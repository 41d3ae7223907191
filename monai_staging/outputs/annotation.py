"""A label that somebody saved for a study, as a DICOM report keeps it: its tag, who, when, and what they entered.

The report is a measurement report like that of a prediction (`monai_staging.outputs.dicom_sr`), with these items in the
group of the stage, so that all that is known of a label can be read back from the archive alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from monai_staging.errors import DataError
from monai_staging.outputs import dicom_codes as codes
from monai_staging.outputs.findings import NAME_CHARACTERS

if TYPE_CHECKING:
    import highdicom

_GROUPS = ("126010", "DCM")


@dataclass(frozen=True)
class Annotation:
    """What is known of a label besides its voxels.

    Attributes:
        tag: ``final`` for an annotator's, ``original`` for a network's, or any other name.
        saved_at: when, with its time zone; of two labels of a tag the later one counts.
        parameters: what was entered or computed, a JSON object.
        annotator: user name; empty where a network made the label.
        markups: the document of boxes where the label is no mask; empty otherwise.
        withdrawn: whether it says that there is no label of this tag any more.
    """

    tag: str
    saved_at: datetime
    parameters: Mapping[str, Any] = field(default_factory=dict, hash=False)
    annotator: str = ""
    markups: str = ""
    withdrawn: bool = False

    @property
    def title(self) -> str:
        """What its series are called, at most :data:`NAME_CHARACTERS` characters."""
        return f"{TITLE}{self.tag}"[:NAME_CHARACTERS]

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, in hexadecimal."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True, default=str).encode()).hexdigest()

    @property
    def creator(self) -> str:
        """The annotator as a DICOM person name: a family name alone, as carets and the like part its components."""
        name = "".join(" " if own in "^=\\" else own for own in self.annotator)
        return f"{name[: NAME_CHARACTERS - 1]}^"

    def observer(self) -> highdicom.sr.ObserverContext | None:
        """The annotator as the report's observer (TID 1003)."""
        from highdicom import sr
        from pydicom.sr.codedict import codes as known

        if not self.annotator:
            return None
        return sr.ObserverContext(
            observer_type=known.DCM.Person,
            observer_identifying_attributes=sr.PersonObserverIdentifyingAttributes(
                name=self.creator, login_name=self.annotator
            ),
        )

    def items(self) -> list[tuple[codes.Code, str]]:
        """The texts that a report keeps, by concept."""
        texts = [
            (codes.LABEL_TAG, self.tag),
            (codes.LABEL_TIME, self.saved_at.isoformat(timespec="microseconds")),
            (codes.LABEL_PARAMETERS, json.dumps(dict(self.parameters))),
        ]
        if self.annotator:
            texts.append((codes.LABEL_ANNOTATOR, self.annotator))
        if self.markups:
            texts.append((codes.LABEL_MARKUPS, self.markups))
        if self.withdrawn:
            texts.append((codes.LABEL_WITHDRAWN, "yes"))
        return texts


TITLE = "Label: "
"""How the description of a label's series begins."""


def read_annotation(dataset: Any) -> Annotation | None:
    """What a report says of a label; None where it is a report of something else.

    Raises:
        DataError: it is of a label, and damaged.
    """
    texts: dict[tuple[str, str], str] = {}
    for container in dataset.get("ContentSequence") or []:
        if _name(container) == _GROUPS:
            for group in container.get("ContentSequence") or []:
                for item in group.get("ContentSequence") or []:
                    if item.get("ValueType") == "TEXT":
                        texts.setdefault(_name(item), str(item.get("TextValue", "")))
    if codes.LABEL_TAG.key not in texts:
        return None
    try:
        return Annotation(
            tag=texts[codes.LABEL_TAG.key],
            saved_at=datetime.fromisoformat(texts[codes.LABEL_TIME.key]),
            parameters=dict(json.loads(texts[codes.LABEL_PARAMETERS.key])),
            annotator=texts.get(codes.LABEL_ANNOTATOR.key, ""),
            markups=texts.get(codes.LABEL_MARKUPS.key, ""),
            withdrawn=codes.LABEL_WITHDRAWN.key in texts,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"The report of a label is damaged ({type(error).__name__}).") from error


def _name(item: Any) -> tuple[str, str]:
    (concept, *_) = item.get("ConceptNameCodeSequence") or [{}]
    return str(concept.get("CodeValue", "")), str(concept.get("CodingSchemeDesignator", ""))
