"""Many studies, one after the other: what fails is listed, what is done already is kept."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from monai_staging.cohort.cohort import FILE_NAME, load_cohort
from monai_staging.cohort.dicom import Scan, Series, SeriesRefused, scan, with_progress
from monai_staging.cohort.privacy import load_key, number_repeats, study_names
from monai_staging.errors import DataError, StagingError, UsageError
from monai_staging.files import write_json_atomic
from monai_staging.outputs.report_index import FAILURES, INDEX, STUDIES, Failure, IndexRow, write_index
from monai_staging.outputs.reported import ScanFacts
from monai_staging.predict.choice import choose_series
from monai_staging.predict.folders import new_folder
from monai_staging.predict.pipeline import Predictor
from monai_staging.predict.request import Request, Say
from monai_staging.predict.study import Study, read_study, read_volume_study, study_name
from monai_staging.predict.writing import REPORT, write_prediction
from monai_staging.progress import progress

SUMMARY = "summary.json"


@dataclass(frozen=True, eq=False)
class Waiting:
    """A study to be predicted.

    Attributes:
        name: without identity, unique among all.
        read: reads it.
    """

    name: str
    read: Callable[[], Study]


def predict_batch(request: Request, predictor: Predictor, say: Say) -> int:
    """Predicts every study of a folder into a folder of its own, and writes an index over all.

    A study that is done is not done again, so that the same command goes on where it was stopped.

    Args:
        request: its ``study`` is a cohort's folder or a DICOM tree, its ``out`` takes a folder a study.
        predictor: for all of them.
        say: told what failed.

    Returns:
        0 if a study was reported, 1 otherwise.

    Raises:
        DataError: there is no study in the folder.
        UsageError: no folder, or OUT is a file.
    """
    root = Path(request.study)
    if not root.is_dir():
        raise UsageError(f"{root}: --batch needs a folder of studies.")
    if request.out.is_file():
        raise UsageError(f"{request.out}: a folder is needed, found a file.")
    waiting, failures = studies_of(root)
    if not waiting and not failures:
        raise DataError(f"{root}: at least one study is needed, found none.")
    rows: list[IndexRow] = []
    for study in progress(waiting, description="predicting", unit="scan"):
        folder = request.out / study.name
        done = _done(folder)
        if done is not None and not request.overwrite:
            rows.append(done)
            continue
        try:
            rows.append(_predict(study, folder, request, predictor))
        except (StagingError, OSError, MemoryError) as error:
            reason = _reason(error)
            failures.append(Failure(study.name, reason))
            say(f"{study.name}: {reason}")
    request.out.mkdir(parents=True, exist_ok=True)
    write_index(request.out, rows, failures)
    if request.json:
        print(json.dumps({"studies": [asdict(row) for row in rows], "failures": [asdict(own) for own in failures]}))
    else:
        print(f"{len(rows)} studies reported, {len(failures)} failed. Not a medical device.")
        print("\n".join(f"  {request.out / name}" for name in (INDEX, STUDIES, FAILURES)))
    return 0 if rows else 1


def studies_of(root: Path) -> tuple[list[Waiting], list[Failure]]:
    """The studies of a cohort or a DICOM tree, and what of it is none, by rule."""
    if (root / FILE_NAME).is_file():
        cohort = load_cohort(root)
        names = study_names(cohort.cases, load_key(cohort.root))
        facts = ScanFacts("NIfTI", f"a scan of the cohort {cohort.name}.")
        return [
            Waiting(name, partial(read_volume_study, cohort.image_path(case), name, facts, cohort.phantom))
            for name, case in zip(names, cohort.cases, strict=True)
        ], []
    found = scan(root, watch=with_progress)
    groups: dict[tuple[str, str], list[Series]] = defaultdict(list)
    for series in found:
        groups[series.patient, series.study].append(series)
    names = list(number_repeats([study_name(patient) for patient, _ in groups]))
    waiting = [
        Waiting(name, partial(_of_series, Scan(tuple(series), (), 0), name))
        for name, series in zip(names, groups.values(), strict=True)
    ]
    refused = [
        Failure(study_name(own.patient) if own.patient else "a file", f"{own.rule}: {own.found}")
        for own in found.rejections
    ]
    return waiting, refused


def _of_series(found: Scan, name: str) -> Study:
    choice = choose_series(found, name)
    return replace(read_study(choice), name=name)


def _predict(study: Waiting, folder: Path, request: Request, predictor: Predictor) -> IndexRow:
    with new_folder(folder, overwrite=True) as making:
        read = study.read()
        prediction = predictor(read)
        write_prediction(making, prediction, read.sources, request.rtstruct)
        row = IndexRow.of(prediction.reported, f"{study.name}/{REPORT}")
        write_json_atomic(making / SUMMARY, asdict(row))
    return row


def _done(folder: Path) -> IndexRow | None:
    """The row of a study that was reported before."""
    try:
        document = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
        return IndexRow(**{**document, "groups": tuple(document["groups"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _reason(error: BaseException) -> str:
    """Without the patient, whom a refusal's own message names."""
    if isinstance(error, SeriesRefused):
        return f"{error.rule.value}: {error.found}"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error) or type(error).__name__
