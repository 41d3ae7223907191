"""What can be measured of a nodule: size, shape, margin and texture, by scikit-image.

Sizes are in millimetres, grey values relative to the nodule's surroundings (patches may be stretched, so that a grey
value by itself means nothing).
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
import torch
from monai.config import KeysCollection
from monai.transforms import MapTransform, Transform
from numpy.typing import NDArray

from monai_staging.cohort.nodules.nodule import NoduleVolume
from monai_staging.transforms.nodule_views import consensus

FEATURES = (
    # size
    "largest_area_mm2",
    "consensus_area_mm2",
    "union_area_mm2",
    "reader_area_mm2",
    "smallest_reader_area_mm2",
    "largest_reader_area_mm2",
    "volume_mm3",
    "union_volume_mm3",
    "height_mm",
    "recorded_height_mm",
    "major_axis_mm",
    "minor_axis_mm",
    "feret_mm",
    # shape
    "eccentricity",
    "solidity",
    "extent",
    "circularity",
    "union_solidity",
    "union_circularity",
    "volume_share_of_feret_ball",
    # readers
    "readers",
    "agreement",
    # density and margin, relative to the surroundings
    "contrast_share",
    "peak_share",
    "spread_share",
    "margin_gradient_per_mm",
    "margin_gradient_spread",
    "rim_share",
    "rim_bright_share",
    "surroundings_share",
    "surroundings_bright_share",
    "noise_share",
    # texture
    "glcm_contrast",
    "glcm_homogeneity",
    "glcm_energy",
    "glcm_correlation",
    # the scan's grid: how far all of the above can be trusted
    "pixel_mm",
    "slice_mm",
)
"""Names of what `NoduleFeatures` measures, in order."""

_GREY_LEVELS = 16
# The surroundings are what lies 0 to 4 mm (rim) and 4 to 12 mm from the nodule.
_RIM_MM, _FAR_MM = 4.0, 12.0
_CORE_MM = 1.5
_EDGE_SCALE_MM = 0.8


class NoduleFeatures(Transform):
    """Measured features of a nodule, float64, `FEATURES` in order; NaN what cannot be measured.

    The ruler, ``largest_area_mm2``, is the largest axial area that at least two readers outlined, or the only reader of
    a nodule that one reader saw. In-plane shape and texture are of the slice where half of the readers' area is
    largest.
    """

    def __call__(  # type: ignore[override]  # voxels need their spacing
        self, volume: NoduleVolume, spacing_mm: tuple[float, float, float] | None
    ) -> NDArray[np.float64]:
        """(F) features of one nodule.

        Args:
            volume: image (C, D, H, W), the mean over C is measured, and outlines (R, D, H, W).
            spacing_mm: of the voxels (slices, rows, columns).
        """
        values = dict.fromkeys(FEATURES, np.nan)
        # Without an outline or a scale there is nothing to measure.
        if spacing_mm is not None and volume.outlines.any():
            image = volume.image.mean(axis=0, dtype=np.float64)
            values |= _sizes(volume.outlines, spacing_mm)
            region = consensus(volume.outlines)
            place = int(region.sum(axis=(1, 2)).argmax())
            union: NDArray[np.bool_] = np.asarray(volume.outlines[:, place].any(axis=0))
            pixel_mm = float(np.sqrt(spacing_mm[1] * spacing_mm[2]))
            values |= _shape(region[place], union, pixel_mm)
            values |= _density(image[place], region[place], pixel_mm)
            values |= _texture(image[place], region[place])
            feret = values["feret_mm"]
            values["volume_share_of_feret_ball"] = values["volume_mm3"] / max(np.pi / 6 * feret**3, 1e-6)
        return np.array([values[name] for name in FEATURES])


class NoduleFeaturesd(MapTransform):
    """Dictionary twin of `NoduleFeatures`.

    Args:
        keys: where an item has a `NoduleVolume`.
        to_key: where the features go, a float32 tensor (F).
        spacing_key: where an item has the voxels' spacing in mm, or ``None``.
        allow_missing_keys: leave out keys that an item does not have.
    """

    def __init__(
        self,
        keys: KeysCollection,
        to_key: str = "features",
        spacing_key: str = "spacing_mm",
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.to_key = to_key
        self.spacing_key = spacing_key
        self.measure = NoduleFeatures()

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Adds the features."""
        result = dict(data)
        for key in self.key_iterator(result):
            measured = self.measure(result[key], result[self.spacing_key])
            result[self.to_key] = torch.from_numpy(measured.astype(np.float32))
        return result


