from __future__ import annotations

import pytest

from monai_staging.errors import DataError, StagingError, UsageError


@pytest.mark.parametrize(("error", "exit_code"), [(DataError, 1), (UsageError, 2)])
def test_exit_codes(error: type[StagingError], exit_code: int) -> None:
    raised = error("Case LUNG1-001: 3 slices missing")
    assert isinstance(raised, StagingError)
    assert raised.exit_code == exit_code
    assert str(raised) == "Case LUNG1-001: 3 slices missing"


def test_caught_as_the_builtin_it_is() -> None:
    with pytest.raises(ValueError, match="edition"):
        raise UsageError("edition 5 is unknown")
