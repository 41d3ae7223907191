"""The nodule of LIDC-IDRI-0314 as four readers outlined it, by the script that tells its sizes and by the command."""

from __future__ import annotations

import importlib.util
import json
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from monai_staging.cli.main import main
from monai_staging.cohort.dicom import load_series
from monai_staging.cohort.lesions import paint
from monai_staging.cohort.readers import Grid, Outline, Reading, consensus, region
from monai_staging.cohort.volume import Volume, write_mask, write_volume


@pytest.fixture(scope="module")
def script(repository: Path) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("scripts_lidc_sizes", repository / "scripts" / "lidc_sizes.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def nodule(shared_data: Path) -> dict[str, Any]:
    path = shared_data / "lidc_idri_0314" / "nodule.json"
    if not path.is_file():
        pytest.skip("real data missing: ../shared/data/lidc_idri_0314/nodule.json")
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def volume(lidc_series: Path) -> Volume:
    return load_series(lidc_series)


@pytest.fixture(scope="module")
def sizes(script: types.ModuleType, nodule: dict[str, Any], volume: Volume) -> dict[str, dict[str, Any]]:
    return script.sizes(volume, nodule)


def test_sizes_without_and_with_the_outline(
    script: types.ModuleType, nodule: dict[str, Any], sizes: dict[str, dict[str, Any]]
) -> None:
    luna16_mm = nodule["luna16"]["diameter_mm"]
    without, included = sizes["without"], sizes["with"]
    assert list(without) == list(included)
    assert len(without) == 5
    for who, own in without.items():
        # The outline makes every measure larger: up to a pixel on either side, and a quarter of the volume or so.
        other = included[who].whole
        assert 0 < other.diameter_3d_mm - own.whole.diameter_3d_mm < 3
        assert 0 < other.axial_diameter_mm - own.whole.axial_diameter_mm < 2.5
        assert other.voxel_volume_mm3 > 1.2 * own.whole.voxel_volume_mm3
        assert own.whole.size_t.measured == own.with_image.size_t.measured == "T1c"
        # A solid nodule: what is above -300 HU spans it.
        assert own.whole.diameter_3d_mm - own.with_image.solid_diameter_mm < 2
    consensus_mm = without["50% consensus"].sphere_mm
    assert consensus_mm == pytest.approx(luna16_mm, abs=0.5)
    assert np.mean([own.sphere_mm for own in list(without.values())[:4]]) == pytest.approx(luna16_mm, abs=0.1)
    assert included["50% consensus"].sphere_mm == pytest.approx(17.2, abs=0.05)
    table = script.table(sizes, luna16_mm, "8")
    assert "| without | 50% consensus | 3398 |" in table
    assert "LUNA16: 15.485 mm." in table


def test_longest_axial_diameter_between_centres_is_that_of_others(
    script: types.ModuleType, nodule: dict[str, Any], sizes: dict[str, dict[str, Any]], volume: Volume
) -> None:
    """21.3 mm between pixel centres, the outline included; to the outline of the mask it is less than a pixel more."""
    grid = Grid(volume.shape, volume.affine)
    part = consensus([script.with_outline(reading, grid) for reading in script.readings_of(nodule)])
    assert part is not None
    pixel_mm = volume.spacing_mm[0]
    between = max(pdist(np.argwhere(part.mask[:, :, k])).max() for k in range(part.mask.shape[2])) * pixel_mm
    assert between == pytest.approx(21.3, abs=0.05)
    own = sizes["with"]["50% consensus"].whole.axial_diameter_mm
    assert between < own < between + pixel_mm


def test_outlines_are_taken_off_as_ingest_does(script: types.ModuleType) -> None:
    grid = Grid((12, 12, 3), np.diag([-1.0, -1, 1, 1]))
    outer, hole = ((1, 1), (9, 1), (9, 9), (1, 9)), ((3, 3), (5, 3), (5, 5), (3, 5))
    reading = Reading("A", (Outline(hole, 1.0, False), Outline(outer, 1.0)), 3)
    assert region(reading, grid).voxels == 7 * 7 - 3 * 3
    assert script.with_outline(reading, grid).voxels == 9 * 9 - 1


def test_the_command_reads_the_series(
    script: types.ModuleType,
    nodule: dict[str, Any],
    sizes: dict[str, dict[str, Any]],
    volume: Volume,
    lidc_series: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    grid = Grid(volume.shape, volume.affine)
    part = consensus([region(reading, grid) for reading in script.readings_of(nodule)])
    assert part is not None
    write_mask(tmp_path / "mask.nii", paint([part], volume.shape), volume.affine)
    write_volume(tmp_path / "ct.nii", volume)
    documents = []
    for image in (lidc_series, tmp_path / "ct.nii"):
        assert main(["measure", str(image), str(tmp_path / "mask.nii"), "--json"]) == 0
        documents.append(json.loads(capsys.readouterr().out))
    assert documents[0] == documents[1]
    own = sizes["without"]["50% consensus"].with_image
    # NIfTI keeps the affine in single precision.
    for key, value in own.to_json().items():
        assert documents[0][key] == (value if key == "t" else pytest.approx(value, rel=1e-6, abs=1e-3))
