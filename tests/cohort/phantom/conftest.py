"""Phantoms that several tests look at, rendered once."""

from __future__ import annotations

from functools import lru_cache

import pytest

from monai_staging.cohort.phantom import Phantom, PhantomConfig, render_phantom

TINY = PhantomConfig(resolution="tiny")


@lru_cache(maxsize=8)
def _rendered(index: int) -> Phantom:
    return render_phantom(index, 3, TINY)


@pytest.fixture(scope="session")
def rendered():
    """``rendered(index)``: tiny phantom ``index`` of seed 3; not to be changed."""
    return _rendered
