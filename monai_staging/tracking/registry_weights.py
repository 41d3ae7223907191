"""Weights of a bundle's network in MLflow's model registry: registered with what is known of them, fetched by alias."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.entities import LoggedModelStatus

from monai_staging.errors import DataError
from monai_staging.files import atomic_path
from monai_staging.networks.pretrained.source import file_sha256
from monai_staging.tracking.environment import versions
from monai_staging.tracking.registry import CHAMPION
from monai_staging.tracking.registry_card import DIGEST_TAG
from monai_staging.tracking.registry_server import absent, answers, begun_model, run_on_server, tracking_place
from monai_staging.tracking.registry_versions import create_version, version_of, wait_ready

WEIGHTS = "model.pt"
_PURPOSE = "Weights of a network of monai_staging. Not a medical device."


@dataclass(frozen=True)
class WeightsRegistry:
    """The versions of one registered model, each of which is a file of weights.

    Attributes:
        name: of the registered model.
        tracking_uri: server or database; ``MLFLOW_TRACKING_URI`` or ``sqlite:///mlruns.db`` by default.
        alias: that says which version is in use.
    """

    name: str
    tracking_uri: str | None = None
    alias: str = CHAMPION

    @property
    def _uri(self) -> str:
        return tracking_place(self.tracking_uri)

    def register(
        self, weights: Path, tags: Mapping[str, str], description: str, run_ids: Sequence[str] = ()
    ) -> tuple[int, bool]:
        """Number of the version that has these weights, and whether it is new.

        Broken off at any moment, the same call goes on: what is there is found by the file's digest.

        Args:
            weights: the file.
            tags: of the version; package versions are added.
            description: for people.
            run_ids: what servers call the run that made them; the model lies in the first that this server has.

        Raises:
            DataError: the server is away, or refuses.
        """
        digest, uri = file_sha256(weights), self._uri
        with answers(uri):
            client = mlflow.MlflowClient(tracking_uri=uri)
            version = version_of(client, self.name, digest)
            created = version is None
            if version is None:
                model_id = self._logged(client, uri, weights, digest, run_ids)
                every = {DIGEST_TAG: digest, **tags, **{f"version.{name}": own for name, own in versions().items()}}
                version = create_version(client, uri, self.name, _PURPOSE, model_id, every, description)
            wait_ready(client, self.name, version)
        return version, created

    def current(self) -> int | None:
        """Number of the version that has the alias; ``None`` where there is none, or no such model."""
        database = self._uri.removeprefix("sqlite:///")
        if database != self._uri and not Path(database).is_file():
            return None
        with answers(self._uri):
            client = mlflow.MlflowClient(tracking_uri=self._uri)
            try:
                holder = client.get_registered_model(self.name).aliases.get(self.alias)
            except mlflow.MlflowException as error:
                if not absent(error):
                    raise
                return None
        return None if holder is None else int(holder)

    def move(self, version: int) -> None:
        """Gives a version the alias."""
        with answers(self._uri):
            client = mlflow.MlflowClient(tracking_uri=self._uri)
            client.set_registered_model_alias(self.name, self.alias, str(version))

    def fetch(self, version: int, path: Path) -> Path:
        """Brings a version's weights to a file, unless they are there; gives its path.

        Raises:
            DataError: the server is away, has no such version, or its file is not what was registered.
        """
        with answers(self._uri), tempfile.TemporaryDirectory(prefix="monai-staging-") as folder:
            client = mlflow.MlflowClient(tracking_uri=self._uri)
            digest = client.get_model_version(self.name, str(version)).tags.get(DIGEST_TAG)
            if path.is_file() and file_sha256(path) == digest:
                return path
            source = client.get_model_version_download_uri(self.name, str(version))
            found = mlflow.artifacts.download_artifacts(f"{source}/{WEIGHTS}", dst_path=folder, tracking_uri=self._uri)
            if file_sha256(found) != digest:
                raise DataError(f"Registry: version {version} of {self.name!r} is not the file that was registered.")
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                shutil.copyfile(found, temporary)
        return path

    def _logged(self, client: mlflow.MlflowClient, uri: str, weights: Path, digest: str, run_ids: Sequence[str]) -> str:
        """Id of the logged model with the file, brought there; one that a broken off call began is finished."""
        logged = begun_model(client, uri, run_on_server(client, run_ids), digest, self.name, "weights")
        if logged.status != LoggedModelStatus.READY:
            with tempfile.TemporaryDirectory(prefix="monai-staging-") as folder:
                shutil.copyfile(weights, Path(folder, WEIGHTS))
                client.log_model_artifacts(logged.model_id, folder)
            client.finalize_logged_model(logged.model_id, LoggedModelStatus.READY)
        return str(logged.model_id)
