"""The requests that train and score, in place of upstream's: what runs is a process of its own, or ends at once."""

# FastAPI reads annotations when a function is registered: it finds what they name here, or not at all.
# ruff: noqa: B008  (its parameters' defaults are calls by design)
from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Body, HTTPException

from monai_staging.label.endpoints import Administrator, Annotator, Reader
from monai_staging.label.orders import REFUSED
from monai_staging.label.scoring import METHODS
from monai_staging.label.tasks import Training
from monai_staging.label.trainer import Busy
from monai_staging.label.upstream import app_instance

router = APIRouter()


@router.post("/train/{model}")
def train(user: Administrator, model: str, params: dict[str, Any] | None = Body(None)) -> Any:
    """Begins a training from the final labels; 409 while another one runs."""
    app = app_instance()
    if model not in REFUSED:
        app.task(model)
    try:
        return Training(model, app.trainer)(params or {}, app.datastore())
    except Busy as error:
        raise HTTPException(409, str(error)) from None


@router.get("/train/")
def training(user: Reader, all: bool = False, check_if_running: bool = False) -> Any:
    """How far the training is, or what came of the last one; of all of them with ``all``."""
    trainer = app_instance().trainer
    if check_if_running and not trainer.running:
        raise HTTPException(404, "Train: no training runs.")
    found = trainer.states() if all else trainer.status()
    if not found:
        raise HTTPException(404, "Train: there was no training yet.")
    return found


@router.delete("/train/")
def stop_training(user: Administrator) -> Any:
    """Stops the training that runs; what is served stays."""
    trainer = app_instance().trainer
    if not trainer.running:
        raise HTTPException(404, "Train: no training runs.")
    trainer.stop()
    return trainer.status()


@router.post("/scoring/{method}")
def score(user: Annotator, method: str, params: dict[str, Any] | None = Body(None)) -> Any:
    """Scores labels beside each other."""
    if method not in METHODS:
        raise HTTPException(404, f"Scoring: one of {', '.join(METHODS)}; found {method[:60]!r}.")
    app = app_instance()
    return app.scorers[method](params or {}, app.datastore())
