from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_staging.errors import UsageError
from monai_staging.label.names import check_name, check_tag

WRONG = ("", ".", "..", ".hidden", "a/b", "a\\b", "../a", "/etc/passwd", "a\0b", "a\nb", "a\u202eb", "x" * 201)


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="Image: "):
        check_name(name, "Image")
    with pytest.raises(UsageError, match="Tag: "):
        check_tag(name)


@pytest.mark.parametrize("name", ["scan-1", "PH-7-0000", "Müller CT 3.2", "1.2.826.0.1"])
def test_a_files_name_is_a_name(name: str) -> None:
    assert check_name(name, "Image") == name


@given(st.text())
def test_what_is_let_through_stays_in_its_folder(name: str) -> None:
    for check in (lambda: check_name(name, "Image"), lambda: check_tag(name)):
        try:
            check()
        except UsageError:
            continue
        assert Path("/store", name).parent == Path("/store")
        assert Path("/store", name).resolve() == Path("/store", name)
