from __future__ import annotations

import os
from pathlib import Path

import pytest

from monai_staging.errors import DataError, UsageError
from monai_staging.label.accounts import VARIABLE, parse_accounts, read_accounts

# As `openssl` and `secrets` make them. Tests are named by them: every process has the same.
ANNA, BEN = "5b0e6f1c9a27d384" * 4, "qT3vX-9mZ_b4Rk8Wd2LsNf7Y"


def test_a_token_is_somebodys() -> None:
    accounts = parse_accounts(["# who", "", f"anna {ANNA} admin  # since May", f"ben {BEN}"], "tokens")
    anna, ben = accounts.find(ANNA), accounts.find(BEN)
    assert anna is not None and (anna.name, anna.roles) == ("anna", ("reader", "annotator", "admin"))
    assert ben is not None and (ben.name, ben.roles) == ("ben", ("reader", "annotator"))
    assert accounts.find(ANNA, "anna") == anna
    for token, name in ((ANNA, "ben"), (ANNA[:-1], None), ("", None), ("\udce4", None), ("ä", None)):
        assert accounts.find(token, name) is None
    assert ANNA not in repr(accounts)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("anna", "found 1 words"),
        (f"anna {ANNA} admin now", "found 4 words"),
        (f"../anna {ANNA}", "a name has 1 to 64"),
        (f"anna {ANNA} owner", "a role is one of reader, annotator, admin"),
        (f"anna {ANNA[:31]}", "room for 124"),
        (f"anna {BEN[:21]}", "room for 126"),
        (f"anna {'ab' * 40}", "few characters"),
        (f"anna {ANNA}é", "letters, digits"),
        (f"ben {ANNA}\nben {BEN}", "line 2: a name and a token are one person's"),
        (f"ben {ANNA}\nanna {ANNA}", "line 2: a name and a token are one person's"),
        ("# nobody", "found none"),
    ],
)
def test_a_line_that_is_no_account_is_refused_without_its_token(line: str, found: str) -> None:
    with pytest.raises(DataError, match=found) as refused:
        parse_accounts(line.splitlines(), "tokens")
    assert not [word for word in line.split() if len(word) > 16 and word in str(refused.value)]


def test_accounts_come_from_a_file_or_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"anna {ANNA}\n")
    path.chmod(0o600)
    accounts = read_accounts(path, {VARIABLE: f"ben {BEN}"})
    assert accounts is not None and [own.name for own in accounts.members] == ["anna"]
    accounts = read_accounts(None, {VARIABLE: f"ben {BEN}\nanna {ANNA}"})
    assert accounts is not None and [own.name for own in accounts.members] == ["ben", "anna"]
    assert read_accounts(None, {}) is None
    with pytest.raises(UsageError, match="No such file"):
        read_accounts(tmp_path / "nothing", {})
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="no UTF-8 text"):
        read_accounts(path, {})


@pytest.mark.skipif(os.name != "posix", reason="modes of files are of POSIX")
def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokens"
    path.write_text(f"anna {ANNA}\n")
    path.chmod(0o640)
    with pytest.raises(UsageError, match=r"mode 600\); found mode 640"):
        read_accounts(path, {})
