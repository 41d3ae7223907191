"""``monai-staging measure`` as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from monai_staging.cli.main import main

KEYS = [
    "volume_mm3",
    "voxel_volume_mm3",
    "diameter_3d_mm",
    "axial_diameter_mm",
    "perpendicular_mm",
    "solid_diameter_mm",
    "t",
]
AFFINE = np.diag([-0.5, -0.5, 0.5, 1.0])


def ball(radius: float, shape: tuple[int, ...] = (61, 61, 61)) -> np.ndarray:
    offsets = np.moveaxis(np.indices(shape), 0, -1) - (np.array(shape) - 1) / 2
    return (offsets**2).sum(axis=-1) <= radius**2


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> str:
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return str(path)


@pytest.fixture
def part_solid(tmp_path: Path) -> tuple[str, str]:
    """Ground glass of 25.5 mm with a solid core of 15.5 mm, in lung."""
    hu = np.where(ball(25), -600, -850)
    hu[ball(15)] = 40
    mask = ball(25).astype(np.uint8)
    return save(tmp_path / "ct.nii.gz", hu.astype(np.int16)), save(tmp_path / "mask.nii.gz", mask)


def measure(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main(["measure", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_json_is_one_document_with_these_keys(capsys: pytest.CaptureFixture[str], part_solid: tuple[str, str]) -> None:
    document = measure(capsys, *part_solid)
    assert list(document) == KEYS
    exact_mm3 = 4 / 3 * np.pi * 12.5**3
    assert document["volume_mm3"] == pytest.approx(exact_mm3, rel=0.01)
    assert document["voxel_volume_mm3"] == pytest.approx(exact_mm3, rel=0.01)
    assert document["diameter_3d_mm"] == pytest.approx(25.5)
    assert document["axial_diameter_mm"] == document["perpendicular_mm"] == pytest.approx(25.5)
    assert document["solid_diameter_mm"] == pytest.approx(15.5)
    assert document["t"] == ["T1b", "T2a", "T3", "T4"]


@pytest.mark.parametrize(
    ("options", "solid_mm", "t"),
    [
        (("--threshold-hu", "-700"), 25.5, ["T1c", "T2a", "T3", "T4"]),
        (("--threshold-hu", "100"), None, ["Tis", "T2a", "T3", "T4"]),
        (("--edition", "7"), 15.5, ["T1b", "T2a", "T3", "T4"]),
        (("--edition", "6th"), 15.5, ["T1", "T2", "T3", "T4"]),
        (("--label", "1"), 15.5, ["T1b", "T2a", "T3", "T4"]),
    ],
)
def test_options(
    capsys: pytest.CaptureFixture[str],
    part_solid: tuple[str, str],
    options: tuple[str, ...],
    solid_mm: float | None,
    t: list[str],
) -> None:
    document = measure(capsys, *part_solid, *options)
    assert document["solid_diameter_mm"] == (None if solid_mm is None else pytest.approx(solid_mm))
    assert document["t"] == t


def test_what_people_read(capsys: pytest.CaptureFixture[str], part_solid: tuple[str, str]) -> None:
    assert main(["measure", *part_solid]) == 0
    out = capsys.readouterr().out
    for line in (
        "lesion            label 1 of mask.nii.gz, 65267 voxels of 0.5 x 0.5 x 0.5 mm\n",
        "longest diameter  25.5 mm in three dimensions\n",
        "axial diameters   25.5 x 25.5 mm (slice 30 of axis k, from 0)\n",
        "solid component   15.5 mm longest (largest part above -300 HU, 14147 of 65267 voxels)\n",
        "T                 at least T1b: solid component 15.5 mm of a lesion of 25.5 mm: T1b (8th edition)\n",
        "possible          T1b, T2a, T3, T4\n",
        "not assessed      T3: chest wall, parietal pleura, ",
    ):
        assert line in out
    assert main(["measure", *part_solid, "--threshold-hu", "100"]) == 0
    out = capsys.readouterr().out
    assert "solid component   none: no voxel above 100 HU\n" in out
    assert "T                 at least Tis: pure ground glass of 25.5 mm: Tis (8th edition)\n" in out


def test_what_is_left_out_is_told_on_stderr(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    mask = ball(10).astype(np.uint8)
    mask[0, 0, 0] = mask[0, 0, 60] = 1
    image = save(tmp_path / "ct.nii", np.zeros(mask.shape, np.int16))
    assert main(["measure", image, save(tmp_path / "m.nii", mask), "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["diameter_3d_mm"] == pytest.approx(10.5)
    assert captured.err == (
        f"warning: label 1 is in 3 separate parts; the largest is measured, of {ball(10).sum()} voxels; "
        "left out: 1, 1 voxels\n"
    )


@pytest.mark.parametrize(
    ("case", "code", "message"),
    [
        ("empty", 1, "Mask m.nii: a lesion has one voxel at least; all 8000 are 0."),
        (
            "labels",
            2,
            "Mask m.nii: one lesion is measured, of several labels --label names one; found 1 (4000), 2 (4000).",
        ),
        (
            "grid",
            1,
            "Mask m.nii and image ct.nii: they must share one grid; found 20 x 20 x 19 and 20 x 20 x 20 voxels",
        ),
        (
            "affine",
            1,
            "Mask m.nii and image ct.nii: they must share one grid; found voxel (0, 0, 19) lies 9.5 mm apart",
        ),
        ("missing", 1, "No such file or directory: "),
        ("kind", 1, "m.txt: an image is .nii, .nii.gz, .mhd with its data beside it or a folder"),
    ],
)
def test_refusals(capsys: pytest.CaptureFixture[str], tmp_path: Path, case: str, code: int, message: str) -> None:
    mask = np.ones((20, 20, 20), np.uint8)
    image = save(tmp_path / "ct.nii", np.zeros(mask.shape, np.int16))
    path = str(tmp_path / "m.nii")
    if case == "empty":
        save(tmp_path / "m.nii", mask * 0)
    elif case == "labels":
        mask[:10] = 2
        save(tmp_path / "m.nii", mask)
    elif case == "grid":
        save(tmp_path / "m.nii", mask[..., 1:])
    elif case == "affine":
        save(tmp_path / "m.nii", mask, np.diag([-0.5, -0.5, 1, 1]))
    elif case == "kind":
        path = str(tmp_path / "m.txt")
        Path(path).write_text("voxels")
    for options in ((), ("--json",)):
        assert main(["measure", image, path, *options]) == code
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.startswith(f"monai-staging measure: {message}")


@pytest.mark.parametrize("arguments", [("--edition", "5"), ("--threshold-hu", "nan"), ("--label", "first")])
def test_wrong_usage(
    capsys: pytest.CaptureFixture[str], part_solid: tuple[str, str], arguments: tuple[str, ...]
) -> None:
    assert main(["measure", *part_solid, *arguments, "--json"]) == 2
    assert capsys.readouterr().out == ""


def test_files_of_other_tools(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The same oblique lesion as SimpleITK writes it, in two formats."""
    lesion = SimpleITK.GetImageFromArray(ball(20).astype(np.uint8).T)
    image = SimpleITK.GetImageFromArray(np.where(ball(20), 30, -850).astype(np.int16).T)
    for own in (lesion, image):
        own.SetSpacing((0.6, 0.7, 1.1))
        own.SetOrigin((-57.4, 131.2, -520.4))
        own.SetDirection(SimpleITK.Euler3DTransform((0, 0, 0), 0.2, -0.1, 0.3).GetMatrix())
    found = []
    for suffix in (".mhd", ".nii.gz", ".nii"):
        paths = [str(tmp_path / f"{name}{suffix}") for name in ("ct", "mask")]
        SimpleITK.WriteImage(image, paths[0])
        SimpleITK.WriteImage(lesion, paths[1])
        found.append(measure(capsys, *paths))
    shape = SimpleITK.LabelShapeStatisticsImageFilter()
    shape.ComputeFeretDiameterOn()
    shape.Execute(lesion)
    assert found[0] == found[1] == found[2]
    assert found[0]["voxel_volume_mm3"] == pytest.approx(shape.GetPhysicalSize(1), abs=0.01)
    feret = shape.GetFeretDiameter(1)
    assert feret <= found[0]["diameter_3d_mm"] <= feret + 1.1 + 1e-3
    # A file of one kind and a file of another lie on the same grid.
    assert measure(capsys, str(tmp_path / "ct.mhd"), str(tmp_path / "mask.nii")) == found[0]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from monai_staging.cli.main import main\n"
        "try: main(['measure', '--help'])\n"
        "except SystemExit: print(sorted({'numpy', 'scipy', 'skimage', 'torch', 'nibabel'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
