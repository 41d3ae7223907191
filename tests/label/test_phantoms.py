from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from monai_staging.cohort import phantom
from monai_staging.cohort.volume import read_volume
from monai_staging.label.phantoms import ensure_phantoms


def test_phantoms_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = partial(phantom.PhantomConfig, resolution=phantom.Resolution.TINY)
    monkeypatch.setattr(phantom, "PhantomConfig", tiny)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    folder = ensure_phantoms(tmp_path / "phantoms", count=2)
    paths = sorted(folder.iterdir())
    assert [path.name for path in paths] == ["phantom-1.nii", "phantom-2.nii"]
    assert read_volume(paths[0]).shape != read_volume(paths[1]).shape
    times = [path.stat().st_mtime_ns for path in paths]
    ensure_phantoms(folder, count=2)
    assert [path.stat().st_mtime_ns for path in paths] == times
