"""Which cohorts the staging bundle takes, and what it makes of their cases."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monai_staging.cohort import Case, Cohort, Lesion
from monai_staging.errors import DataError, UsageError
from monai_staging.tnm.categories import EDITIONS, LETTERS, categories
from monai_staging.workflows.staging_data import (
    cohort_title,
    has_lesions,
    join_set,
    mlflow_command,
    model_classes,
    split_set,
    staging_datalist,
    training_cases,
    training_counts,
    with_labels,
    without_leaks,
)

LEFT_OUT = {"T0": None, "TX": None, "Tis": None}


def case(index: int, kind: str | None = "primary", t: tuple[str, ...] = ("T1a",)) -> Case:
    site = "7" if kind == "node" else None
    lesions = (Lesion(kind=kind, site=site, center_mm=(1.0, 2.0, 3.0), size_mm=(9.0, 8.0, 7.0)),) if kind else ()
    return Case(
        patient=f"P{index}",
        study=f"1.{index}",
        series=f"2.{index}",
        image=f"volumes/{index}.nii",
        lesions=lesions,
        t=t,
        n=("N0",),
        m=("M0",),
        edition="8",
        prefix="c",
    )


def cohort(root: Path) -> Cohort:
    return Cohort(
        name="made",
        source="phantom",
        training=(case(0), case(1, "node"), case(2, None)),
        validation=(),
        test=(case(3, t=("T1a", "T1b")),),
        root=root,
    )


def saved(root: Path, **parts: tuple[Case, ...]) -> Path:
    """The cohort's folder, with files where the volumes lie."""
    made = cohort(root) if not parts else replace(cohort(root), **{"training": (), "test": (), **parts}, digest="")
    made.save()
    for case in made.cases:
        path = root / case.image
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return root


def test_the_data_list_hides_patients_and_says_what_is_annotated(tmp_path: Path) -> None:
    items = staging_datalist(saved(tmp_path), "training", groups=("primary", "midline node", "effusion"))
    assert [item["lesion_known"].tolist() for item in items] == [[1, 1, 0], [1, 1, 0], [0, 0, 0]]
    assert all(item["case"].startswith("case-") for item in items)
    assert not any("P0" in str(value) for value in items[0].values())
    (test,) = staging_datalist(tmp_path, "test")
    assert split_set(test["t_set"]) == ("T1a", "T1b")
    assert len(staging_datalist(tmp_path, ["training", "test"], limit=2)) == 2
    counts = training_counts(tmp_path)
    assert counts is not None and counts["t"]["T1"] == 3 and counts["group"]["I"] == 3
    assert cohort_title(tmp_path, "test") == "phantoms (synthetic CT), test part"


def test_without_training_cases_there_is_no_baseline(tmp_path: Path) -> None:
    saved(tmp_path, test=(case(3),))
    assert training_counts(tmp_path) is None


def test_an_empty_or_unknown_part_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="validation has 0 cases"):
        staging_datalist(saved(tmp_path), "validation")
    with pytest.raises(DataError, match="'tests'"):
        staging_datalist(tmp_path, "tests")


def test_a_leaking_cohort_is_refused(tmp_path: Path) -> None:
    root = saved(tmp_path)
    assert without_leaks(root) == root.resolve()
    document = json.loads((root / "cohort.json").read_text())
    document["test"][0]["patient"] = document["training"][0]["patient"]
    (root / "cohort.json").write_text(json.dumps(document))
    with pytest.raises(DataError, match="refuse to train"):
        without_leaks(root)


def test_sets_travel_as_strings() -> None:
    assert split_set(join_set(("T1a", "T1b"))) == ("T1a", "T1b")


def test_the_mlflow_command_names_the_store() -> None:
    assert mlflow_command("sqlite:////a/b.db") == "MLflow: mlflow ui --backend-store-uri sqlite:////a/b.db"
    assert mlflow_command("http://127.0.0.1:5000") == "MLflow: http://127.0.0.1:5000"


def labelled(index: int, edition: str = "8", prefix: str = "c", **letters: tuple[str, ...]) -> Case:
    t, n, m = (letters.get(letter, categories(letter, edition)) for letter in LETTERS)
    return replace(case(index), edition=edition, prefix=prefix, t=t, n=n, m=m)


def test_labels_of_another_edition_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    root = saved(tmp_path, training=(labelled(0, "7", t=("T1a",)), labelled(1, "7", n=("N0",))), test=(labelled(2),))
    with pytest.raises(DataError, match=r"classes are of the 8th edition, the labelled cases 2 of the 7th.*--edition"):
        with_labels(root, "8", model_classes("8"), LEFT_OUT)
    assert with_labels(root, "7", model_classes("7"), LEFT_OUT) == root.resolve()
    # The case without labels, stored with the categories of the 8th, is one of the 7th then: it says nothing.
    (unlabelled,) = staging_datalist(root, "test", edition="7")
    assert unlabelled["edition"] == "7" and unlabelled["m"] == ["M0", "M1a", "M1b"]


def test_labels_of_two_prefixes_are_refused(tmp_path: Path) -> None:
    root = saved(tmp_path, training=(labelled(0, prefix="p", t=("T1a",)), labelled(1, n=("N0",))))
    with pytest.raises(DataError, match=r"one prefix, found c 1, p 1"):
        with_labels(root, "8", model_classes("8"))
    # A case without any label has no prefix to speak of.
    saved(tmp_path, training=(labelled(0, prefix="p", t=("T1a",)), labelled(1)))
    with_labels(root, "8", model_classes("8"))
    assert {item["prefix"] for item in staging_datalist(root, "training")} == {"p"}


