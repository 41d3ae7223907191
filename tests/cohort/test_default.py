from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from monai_staging.cohort.cohort import Cohort, load_cohort
from monai_staging.cohort.default import default_cohort
from monai_staging.cohort.ingest import IngestOptions, ingest
from monai_staging.cohort.phantom import PhantomConfig, Resolution, write_phantom_tree
from monai_staging.cohort.sources.lung_pet_ct_dx import SUBTYPES
from monai_staging.errors import DataError

SCRIPT = """
import sys
from monai_staging.cohort.default import default_cohort

if __name__ == "__main__":
    default_cohort(sys.argv[1], patients=3, seed=5, resolution="tiny", workers=1)
"""


def content(root: Path) -> dict[str, bytes]:
    files = (path for path in root.rglob("*") if path.is_file() and ".ingest" not in path.parts)
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def test_killed_and_called_again_it_is_what_phantom_and_ingest_make(tmp_path: Path) -> None:
    script, root = tmp_path / "script.py", tmp_path / "data" / "phantom"
    script.write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, script, root])
    while not list(root.glob(".ingest/phantom-*.json")):
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not (root / "cohort.json").exists()
    done = {path: path.stat().st_mtime_ns for path in root.glob(".ingest/phantom-*.json")}
    default_cohort(root, patients=3, seed=5, resolution="tiny", workers=1)
    assert {path: path.stat().st_mtime_ns for path in done} == done

    raw = tmp_path / "raw"
    write_phantom_tree(raw, 3, seed=5, config=PhantomConfig(resolution=Resolution.TINY), workers=1)
    ingest("phantom", raw, tmp_path / "cohort", IngestOptions(workers=1))
    assert content(root) == content(tmp_path / "cohort")
    assert not (root.parent / ".phantom.raw").exists()
    # It is there: nothing is made, and other settings are refused.
    assert default_cohort(root, patients=3, seed=5, resolution="tiny") == root.resolve()
    with pytest.raises(DataError, match="choose another folder"):
        default_cohort(root, patients=4, seed=5, resolution="tiny")
    # A patient whose volume went away before the cohort was finished is made again.
    (root / "cohort.json").unlink()
    next(root.glob("volumes/*.nii")).unlink()
    default_cohort(root, patients=3, seed=5, resolution="tiny", workers=1)
    assert content(root) == content(tmp_path / "cohort")


def test_nodules_and_subtypes_are_made_like_cancers(tmp_path: Path) -> None:
    root = default_cohort(tmp_path / "nodules", patients=3, seed=6, resolution="tiny", workers=1, disease="nodules")
    cases = load_cohort(root).cases
    assert len(cases) == 3
    assert {lesion.kind for case in cases for lesion in case.lesions} == {"nodule"}
    # Every scan has a mask, those without a nodule too, and no letter is known.
    assert {len(case.lesions) for case in cases} >= {0}
    assert all((root / (case.mask or "")).is_file() and len(case.t) == 9 for case in cases)
    with pytest.raises(DataError, match="choose another folder"):
        default_cohort(root, patients=3, seed=6, resolution="tiny")
    other = default_cohort(tmp_path / "other", patients=1, seed=6, resolution="tiny", workers=1, subtypes=True)
    assert load_cohort(other).cases[0].subtype in SUBTYPES.values()


def test_a_cohort_of_the_user_s_is_left_as_it_is(tmp_path: Path) -> None:
    Cohort(tmp_path, "mine", "folder").save()
    assert default_cohort(tmp_path) == tmp_path.resolve()
    assert load_cohort(tmp_path).name == "mine"
