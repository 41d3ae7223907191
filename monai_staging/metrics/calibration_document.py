"""The file of a staging calibration, and what it says to readers."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_staging.errors import DataError
from monai_staging.metrics.conformal import coverage_range
from monai_staging.metrics.cross_fitting import METHODS
from monai_staging.metrics.staging_sets import NAMES, ConformalThreshold
from monai_staging.tnm.categories import LETTERS

if TYPE_CHECKING:
    from monai_staging.metrics.staging_calibration import StagingCalibration

FORMAT = "monai_staging calibration"
VERSION = 1
_TITLES = {"t": "T", "n": "N", "m": "M", "group": "stage group"}
_KEYS = {
    "edition": str,
    "classes": dict,
    "method": str,
    "scaling": dict,
    "patients": dict,
    "score": str,
    "level": float,
    "partial": str,
    "thresholds": dict,
    "fitted_on": str,
    "cohort_digest": str,
    "weights_sha256": list,
    "passes": int,
    "chose_epoch": bool,
}


def calibration_document(calibration: StagingCalibration) -> dict[str, Any]:
    """As JSON; a threshold that nothing is above is null."""
    values = {name: getattr(calibration, name) for name in _KEYS}
    values["classes"] = {letter: list(calibration.classes[letter]) for letter in LETTERS}
    values["scaling"] = {letter: calibration.scaling[letter].to_json() for letter in LETTERS}
    values["patients"] = dict(calibration.patients)
    values["thresholds"] = {
        name: {
            "threshold": one.threshold if math.isfinite(one.threshold) else None,
            "patients": one.patients,
            "partial": one.partial,
        }
        for name, one in calibration.thresholds.items()
    }
    values["weights_sha256"] = list(calibration.weights_sha256)
    return {"format": FORMAT, "version": VERSION, **values}


def read_calibration(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The attributes of a staging calibration from its file, each of its type.

    Raises:
        DataError: the file cannot be read, holds something else, or is of another version.
    """
    whose = f"Calibration {path}"
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{whose}: cannot be read ({error.strerror}).") from None
    except ValueError as error:
        raise DataError(f"{whose}: is no JSON ({error}).") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise DataError(f"{whose}: is no file of a calibration; its format must be {FORMAT!r}.")
    if document.get("version") != VERSION:
        raise DataError(f"{whose}: its version must be {VERSION}, found {document.get('version')!r}. Calibrate anew.")
    known = {"format", "version", *_KEYS}
    if set(document) != known:
        strange = ", ".join(sorted(set(document) ^ known))
        raise DataError(f"{whose}: has one of each key and no other; lacks or does not know {strange}.")
    for name, kind in _KEYS.items():
        value = document[name]
        # JSON has one kind of number, and in Python a bool is an int.
        fits = isinstance(value, (int, float) if kind is float else kind) and (kind is bool) == isinstance(value, bool)
        if not fits:
            raise DataError(f"{whose}: {name} must be a {kind.__name__}, found {value!r}.")
    try:
        return {name: document[name] for name in _KEYS} | _parts(document)
    except DataError as error:
        raise DataError(f"{whose}: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"{whose}: cannot be understood ({error!r}).") from None


def _parts(document: dict[str, Any]) -> dict[str, Any]:
    if document["method"] not in METHODS:
        raise DataError(f"the method must be one of {', '.join(METHODS)}, found {document['method']!r}.")
    method = METHODS[document["method"]]
    classes = {letter: tuple(map(str, document["classes"][letter])) for letter in LETTERS}
    return {
        "level": float(document["level"]),
        "classes": classes,
        "scaling": {letter: method.from_json(document["scaling"][letter], len(classes[letter])) for letter in LETTERS},
        "patients": {letter: int(document["patients"][letter]) for letter in LETTERS},
        "thresholds": {
            name: ConformalThreshold(
                math.inf if one["threshold"] is None else float(one["threshold"]),
                int(one["patients"]),
                int(one["partial"]),
            )
            for name in NAMES
            for one in [document["thresholds"][name]]
        },
        "weights_sha256": tuple(map(str, document["weights_sha256"])),
    }


def calibration_statement(calibration: StagingCalibration) -> tuple[str, ...]:
    """What probabilities and sets rest on, in plain sentences."""
    sentences = [_scaling_sentence(calibration)]
    level = f"{100 * calibration.level:g} %"
    found = {name: one for name, one in calibration.thresholds.items() if math.isfinite(one.threshold)}
    if found:
        ends = [end for one in found.values() for end in coverage_range(one.patients, calibration.level)]
        low, high = (f"{100 * end:.0f}" for end in (min(ends), max(ends)))
        sentences += [
            "Sets: split-conformal on the same patients, each scored by the scaling of the others; they hold the true "
            f"category of a new patient from the same source with a probability of at least {level}, on average over "
            "patients, each letter and the stage group for itself. For patients from elsewhere they promise nothing.",
            f"That average is over draws of these patients too: sets fitted on {_counted(found)} of them hold the true "
            f"category with a probability between {low} and {high} %, in 95 of 100 draws.",
            "Patients whose truth is unknown are left out, as if that had nothing to do with how hard they are"
            + ("; so are those whose truth leaves sub-categories open." if calibration.partial == "omit" else "."),
        ]
    if len(found) < len(NAMES):
        which = _listed([_TITLES[name] for name in NAMES if name not in found])
        sentences.append(f"Sets of {which}: too few patients for {level}, so every category is named.")
    several = {name: one.partial for name, one in found.items() if one.partial}
    if several:
        how = _listed([f"{count} ({_TITLES[name]})" for name, count in several.items()])
        sentences.append(f"Of {how} patients the truth leaves sub-categories open; their sets had to hold all of them.")
    if calibration.chose_epoch:
        sentences.append("The same patients chose the epoch of the weights, which flatters the model a little on them.")
    if calibration.passes:
        sentences.append(f"Each probability is the mean of {calibration.passes} passes with dropout.")
    if len(calibration.weights_sha256) > 1:
        sentences.append(f"Each probability is the mean of {len(calibration.weights_sha256)} networks.")
    return tuple(sentences)


def _scaling_sentence(calibration: StagingCalibration) -> str:
    counts = _listed([f"{calibration.patients[letter]} ({_TITLES[letter]})" for letter in LETTERS])
    fit = "isotonic regression of each class"
    if calibration.temperatures:
        fit = "temperatures " + _listed(
            [f"{value:.2f} ({_TITLES[one]})" for one, value in calibration.temperatures.items()]
        )
    return f"Probabilities: {fit}, fitted on {counts} patients of {calibration.fitted_on}."


def _counted(found: Mapping[str, ConformalThreshold]) -> str:
    counts = sorted({one.patients for one in found.values()})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _listed(parts: Sequence[str]) -> str:
    """ "a, b and c"."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