def test_letters_without_a_class_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cases = (labelled(0, t=("Tis",)), labelled(1, t=("T0",)), labelled(2, t=("T0",), n=("N1",)), labelled(3, t=("T4",)))
    root = saved(tmp_path, training=cases)
    with caplog.at_level(logging.WARNING, "monai_staging"):
        with_labels(root, "8", model_classes("8"), LEFT_OUT)
    assert "3 cases have a T that no class of the model stands for (T0 2, Tis 1)" in caplog.text
    assert "have a N" not in caplog.text


def test_without_labels_any_case_will_do(tmp_path: Path) -> None:
    mixed = (labelled(0, "6", "p", t=("Tis",)), labelled(1, "9", n=("N2a",)), labelled(2))
    items = staging_datalist(saved(tmp_path, test=mixed), "test", edition="8", labels=False)
    assert {(item["edition"], item["prefix"], item["n_set"]) for item in items} == {("8", "c", "N0|N1|N2|N3")}
    assert not any(item["lesions"] or item["lesion_known"].any() for item in items)


@pytest.mark.parametrize("edition", EDITIONS)
def test_a_model_knows_every_category_but_tis(edition: str) -> None:
    assert {name for names in model_classes(edition).values() for name in names} == {
        name for letter in LETTERS for name in categories(letter, edition)
    } - {"Tis"}


def test_a_patient_s_studies_are_told_apart(tmp_path: Path) -> None:
    two = tuple(replace(case(index), patient="P", series=f"2.{index}") for index in (0, 1))
    items = staging_datalist(saved(tmp_path, training=(*two, case(2))), "training")
    assert items[0]["case"] == items[1]["case"] != items[2]["case"]
    assert [item["study"] for item in items] == [f"{items[0]['case']}-1", f"{items[0]['case']}-2", items[2]["case"]]


def test_studies_without_identifiers_are_told_apart_too(tmp_path: Path) -> None:
    made = tuple(replace(case(index), patient=f"P{index // 2}", study="1", series="1") for index in range(4))
    items = staging_datalist(saved(tmp_path, test=made), "test", labels=False)
    assert len({item["study"] for item in items}) == 4
    assert [item["study"].removeprefix(item["case"]) for item in items] == ["-1", "-2"] * 2


def test_only_lesions_that_the_map_has_a_group_for_count_as_lesions(tmp_path: Path) -> None:
    node = Lesion(kind="node", site="Lymph node", center_mm=(1.0, 2.0, 3.0), size_mm=(9.0, 8.0, 7.0))
    root = saved(tmp_path, training=(replace(case(0), lesions=(node,)),))
    assert not has_lesions(root)
    saved(tmp_path, training=(case(0, "node"),))
    assert has_lesions(root) and not has_lesions(root, ["primary"])


def test_an_item_changes_with_its_volume(tmp_path: Path) -> None:
    root = saved(tmp_path)
    before, again = (staging_datalist(root, "test")[0] for _ in range(2))
    assert str(before) == str(again)
    path = Path(before["image"])
    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
    assert staging_datalist(root, "test")[0]["files"] != before["files"]
    path.unlink()
    with pytest.raises(DataError, match=r"volumes/3.nii: a file of the cohort cannot be read"):
        staging_datalist(root, "test")


def test_an_item_says_how_high_its_lesions_lie(tmp_path: Path) -> None:
    items: list[dict[str, Any]] = staging_datalist(saved(tmp_path), "training")
    assert [json.loads(item["lesion_z_mm"]) for item in items] == [
        {"primary": [[-0.5, 6.5]]},
        {"node": [[-0.5, 6.5]]},
        {},
    ]


def test_a_label_fraction_leaves_training_patients_out_and_nobody_else(tmp_path: Path) -> None:
    training = tuple(labelled(index, t=("T1a",) if index < 8 else ("T4",)) for index in range(16))
    root = saved(tmp_path, training=training, test=(labelled(20, t=("T2a",)), labelled(21, t=("T3",))))
    whole = staging_datalist(root, "training")
    half = staging_datalist(root, "training", label_fraction=0.5, seed=3)
    # The same items, so that a cache finds them; half of each category, and of every seed others.
    assert [str(item) for item in whole if item["study"] in {one["study"] for one in half}] == list(map(str, half))
    assert [item["t_set"] for item in half].count("T4") == 4 and len(half) == 8
    assert half != staging_datalist(root, "training", label_fraction=0.5, seed=4)
    assert len(staging_datalist(root, "test", label_fraction=0.5, seed=3)) == 2
    assert len(training_cases(root, 0.5, 3)) == 8
    # The majority that results are compared with is that of the labels which were seen.
    counts = training_counts(root, 0.5, 3)
    assert counts is not None and sum(counts["t"].values()) == 8
    with pytest.raises(UsageError, match="label fraction"):
        staging_datalist(root, "training", label_fraction=0.0)


def test_lesions_count_only_where_they_are_trained_on(tmp_path: Path) -> None:
    root = saved(tmp_path, training=(case(0), case(1, None)))
    shown = [has_lesions(root, label_fraction=0.5, seed=seed) for seed in range(8)]
    assert has_lesions(root) and set(shown) == {True, False}
