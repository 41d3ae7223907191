"""The patient score's data: who of a cohort has cancer, and the surest nodules of each as one bag."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from monai_staging.cohort import load_cohort
from monai_staging.cohort.case import Case, Lesion
from monai_staging.cohort.cohort import PARTS
from monai_staging.cohort.privacy import case_name, load_key, study_names
from monai_staging.errors import DataError, UsageError
from monai_staging.metrics.intervals import FloatArray
from monai_staging.workflows.nodule_data import NoduleExamples
from monai_staging.workflows.patients_nodules import FoundNodules, NoduleCutter
from monai_staging.workflows.staging_data import cohort_title

logger = logging.getLogger("monai_staging.workflows")

CANCER = "cancer"
"""The key of a case's clinical data that says whether the patient has one."""
CLASSES = ("no cancer", "cancer")
MEASURED = ("score", "size")
"""What is known of a nodule beside its cube: log-odds of the detector's score in threes, and the logarithm to base 2 of
the longest side of its box in centimetres."""
_CERTAIN = 1e-4


class PatientData:
    """The patients of a cohort of whom it is known whether they have cancer, each with the surest nodules found.

    Args:
        dataset_dir: the cohort's folder.
        nodules: finds and cuts them.
        parts: of the cohort, those that are needed.
        labelled: leave out those of whom it is not known; without, they stay, for predictions alone.
        limit: at most so many cases of each part, as many with cancer as without where there are, for quick tries.

    Raises:
        DataError: a value of ``cancer`` is neither true nor false, a part comes out empty, or the training part has
            patients of one kind only.
        UsageError: no such part.
    """

    def __init__(
        self,
        dataset_dir: str | os.PathLike[str],
        nodules: NoduleCutter,
        parts: str | Sequence[str] = PARTS,
        labelled: bool = True,
        limit: int | None = None,
    ) -> None:
        self.cohort = load_cohort(dataset_dir)
        self.nodules = nodules
        key = load_key(self.cohort.root)
        names = dict(zip(map(id, self.cohort.cases), study_names(self.cohort.cases, key), strict=True))
        wanted = (parts,) if isinstance(parts, str) else tuple(parts)
        cases: list[Case] = []
        self.parts: dict[str, list[int]] = {}
        for part in wanted:
            own = self._chosen(part, names, labelled)
            few = _alternating(own, [has_cancer(case, names[id(case)]) for case in own])[:limit] if limit else own
            self.parts[part] = list(range(len(cases), len(cases) + len(few)))
            cases += few
        self._cases = cases
        labels = [has_cancer(case, names[id(case)]) for case in cases]
        label = torch.tensor([[torch.nan if one is None else float(one)] for one in labels]).reshape(len(cases), 1)
        if labelled:
            self._check(label)
        self.found = nodules(self.cohort, cases)
        self.arrays: dict[str, Tensor | list[str]] = {
            **_bags(self.found, nodules),
            "label": label,
            "name": [names[id(case)] for case in cases],
            "patient": [case_name(case.patient, key) for case in cases],
        }

    # -- what the network has to be ---------------------------------------------------------------------------------

    @property
    def in_channels(self) -> int:
        """Channels of a cube."""
        return self.nodules.channels

    # -- the parts --------------------------------------------------------------------------------------------------

    def part(self, names: str | Sequence[str]) -> NoduleExamples:
        """The patients of one part or of several: ``nodules``, ``mask``, ``measured``, ``label``, and whose they are.

        Raises:
            UsageError: no such part here.
        """
        wanted = (names,) if isinstance(names, str) else tuple(names)
        if unknown := [name for name in wanted if name not in self.parts]:
            raise UsageError(f"Patients: a part is one of {', '.join(self.parts)}; found {unknown[0]!r}")
        return NoduleExamples(self.arrays, [place for name in wanted for place in self.parts[name]])

    def title(self, names: str | Sequence[str]) -> str:
        """What the patients of a part are, and how many; for tables and figures."""
        examples = self.part(names)
        label = examples.values("label")[:, 0]
        patients = len({examples[place]["patient"] for place in range(len(examples))})
        known = f"{int((label == 1).sum())} with cancer, {int((label == 0).sum())} without"
        return f"{cohort_title(self.cohort.root, names)}: {patients} patients, {known}"

    # -- for reports ------------------------------------------------------------------------------------------------

    def place(self, name: str) -> int:
        """Of a study, by its name, in ``arrays`` and ``found``."""
        return list(self.arrays["name"]).index(name)

    def ratings(self, name: str) -> FloatArray:
        """(n) what the readers' mean rating is of the lesion that each nodule found lies in; NaN without one."""
        place = self.place(name)
        return np.array([_rating(self._cases[place], box) for box in self.found[place].boxes_mm])

    def worst_is_found(self, name: str) -> bool | None:
        """Whether the lesion that is rated highest is among the nodules; ``None`` where nobody rated any."""
        place = self.place(name)
        rated = [lesion for lesion in self._cases[place].lesions if lesion.malignancy]
        if not rated:
            return None
        worst = max(rated, key=lambda lesion: (float(np.mean(lesion.malignancy)), max(lesion.size_mm)))
        return any(_inside(worst, box) for box in self.found[place].boxes_mm)

    def identities(self) -> dict[str, str]:
        """The source's own name of each study's patient, by the study's name: for files that the user asks for."""
        return dict(zip(self.arrays["name"], (case.patient for case in self._cases), strict=True))

    # -- how it is made ---------------------------------------------------------------------------------------------

    def _chosen(self, part: str, names: dict[int, str], labelled: bool) -> list[Case]:
        if part not in PARTS:
            raise UsageError(f"Patients: a part is one of {', '.join(PARTS)}; found {part!r}")
        every = self.cohort.parts[part]
        known = [case for case in every if has_cancer(case, names[id(case)]) is not None]
        if not labelled:
            known = list(every)
        if len(known) < len(every):
            logger.warning(
                "Cohort %s: of %d of %d cases of the %s part it is not known whether they have cancer; left out.",
                *(self.cohort.name, len(every) - len(known), len(every), part),
            )
        if not known and part != "validation":
            raise DataError(
                f"Cohort {self.cohort.name}: the {part} part needs cases whose clinical data say {CANCER}, found none "
                f"among {len(every)}"
            )
        return known

    def _check(self, label: Tensor) -> None:
        if "training" not in self.parts:
            return
        own = label[self.parts["training"], 0]
        counts = [int((own == value).sum()) for value in (1, 0)]
        if not all(counts):
            raise DataError(
                f"Cohort {self.cohort.name}: the training part needs cases with cancer and without, found {counts[0]} "
                f"and {counts[1]}"
            )


