"""How large a tumour of each category is."""

from __future__ import annotations

import numpy as np

from monai_staging.cohort.phantom.config import log_uniform

# Longest (solid) diameter in mm that gives each category, 8th edition; the ends keep clear of the limits.
SIZE_RANGE_MM = {
    "T1mi": (3.0, 4.9), "T1a": (4.0, 9.8), "T1b": (10.3, 19.7), "T1c": (20.4, 29.6),
    "T2a": (30.6, 39.5), "T2b": (40.6, 49.4), "T3": (50.8, 69.2), "T4": (71.0, 90.0),
}  # fmt: skip
DESCRIPTOR_SIZE_MM = {
    "pleura": (12.0, 29.0), "main_bronchus": (16.0, 29.0), "chest_wall": (18.0, 48.0),
    "same_lobe_nodule": (12.0, 45.0), "other_lobe_nodule": (12.0, 45.0), "mediastinum": (25.0, 65.0),
}  # fmt: skip
# A solid part of at most 5 mm is T1mi up to 30 mm in all, and a lone small one would be lost in its ground glass.
SMALLEST_PART_MM = 5.4


def draw_size(rng: np.random.Generator, t_main: str, descriptor: str | None) -> tuple[str, str, float, float]:
    """Category by size, texture, longest diameter and longest solid diameter (mm)."""
    if descriptor is not None:
        diameter = log_uniform(rng, *DESCRIPTOR_SIZE_MM[descriptor])
        return t_main, "solid", diameter, diameter
    sub = {"T1": ("T1a", "T1b", "T1c"), "T2": ("T2a", "T2b")}.get(t_main, (t_main,))
    t = sub[int(rng.integers(len(sub)))]
    texture = "part_solid" if rng.random() < {"T1": 0.24, "T2": 0.08}.get(t_main, 0.0) else "solid"
    if t == "T1a":
        draw = rng.random()
        if draw < 0.1:
            total = log_uniform(rng, 31.5, 42.0)  # Pure ground glass is T1a above 30 mm only.
            return t, "ground_glass", total, 0.0
        if draw < 0.2:
            t, texture = "T1mi", "part_solid"
    solid = log_uniform(rng, *SIZE_RANGE_MM[t])
    if texture == "solid":
        return t, texture, solid, solid
    solid = max(solid, SMALLEST_PART_MM) if t == "T1a" else solid
    total = part_solid_diameter(rng, solid)
    return t, texture, float(np.clip(total, 8.0, 29.0) if t == "T1mi" else total), solid


def part_solid_diameter(rng: np.random.Generator, solid_mm: float) -> float:
    """Longest diameter in all, at most 60 mm, of a part-solid lesion with this solid part."""
    return min(solid_mm * float(rng.uniform(1.4, 2.2)) + 2.0, 60.0)
