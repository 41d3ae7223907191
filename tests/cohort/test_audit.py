from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_staging.cohort import Case, Cohort, Lesion
from monai_staging.cohort.audit import audit_cohort, refuse_leaks
from monai_staging.cohort.cohort import mask_name, volume_name
from monai_staging.cohort.volume import Volume, write_mask, write_volume
from monai_staging.errors import DataError
from monai_staging.tnm import categories

AFFINE = np.diag([-0.8, -0.8, 2.5, 1.0])
Make = Callable[..., Case]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a case and its volume; ``seed`` decides the voxels."""

    def case(patient: str, number: int, *, seed: int | None = None, fold: int | None = None, **changes: Any) -> Case:
        series = f"1.2.{number}"
        voxels = np.random.default_rng(number if seed is None else seed).integers(-1000, 1000, (6, 5, 8))
        write_volume(tmp_path / volume_name(series), Volume(np.asfortranarray(voxels.astype(np.int16)), AFFINE))
        made = Case(patient, f"1.3.{number}", series, volume_name(series), ("T1a",), ("N0",), ("M0",), "8", fold=fold)
        return replace(made, **changes)

    return case


def cohort(root: Path, training: list[Case], validation: list[Case], test: list[Case]) -> Cohort:
    return Cohort(root, "c", "folder", (0.8, 0.8, 2.5), tuple(training), tuple(validation), tuple(test))


def test_a_clean_cohort(tmp_path: Path, make: Make) -> None:
    unknown = categories("m", "8")
    training = [make("A", 1, fold=1), make("A", 2, fold=1, m=unknown), make("B", 3, fold=2, t=("T1a", "T2a"))]
    found = audit_cohort(cohort(tmp_path, training, [make("C", 4, fold=0)], [make("D", 5, n=("N3",))]))
    assert found.acceptable
    assert found.cases == {"training": 3, "validation": 1, "test": 1}
    assert found.patients == {"training": 2, "validation": 1, "test": 1}
    assert found.labels["training"]["t"] == {"T1": 2, "T1/T2": 1}
    assert found.labels["training"]["m"] == {"M0": 2, "unknown": 1}
    assert found.labels["training"]["group"] == {"I": 2, "I/IV": 1}
    assert found.labels["test"]["group"] == {"III": 1}
    assert found.missing_labels["training"] == {"t": 0, "n": 0, "m": 1}
    assert found.geometry is not None
    assert found.geometry.spacing_mm.median == (0.8, 0.8, 2.5)
    assert found.geometry.shape.high == (6, 5, 8)
    assert found.geometry.orientations == {"LPS": 1 * 5}
    refuse_leaks(cohort(tmp_path, training, [], []))


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("patient", {"patient": "a "}),  # the same, spelled differently
        ("study", {"study": "1.3.1"}),
        ("series", {"series": "1.2.1"}),
        ("pixels", {"seed": 1}),
    ],
)
@pytest.mark.parametrize("sides", [("training", "validation"), ("training", "test"), ("validation", "test")])
def test_leaks_between_parts(
    tmp_path: Path, make: Make, kind: str, changes: dict[str, Any], sides: tuple[str, str]
) -> None:
    other = {"patient": "B", "number": 2} | changes
    parts: dict[str, list[Case]] = {"training": [], "validation": [], "test": []}
    parts[sides[0]].append(make("A", 1))
    parts[sides[1]].append(make(**other))
    leaking = cohort(tmp_path, **parts)
    found = audit_cohort(leaking, name_of=lambda case: case.patient)
    assert [(leak.kind, leak.sides) for leak in found.leaks] == [(kind, sides)]
    assert found.leaks[0].cases == tuple(sorted({"A", other["patient"]}))
    assert not found.acceptable
    with pytest.raises(DataError, match=f"the same {kind} in {sides[0]} and {sides[1]}"):
        refuse_leaks(leaking)


def test_leaks_between_folds(tmp_path: Path, make: Make) -> None:
    training = [make("A", 1, fold=1), make("A", 2, fold=2), make("B", 3, fold=3), make("C", 4, fold=4, seed=3)]
    found = audit_cohort(cohort(tmp_path, training, [], [make("D", 5, fold=1)]))
    assert [(leak.kind, leak.sides) for leak in found.leaks] == [
        ("patient", ("fold 1", "fold 2")),
        ("case", ("test", "fold 1")),
        ("pixels", ("fold 3", "fold 4")),
    ]


def test_duplicates_within_a_part_are_no_leak(tmp_path: Path, make: Make) -> None:
    twins = [make("A", 1), make("B", 2, seed=1), make("C", 3)]
    found = audit_cohort(cohort(tmp_path, twins, [], []), name_of=lambda case: case.patient)
    assert found.acceptable
    assert found.duplicates == (("A", "B"),)


def test_volumes_that_share_slices_are_not_identical(tmp_path: Path, make: Make) -> None:
    one, other = make("A", 1), make("B", 2, seed=1)
    path = tmp_path / other.image
    content = bytearray(path.read_bytes())
    content[-1] ^= 1  # the last slice is none of those that are compared first
    path.write_bytes(content)
    assert audit_cohort(cohort(tmp_path, [one], [], [other])).acceptable


def test_case_names_do_not_identify(tmp_path: Path, make: Make) -> None:
    found = audit_cohort(cohort(tmp_path, [make("LUNG1-001", 1)], [], [make("LUNG1-001", 2)]))
    (leak,) = found.leaks
    assert leak.cases[0].startswith("case-")
    assert "LUNG1" not in str(found)


def test_files_that_are_missing_or_disagree(tmp_path: Path, make: Make) -> None:
    inside = Lesion("primary", (0.0, 0.0, 5.0), (1.0, 1.0, 1.0), label=1)
    away = replace(inside, center_mm=(300.0, 0.0, 0.0), label=None)
    cases = {
        "gone": make("gone", 1),
        "damaged": make("damaged", 2),
        "unmasked": make("unmasked", 3, mask=mask_name("1.2.3")),
        "off-grid": make("off-grid", 4, mask=mask_name("1.2.4")),
        "empty": make("empty", 5, mask=mask_name("1.2.5"), lesions=(inside,)),
        "away": make("away", 6, lesions=(away,)),
        "finer": make("finer", 7),
        "torn": make("torn", 8, mask=mask_name("1.2.8")),
        "turned": make("turned", 9),
        "good": make("good", 10, mask=mask_name("1.2.10"), lesions=(inside,)),
    }
    (tmp_path / cases["gone"].image).unlink()
    (tmp_path / cases["damaged"].image).write_bytes(b"no volume")
    write_mask(tmp_path / mask_name("1.2.4"), np.zeros((6, 5, 7), np.uint8), AFFINE)
    write_mask(tmp_path / mask_name("1.2.5"), np.zeros((6, 5, 8), np.uint8), AFFINE)
    write_volume(
        tmp_path / cases["finer"].image, Volume(np.zeros((6, 5, 8), np.int16), np.diag([-0.8, -0.8, 2.0, 1.0]))
    )
    (tmp_path / mask_name("1.2.8")).write_bytes(b"no mask")
    content = bytearray((tmp_path / cases["turned"].image).read_bytes())
    content[268:272] = np.float32(7).tobytes()  # qoffset_x
    (tmp_path / cases["turned"].image).write_bytes(content)
    mask = np.zeros((6, 5, 8), np.uint8)
    mask[0, 0, 2] = 1
    write_mask(tmp_path / mask_name("1.2.10"), mask, AFFINE)
    found = audit_cohort(cohort(tmp_path, list(cases.values()), [], []), name_of=lambda case: case.patient)
    assert {(problem.case, problem.rule) for problem in found.problems} == {
        ("gone", "missing-file"),
        ("damaged", "unreadable-volume"),
        ("unmasked", "missing-file"),
        ("off-grid", "mask-off-grid"),
        ("empty", "lesion-without-mask"),
        ("away", "lesion-outside"),
        ("finer", "spacing-disagrees"),
        ("torn", "unreadable-mask"),
        ("turned", "header-disagrees"),
    }
    assert not found.leaks
    assert not found.acceptable


def test_a_cohort_that_cannot_hold_a_key_is_audited_all_the_same(tmp_path: Path, make: Make) -> None:
    (tmp_path / ".case_key").mkdir()
    found = audit_cohort(cohort(tmp_path, [make("A", 1)], [], [make("A", 2)]))
    assert found.leaks[0].cases[0].startswith("case-")
