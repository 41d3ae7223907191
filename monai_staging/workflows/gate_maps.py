"""The picture of what attention gates let through, of an evaluation of the segmentation bundle."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from monai.networks.utils import eval_mode
from numpy.typing import NDArray
from torch import Tensor

from monai_staging.networks.segmenter import Segmenter
from monai_staging.outputs.figures_explain import GateMap, gates_figure
from monai_staging.outputs.figures_ranked import ranked_examples
from monai_staging.transforms.nodule_views import consensus
from monai_staging.workflows.nodule_maps import grey_text, is_sided
from monai_staging.workflows.segmentation_data import SegmentationData


def write_gates(
    path: str | os.PathLike[str],
    network: Segmenter,
    data: SegmentationData,
    masks: Mapping[int, NDArray[np.bool_]],
    scores: Mapping[int, float],
    subtitle: str = "",
) -> Path | None:
    """Draws the gates of the best, the median and the worst nodule, with the network's and the readers' outline.

    Each on the slice where both together are largest, on the nodule's own pixels as far as the network saw them. The
    gates are of the patches as they lie, without the turns that an evaluation averages.

    Args:
        path: the PNG to write.
        network: that segmented; the gates are looked at on its device.
        data: whose patches it saw.
        masks: (D, H, W) by the network, by the nodule's place in the set.
        scores: Dice, likewise.
        subtitle: what the data is.

    Returns:
        None where the network has no gates.
    """
    places = list(scores)
    shown = []
    for name, rank in ranked_examples(list(scores.values())).items():
        index = places[rank]
        gates = _gates(network, data, index)
        if not len(gates):
            return None
        mask, reference = masks[index], consensus(data.volume(index).outlines)
        place = largest_slice(mask, reference)
        window = _seen(data, index, gates.shape[1])
        low, high = data.nodules.value_range
        image = np.clip((data.volume(index).image[0, place].astype(np.float32) - low) / (high - low), 0, 1)
        shown.append(
            GateMap(
                f"{name}: nodule {data.record(index).name}, Dice of the whole nodule {scores[index]:.2f}",
                image[window],
                np.stack([data.restore(index, gate)[place][window] for gate in gates]),
                data.spacing_mm(index)[1],
                {"network": mask[place][window], "readers": reference[place][window]},
            )
        )
    return gates_figure(path, shown, sided=is_sided(data.nodules), grey=grey_text(data.nodules), subtitle=subtitle)


def largest_slice(mask: NDArray[np.bool_], reference: NDArray[np.bool_]) -> int:
    """The slice of (D, H, W) masks where both together are largest."""
    return int((mask | reference).sum(axis=(1, 2)).argmax())


def _gates(network: Segmenter, data: SegmentationData, index: int) -> NDArray[np.float32]:
    """(G, N, *spatial) of a nodule's patches."""
    images, owner = data.arrays["image"], data.arrays["nodule"]
    assert isinstance(images, Tensor) and isinstance(owner, Tensor)
    device = next(network.parameters()).device
    with eval_mode(network):
        output = network(images[owner == index].to(device).float() / 255, details=True)
    gates: NDArray[np.float32] = output.gates.cpu().numpy().swapaxes(0, 1)
    return gates


def _seen(data: SegmentationData, index: int, patches: int) -> tuple[slice, slice]:
    """The rows and columns of a nodule's voxels that a patch covers: beyond, gates are not closed but unknown."""
    size = (data.patches.size,) * data.patches.spatial_dims
    covered = data.restore(index, np.ones((patches, *size), dtype=np.float32)).max(axis=0) > 0.5
    rows, columns = (np.flatnonzero(covered.any(axis=axis)) for axis in (1, 0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
