"""The staging language: T, N and M as sets of categories, by edition, and the stage groups they can have.

Pure Python. Everything a caller needs is here; clinical tables are read by `monai_staging.tnm.table`.
"""

from monai_staging.tnm.categories import (
    EDITIONS,
    LETTERS,
    PREFIXES,
    categories,
    expand,
    is_unknown,
    main_categories,
    main_category,
    ordered,
    parse_edition,
)
from monai_staging.tnm.convert import convert
from monai_staging.tnm.descriptors import Descriptor, descriptor_level, descriptors
from monai_staging.tnm.parse import CodeStatus, ParsedCode, is_missing, parse_code, parse_m, parse_n, parse_t
from monai_staging.tnm.probabilities import Bounds, group_bounds, group_probabilities
from monai_staging.tnm.size import SizeT, category_of_size, t_from_size
from monai_staging.tnm.stages import ParsedStage, parse_stage
from monai_staging.tnm.tables import OCCULT, group_table, groups, main_group, main_groups, stage_group, stage_groups
from monai_staging.tnm.value import TNM, Relation, common_prefix, compare, relation

__all__ = [
    "EDITIONS",
    "LETTERS",
    "OCCULT",
    "PREFIXES",
    "TNM",
    "Bounds",
    "CodeStatus",
    "Descriptor",
    "ParsedCode",
    "ParsedStage",
    "Relation",
    "SizeT",
    "categories",
    "category_of_size",
    "common_prefix",
    "compare",
    "convert",
    "descriptor_level",
    "descriptors",
    "expand",
    "group_bounds",
    "group_probabilities",
    "group_table",
    "groups",
    "is_missing",
    "is_unknown",
    "main_categories",
    "main_category",
    "main_group",
    "main_groups",
    "ordered",
    "parse_code",
    "parse_edition",
    "parse_m",
    "parse_n",
    "parse_stage",
    "parse_t",
    "relation",
    "stage_group",
    "stage_groups",
    "t_from_size",
]
