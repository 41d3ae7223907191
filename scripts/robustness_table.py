"""What becomes of every file of a collection of DICOM files that break readers.

    python scripts/robustness_table.py ../shared/data/dicom_robustness

Archives are unpacked to a temporary folder. One line a file: `read` (and what its pixels or masks equal), `pixels only`
(pixels right, but refused as a volume, and why), `refused` (with the rule and the message), `skipped` (not DICOM) or
`WRONG`. Ends with 1 where a line is WRONG.

A CT file is read twice: its pixels alone, compared with its uncompressed twin or with ITK's reading, and as the series
that its folder holds, which has rules of its own (a single slice is no volume). Needs the `dev` extra.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
import SimpleITK as sitk
from skimage.draw import polygon2mask

from monai_staging.cohort.dicom import Series, SeriesRefused, read_series, scan
from monai_staging.cohort.dicom.header import Header
from monai_staging.cohort.dicom.pixels import read_planes
from monai_staging.cohort.dicom.rules import BrokenRule
from monai_staging.cohort.dicom.scan import group
from monai_staging.cohort.masks import list_rois, mask_from_rtstruct, mask_from_seg
from monai_staging.cohort.volume import Volume

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Compressed (or otherwise written) file -> the uncompressed one it was made from.
TWINS = {
    "CT1_UNC.": "dicomParser/testImages/CT1_UNC.explicit_little_endian.dcm",
    "CT0012.": "dicomParser/testImages/encapsulated/multi-frame/CT0012.explicit_little_endian.dcm",
    "693_J2KR": "pydicom-data/data_store/data/693_UNCR.dcm",
    "eCT_Supplemental": "dicomParser/testImages/encapsulated/multi-frame/CT0012.explicit_little_endian.dcm",
}
# SEG -> what the same masks are in, written by another program: (image folder, {segment: (file, its value)}).
DCMQI = "dcmqi/data/segmentations"
NRRDS = {
    "23x38x3/seg/label.seg": (f"{DCMQI}/23x38x3/image", {1: ("23x38x3/nrrd/label.nrrd", 1)}),
    "24x38x3/seg/label.seg": (f"{DCMQI}/24x38x3/image", {1: ("24x38x3/nrrd/label.nrrd", 1)}),
    "liver.dcm": (f"{DCMQI}/ct-3slice", {1: ("liver_seg.nrrd", 1)}),
    "partial_overlaps.dcm": (
        f"{DCMQI}/ct-3slice",
        {n: (f"partial_overlaps-{part}.nrrd", n) for n, part in ((1, 1), (2, 2), (3, 3), (4, 1), (5, 1))},
    ),
    "sparse-labelmap-noppv.dcm": (f"{DCMQI}/24x38x3/image", {1: ("sparse_labelmap_noppv_seg.nrrd", 1)}),
    # dcmqi pads the slice without a frame with 5, the PixelPaddingValue; ours leaves what is not segment 1 empty.
    "sparse-labelmap-ppv5.dcm": (f"{DCMQI}/24x38x3/image", {1: ("sparse_labelmap_ppv5_seg.nrrd", 1)}),
}


class Outcome(NamedTuple):
    """What became of one file."""

    verdict: str
    what: str


def outcomes(root: Path) -> Iterator[tuple[Path, Outcome]]:
    """Every file under ``root`` with what became of it."""
    volumes: dict[Path, Volume] = {}

    def volume(folder: Path) -> Volume:
        if folder not in volumes:
            volumes[folder] = read_series(scan(folder)[0])
        return volumes[folder]

    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        name = path.relative_to(root)
        found = scan_file(path)
        if isinstance(found, Outcome):
            yield name, found
        elif found.modality == "SEG":
            yield name, refusable(seg, root, path, volume)
        elif found.modality == "RTSTRUCT":
            yield name, refusable(rtstruct, path)
        elif found.modality == "CT":
            yield name, ct(root, path, found)
        else:
            yield name, refusable(not_ct, found)


def scan_file(path: Path) -> Series | Outcome:
    """The series that one file makes."""
    found = group([path])
    if found.rejections:
        return Outcome("refused", f"[{found.rejections[0].rule}] {found.rejections[0].found}")
    return found[0] if len(found) else Outcome("skipped", "not DICOM")


def refusable(job: Callable[..., Outcome], *arguments: object) -> Outcome:
    """The outcome of ``job``, or the refusal it ends in."""
    try:
        return job(*arguments)
    except SeriesRefused as refused:
        return Outcome("refused", f"[{refused.rule.value}] {refused}")


def not_ct(series: Series) -> Outcome:
    """Whatever is neither CT nor mask must be refused."""
    read_series(series)
    return Outcome("WRONG", f"read as CT, though its modality is {series.modality}")


def hounsfield(header: Header) -> np.ndarray:
    """HU of each frame, (frames, rows, columns)."""
    array = np.empty((header.frames, header.rows, header.columns), np.int16)
    read_planes(header, {frame: array[frame] for frame in range(header.frames)})
    return array


def ct(root: Path, path: Path, alone: Series) -> Outcome:
    """The pixels against the twin or ITK, and the series that the file's folder holds."""
    twin = next((root / own for start, own in TWINS.items() if path.name.startswith(start)), None)
    try:
        pixels = hounsfield(alone.headers[0])
    except BrokenRule as broken:
        return Outcome("refused", f"[{broken.rule.value}] {broken.found}")
    if twin is not None and path != twin:
        kind, reference = f"uncompressed twin {twin.name}", hounsfield(scan_file(twin).headers[0])  # type: ignore[union-attr]
    else:
        kind, reference = "ITK's reading", sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    difference = np.abs(pixels.astype(int) - reference.reshape(pixels.shape)).max()
    equal = f"pixels equal to {kind}" if difference == 0 else f"pixels differ by up to {difference:g} HU from {kind}"
    own = alone.headers[0]
    together = [series for series in scan(path.parent) if series.series == alone.series]
    is_series = together and len({header.sop_uid for header in together[0].headers}) == len(together[0].headers)
    try:
        volume = read_series(together[0] if is_series and own.frames == 1 else alone)
    except SeriesRefused as refused:
        # Right pixels of a file that makes no volume are told apart from files that are read all the way.
        lossy = refused.rule.value == "lossy-compression"
        return Outcome(
            "refused" if difference and lossy else "WRONG" if difference else "pixels only",
            f"{equal}; as a volume refused: [{refused.rule.value}] {refused}",
        )
    return Outcome("WRONG" if difference else "read", f"{equal}; volume of {'x'.join(map(str, volume.shape))}")


