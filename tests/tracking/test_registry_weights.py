from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from monai_staging.errors import DataError
from monai_staging.tracking.registry_weights import WeightsRegistry


@pytest.fixture
def registry(database: str) -> WeightsRegistry:
    return WeightsRegistry("outline-1", database)


def weights(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_versions_are_registered_once_and_fetched_by_alias(registry: WeightsRegistry, tmp_path: Path) -> None:
    assert registry.current() is None
    first, second = weights(tmp_path / "a.pt", b"first"), weights(tmp_path / "b.pt", b"second")
    assert registry.register(first, {"metric": "dice"}, "The first.") == (1, True)
    assert registry.register(first, {}, "") == (1, False)
    assert registry.register(second, {}, "The second.") == (2, True)
    assert registry.current() is None
    registry.move(1)
    assert registry.current() == 1
    registry.move(2)
    fetched = registry.fetch(registry.current() or 0, tmp_path / "there" / "model.pt")
    assert fetched.read_bytes() == b"second"
    fetched.write_bytes(b"cut off")
    assert registry.fetch(2, fetched).read_bytes() == b"second"
    version = MlflowClient(registry.tracking_uri).get_model_version("outline-1", "1")
    assert version.tags["metric"] == "dice" and version.description == "The first." and version.status == "READY"


def test_a_file_that_was_changed_in_the_registry_is_refused(registry: WeightsRegistry, tmp_path: Path) -> None:
    registry.register(weights(tmp_path / "a.pt", b"first"), {}, "")
    source = MlflowClient(registry.tracking_uri).get_model_version_download_uri("outline-1", "1")
    Path(source.removeprefix("file://"), "model.pt").write_bytes(b"other")
    with pytest.raises(DataError, match="is not the file that was registered"):
        registry.fetch(1, tmp_path / "model.pt")


def test_without_a_database_there_is_no_version_and_none_is_made(tmp_path: Path) -> None:
    assert WeightsRegistry("outline-1", f"sqlite:///{tmp_path / 'none.db'}").current() is None
    assert list(tmp_path.iterdir()) == []
