"""Study addresses: what they are read from, and what they never tell."""

from __future__ import annotations

import pickle
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_staging.dicomweb.address import Archive, Credentials, StudyAddress
from monai_staging.errors import UsageError

UIDS = st.lists(st.integers(0, 10**9), min_size=1, max_size=5).map(lambda numbers: ".".join(map(str, numbers)))
LABELS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=10)
HOSTS = st.one_of(st.lists(LABELS, min_size=1, max_size=3).map(".".join), st.just("[::1]"), st.just("192.0.2.7"))
ROOTS = st.lists(st.sampled_from(("dicom-web", "dcm4chee-arc", "aets", "DCM4CHEE", "rs", "studies")), max_size=4).map(
    lambda parts: "".join(f"/{part}" for part in parts)
)
SECRETS = st.text(min_size=12, max_size=30).filter(lambda text: text.strip())
WRONG = (
    "https://pacs.example",
    "https://pacs.example/dicom-web/studies",
    "https://pacs.example/dicom-web/studies/",
    "https://pacs.example/dicom-web/studies/1.2.x",
    "https://pacs.example/dicom-web/studies/..",
    "https://pacs.example/dicom-web/studies/1..2",
    "https://pacs.example/dicom-web/studies/" + "1." * 32 + "1",
    "https://pacs.example/dicom-web/studies/1.2/series",
    "https://pacs.example/dicom-web/studies/1.2/series/1.3/instances/1.4",
    "https://pacs.example/dicom-web/studies/1.2?limit=1",
    "https://pacs.example/dicom-web/studies/1.2#top",
    "https://pacs.example/dicom web/studies/1.2",
    "https://pacs.example:port/dicom-web/studies/1.2",
    "https://pacs.example:99999/dicom-web/studies/1.2",
    "https://[::1/dicom-web/studies/1.2",
    "https:///dicom-web/studies/1.2",
    "https://pacs.example\\dicom-web/studies/1.2",
    "http://",
)


@given(
    st.sampled_from(("http", "https")),
    HOSTS,
    st.one_of(st.none(), st.integers(1, 65535)),
    ROOTS,
    UIDS,
    st.one_of(st.none(), UIDS),
)
def test_a_url_comes_back_as_it_was(scheme, host, port, root, study, series):
    service = f"{scheme}://{host}{'' if port is None else f':{port}'}{root}"
    text = f"{service}/studies/{study}{'' if series is None else f'/series/{series}'}"
    address = StudyAddress.parse(text, environment={})
    assert (address.service, address.study, address.series) == (service, study, series)
    assert str(address) == text
    assert address.credentials is None
    assert StudyAddress.parse(f"{text}/", environment={}) == address
    assert pickle.loads(pickle.dumps(address)) == address


@given(SECRETS, SECRETS)
def test_credentials_of_the_url_are_read_and_never_told(user, password):
    text = f"https://{quote(user, safe='')}:{quote(password, safe='')}@pacs.example/rs/studies/1.2.3"
    address = StudyAddress.parse(text, environment={"MONAI_STAGING_DICOMWEB_TOKEN": "another"})
    assert (address.credentials.user, address.credentials.password) == (user, password)
    assert str(address) == "https://pacs.example/rs/studies/1.2.3"
    told = f"{address} {address!r} {address.credentials!r}"
    for secret in (user, password):
        assert secret not in told and quote(secret, safe="") not in told


@given(SECRETS, st.sampled_from(WRONG))
def test_no_error_tells_a_password_even_unquoted(password, wrong):
    text = wrong.replace("://", f"://user:{password}@", 1)
    try:
        StudyAddress.parse(text, environment={})
    except UsageError as error:
        assert password not in str(error)
        assert error.__cause__ is None


@given(st.text())
def test_what_is_no_url_is_none_and_nothing_else_happens(text):
    try:
        address = StudyAddress.parse(text, environment={})
    except UsageError:
        assert text.lower().startswith(("http://", "https://"))
    else:
        assert address is None or text.lower().startswith(("http://", "https://"))


@pytest.mark.parametrize("text", ["study", "/data/studies/1.2.3", "C:\\studies\\1.2.3", "ftp://host/studies/1.2", ""])
def test_folders_and_other_schemes_are_none(text):
    assert StudyAddress.parse(text) is None


@pytest.mark.parametrize("text", WRONG)
def test_a_url_without_a_study_is_refused(text):
    with pytest.raises(UsageError, match=r"found|is not a URL"):
        StudyAddress.parse(text, environment={})


def test_a_token_in_a_query_is_not_told():
    with pytest.raises(UsageError) as caught:
        StudyAddress.parse("https://pacs.example/rs/studies/1.2?token=geheim", environment={})
    assert "geheim" not in str(caught.value)


def test_credentials_of_the_environment(monkeypatch):
    text = "https://pacs.example/rs/studies/1.2"
    monkeypatch.setenv("MONAI_STAGING_DICOMWEB_PASSWORD", "secret")
    with pytest.raises(UsageError, match="MONAI_STAGING_DICOMWEB_USER is not") as caught:
        StudyAddress.parse(text)
    assert "secret" not in str(caught.value)
    monkeypatch.setenv("MONAI_STAGING_DICOMWEB_USER", "alice")
    assert StudyAddress.parse(text).credentials == Credentials("alice", "secret")
    monkeypatch.setenv("MONAI_STAGING_DICOMWEB_TOKEN", "token")
    assert StudyAddress.parse(text).credentials == Credentials(token="token")
    for token in ("t0ken\n", "t0ken x", "tökeñ"):
        monkeypatch.setenv("MONAI_STAGING_DICOMWEB_TOKEN", token)
        with pytest.raises(UsageError, match="ASCII without blanks") as caught:
            StudyAddress.parse(text)
        assert token.strip() not in str(caught.value)
    assert StudyAddress.parse(text.replace("//", "//bob:x@")).credentials == Credentials("bob", "x")


@pytest.mark.parametrize(
    ("text", "service"),
    [
        ("http://127.0.0.1:8042/dicom-web", "http://127.0.0.1:8042/dicom-web"),
        ("https://alice:geheim@pacs.example/dicom-web/", "https://pacs.example/dicom-web"),
        ("http://[::1]:8042/my/studies-archive", "http://[::1]:8042/my/studies-archive"),
        ("http://pacs.example", "http://pacs.example"),
    ],
)
def test_an_archive_is_the_root(text: str, service: str) -> None:
    archive = Archive.parse(text, environment={})
    assert archive is not None and str(archive) == service and "geheim" not in repr(archive)
    assert (archive.credentials is not None) == ("@" in text)
    address = archive.study("1.2", "3.4")
    assert (str(address), address.archive) == (f"{service}/studies/1.2/series/3.4", archive)


@pytest.mark.parametrize("tail", ["/dicom-web/studies", "/dicom-web/studies/1.2", "/dicom-web?a=b", "/dicom web"])
def test_what_is_no_root_is_refused(tail: str) -> None:
    with pytest.raises(UsageError, match="An archive is https://HOST/ROOT"):
        Archive.parse(f"https://pacs.example{tail}", environment={})


def test_a_folder_is_no_archive() -> None:
    assert Archive.parse("/data/studies") is None