def seg(root: Path, path: Path, volume: Callable[[Path], Volume]) -> Outcome:
    """Masks against another program's files of the same, or against highdicom's placement."""
    name = path.relative_to(root)
    known = next((value for key, value in NRRDS.items() if name == Path(DCMQI) / key), None)
    if known is not None:
        folder, files = known
        masks = mask_from_seg(path, volume(root / folder))
        for segment in masks:
            file, value = files[segment.number]
            reference = value == sitk.GetArrayFromImage(sitk.ReadImage(str(root / DCMQI / file))).T
            if not np.array_equal(segment.mask.astype(bool), reference):
                return Outcome("WRONG", f"segment {segment.number} differs from {file}")
        return Outcome(
            "read", f"{len(masks)} segments equal to dcmqi's {', '.join(sorted({f for f, _ in files.values()}))}"
        )
    dataset = pydicom.dcmread(path)
    grid = None if "SpecimenDescriptionSequence" in dataset else highdicom_volume(path)
    if grid is None:
        mask_from_seg(dataset, Volume(np.zeros((16, 16, 3), np.int16), np.eye(4)))
        return Outcome("WRONG", "placed in a patient without patient coordinates")
    reference, affine = grid
    masks = mask_from_seg(path, Volume(np.zeros(reference.shape[:3], np.int16), affine))
    for k, segment in enumerate(masks):
        if not np.array_equal(segment.mask, reference[..., k]):
            return Outcome("WRONG", f"segment {segment.number} differs from highdicom's")
    counts = ", ".join(str(int(segment.mask.sum())) for segment in masks)
    return Outcome("read", f"{len(masks)} segments equal to highdicom's ({counts} voxels)")


def highdicom_volume(path: Path) -> tuple[np.ndarray, np.ndarray] | None:
    """highdicom's masks (i, j, k, segment), marked from one half on, and affine to RAS; ``None`` without geometry."""
    import highdicom

    try:
        volume = highdicom.seg.segread(path).get_volume(combine_segments=False)
    except Exception:  # highdicom fails in several ways on what has no place in a patient
        return None
    # highdicom's axes are (slice, row, column) in LPS.
    order = [2, 1, 0, 3]
    return (volume.array >= 0.5).transpose(order).astype(np.uint8), LPS @ volume.affine[:, order]


