"""What ``monai-staging predict`` does: one study, or many with an index and a list of what failed."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from monai_staging.cluster.executor import Executor, InProcess
from monai_staging.cohort.dicom import SeriesRefused
from monai_staging.dicomweb import StudyAddress
from monai_staging.errors import DataError, UsageError
from monai_staging.outputs.report_json import study_document
from monai_staging.predict.request import Request, Say
from monai_staging.predict.study import Study, open_study

if TYPE_CHECKING:
    from monai_staging.predict.pipeline import Prediction, Predictor


def predict(request: Request, say: Say, executor: Executor | None = None) -> int:
    """Predicts, and writes into the request's folder.

    Args:
        request: what is asked for.
        say: told how far it is.
        executor: where the studies of a batch are predicted; in this process by default.

    Returns:
        The command's exit code.
    """
    address = StudyAddress.parse(request.study)
    if request.store and address is None:
        raise UsageError("--store needs a study on a DICOMweb server: STUDY is its URL.")
    if address is None:
        Path(request.study).stat()
    if request.batch:
        from monai_staging.predict.batch import predict_batch

        return predict_batch(request, say, executor or InProcess())
    from monai_staging.predict.folders import new_folder

    with new_folder(request.folder, request.overwrite) as folder:
        with _local(request, address) as path:
            say("reading the study")
            study = _open(path, request.series or (None if address is None else address.series))
        predictor = load_predictor(request, say)
        prediction = predictor(study, request.at_mm)
        from monai_staging.predict.writing import write_prediction

        write_prediction(folder, prediction, study.sources, request.rtstruct)
        if request.store and address is not None:
            _store(address, folder, say)
    print(
        json.dumps(study_document(prediction.reported), allow_nan=False) if request.json else _told(prediction, request)
    )
    return 0


def load_predictor(request: Request, say: Say) -> Predictor:
    """The networks of all steps."""
    import torch

    from monai_staging.predict.models import STEPS, load_model
    from monai_staging.predict.pipeline import Predictor

    device = request.device if request.device != "auto" else "cuda:0" if torch.cuda.is_available() else "cpu"
    start = time.monotonic()
    passes = {"staging": request.passes}
    models = {name: load_model(name, request.weights.get(name), device, passes.get(name, 0)) for name in STEPS}
    predictor = Predictor(models, request.point, device, say)
    say(f"networks loaded in {time.monotonic() - start:.1f} s")
    return predictor


def _open(path: Path, series: str | None) -> Study:
    try:
        return open_study(path, series)
    except SeriesRefused as error:
        # Without the patient, whom its own message names.
        raise DataError(f"The series cannot be used ({error.rule.value}): {error.found}") from None


@contextmanager
def _local(request: Request, address: StudyAddress | None) -> Iterator[Path]:
    """The study as files of this machine."""
    if address is None:
        yield Path(request.study)
        return
    from monai_staging.dicomweb import retrieve_study

    with tempfile.TemporaryDirectory(prefix="monai-staging-") as folder:
        yield retrieve_study(address, Path(folder) / "study", series=request.series or address.series)


def _store(address: StudyAddress, folder: Path, say: Say) -> None:
    from monai_staging.dicomweb import store
    from monai_staging.predict.writing import SEG, SR

    paths = [path for name in (SEG, SR) if (path := folder / name).is_file()]
    store(address, paths)
    say(f"stored {' and '.join(path.name for path in paths)} in {address}")


def _told(prediction: Prediction, request: Request) -> str:
    """A few lines for people."""
    reported = prediction.reported
    staging = reported.findings.staging
    lines = [f"{reported.name}: {len(reported.findings.lesions)} lesions, {reported.scan.chosen}"]
    for lesion in reported.findings.lesions:
        size = lesion.measurement
        score = "seen by a reader" if lesion.score is None else f"score {lesion.score:.2f}"
        lines.append(
            f"  {lesion.label} {lesion.category.value}, {lesion.site.value}: {size.axial_diameter_mm:.1f} x "
            f"{size.perpendicular_mm:.1f} mm axial, {size.diameter_3d_mm:.1f} mm longest, {score}, "
            f"malignant {lesion.malignancy or 0:.2f}, at least {size.size_t.at_least} if the primary tumour"
        )
    lines += [f"  {reason}" for reason in staging.reasons]
    named = ", ".join(staging.groups)
    claim = "possible" if staging.confidence is None else f"with {100 * staging.confidence:g} % confidence one of"
    lines.append(f"  stage group: {claim} {named}")
    lines += [f"  warning: {warning}" for warning in reported.warnings]
    seconds = sum(reported.seconds.values())
    lines.append(f"Written to {request.out} in {seconds:.1f} s of prediction. Not a medical device.")
    return "\n".join(lines)
