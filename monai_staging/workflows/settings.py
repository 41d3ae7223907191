"""What each setting of the bundles may be: looked at once, before a run begins, whichever bundle it is.

MONAI takes any value for any key, and a wrong one fails where it is used: after minutes of loading, or never, since an
epoch counter that is compared with a text is only compared at the end of an epoch.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from monai_staging.cohort.numbers import is_integer, is_number
from monai_staging.errors import UsageError, clipped
from monai_staging.tracking.config import calling_parser


@dataclass(frozen=True)
class Kind:
    """What a setting may be.

    Attributes:
        words: how a message says it.
        holds: whether a value is one.
        names: of the settings; those that end in ``?`` may also be null.
    """

    words: str
    holds: Callable[[Any], bool]
    names: str


def _text(value: Any) -> bool:
    return isinstance(value, (str, os.PathLike)) and bool(str(value).strip())


def _texts(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(map(_text, value))


def _some(holds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """One, or one for each axis."""
    return lambda value: (
        holds(value) or (isinstance(value, (list, tuple)) and len(value) in (2, 3) and all(map(holds, value)))
    )


def _count(value: Any) -> bool:
    return is_integer(value) and value >= 1


def _positive(value: Any) -> bool:
    return is_number(value) and value > 0


def _switch(value: Any) -> bool:
    return isinstance(value, bool) or str(value).lower() in ("true", "false")


_TABLE = Kind("a table of names", lambda value: isinstance(value, Mapping), "tags detector_keys class_mapping tasks")
KINDS = (
    Kind(
        "a whole number of 1 or more",
        _count,
        "accumulation_steps affine batch_size classifier_batch classifier_epochs close coarse cube "
        "discriminator_channels discriminator_layers draws? epochs epochs_per_stage flips "
        "judge_batch judge_epochs judge_tile kernel limit? most patience patches patches_per_volume "
        "resamples sector_num slices slices_per_case? spatial_dims stretch test_limit? tile tiles? "
        "turns val_interval val_limit? window_batch count? crop? in_channels round_scans rounds",
    ),
    Kind(
        "a whole number of 0 or more",
        lambda value: is_integer(value) and value >= 0,
        "attention_cases bootstrap_seed curriculum_epochs fold folds head_epochs later map_start_steps margin "
        "copies neighbours num_workers passes seed smallest_voxels split_seed candidates? features? landmarks trees",
    ),
    Kind(
        "a number from 0 to 1",
        lambda value: is_number(value) and 0 <= value <= 1,
        "classifier_weight copies_jitter coverage dropout? empty floor hard_fraction held_out iou "
        "judge_weight label_fraction label_smoothing label_threshold lesion_fraction lookalike_fraction? "
        "mitosis_fraction? nothing_fraction outside_fraction overlap? positive_fraction? score test_part "
        "threshold validation validation_part validation_share stain_scale stain_shift brightness",
    ),
    Kind(
        "a number above 0",
        _positive,
        "classifier_width cube_spacing_mm judge_width layer_decay microns_per_pixel width "
        "slide_microns_per_pixel? zoom? gradient_norm? decay_per_um",
    ),
    Kind(
        "a number of 0 or more",
        lambda value: is_number(value) and value >= 0,
        "attention_weight attribute_weight backbone_learning_rate balance box_weight? cells_weight "
        "classifier_learning_rate distance_weight feed_noise gamma? gap_mm giou_weight jitter_mm "
        "judge_learning_rate l1_weight learning_rate lesion_weight map_gradient map_weight? merge_mm noise "
        "presence_weight radii rare_weight sigma_mm smallest_mm3 smooth_um spread weight_decay? z_merge_mm",
    ),
    Kind(
        "true or false",
        _switch,
        "channels_last choose_points compile feed figures fitted frozen log_model lungs maps measured "
        "normalize place pyramid redraw resume slab soft_labels stem_pool? system_metrics",
    ),
    Kind("auto, true or false", lambda value: value == "auto" or _switch(value), "amp"),
    Kind(
        "a text",
        _text,
        "branches calibration classifier context? dataset_dir bundle_root experiment judge_network loss_mode "
        "loss_name network output_dir padding partial_truths pool regime region run_name? scaling set_score "
        "shipped_from split stain task views baseline? cache? cache_dir? submission? "
        "backbone_weights? what sample?",
    ),
    Kind("a text or a number", lambda value: _text(value) or is_number(value), "edition point"),
    Kind(
        "a text or a list of texts",
        lambda value: _text(value) or _texts(value),
        "part weights? detector_weights? start_weights? exclude_patients?",
    ),
    Kind("a list of texts", _texts, "attributes baselines detector_configs groups item_keys parts subtypes?"),
    Kind(
        "a text or a number from 0 to 1", lambda value: _text(value) or (is_number(value) and 0 <= value <= 1), "keep"
    ),
    Kind("a whole number of 1 or more, or a list of texts", lambda value: _count(value) or _texts(value), "channels?"),
    Kind("a whole number of 1 or more, or one for each axis", _some(_count), "patch? size? window"),
    Kind("a number of millimetres above 0, or one for each axis", _some(_positive), "spacing_mm?"),
    Kind(
        "a list of whole numbers of 0 or more",
        lambda value: isinstance(value, (list, tuple)) and all(is_integer(own) and own >= 0 for own in value),
        "cubes filters levels?",
    ),
    Kind(
        "a list of numbers above 0",
        lambda value: isinstance(value, (list, tuple)) and all(map(_positive, value)),
        "anchors_mm?",
    ),
    Kind(
        "a list of window names, or of [low, high] or [level, width] pairs",
        lambda value: isinstance(value, (list, tuple)) and all(_text(own) or (_some(is_number)(own)) for own in value),
        "windows",
    ),
    _TABLE,
    Kind(
        "a list of pairs of numbers",
        lambda value: (
            isinstance(value, (list, tuple)) and all(_some(is_number)(own) and not is_number(own) for own in value)
        ),
        "image_statistics?",
    ),
)
_KIND_OF = {name.rstrip("?"): (kind, name.endswith("?")) for kind in KINDS for name in kind.names.split()}


def check_settings() -> None:
    """Looks at the settings of the config in which this stands as an expression, overrides included.

    What is itself an expression or a reference is left alone, and so is a key that no bundle of ours has.

    Raises:
        UsageError: settings that are not what they may be, each with the rule and the value found. As
            ``python -m monai.bundle`` it ends the program with that message alone.
    """
    parser = calling_parser()
    wrong = list(_wrong({} if parser is None else parser.get()))
    if not wrong:
        return
    message = "\n".join(("Settings that are not what they may be:", *wrong))
    if getattr(getattr(sys.modules.get("__main__"), "__spec__", None), "name", "") == "monai.bundle.__main__":
        print(message, file=sys.stderr)
        raise SystemExit(UsageError.exit_code)
    raise UsageError(message)


def known_settings() -> frozenset[str]:
    """Every name that is looked at."""
    return frozenset(_KIND_OF)


def _wrong(config: Mapping[str, Any]) -> Iterator[str]:
    for name, value in config.items():
        kind, may_be_null = _KIND_OF.get(name, (None, False))
        if kind is None or (value is None and may_be_null) or _is_config(value, kind):
            continue
        if not kind.holds(value):
            null = " or null" if may_be_null else ""
            yield f"--{name} must be {kind.words}{null}; found {clipped(repr(value), 200)}"


def _is_config(value: Any, kind: Kind) -> bool:
    """Whether a value is something that MONAI makes a value of: an expression, a reference, a component."""
    if isinstance(value, Mapping):
        return kind is not _TABLE
    return isinstance(value, str) and value[:1] in ("$", "@", "%")
