"""The codes that findings have in DICOM, in both directions.

SNOMED CT (SCT), DICOM (DCM), IBSI, LOINC (LN) and UCUM where they have a concept: anatomy, findings and measurements by
DICOM PS3.16 (CID 7151, 7159, 7469, 7470, 7472), the clinical TNM categories, stage groups and editions by the SNOMED CT
concepts that HL7's mCODE uses. What they lack is in a coding scheme of our own, which every object that uses it
declares.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from monai_staging.errors import DataError
from monai_staging.outputs.findings import Category, Site
from monai_staging.tnm.categories import PREFIXES
from monai_staging.tnm.descriptors import Descriptor
from monai_staging.tnm.tables import OCCULT

if TYPE_CHECKING:
    from pydicom.sr.coding import Code as DicomCode

SCHEME = "99MONAISTAGING"
"""Designator of our own coding scheme; 99 marks schemes without a registration."""


class Code(NamedTuple):
    """A coded concept: value, coding scheme designator, meaning."""

    value: str
    scheme: str
    meaning: str

    @property
    def key(self) -> tuple[str, str]:
        """What identifies the concept: a meaning is for people."""
        return self.value, self.scheme


def to_dicom(code: Code) -> DicomCode:
    """The code as pydicom and highdicom take it."""
    from pydicom.sr.coding import Code as DicomCode

    return DicomCode(code.value, code.scheme, code.meaning)


def _own(value: str, meaning: str) -> Code:
    return Code(value, SCHEME, meaning)


MILLIMETRE = Code("mm", "UCUM", "millimeter")
CUBIC_MILLIMETRE = Code("mm3", "UCUM", "cubic millimeter")
NO_UNIT = Code("1", "UCUM", "no units")
VOXEL_UNIT = Code("{voxels}", "UCUM", "voxels")
LESION_UNIT = Code("{lesions}", "UCUM", "lesions")

MESH_VOLUME = Code("RNU0", "IBSI", "Volume of Mesh")
VOXEL_VOLUME = Code("YEKZ", "IBSI", "Volume from Voxel Summation")
DIAMETER_3D = Code("L0JK", "IBSI", "Maximum 3D Diameter of a Mesh")
LONG_AXIS = Code("103339001", "SCT", "Long axis")
SHORT_AXIS = Code("103340004", "SCT", "Short axis")
SOLID_DIAMETER = _own("SOLIDDIAMETER", "Maximum 3D diameter of the solid component")
VOXELS = _own("VOXELS", "Voxels of the lesion")
SOLID_VOXELS = _own("SOLIDVOXELS", "Voxels of the solid component")
AXIAL_AXIS = _own("AXIALAXIS", "Voxel axis through the axial slices (0, 1 or 2)")
AXIAL_SLICE = _own("AXIALSLICE", "Slice of the long axis, from 0 along that voxel axis")
SCORE = _own("DETECTIONSCORE", "Detection score")
MALIGNANCY = Code("111047", "DCM", "Probability of cancer")
COUNTED_SIZE = _own("TSIZE", "Size that T by size goes by")

T_BY_SIZE = _own("TBYSIZE", "T category still possible by size")
T_MEASURED = _own("TMEASURED", "T category of the size alone")
T_AT_LEAST = _own("TATLEAST", "Lowest T category possible by size")

LESIONS = _own("LESIONS", "Number of lesions reported")
PROBABILITY = Code("122157", "DCM", "Probability")
CONFIDENCE = _own("GROUPCONFIDENCE", "Probability that the stage groups hold the true one")
EDITION = _own("TNMEDITION", "TNM edition")
PREFIX = _own("TNMPREFIX", "TNM prefix")
REASON = _own("REASON", "Reason")
NOT_ASSESSED = _own("NOTASSESSED", "Not assessed")
COMMENT = Code("121106", "DCM", "Comment")
CONTEXT = Code("408729009", "SCT", "Finding context")
POSSIBLE = Code("410590009", "SCT", "Known possible")
STAGE = Code("385356007", "SCT", "Tumor stage finding")

LABEL_TAG = _own("LABELTAG", "Tag of the label")
LABEL_TIME = _own("LABELTIME", "When the label was saved")
LABEL_PARAMETERS = _own("LABELPARAMETERS", "What was entered with the label (JSON)")
LABEL_ANNOTATOR = _own("LABELANNOTATOR", "User name of the annotator")
LABEL_MARKUPS = _own("LABELMARKUPS", "Boxes of the label (markups of 3D Slicer, JSON)")
LABEL_WITHDRAWN = _own("LABELWITHDRAWN", "The label of this tag is withdrawn")

ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")

ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")
ANATOMICAL = Code("91723000", "SCT", "Anatomical Structure")
CATEGORIES = {
    Category.PRIMARY: (ABNORMAL, Code("372087000", "SCT", "Neoplasm, Primary")),
    Category.METASTASIS: (ABNORMAL, Code("14799000", "SCT", "Neoplasm, Secondary")),
    Category.NODULE: (ABNORMAL, Code("27925004", "SCT", "Nodule")),
    Category.NODE: (ANATOMICAL, Code("59441001", "SCT", "Lymph Node")),
}
"""Property category and property type of a segment; finding category and finding of a report."""

SITES = {
    Site.RIGHT_UPPER_LOBE: Code("42400003", "SCT", "Upper lobe of right lung"),
    Site.RIGHT_MIDDLE_LOBE: Code("72481006", "SCT", "Middle lobe of right lung"),
    Site.RIGHT_LOWER_LOBE: Code("266005", "SCT", "Lower lobe of right lung"),
    Site.LEFT_UPPER_LOBE: Code("44714003", "SCT", "Upper lobe of left lung"),
    Site.LEFT_LOWER_LOBE: Code("41224006", "SCT", "Lower lobe of left lung"),
    Site.RIGHT_LUNG: Code("3341006", "SCT", "Right lung"),
    Site.LEFT_LUNG: Code("44029006", "SCT", "Left lung"),
    Site.LUNG: Code("39607008", "SCT", "Lung"),
    Site.HILUM: Code("46750007", "SCT", "Hilum of lung"),
    Site.MEDIASTINUM: Code("72410000", "SCT", "Mediastinum"),
    Site.PLEURA: Code("3120008", "SCT", "Pleura"),
    Site.CHEST_WALL: Code("78904004", "SCT", "Chest wall"),
    Site.LIVER: Code("10200004", "SCT", "Liver"),
    Site.ADRENAL_GLAND: Code("23451007", "SCT", "Adrenal gland"),
    Site.BONE: Code("272673000", "SCT", "Bone"),
    Site.BRAIN: Code("12738006", "SCT", "Brain"),
    Site.THORAX: Code("51185008", "SCT", "Thoracic structure"),
}

_CLINICAL = {
    **{"TX": "1222604002", "T0": "1228882005", "Tis": "1228884006", "T1": "1228889001", "T1mi": "1228891009"},
    **{"T1a": "1228892002", "T1b": "1228895000", "T1c": "1228899006", "T2": "1228929004", "T2a": "1228931008"},
    **{"T2b": "1228934000", "T3": "1228938002", "T4": "1228944003"},
    **{"N0": "1229967007", "N1": "1229973008", "N2": "1229978004", "N2a": "1229981009", "N2b": "1229982002"},
    **{"N3": "1229984001"},
    **{"M0": "1229901006", "M1": "1229903009", "M1a": "1229904003", "M1b": "1229907005", "M1c": "1229910003"},
}
_STAGES = {
    **{"0": "1222605001", "IA": "1222724007", "IA1": "1222725008", "IA2": "1222726009", "IA3": "1222727000"},
    **{"IB": "1222728005", "IIA": "1222766008", "IIB": "1222769001", "IIIA": "1222802001", "IIIB": "1222805004"},
    **{"IIIC": "1222806003", "IV": "1222837003", "IVA": "1222838008", "IVB": "1222841004"},
}
_AJCC = "American Joint Committee on Cancer"
GROUPS = {group: Code(value, "SCT", f"{_AJCC} stage {group}") for group, value in _STAGES.items()}
GROUPS[OCCULT] = _own("OCCULT", "Occult carcinoma")
"""Stage groups of every edition."""
EDITIONS = {
    edition: Code(value, "SCT", f"AJCC Cancer Staging Manual, {edition}th edition")
    for edition, value in {"6": "444256004", "7": "443830009", "8": "897275008", "9": "1269566009"}.items()
}
PREFIX_CODES = {prefix: _own(prefix, meaning) for prefix, meaning in PREFIXES.items()}

_LETTERS = {
    ("t", "c"): Code("399504009", "SCT", "cT category"),
    ("n", "c"): Code("399534004", "SCT", "cN category"),
    ("m", "c"): Code("399387003", "SCT", "cM category"),
    ("t", "p"): Code("384625004", "SCT", "pT category"),
    ("n", "p"): Code("371494008", "SCT", "pN category"),
    ("m", "p"): Code("371497001", "SCT", "pM category"),
    ("t", ""): Code("78873005", "SCT", "T category"),
    ("n", ""): Code("277206009", "SCT", "N category"),
    ("m", ""): Code("277208005", "SCT", "M category"),
}
_GROUPINGS = {
    "c": Code("399537006", "SCT", "Clinical TNM stage grouping"),
    "p": Code("399588009", "SCT", "Pathologic TNM stage grouping"),
    "": Code("399390009", "SCT", "TNM stage grouping"),
}
_PRIVATE_CATEGORY = re.compile(rf"({'|'.join(sorted(PREFIXES, key=len, reverse=True))})([TNM]\w+)")
_CATEGORY_OF = {(value, "SCT"): category for category, value in _CLINICAL.items()}

_D = Descriptor
DESCRIPTORS = {
    descriptor: _own(value, f"T descriptor: {descriptor.value}")
    for descriptor, value in {
        _D.MAIN_BRONCHUS: "MAINBRONCHUS",
        _D.MAIN_BRONCHUS_NEAR_CARINA: "NEARCARINA",
        _D.VISCERAL_PLEURA: "VISCERALPLEURA",
        _D.ATELECTASIS: "ATELECTASIS",
        _D.ATELECTASIS_LUNG: "ATELECTASISLUNG",
        _D.CHEST_WALL: "CHESTWALL",
        _D.PARIETAL_PLEURA: "PARIETALPLEURA",
        _D.PERICARDIUM: "PERICARDIUM",
        _D.PHRENIC_NERVE: "PHRENICNERVE",
        _D.NODULE_SAME_LOBE: "NODULESAMELOBE",
        _D.DIAPHRAGM: "DIAPHRAGM",
        _D.MEDIASTINUM: "MEDIASTINUM",
        _D.HEART: "HEART",
        _D.GREAT_VESSELS: "GREATVESSELS",
        _D.TRACHEA: "TRACHEA",
        _D.CARINA: "CARINA",
        _D.OESOPHAGUS: "OESOPHAGUS",
        _D.VERTEBRA: "VERTEBRA",
        _D.RECURRENT_NERVE: "RECURRENTNERVE",
        _D.NODULE_OTHER_LOBE: "NODULEOTHERLOBE",
    }.items()
}
"""T descriptors, as things that were not assessed."""


def letter_code(letter: str, prefix: str) -> Code:
    """The concept whose value is a category of ``letter``: of clinical and pathological TNM, else of TNM at large."""
    return _LETTERS.get((letter, prefix), _LETTERS[letter, ""])


def grouping_code(prefix: str) -> Code:
    """The concept whose value is a stage group."""
    return _GROUPINGS.get(prefix, _GROUPINGS[""])


def category_code(category: str, prefix: str) -> Code:
    """A T, N or M category: SNOMED CT's where it has one of the prefix that we know, else our own (``pT2a``)."""
    if prefix == "c" and category in _CLINICAL:
        return Code(_CLINICAL[category], "SCT", f"{_AJCC} c{category}")
    return _own(f"{prefix}{category}", f"{prefix}{category}, lung")


def category_of(value: str, scheme: str) -> str:
    """The category that a code of `category_code` stands for.

    Raises:
        DataError: it is none of them.
    """
    known = _CATEGORY_OF.get((value, scheme))
    if known is not None:
        return known
    private = _PRIVATE_CATEGORY.fullmatch(value) if scheme == SCHEME else None
    if private is None:
        raise DataError(f"A code of a T, N or M category is expected; found {value} of {scheme}.")
    return private[2]