def rtstruct(path: Path) -> Outcome:
    """Contours against scikit-image's polygons, on the grid of the image beside it, with the slices they need."""
    dataset = pydicom.dcmread(path)
    image = pydicom.dcmread(path.with_name("ct.0.dcm"), stop_before_pixels=True)
    names = {int(roi.ROINumber): str(roi.ROIName) for roi in dataset.StructureSetROISequence}
    contours: dict[str, list[np.ndarray]] = {}
    for roi in dataset.ROIContourSequence:
        for contour in roi.get("ContourSequence", ()):
            if contour.ContourGeometricType == "CLOSED_PLANAR":
                points = np.array(contour.ContourData, float).reshape(-1, 3) @ LPS[:3, :3]
                contours.setdefault(names[int(roi.ReferencedROINumber)], []).append(points)
    heights = np.unique([points[0, 2] for own in contours.values() for points in own])
    step = float(np.median(np.diff(heights)))
    affine = np.diag([-float(image.PixelSpacing[1]), -float(image.PixelSpacing[0]), step, 1])
    affine[:3, 3] = *(-float(value) for value in image.ImagePositionPatient[:2]), heights[0]
    slices = round((heights[-1] - heights[0]) / step) + 1
    grid = Volume(np.zeros((image.Columns, image.Rows, slices), np.int16), affine)
    placed, refusals = [], []
    for name in (name for name, count in list_rois(dataset).items() if count):
        try:
            mask = mask_from_rtstruct(dataset, grid, rois=[name])[name]
        except SeriesRefused as refused:
            refusals.append(f"[{refused.rule.value}] {refused.found}")
            continue
        reference = np.zeros_like(mask)
        for points in contours[name]:
            index = (points - affine[:3, 3]) / np.diag(affine)[:3]
            (i0, j0), (i1, j1) = np.floor(index.min(axis=0))[:2].astype(int), np.ceil(index.max(axis=0))[:2].astype(int)
            inside = polygon2mask((i1 - i0 + 1, j1 - j0 + 1), index[:, :2] - (i0, j0))
            reference[i0 : i1 + 1, j0 : j1 + 1, round(index[0, 2])] ^= inside.astype(np.uint8)
        different, marked = np.argwhere(mask != reference), int(mask.sum())
        # Ours rounds contours to 0.001 voxel, scikit-image does not: only a centre that close to an edge may differ.
        outlines = [(points - affine[:3, 3]) / np.diag(affine)[:3] for points in contours[name]]
        if any(edge_distance(centre, outlines) > 0.001 for centre in different):
            return Outcome("WRONG", f"{name}: {len(different)} of {marked} voxels differ from scikit-image's")
        placed.append(f"{name} {marked} voxels ({len(different)} differ)")
    parts = (
        [f"as scikit-image's polygons but for centres within 0.001 voxel of an edge: {', '.join(placed)}"]
        if placed
        else []
    )
    return Outcome("read" if placed else "refused", "; ".join([*parts, *refusals]))


def edge_distance(centre: np.ndarray, outlines: list[np.ndarray]) -> float:
    """Distance in voxels from a voxel (i, j, k) to the nearest edge of the outlines (points, 3) on its slice."""
    nearest = np.inf
    for outline in (own[:, :2] for own in outlines if round(own[0, 2]) == centre[2]):
        along = np.roll(outline, -1, axis=0) - outline
        length = np.maximum((along**2).sum(axis=1), 1e-12)
        part = np.clip(((centre[:2] - outline) * along).sum(axis=1) / length, 0, 1)
        nearest = min(nearest, np.linalg.norm(outline + part[:, None] * along - centre[:2], axis=1).min())
    return float(nearest)


def main() -> int:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder with .tar.xz archives")
    folder = parser.parse_args().folder
    archives = sorted(folder.glob("*.tar.*"))
    if not archives:
        print(f"No archives in {folder}.", file=sys.stderr)
        return 2
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    verdicts: Counter[str] = Counter()
    print("| file | outcome | what |\n| --- | --- | --- |")
    with tempfile.TemporaryDirectory() as temporary:
        for archive in archives:
            with tarfile.open(archive) as tar:
                tar.extractall(temporary, filter="data")
        for name, outcome in outcomes(Path(temporary)):
            verdicts[outcome.verdict] += 1
            print(f"| {name} | {outcome.verdict} | {outcome.what} |")
    print(", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())))
    return 1 if verdicts["WRONG"] else 0


if __name__ == "__main__":
    sys.exit(main())
