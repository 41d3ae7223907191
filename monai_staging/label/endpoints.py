"""The requests that upload, save or compute, in place of upstream's: each checks what it is given before it acts.

They are plain functions, so the server runs them in threads and goes on answering; upstream's are coroutines that
compute, and nobody is answered until they are done.
"""

# FastAPI reads annotations when a function is registered: it finds what they name here, or not at all.
# ruff: noqa: B008  (its parameters' defaults are calls by design)
from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, BackgroundTasks, Body, Depends, File, Form, HTTPException, Request, UploadFile
from fastapi.responses import FileResponse
from starlette.background import BackgroundTask

from monai_staging.errors import UsageError
from monai_staging.label.datastore import IMAGES, LABELS, StudyDatastore
from monai_staging.label.labels_dicom import write_label_seg
from monai_staging.label.letters import KEYS
from monai_staging.label.names import check_name, check_tag
from monai_staging.label.nrrd_files import ENDING, as_nrrd
from monai_staging.label.uploads import check_json, check_packed, read_params, received, take_label
from monai_staging.label.upstream import (
    RBAC,
    BatchInferImageType,
    ResultType,
    User,
    app_instance,
    run_batch,
    sample,
    send_response,
    settings,
)
from monai_staging.predict.study import open_study

SET_BY_SERVER = {
    "infer": frozenset(("image", "study", "model")),
    "info": frozenset(("name", "path", "staging", "strategy", "ts")),
}
"""Keys that parameters cannot set."""


async def fields_once(request: Request) -> None:
    """Refuses a form that has a field twice: which of the two is meant is not for us to guess."""
    fields = [name for name, _ in (await request.form()).multi_items()]
    repeated = next((name for name in fields if fields.count(name) > 1), None)
    if repeated is not None:
        raise UsageError(f"Form: each field once; found {repeated[:60]!r} {fields.count(repeated)} times.")


router = APIRouter(dependencies=[Depends(fields_once)])

Annotator = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR))]
Administrator = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_ADMIN))]
Reader = Annotated[User, Depends(RBAC(settings.MONAI_LABEL_AUTH_ROLE_USER))]


@router.post("/infer/{model}")
def infer(
    user: Reader,
    background: BackgroundTasks,
    model: str,
    image: str = "",
    params: str = Form("{}"),
    file: UploadFile | None = File(None),
    output: ResultType | None = None,
) -> Any:
    """One model's answer for a study of the data store, or for a NIfTI file that is sent along."""
    asked = _allowed(params, "infer")
    if (file is None) == (not image):
        raise UsageError("Infer: an image's name or a file is needed, one of the two.")
    if asked.get("save_label") and settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR not in user.roles:
        raise HTTPException(403, f'Role "{settings.MONAI_LABEL_AUTH_ROLE_ANNOTATOR}" is required to save a label')
    app = app_instance()
    task = app.task(model)
    if output is ResultType.dicom_seg:
        return _dicom_seg(app, model, check_name(image, "Image") if file is None else "", asked)
    if output is ResultType.image and not task.file:
        raise UsageError(f"{model} answers with values, not with a file: ask for output=json.")
    if file is None:
        result = app.infer({**asked, "model": model, "image": check_name(image, "Image")})
    else:
        with received(file.file, file.filename, IMAGES) as path:
            check_packed(path)
            result = app.infer({**asked, "model": model, "image": path})
    if task.mask and asked.get("result_extension") == ENDING:
        result["file"] = str(as_nrrd(Path(result["file"])))
    return send_response(app.datastore(), result, output, background)


def _dicom_seg(app: Any, model: str, image: str, asked: dict[str, Any]) -> FileResponse:
    """The answer as a DICOM SEG of the study, which must be DICOM."""
    if not app.task(model).mask:
        raise UsageError("output=dicom_seg: a model that answers with a label map is needed; ask for output=json.")
    if not image or app.datastore().source(image).is_file():
        raise UsageError("output=dicom_seg: a SEG refers to the images of a DICOM study in the data store; found none.")
    result = app.infer({**asked, "model": model, "image": image})
    label = Path(result["file"])
    folder = Path(tempfile.mkdtemp(prefix="monai-staging-"))
    gone = BackgroundTask(shutil.rmtree, folder, ignore_errors=True)
    try:
        path = write_label_seg(folder / f"{image}.dcm", label, app.study(image), app.algorithm)
        return FileResponse(path, media_type="application/dicom", filename=path.name, background=gone)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        label.unlink(missing_ok=True)


