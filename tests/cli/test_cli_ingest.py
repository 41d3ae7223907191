from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from monai_staging.cli.main import main
from monai_staging.cohort import load_cohort
from monai_staging.cohort.phantom import PhantomConfig, write_phantom_tree
from monai_staging.tnm import categories


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four tiny phantoms."""
    root = tmp_path_factory.mktemp("phantoms") / "raw"
    write_phantom_tree(root, 4, seed=3, config=PhantomConfig(resolution="tiny"), workers=1)  # type: ignore[arg-type]
    return root


Capture = Callable[[], tuple[int, str, str]]


@pytest.fixture(autouse=True)
def without_workers(request: pytest.FixtureRequest) -> None:
    """One of the tests has the command's own worker processes; the others have no need of them."""
    if request.function is not test_ingest_and_audit:
        request.getfixturevalue("reads_here")


def test_ingest_and_audit(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cohort"
    assert main(["ingest", "phantom", str(raw), str(out), "--folds", "2", "--workers", "1", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    cohort = load_cohort(out)
    assert told["cohort"] == str(out / "cohort.json")
    assert (told["cases"], told["patients"], told["masks"], told["folds"]) == (4, 4, 4, 2)
    assert told["training"] + told["validation"] + told["test"] == 4
    assert told["digest"] == cohort.digest
    assert told["rejected"] == told["unknown_codes"] == {}
    assert main(["audit", str(out), "--json"]) == 0
    audit = json.loads(capsys.readouterr().out)
    assert audit["acceptable"] is True
    assert audit["digest"] == cohort.digest
    assert audit["cases"] == {part: told[part] for part in ("training", "validation", "test")}
    assert main(["audit", str(out)]) == 0
    text = capsys.readouterr().out
    assert "fit to train on" in text
    assert "PH-3" not in text


def test_labels_and_masks_are_the_phantom_s(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from monai_staging.cohort.volume import read_mask

    assert main(["ingest", "phantom", str(raw), str(tmp_path / "out"), "--workers", "1"]) == 0
    assert "4 cases of 4 patients" in capsys.readouterr().out
    cohort = load_cohort(tmp_path / "out")
    for case in cohort.cases:
        truth = json.loads((raw / "truth" / f"{case.patient}.json").read_text())["truth"]
        for letter in "tnm":
            assert truth[letter] in getattr(case, letter)
        assert [lesion.label for lesion in case.lesions] == [lesion["label"] for lesion in truth["lesions"]]
        path = cohort.mask_path(case)
        assert path is not None
        mask, affine = read_mask(path)
        for lesion in case.lesions:
            index = (mask == lesion.label).nonzero()
            low, high = (affine @ [*(reduce(axis) for axis in index), 1] for reduce in (min, max))
            assert lesion.center_mm == pytest.approx((low + high)[:3] / 2, abs=0.01)


def test_audit_refuses_a_leak(raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "cohort"
    assert main(["ingest", "phantom", str(raw), str(out), "--workers", "1", "--validation", "0"]) == 0
    document = json.loads((out / "cohort.json").read_text())
    document["test"].append(document["training"][0] | {"series": "1.2.3"})
    (out / "cohort.json").write_text(json.dumps(document))
    capsys.readouterr()
    assert main(["audit", str(out)]) == 1
    assert "LEAK: the same patient in training and test: case-" in capsys.readouterr().out
    assert main(["audit", str(out), "--json", "--identify"]) == 1
    leaks = json.loads(capsys.readouterr().out)["leaks"]
    assert {leak["kind"] for leak in leaks} == {"patient", "study", "pixels"}
    assert leaks[0]["cases"] == [document["training"][0]["patient"]]


def test_exit_codes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["ingest", "folder", str(tmp_path / "empty"), str(tmp_path / "out")]) == 1
    assert json.loads((tmp_path / "out" / "rejected.json").read_text()) == []
    assert main(["ingest", "folder", str(tmp_path / "none"), str(tmp_path / "out2")]) == 2
    assert (
        main(["ingest", "folder", str(tmp_path / "empty"), str(tmp_path / "o"), "--folds", "3", "--validation", ".1"])
        == 2
    )
    assert main(["audit", str(tmp_path / "none")]) == 1
    with pytest.raises(SystemExit) as caught:
        main(["ingest", "lidc", str(tmp_path), str(tmp_path / "o")])
    assert caught.value.code == 2


def test_tells_what_it_could_not_understand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "raw").mkdir()
    table = tmp_path / "table.csv"
    table.write_text("who;Tumour;N;M\nSECRET-1;T9;N0;M0\n")
    arguments = ["ingest", "folder", str(tmp_path / "raw"), str(tmp_path / "out"), "--clinical", str(table)]
    assert main([*arguments, "--patient-column", "who", "--t", "tumour"]) == 1
    text = capsys.readouterr().out
    assert "t not understood, left unknown: 'T9' 1x" in text
    assert "1 patients without images\n" in text
    assert "SECRET" not in text
    arguments += ["--patient-column", "who", "--t", "tumour"]
    assert main([*arguments, "--json"]) == 1
    captured = capsys.readouterr()
    told = json.loads(captured.out)
    assert (told["patients_without_images"], told["patients_without_row"]) == (1, 0)
    assert "SECRET" not in captured.out + captured.err
    assert main([*arguments, "--json", "--identify"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["patients_without_images"], told["patients_without_row"]) == (["SECRET-1"], [])
    assert main([*arguments, "--identify"]) == 1
    assert "1 patients without images: SECRET-1\n" in capsys.readouterr().out


def test_a_broken_cohort_names_no_patient_unless_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    case = {"patient": "SECRET-3", "study": "1", "series": "2", "image": "volumes/0.nii", "edition": "8"}
    cohort = {"name": "c", "version": 1, "spacing": None, "source": "folder", "validation": [], "test": []}
    cohort["training"] = [case | {"t": ["T99"], "n": ["N0"], "m": ["M0"]}]
    (tmp_path / "cohort.json").write_text(json.dumps(cohort))
    assert main(["audit", str(tmp_path)]) == 1
    told = capsys.readouterr().err
    assert "cohort.json, training[0]: t must be a set of categories" in told
    assert "SECRET" not in told
    assert main(["audit", str(tmp_path), "--identify"]) == 1
    assert "training[0] (Case SECRET-3): t must be" in capsys.readouterr().err


def test_the_table_s_own_columns_go_before_the_options(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = sorted(path.stem for path in (raw / "truth").glob("*.json"))[:2]
    table = tmp_path / "table.csv"
    table.write_text(f"patient,T,N,M,edition,prefix\n{first},T2a,N1,M1b,7,p\n{second},T3,N0,M0,,\n")
    command = ["ingest", "phantom", str(raw), str(tmp_path / "out"), "--workers", "1", "--clinical", str(table)]

    def labels(patient: str) -> tuple[object, ...]:
        (case,) = (case for case in load_cohort(tmp_path / "out").cases if case.patient == patient)
        return case.edition, case.prefix, case.t, case.m

    assert main([*command, "--edition", "8", "--prefix", "c"]) == 0
    assert labels(first) == ("7", "p", ("T2a",), ("M1b",))
    assert labels(second) == ("8", "c", ("T3",), ("M0",))
    assert "edition" not in capsys.readouterr().out
    assert main(command) == 0
    assert labels(first) == ("7", "p", ("T2a",), ("M1b",))
    assert labels(second)[2] == categories("t", "8")
    assert "table.csv states no edition for 1 patients: T, N and M left unknown" in capsys.readouterr().out