def ruler_area_mm2(outlines: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> float:
    """Largest axial area in mm2 that at least two readers outlined, or the only reader; 0 without any."""
    if not len(outlines):
        return 0.0
    agreed = outlines.sum(axis=0) >= min(2, len(outlines))
    return float(agreed.sum(axis=(1, 2)).max() * spacing_mm[1] * spacing_mm[2])


def _sizes(outlines: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> dict[str, float]:
    area, voxel = spacing_mm[1] * spacing_mm[2], float(np.prod(spacing_mm))
    region, union = consensus(outlines), outlines.any(axis=0)
    per_reader = outlines.sum(axis=(2, 3)).max(axis=1) * area
    return {
        "largest_area_mm2": ruler_area_mm2(outlines, spacing_mm),
        "consensus_area_mm2": float(region.sum(axis=(1, 2)).max() * area),
        "union_area_mm2": float(union.sum(axis=(1, 2)).max() * area),
        "reader_area_mm2": float(per_reader.mean()),
        "smallest_reader_area_mm2": float(per_reader.min()),
        "largest_reader_area_mm2": float(per_reader.max()),
        "volume_mm3": float(region.sum() * voxel),
        "union_volume_mm3": float(union.sum() * voxel),
        "height_mm": float(region.any(axis=(1, 2)).sum() * spacing_mm[0]),
        "recorded_height_mm": float(outlines.shape[1] * spacing_mm[0]),
        "readers": float(len(outlines)),
        "agreement": float(region.sum() / union.sum()),
        "pixel_mm": float(np.sqrt(area)),
        "slice_mm": float(spacing_mm[0]),
    }


def _shape(region: NDArray[np.bool_], union: NDArray[np.bool_], pixel_mm: float) -> dict[str, float]:
    part, whole = _largest_part(region), _largest_part(union)
    return {
        "major_axis_mm": float(part.axis_major_length * pixel_mm),
        "minor_axis_mm": float(part.axis_minor_length * pixel_mm),
        "feret_mm": float(part.feret_diameter_max * pixel_mm),
        "eccentricity": float(part.eccentricity),
        "solidity": float(part.solidity),
        "extent": float(part.extent),
        "circularity": _circularity(part),
        "union_solidity": float(whole.solidity),
        "union_circularity": _circularity(whole),
    }


def _largest_part(region: NDArray[np.bool_]) -> Any:
    from skimage.measure import label, regionprops

    return max(regionprops(label(region)), key=lambda part: part.area)


def _circularity(part: Any) -> float:
    # A speck of a pixel or two has no perimeter.
    return float(4 * np.pi * part.area / max(part.perimeter, 1.0) ** 2)


def _density(image: NDArray[np.float64], region: NDArray[np.bool_], pixel_mm: float) -> dict[str, float]:
    from scipy import ndimage

    inward = ndimage.distance_transform_edt(region) * pixel_mm
    outward = ndimage.distance_transform_edt(~region) * pixel_mm
    core = inward >= min(_CORE_MM, 0.7 * inward.max())
    rim = (outward > 0) & (outward <= _RIM_MM)
    far = (outward > _RIM_MM) & (outward <= _FAR_MM)
    around = rim | far
    if not around.any():  # the outline fills the picture
        return {}
    # Air between vessels: the darker part of what is around.
    ground = float(np.percentile(image[around], 15))
    inside = float(image[core].mean())
    contrast = max(inside - ground, 1e-6 * max(1.0, abs(inside)))
    bright = float(np.percentile(image, 99.5)) - ground
    gradient = ndimage.gaussian_gradient_magnitude(image, _EDGE_SCALE_MM / pixel_mm) / pixel_mm
    edge = region & ~ndimage.binary_erosion(region)
    half = (inside + ground) / 2
    values = {
        "contrast_share": (inside - ground) / bright if bright > 0 else np.nan,
        "peak_share": (float(np.percentile(image[core], 90)) - ground) / bright if bright > 0 else np.nan,
        "spread_share": float(image[core].std()) / contrast,
        "margin_gradient_per_mm": float(gradient[edge].mean()) / contrast,
        "margin_gradient_spread": float(gradient[edge].std()) / contrast,
        "rim_share": (float(image[rim].mean()) - ground) / contrast if rim.any() else np.nan,
        "rim_bright_share": float((image[rim] > half).mean()) if rim.any() else np.nan,
        "surroundings_share": (float(image[far].mean()) - ground) / contrast if far.any() else np.nan,
        "noise_share": float(np.abs(ndimage.laplace(image))[far].mean()) / contrast if far.any() else np.nan,
        "surroundings_bright_share": float((image[far] > half).mean()) if far.any() else np.nan,
    }
    return values


def _texture(image: NDArray[np.float64], region: NDArray[np.bool_]) -> dict[str, float]:
    """Grey-level co-occurrence (Haralick et al. 1973, 10.1109/TSMC.1973.4309314) in the nodule's box."""
    from skimage.feature import graycomatrix, graycoprops

    top, left, bottom, right = _largest_part(region).bbox
    low, high = float(image.min()), float(image.max())
    levels = np.clip((image - low) / max(high - low, 1e-6) * _GREY_LEVELS, 0, _GREY_LEVELS - 1).astype(np.uint8)
    matrix = graycomatrix(
        levels[top:bottom, left:right], [1], [0, np.pi / 2], _GREY_LEVELS, symmetric=True, normed=True
    )
    names = ("contrast", "homogeneity", "energy", "correlation")
    return {f"glcm_{name}": float(graycoprops(matrix, name).mean()) for name in names}
