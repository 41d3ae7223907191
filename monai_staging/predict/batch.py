"""Many studies, one after the other: what fails is listed, what is done already is kept."""

from __future__ import annotations

import json
import secrets
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

from monai_staging.cluster.executor import Executor
from monai_staging.cohort.cohort import FILE_NAME, load_cohort
from monai_staging.cohort.dicom import Scan, Series, SeriesRefused, scan, with_progress
from monai_staging.cohort.pool import WorkerDied
from monai_staging.cohort.privacy import load_key, number_repeats, study_names
from monai_staging.errors import DataError, StagingError, UsageError
from monai_staging.files import write_json_atomic
from monai_staging.outputs.report_index import FAILURES, INDEX, STUDIES, Failure, IndexRow, write_index
from monai_staging.outputs.reported import ScanFacts
from monai_staging.predict.choice import choose_series
from monai_staging.predict.pipeline import Predictor
from monai_staging.predict.request import Request, Say
from monai_staging.predict.results import SUMMARY, Results, results_at
from monai_staging.predict.study import Study, read_study, read_volume_study, study_name
from monai_staging.predict.writing import REPORT, write_prediction
from monai_staging.progress import progress

WORKER_DIED = "the process that predicted it died (killed, out of memory, or a fault in a decoder)."


@dataclass(frozen=True, eq=False)
class Waiting:
    """A study to be predicted.

    Attributes:
        name: without identity, unique among all.
        read: reads it.
    """

    name: str
    read: Callable[[], Study]


@dataclass(frozen=True, eq=False)
class StudyWorker:
    """Predicts one study after the other, in whatever process it is called; picklable.

    Attributes:
        request: of the command.
        results: where the studies go.
        say: told how far it is; a module's function.
        token: tells one command from another: a process that works for two loads other networks for the second.
    """

    request: Request
    results: Results
    say: Say
    token: str = field(default_factory=lambda: secrets.token_hex(8))

    def __call__(self, study: Waiting) -> IndexRow | Failure:
        """What is told of the study in the index; what it fails of is told there too.

        Raises:
            StagingError: the networks cannot be loaded, which is no fault of the study's.
        """
        try:
            read = study.read()
        except (StagingError, OSError, MemoryError) as error:
            return Failure(study.name, _reason(error))
        predictor = self._predictor()
        try:
            with self.results.folder(study.name) as making:
                prediction = predictor(read)
                write_prediction(making, prediction, read.sources, self.request.rtstruct)
                row = IndexRow.of(prediction.reported, f"{study.name}/{REPORT}")
                write_json_atomic(making / SUMMARY, asdict(row))
            return row
        except (StagingError, OSError, MemoryError) as error:
            return Failure(study.name, _reason(error))

    def _predictor(self) -> Predictor:
        from monai_staging.predict.command import load_predictor

        if self.token not in _loaded:
            _loaded.clear()
            _loaded[self.token] = load_predictor(self.request, self.say)
        return _loaded[self.token]


# The networks of the command that this process works for.
_loaded: dict[str, Predictor] = {}


def predict_batch(request: Request, say: Say, executor: Executor) -> int:
    """Predicts every study of a folder into a folder of its own, and writes an index over all.

    A study that is done is not done again, so that the same command goes on where it was stopped.

    Args:
        request: its ``study`` is a cohort's folder or a DICOM tree, its ``out`` takes a folder a study.
        say: told what failed.
        executor: where the studies are predicted.

    Returns:
        0 if a study was reported, 1 otherwise.

    Raises:
        DataError: there is no study in the folder, or no weights.
        UsageError: no folder, or OUT is a file.
    """
    root = Path(request.study)
    if not root.is_dir():
        raise UsageError(f"{root}: --batch needs a folder of studies.")
    results = results_at(request.out)
    # Absolute, for workers that were started elsewhere.
    waiting, refused = studies_of(root.absolute())
    if not waiting and not refused:
        raise DataError(f"{root}: at least one study is needed, found none.")
    outcome: dict[str, IndexRow | Failure] = {}
    if not request.overwrite:
        outcome.update((study.name, row) for study in waiting if (row := _done(results, study.name)) is not None)
    left = [study for study in waiting if study.name not in outcome]
    if outcome:
        say(f"{len(outcome)} of {len(waiting)} studies were done before")
    done = executor.run(StudyWorker(request, results, say), left, reads=(root,), writes=results.shared)
    try:
        for study, found in progress(done, total=len(left), description="predicting", unit="scan"):
            told = Failure(study.name, WORKER_DIED) if isinstance(found, WorkerDied) else found
            outcome[study.name] = told
            if isinstance(told, Failure):
                say(f"{told.name}: {told.reason}")
    finally:
        _loaded.clear()
    # In the order of the studies, not of their ends: whoever predicted them, the index is the same.
    ordered = [outcome[study.name] for study in waiting]
    rows = [own for own in ordered if isinstance(own, IndexRow)]
    failures = refused + [own for own in ordered if isinstance(own, Failure)]
    with results.beside() as folder:
        write_index(folder, rows, failures)
    if request.json:
        print(json.dumps({"studies": [asdict(row) for row in rows], "failures": [asdict(own) for own in failures]}))
    else:
        print(f"{len(rows)} studies reported, {len(failures)} failed. Not a medical device.")
        print("\n".join(f"  {results.place(name)}" for name in (INDEX, STUDIES, FAILURES)))
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


def _done(results: Results, study: str) -> IndexRow | None:
    """The row of a study that was reported before."""
    summary = results.summary(study)
    if summary is None:
        return None
    try:
        document = json.loads(summary)
        return IndexRow(**{**document, "groups": tuple(document["groups"])})
    except (ValueError, TypeError, KeyError):
        return None


def _reason(error: BaseException) -> str:
    """Without the patient, whom a refusal's own message names."""
    if isinstance(error, SeriesRefused):
        return f"{error.rule.value}: {error.found}"
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return str(error) or type(error).__name__
