"""Why a series is refused: one name per rule, the same in messages and in ``rejected.json``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from monai_staging.errors import DataError, clipped


class Rule(str, Enum):
    """What a series must keep to; the value is the stable name."""

    UNREADABLE = "unreadable"
    """The file says it is DICOM and cannot be parsed, or lacks what an object of its kind must have."""
    MISSING_IDENTITY = "missing-identity"
    """No PatientID, StudyInstanceUID or SeriesInstanceUID: nothing to group or to split by."""
    AMBIGUOUS_IDENTITY = "ambiguous-identity"
    """One SeriesInstanceUID under several patients or studies."""
    NOT_CT = "not-ct"
    """SOP class other than (Enhanced, Legacy Converted Enhanced) CT Image Storage."""
    LOCALIZER = "localizer"
    """A localizer (scout, topogram) is in the series."""
    NOT_GRAYSCALE = "not-grayscale"
    """Colour, or photometric interpretation other than MONOCHROME2."""
    NOT_HOUNSFIELD = "not-hounsfield"
    """No rescale, or values in another unit than HU."""
    MIXED_RESCALE_TYPES = "mixed-rescale-types"
    """Slices in different units."""
    LOSSY = "lossy-compression"
    """Pixels went through a lossy compression, or are not stated not to have."""
    MISSING_GEOMETRY = "missing-geometry"
    """No ImagePositionPatient, ImageOrientationPatient or PixelSpacing."""
    NOT_ORTHOGONAL = "not-orthogonal"
    """ImageOrientationPatient is not two perpendicular unit vectors."""
    MIXED_SIZES = "mixed-sizes"
    """Slices of different rows or columns."""
    MIXED_SPACINGS = "mixed-spacings"
    """Slices of different PixelSpacing."""
    MIXED_ORIENTATIONS = "mixed-orientations"
    """Slices of different ImageOrientationPatient."""
    MIXED_FRAMES_OF_REFERENCE = "mixed-frames-of-reference"
    """Slices of several frames of reference: positions cannot be compared."""
    GANTRY_TILT = "gantry-tilt"
    """GantryDetectorTilt is not zero, or the slices are sheared."""
    MISALIGNED_SLICES = "misaligned-slices"
    """Slices shifted sideways against each other, not as a tilt would."""
    TOO_FEW_SLICES = "too-few-slices"
    """Fewer than two slices: no spacing along the normal."""
    DUPLICATE_INSTANCES = "duplicate-instances"
    """One SOPInstanceUID in several files."""
    DUPLICATE_POSITIONS = "duplicate-positions"
    """Several slices at one place (time points, reconstructions, copies)."""
    MISSING_SLICES = "missing-slices"
    """A gap of a whole number of spacings."""
    UNEVEN_GAPS = "uneven-gaps"
    """Slices not evenly spaced."""
    TRUNCATED = "truncated"
    """The file, or the codestream of a frame, ends before its pixels do, or there are none."""
    UNDECODABLE = "undecodable"
    """The compressed pixels cannot be decoded."""
    PIXEL_LAYOUT = "pixel-layout"
    """Bits stored otherwise than CT stores them, or values beyond the stored bits."""
    FRACTIONAL_HU = "fractional-hu"
    """The rescale gives fractions of a Hounsfield unit: int16 would lose them."""
    IMPLAUSIBLE_SIZE = "implausible-size"
    """More voxels, bytes or space claimed than a scan has, or than the file's own bytes can hold."""
    OUT_OF_RANGE = "out-of-range"
    """HU that int16 cannot hold."""
    NOT_A_MASK = "not-a-mask"
    """The object is no SEG and no RTSTRUCT, or holds no such segment or structure."""
    OTHER_FRAME_OF_REFERENCE = "other-frame-of-reference"
    """The mask is in another frame of reference than the images: positions cannot be compared."""
    MASK_OFF_GRID = "mask-off-grid"
    """The mask's pixels or contours do not lie on the volume's grid: placing them would take a resampling."""
    MASK_OUTSIDE = "mask-outside-volume"
    """The mask lies outside the volume, wholly or in part."""


@dataclass(frozen=True)
class Rejection:
    """What ``rejected.json`` holds of a refused series or file."""

    patient: str
    study: str
    series: str
    rule: str
    found: str
    files: tuple[str, ...]


class BrokenRule(Exception):
    """Raised inside this package where the owner is not known; comes out as `SeriesRefused`."""

    def __init__(self, rule: Rule, found: str) -> None:
        found = clipped(found)  # it repeats values of a file, of any length
        super().__init__(found)
        self.rule = rule
        self.found = found


class SeriesRefused(DataError):
    """A series that cannot be trusted. ``str()`` gives the patient and the value found; ``rule`` says which rule."""

    def __init__(
        self,
        rule: Rule,
        found: str,
        patient: str = "",
        study: str = "",
        series: str = "",
        files: tuple[Path, ...] = (),
    ) -> None:
        found = clipped(found)  # it repeats values of a file, of any length
        # All of it as args: the error comes back from worker processes, and pickle rebuilds an exception from its args.
        super().__init__(rule, found, patient, study, series, files)
        self.rule = rule
        self.found = found
        self.patient = patient
        self.study = study
        self.series = series
        self.files = files

    def __str__(self) -> str:
        return f"Case {clipped(self.patient, 100) or 'without PatientID'}: {self.found}"

    def rejection(self) -> Rejection:
        """The same as a record for ``rejected.json``."""
        files = tuple(str(path) for path in self.files)
        return Rejection(self.patient, self.study, self.series, self.rule.value, self.found, files)
