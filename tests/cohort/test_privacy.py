from __future__ import annotations

import hashlib
import hmac
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from monai_staging.cohort.privacy import KEY_VARIABLE, case_name, load_key
from monai_staging.errors import DataError


@pytest.fixture(autouse=True)
def no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


def test_name_is_a_keyed_hash() -> None:
    expected = hmac.new(b"key", b"LUNG1-001", hashlib.sha256).hexdigest()[:10]
    assert case_name("LUNG1-001", b"key") == f"case-{expected}"
    assert case_name("LUNG1-001", b"other") != case_name("LUNG1-001", b"key")
    assert case_name("LUNG1-002", b"key") != case_name("LUNG1-001", b"key")


def test_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    key = load_key(tmp_path)
    assert len(key) >= 32
    assert load_key(tmp_path) == key
    assert stat.S_IMODE((tmp_path / ".case_key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [".case_key"]


def test_those_who_make_it_at_once_share_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(load_key, [tmp_path] * 32))) == 1


def test_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "shared")
    assert load_key(tmp_path) == b"shared"
    assert not list(tmp_path.iterdir())


def test_refuses_an_empty_key_and_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=KEY_VARIABLE):
        load_key(tmp_path / "missing")
    (tmp_path / ".case_key").touch()
    with pytest.raises(DataError, match="is empty"):
        load_key(tmp_path)
