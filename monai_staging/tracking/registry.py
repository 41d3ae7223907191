"""MLflow's model registry: nodule classifiers registered with all that is known of them, and loaded by name."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
from mlflow.exceptions import MlflowException

from monai_staging.errors import DataError, UsageError
from monai_staging.tracking.failures import is_away, reason
from monai_staging.tracking.journal import public_uri
from monai_staging.tracking.pyfunc.model import ARTIFACT
from monai_staging.tracking.pyfunc.package import package_nodule_model, with_members
from monai_staging.tracking.pyfunc.predictor import NodulePredictor
from monai_staging.tracking.registry_card import description, version_tags, worse
from monai_staging.tracking.registry_server import absent, answers, logged_model, tracking_place
from monai_staging.tracking.registry_source import read_candidate
from monai_staging.tracking.registry_versions import create_version, version_of, wait_ready

CHAMPION = "champion"
_NAME = re.compile(r"[\w.+-]([\w .+-]*[\w.+-])?")
_ALIAS = re.compile(r"(?!latest$)(?![vV]\d+$)[\w-]+")
_URI = re.compile(r"models:/(?P<name>[^/@]+)(?:@(?P<alias>[^/@]+)|/(?P<version>\d+))")
_PURPOSE = "A nodule classifier. Not a medical device."


@dataclass(frozen=True)
class Registration:
    """What came of :func:`register`.

    Attributes:
        name: of the registered model.
        version: its number.
        created: whether it is new; one of the same digest is not registered twice.
        alias: that was asked for.
        kept: why the alias stays with another version; ``None`` where it is this version's.
        digest: of settings and weights.
        networks: how many are averaged.
        tags: of the version.
    """

    name: str
    version: int
    created: bool
    alias: str
    kept: str | None
    digest: str
    networks: int
    tags: dict[str, str]

    @property
    def uri(self) -> str:
        """By which the version is loaded."""
        return f"models:/{self.name}/{self.version}" if self.kept else f"models:/{self.name}@{self.alias}"


def register(
    folder: str | os.PathLike[str],
    name: str,
    alias: str = CHAMPION,
    *,
    force: bool = False,
    tracking_uri: str | None = None,
) -> Registration:
    """Registers the best arm of a comparison, or one training, and gives its version an alias.

    Broken off at any moment, the same call goes on: what is there is found by its digest. The alias moves when the
    version is ready, and not to one whose metric on the same data is worse.

    Args:
        folder: of the comparison or the training.
        name: of the registered model; made where it does not exist.
        alias: that moves.
        force: move it to a worse one too.
        tracking_uri: server or database; ``MLFLOW_TRACKING_URI`` or ``sqlite:///mlruns.db`` by default.

    Raises:
        UsageError: a name or an alias that MLflow does not take.
        DataError: nothing in the folder can be registered, or the server is away.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"Registry: a name is of letters, digits, spaces and . + - _; found {name!r}")
    if not _ALIAS.fullmatch(alias):
        raise UsageError(
            f"Registry: an alias is of letters, digits, - and _, and not 'latest', v1 or the like; found {alias!r}"
        )
    candidate = read_candidate(Path(folder))
    settings = with_members(candidate.weights, candidate.settings)
    tags = version_tags(candidate, settings)
    uri = tracking_place(tracking_uri)
    with answers(uri):
        client = mlflow.MlflowClient(tracking_uri=uri)
        version = version_of(client, name, settings.digest)
    created = version is None
    if version is None:
        with tempfile.TemporaryDirectory(prefix="nodule-model-") as made:
            place = Path(made) / "model"
            package_nodule_model(candidate.weights, candidate.settings, place, facts=candidate.origin)
            with answers(uri):
                model_id = logged_model(client, uri, candidate, settings.digest, place)
                text = description(candidate, settings)
                version = create_version(client, uri, name, _PURPOSE, model_id, tags, text)
    with answers(uri):
        wait_ready(client, name, version)
        kept = _move(client, name, alias, version, force)
    return Registration(name, version, created, alias, kept, settings.digest, len(settings.members), tags)


def load_model(uri: str, *, tracking_uri: str | None = None, device: str | None = None) -> NodulePredictor:
    """The predictor of a registered nodule classifier.

    Only its settings and weights are read: no code from the registry is executed, unlike with
    ``mlflow.pyfunc.load_model``.

    Args:
        uri: ``models:/name@alias`` or ``models:/name/version``.
        tracking_uri: see :func:`register`.
        device: a GPU where there is one, by default.

    Raises:
        UsageError: a URI of another form.
        DataError: no such name, alias or version, a model of another kind, or a server that is away.
    """
    parts = _URI.fullmatch(uri)
    if parts is None:
        raise UsageError(f"Registry: models:/NAME@ALIAS or models:/NAME/VERSION is needed, found {uri!r}")
    place = tracking_place(tracking_uri)
    database = place.removeprefix("sqlite:///")
    if database != place and not Path(database).is_file():
        raise DataError(f"Registry {place}: no such database")
    with answers(place), tempfile.TemporaryDirectory(prefix="nodule-model-") as folder:
        client = mlflow.MlflowClient(tracking_uri=place)
        version = _resolve(client, place, parts["name"], parts["alias"], parts["version"])
        source = client.get_model_version_download_uri(parts["name"], version)
        try:
            found = mlflow.artifacts.download_artifacts(
                f"{source}/artifacts/{ARTIFACT}", dst_path=folder, tracking_uri=place
            )
        except (MlflowException, OSError) as error:
            if is_away(error):
                raise
            raise DataError(
                f"Registry {public_uri(place)}: version {version} of {parts['name']!r} is no nodule classifier of "
                f"`monai-staging register`, or its files are gone: {reason(error)}"
            ) from error
        return NodulePredictor.load(found, device)


# -- the alias ----------------------------------------------------------------------------------------------------


def _move(client: Any, name: str, alias: str, version: int, force: bool) -> str | None:
    """Gives a version the alias; why not, where it stays with a better one."""
    holder = client.get_registered_model(name).aliases.get(alias)
    if holder is not None and int(holder) != version:
        new, old = (client.get_model_version(name, str(number)).tags for number in (version, holder))
        why = worse(new, old)
        if why is not None and not force:
            return f"{alias} stays with version {holder}: {why}"
    if holder is None or int(holder) != version:
        client.set_registered_model_alias(name, alias, str(version))
    return None


def _resolve(client: Any, uri: str, name: str, alias: str | None, version: str | None) -> str:
    """Number of the version that is meant."""
    whose = f"Registry {public_uri(uri)}"
    try:
        model = client.get_registered_model(name)
    except MlflowException as error:
        if not absent(error):
            raise
        known = ", ".join(one.name for one in client.search_registered_models()) or "nothing"
        raise DataError(f"{whose}: no model {name!r}; registered: {known}") from error
    if alias is not None:
        if alias not in model.aliases:
            known = ", ".join(sorted(model.aliases)) or "none"
            raise DataError(f"{whose}: {name!r} has no alias {alias!r}; aliases: {known}")
        return str(model.aliases[alias])
    try:
        return str(client.get_model_version(name, str(version)).version)
    except MlflowException as error:
        if not absent(error):
            raise
        raise DataError(f"{whose}: {name!r} has no version {version}") from error
