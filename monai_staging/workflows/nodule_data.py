"""The malignancy bundle's data: nodules cut into views and measured once, then served as whole batches."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from monai_staging.cohort.lock import exclusive
from monai_staging.cohort.nodules import load_nodules
from monai_staging.cohort.nodules.nodule import NoduleSet
from monai_staging.cohort.nodules.split import NoduleSplit, split_nodules
from monai_staging.errors import UsageError
from monai_staging.files import cache_folder, write_archive
from monai_staging.transforms.nodule_features import NoduleFeatures
from monai_staging.transforms.nodule_views import NoduleViews

logger = logging.getLogger("monai_staging.workflows")

VERSION = 2
"""Of the cached arrays: another when views or features of the same settings come out otherwise."""
ARRAYS = ("views", "features")
"""What is cached, one entry a nodule."""
SOFTNESS = 1.5
"""A reader's rating r counts as sigmoid(1.5 (r - 3)) malignant: .05, .18, .5, .82, .95."""


class NoduleExamples(Dataset[dict[str, Any]]):
    """Some nodules as a data set of dictionaries; whole batches are taken at once (``__getitems__``).

    Args:
        arrays: name to a tensor or list with one entry a nodule of the whole set.
        indices: which of them belong to this part.
    """

    def __init__(self, arrays: Mapping[str, Tensor | list[str]], indices: Sequence[int]) -> None:
        self.arrays = dict(arrays)
        self.indices = torch.as_tensor(np.asarray(indices, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> dict[str, Any]:
        place = int(self.indices[index])
        return {name: values[place] for name, values in self.arrays.items()}

    def values(self, name: str) -> Tensor:
        """One array of this part, (N, ...)."""
        values = self.arrays[name]
        if not isinstance(values, Tensor):
            raise UsageError(f"Nodules: {name} is no array of numbers.")
        return values[self.indices]

    def __getitems__(self, indices: list[int]) -> dict[str, Any]:
        """The batch of these nodules."""
        places = self.indices[indices]
        return {
            name: values[places] if isinstance(values, Tensor) else [values[place] for place in places.tolist()]
            for name, values in self.arrays.items()
        }


def as_batch(batch: Any) -> Any:
    """Collates nothing: `NoduleExamples` gives whole batches."""
    return batch


class NoduleData:
    """A nodule set, its views, its measured features, and its split.

    Args:
        dataset_dir: see :func:`monai_staging.cohort.nodules.load_nodules`.
        views: what a network sees.
        split: see :class:`monai_staging.cohort.nodules.split.NoduleSplit`; ``None`` takes all nodules, labelled or not,
            for testing.
        limit: at most so many nodules, for quick tries.
        cache: folder of the cached arrays; see :func:`monai_staging.files.cache_folder`.
    """

    def __init__(
        self,
        dataset_dir: str | os.PathLike[str],
        views: NoduleViews,
        split: NoduleSplit | None = None,
        limit: int | None = None,
        cache: str | os.PathLike[str] | None = None,
    ) -> None:
        self.nodules = load_nodules(dataset_dir)
        self.views = views
        chosen = range(len(self.nodules))[:limit]
        self.colours = self.nodules.read(0).image.shape[0]
        cut = self._cut(cache)
        parts = split_nodules(self.nodules, split) if split else {"test": np.arange(len(self.nodules))}
        self.parts = {part: [int(index) for index in indices if index in chosen] for part, indices in parts.items()}
        self.arrays = {**cut, **_targets(self.nodules)}

    # -- what the network has to be ---------------------------------------------------------------------------------

    @property
    def outputs(self) -> int:
        """How many logits a network needs."""
        return 1 if self.nodules.task == "binary" else len(self.nodules.classes)

    @property
    def in_channels(self) -> int:
        """Channels of a view."""
        return self.views.in_channels(self.colours)

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the readers' other ratings, in order; none where no nodule has any."""
        return attribute_names(self.nodules)

    # -- the parts --------------------------------------------------------------------------------------------------

    def part(self, name: str) -> NoduleExamples:
        """The examples of ``training``, ``validation`` or ``test``."""
        if name not in self.parts:
            raise UsageError(f"Nodules: a part is one of {', '.join(self.parts)}; found {name!r}")
        return NoduleExamples(self.arrays, self.parts[name])

    def patients(self, name: str) -> set[str]:
        """The patients of a part."""
        return {self.nodules.records[index].patient for index in self.parts[name]}

    # -- the arrays -------------------------------------------------------------------------------------------------

    def _cut(self, cache: str | os.PathLike[str] | None) -> dict[str, Tensor]:
        """Views and features of all nodules, from the cache or made now."""
        path = cache_folder(cache) / "nodules" / f"{self._key()}.pt"
        found = self._read(path)
        if found is not None:
            return found
        try:
            # The arms of a comparison begin at once: one cuts, the others wait and read.
            waited: list[bool] = []
            with exclusive(path.with_suffix(".lock"), busy="", on_wait=lambda: waited.append(True)):
                found = self._read(path) if waited else None
                if found is None:
                    found = self._make()
                    write_archive(path, found)
        except OSError as error:
            logger.warning("%s cannot be written (%s): views are cut anew each time.", path, error.strerror)
        return self._make() if found is None else found

    def _read(self, path: Path) -> dict[str, Tensor] | None:
        """The cached arrays; none where there are none, or damaged ones, which are derived and made again."""
        if not path.is_file():
            return None
        try:
            found = torch.load(path, weights_only=True)
            if {name: len(found[name]) for name in found} == dict.fromkeys(ARRAYS, len(self.nodules)):
                return {name: found[name] for name in ARRAYS}
            raise ValueError(f"it must hold {' and '.join(ARRAYS)} of {len(self.nodules)} nodules")
        except Exception as error:
            logger.warning("%s is damaged and is made again: %s", path, error)
        return None

    def _key(self) -> str:
        settings = {
            "version": VERSION,
            "set": [self.nodules.digest, self.nodules.state],
            **{name: value for name, value in vars(self.views).items()},
        }
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:24]

    def _make(self) -> dict[str, Tensor]:
        measure = NoduleFeatures()
        records = self.nodules.records

        def one(index: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
            volume = self.nodules.read(index)
            spacing = records[index].spacing_mm
            return self.views(volume, spacing, self.nodules.value_range), measure(volume, spacing)

        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            found = list(pool.map(one, range(len(records))))
        views = np.stack([views for views, _ in found])
        features = np.stack([features for _, features in found]).astype(np.float32)
        return {"views": torch.from_numpy(views), "features": torch.from_numpy(features)}


def attribute_names(nodules: NoduleSet) -> tuple[str, ...]:
    """The readers' other ratings that occur, in the order of the first nodule that has each."""
    return tuple(dict.fromkeys(name for record in nodules.records for name in record.attributes))


def _targets(nodules: NoduleSet) -> dict[str, Tensor | list[str]]:
    """Labels (N, K) float with NaN where unknown, soft labels (N, K), attributes (N, A), names and patients."""
    width = max((len(record.label) for record in nodules.records if record.label), default=1)
    labels = torch.full((len(nodules), width), torch.nan)
    for index, record in enumerate(nodules.records):
        if record.label is not None:
            labels[index] = torch.tensor(record.label, dtype=torch.float32)
    soft = labels.clone()
    ease = torch.ones(len(nodules))
    for index, record in enumerate(nodules.records):
        if record.ratings:
            ratings = torch.tensor(record.ratings, dtype=torch.float32)
            soft[index] = torch.sigmoid(SOFTNESS * (ratings - 3)).mean()
            # Far from undecided, and the readers of one mind.
            ease[index] = (ratings.mean() - 3).abs() - ratings.std(correction=0)
    names = attribute_names(nodules)
    attributes = torch.tensor(
        [[record.attributes.get(name, torch.nan) for name in names] for record in nodules.records]
    ).reshape(len(nodules), len(names))
    return {
        "label": labels,
        "soft": soft,
        "ease": ease,
        "attributes": attributes,
        "name": [record.name for record in nodules.records],
        "patient": [record.patient for record in nodules.records],
    }