def has_cancer(case: Case, name: str) -> bool | None:
    """Whether a case's patient has cancer; ``None`` where nobody knows.

    Args:
        case: with ``cancer`` in its clinical data: true, false, 1, 0 or null.
        name: of the case, without identity, for the error.

    Raises:
        DataError: another value.
    """
    value = case.clinical.get(CANCER)
    if value is None:
        return None
    if value not in (0, 1):
        raise DataError(f"{name}: {CANCER} is true, false or null, found {value!r}.")
    return bool(value)


def _alternating(cases: Sequence[Case], labels: Sequence[bool | None]) -> list[Case]:
    """The first case of each label, then the second of each, and so on."""
    counts = Counter[bool | None]()
    ranks = []
    for label in labels:
        ranks.append(counts[label])
        counts[label] += 1
    return [cases[place] for place in sorted(range(len(cases)), key=lambda place: ranks[place])]


def _bags(found: Sequence[FoundNodules], cutter: NoduleCutter) -> dict[str, Tensor | list[str]]:
    """Cubes (N, K, C, Z, Y, X) uint8, which of them there are (N, K), and what is known of each (N, K, 2)."""
    shape = (len(found), cutter.most)
    cubes = torch.zeros((*shape, cutter.channels, *(cutter.cubes.size,) * 3), dtype=torch.uint8)
    mask, measured = torch.zeros(shape, dtype=torch.bool), torch.zeros(*shape, len(MEASURED))
    for place, one in enumerate(found):
        count = len(one.scores)
        cubes[place, :count] = one.cubes
        mask[place, :count] = True
        measured[place, :count] = torch.from_numpy(measure(one)).float()
    return {"nodules": cubes, "mask": mask, "measured": measured}


def measure(found: FoundNodules) -> FloatArray:
    """(n, 2) numbers of :data:`MEASURED`."""
    chance = np.clip(found.scores, _CERTAIN, 1 - _CERTAIN)
    longest = (found.boxes_mm[:, 3:] - found.boxes_mm[:, :3]).max(axis=1, initial=0.1)
    return np.stack([np.log(chance / (1 - chance)) / 3, np.log2(longest / 10)], axis=1)


def _inside(lesion: Lesion, box: FloatArray) -> bool:
    """Whether the middle of a box is a hit by the rule of LUNA16: nearer to the lesion's than its radius."""
    diameter = lesion.diameter_mm or max(lesion.size_mm)
    away = np.linalg.norm((box[:3] + box[3:]) / 2 - np.array(lesion.center_mm))
    return bool(away < diameter / 2)


def _rating(case: Case, box: FloatArray) -> float:
    hit = [float(np.mean(lesion.malignancy)) for lesion in case.lesions if lesion.malignancy and _inside(lesion, box)]
    return max(hit, default=float("nan"))
