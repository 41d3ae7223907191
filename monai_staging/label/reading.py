"""The requests that read, in place of upstream's: they may ask an archive, so they run in threads.

Upstream's are coroutines: while one waits for an archive, nobody is answered.
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from monai_staging.label.endpoints import Reader
from monai_staging.label.upstream import DatastoreOutput, app_instance, datastore, download_image, download_label

router = APIRouter()


@router.get("/info/")
def info(user: Reader) -> Any:
    """Models, strategies, and how many studies have a label."""
    return app_instance().info()


@router.get("/datastore/")
def status(user: Reader, output: DatastoreOutput | None = None) -> Any:
    """How many studies there are, or all that is known of them."""
    return datastore(output)


@router.get("/datastore/image")
def image(user: Reader, image: str) -> Any:
    """A study as NIfTI."""
    return download_image(image)


@router.get("/datastore/image/info")
def image_info(user: Reader, image: str) -> Any:
    """What is known of a study."""
    return app_instance().datastore().get_image_info(image)


@router.get("/datastore/label")
def label(user: Reader, label: str, tag: str) -> Any:
    """A label as it was saved."""
    return download_label(label, tag)


@router.get("/datastore/label/info")
def label_info(user: Reader, label: str, tag: str) -> Any:
    """What is known of a label."""
    return app_instance().datastore().get_label_info(label, tag)
