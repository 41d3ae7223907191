"""The reference page's tables and examples against the code."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest

from monai_staging.tnm import (
    EDITIONS,
    CodeStatus,
    Descriptor,
    categories,
    category_of_size,
    descriptor_level,
    group_table,
    parse_code,
)


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs" / "reference" / "tnm.md").read_text(encoding="utf-8")


def table(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table under a heading, without its rule."""
    part = page.split(f"{heading}\n", 1)[1]
    rows = re.search(r"(?:^\|.*\n)+", part, re.MULTILINE)
    assert rows is not None
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in rows.group().splitlines()]
    return [cells[0], *cells[2:]]


def test_examples(page: str) -> None:
    source = "\n".join(re.findall(r"```pycon\n(.*?)```", page, re.DOTALL))
    test = doctest.DocTestParser().get_doctest(source, {}, "tnm.md", None, 0)
    assert len(test.examples) > 5
    assert doctest.DocTestRunner(verbose=False).run(test).failed == 0


def test_categories(page: str) -> None:
    _, *rows = table(page, "## Categories")
    for letter, *cells in rows:
        assert [tuple(cell.split()) for cell in cells] == [categories(letter, edition) for edition in EDITIONS]


@pytest.mark.parametrize("edition", EDITIONS)
def test_stage_groups(page: str, edition: str) -> None:
    header, *rows = table(page, f"### {edition}th edition")
    assert tuple(header[1:]) == categories("n", edition)
    assert tuple(row[0] for row in rows) == categories("t", edition)
    for t, *cells in rows:
        assert cells == [group_table(edition)[t][n]["M0"] or "none" for n in categories("n", edition)]


def test_sizes(page: str) -> None:
    _, *rows = table(page, "## T from a size")
    for size, *cells in rows:
        size_mm = 1000.0 if size == "more" else float(size)
        assert cells == [category_of_size(size_mm, edition) for edition in ("6", "7", "8")]


def test_descriptors(page: str) -> None:
    _, *rows = table(page, "Descriptors and the lowest category each gives:")
    assert [row[0] for row in rows] == [descriptor.value for descriptor in Descriptor]
    for name, *cells in rows:
        assert cells == [descriptor_level(Descriptor(name), edition) or "none" for edition in ("6", "7", "8")]


def test_spellings(page: str) -> None:
    _, *rows = table(page, "## Spelling")
    for spellings, _, status in rows[:-2]:
        for code in re.findall("`([^`]+)`", spellings):
            letter = code[0].lower() if code in ("NX", "MX") else "t"
            assert parse_code(letter, code, "8").status is CodeStatus(status), code