@router.post("/activelearning/{strategy}")
def next_sample(user: Reader, strategy: str, params: dict[str, Any] | None = Body(None)) -> Any:
    """The next study without a final label, and the strategy's reason for it; an empty answer when there is none."""
    known = app_instance().info()["strategies"]
    if strategy not in known:
        raise HTTPException(404, f"Strategy: one of {', '.join(known)}; found {strategy[:60]!r}")
    check_json(params)
    client = (params or {}).get("client_id")
    return sample(strategy, {"client_id": str(client)[:60]} if client else {}, user.username)


@router.put("/datastore/label")
def save_label(
    user: Annotator,
    image: str,
    tag: str = "final",
    params: str = Form("{}"),
    label: UploadFile = File(...),
) -> dict[str, Any]:
    """Saves a label. Answered with 200 only when it is on disk; with what is known of T, N and M by then."""
    app = app_instance()
    store: StudyDatastore = app.datastore()
    info = {**_allowed(params, "info"), "user": user.username}
    study = Path(store.get_image_uri(check_name(image, "Image")))
    with received(label.file, label.filename, LABELS) as path:
        take_label(path, study, info)
        name = store.save_label(image, str(path), tag or "final", info)
    kept = store.get_label_info(image, tag or "final")
    staging = {key: kept[key] for key in KEYS if key in kept}
    return {"image": image, "label": name, **({"staging": staging} if staging else {})}


@router.delete("/datastore/label")
def remove_label(user: Administrator, id: str, tag: str) -> dict[str, str]:
    """Removes a label; of an archive, withdraws it."""
    app_instance().datastore().remove_label(id, tag)
    return {}


@router.put("/datastore/")
@router.put("/datastore/image")
def add_image(
    user: Annotator,
    image: str | None = None,
    params: str = Form("{}"),
    file: UploadFile = File(...),
) -> dict[str, str]:
    """Adds a study: a CT as NIfTI, under a name that is not taken."""
    store: StudyDatastore = app_instance().datastore()
    info = {**_allowed(params, "info"), "user": user.username}
    with received(file.file, file.filename, IMAGES) as path:
        check_packed(path)
        open_study(path)
        name = image or Path(file.filename or "").name.lower().removesuffix(".gz").removesuffix(".nii")
        return {"image": store.add_image(name, str(path), info)}


@router.put("/datastore/image/info")
def update_image_info(user: Annotator, image: str, info: str = Form("{}")) -> dict[str, str]:
    """Adds to what is known of a study."""
    app_instance().datastore().update_image_info(image, {**_allowed(info, "info"), "user": user.username})
    return {"image": image}


@router.put("/datastore/label/info")
def update_label_info(user: Annotator, label: str, tag: str, info: str = Form("{}")) -> dict[str, str]:
    """Adds to what is known of a label."""
    app_instance().datastore().update_label_info(label, tag, {**_allowed(info, "info"), "user": user.username})
    return {"label": label}


@router.post("/batch/infer/{model}")
def batch_infer(
    user: Administrator,
    model: str,
    images: BatchInferImageType = BatchInferImageType.IMAGES_ALL,
    max_batch_size: int = 0,
    label_tag: str = "original",
) -> Any:
    """Answers for many studies, in a process of its own, saved as labels."""
    if not app_instance().task(model).file:
        raise UsageError(f"{model} answers with values, not with a label that could be saved.")
    return run_batch(model, images, {"max_batch_size": max(0, max_batch_size), "label_tag": check_tag(label_tag)})


def _allowed(text: str, of: str) -> dict[str, Any]:
    """Parameters without what the server sets."""
    params = read_params(text)
    taken = sorted(SET_BY_SERVER[of] & set(params))
    if taken:
        raise UsageError(f"params: {taken[0]} cannot be set there.")
    return params
