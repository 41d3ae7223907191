"""Codes: real, unambiguous, and of all that can be reported."""

from __future__ import annotations

from collections import defaultdict

import pytest
from pydicom.sr import _concepts_dict

from monai_staging.errors import DataError
from monai_staging.outputs import dicom_codes as codes
from monai_staging.outputs.dicom_codes import Code, category_code, category_of, grouping_code, letter_code, to_dicom
from monai_staging.outputs.findings import Category, Site
from monai_staging.tnm import EDITIONS, LETTERS, PREFIXES, Descriptor, categories, groups, main_categories
from monai_staging.tnm.categories import FINDINGS


def every_code() -> list[Code]:
    found: list[Code] = [value for value in vars(codes).values() if isinstance(value, Code)]
    for table in (codes.SITES, codes.GROUPS, codes.EDITIONS, codes.PREFIX_CODES, codes.DESCRIPTORS):
        found += table.values()
    found += [code for pair in codes.CATEGORIES.values() for code in pair]
    found += [grouping_code(prefix) for prefix in PREFIXES]
    found += [letter_code(letter, prefix) for letter in LETTERS for prefix in PREFIXES]
    found += [category_code(name, prefix) for prefix in PREFIXES for name in every_category()]
    return found


def every_category() -> set[str]:
    named = {
        name
        for edition in EDITIONS
        for letter in LETTERS
        for name in (*categories(letter, edition), *main_categories(letter, edition), *FINDINGS[letter])
    }
    return named | {"M1c", "N2"}


def verhoeff(number: str) -> bool:
    """Whether the last digit of a SNOMED CT identifier checks (Verhoeff 1969; SNOMED CT Release File Specification)."""

    def times(a: int, b: int) -> int:
        """In the dihedral group of the pentagon."""
        if a < 5:
            return (a + b) % 5 if b < 5 else 5 + (a + b - 5) % 5
        return 5 + (a - 5 - b) % 5 if b < 5 else (a - b) % 5

    permuted = list(range(10))
    permutation = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]
    check = 0
    for digit in reversed(number):
        check = times(check, permuted[int(digit)])
        permuted = [permuted[k] for k in permutation]
    return check == 0


def test_identifiers_of_snomed_check():
    found = {code.value for code in every_code() if code.scheme == "SCT"}
    assert len(found) > 80
    assert [value for value in found if not verhoeff(value)] == []
    assert not verhoeff("42400004") and not verhoeff("1222850003")


def test_meanings_are_those_of_dicom_where_dicom_names_the_concept():
    known: dict[tuple[str, str], set[str]] = defaultdict(set)
    for scheme, names in _concepts_dict.concepts.items():
        for entries in names.values():
            for value, (meaning, _) in entries.items():
                known[value, scheme].add(meaning.lower())
    checked = 0
    for code in {code for code in every_code() if code.key in known and code.scheme != "UCUM"}:
        stem = code.meaning.lower()
        assert any(stem in meaning or meaning in stem for meaning in known[code.key]), (code, known[code.key])
        checked += 1
    assert checked > 25


def test_codes_fit_their_attributes():
    for code in every_code():
        assert 0 < len(code.value) <= 16 and 0 < len(code.scheme) <= 16 and 0 < len(code.meaning) <= 64, code
        assert to_dicom(code).meaning == code.meaning


def test_one_meaning_a_code_and_one_code_a_meaning():
    distinct = set(every_code())
    assert len({code.key for code in distinct}) == len(distinct)
    assert len({code.meaning.lower() for code in distinct}) == len(distinct)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_categories_come_back(prefix):
    for name in every_category():
        code = category_code(name, prefix)
        assert category_of(*code.key) == name
        assert (code.scheme == "SCT") == (prefix == "c" and name not in ("M1c1", "M1c2"))


@pytest.mark.parametrize(
    "key", [("T1a", "SCT"), ("1228892002", codes.SCHEME), ("cX1", codes.SCHEME), ("T1a", codes.SCHEME)]
)
def test_other_codes_are_no_category(key):
    with pytest.raises(DataError, match=f"A code of a T, N or M category is expected; found {key[0]} of {key[1]}"):
        category_of(*key)


def test_all_that_can_be_reported_has_a_code():
    assert set(codes.CATEGORIES) == set(Category) and set(codes.SITES) == set(Site)
    assert set(codes.DESCRIPTORS) == set(Descriptor)
    assert set(codes.GROUPS) == {group for edition in EDITIONS for group in groups(edition, occult=True)}
    assert set(codes.EDITIONS) == set(EDITIONS)
