"""Versions of registered models: found by what they are made of, made, and waited for."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

from mlflow.exceptions import MlflowException

from monai_staging.errors import DataError
from monai_staging.tracking.registry_card import DIGEST_TAG
from monai_staging.tracking.registry_server import everywhere

READY_S = 300.0
"""Seconds that a version may take to become ready."""
_LINKS = "mlflow.modelVersions"


def version_of(client: Any, name: str, digest: str) -> int | None:
    """The version of this digest, ready or about to be."""
    found = client.search_model_versions(f"name = '{name}' and tags.`{DIGEST_TAG}` = '{digest}'")
    numbers = [int(one.version) for one in found if one.status != "FAILED_REGISTRATION"]
    return max(numbers, default=None)


def create_version(
    client: Any, uri: str, name: str, purpose: str, model_id: str, tags: Mapping[str, str], text: str
) -> int:
    """A new version; the registered model is made, with its purpose, where it does not exist."""
    try:
        client.create_registered_model(name, description=purpose)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    with everywhere(uri):
        made = client.create_model_version(
            name, f"models:/{model_id}", tags=dict(tags), description=text, await_creation_for=0, model_id=model_id
        )
    # By this the model's page links to its versions.
    client.set_logged_model_tags(model_id, {_LINKS: json.dumps([{"name": name, "version": str(made.version)}])})
    return int(made.version)


def wait_ready(client: Any, name: str, version: int) -> None:
    """Returns when a version is ready.

    Raises:
        DataError: it has failed, or is not ready in time.
    """
    end = time.monotonic() + READY_S
    while True:
        found = client.get_model_version(name, str(version))
        if found.status == "READY":
            return
        if found.status == "FAILED_REGISTRATION" or time.monotonic() >= end:
            raise DataError(
                f"Registry: version {version} of {name!r} must become READY; it is {found.status}: "
                f"{found.status_message or 'no reason given'}. The alias stays where it was."
            )
        time.sleep(0.5)
