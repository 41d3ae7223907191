"""A patient's surest nodules: found by a detector and cut out once, kept on disk for every training that follows."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from monai_staging.cohort.case import Case
from monai_staging.cohort.cohort import Cohort, file_stem
from monai_staging.cohort.lock import exclusive
from monai_staging.cohort.volume import read_volume
from monai_staging.detection.detector import Detector
from monai_staging.detection.two_stage import CandidateCubes
from monai_staging.errors import DataError, UsageError
from monai_staging.files import cache_folder, write_archive
from monai_staging.metrics.intervals import FloatArray
from monai_staging.progress import progress
from monai_staging.workflows.staging_data import file_state

logger = logging.getLogger("monai_staging.workflows")

VERSION = 1
"""Of the files: another when the same settings cut other cubes."""


class DetectorSource(Protocol):
    """As :class:`monai_staging.detection.configured.ConfiguredDetector`: a detector that need not be built."""

    @property
    def digest(self) -> str:
        """Of all that its detections depend on but the scan."""
        ...

    def build(self) -> Detector:
        """The detector."""
        ...


@dataclass(frozen=True, eq=False)
class FoundNodules:
    """What was found in a scan, the surest first.

    Attributes:
        cubes: (n, C, Z, Y, X) uint8, what lies around each.
        boxes_mm: (n, 6) corners in RAS mm.
        scores: (n) of the detector.
    """

    cubes: Tensor
    boxes_mm: FloatArray
    scores: FloatArray


class NoduleCutter:
    """Finds nodules and cuts their surroundings out of scans.

    Each scan's are one file, written at once: what was killed goes on with the next scan. The folder is named by a
    digest of cohort, detector and settings, so that trainings that differ in other things share it.

    Args:
        detector: finds them; not built where all files are there.
        cubes: cuts them.
        most: so many a scan, the surest ones.
        cache: folder of the folders; see :func:`monai_staging.files.cache_folder`.

    Raises:
        UsageError: fewer than 1 a scan.
    """

    def __init__(
        self,
        detector: DetectorSource,
        cubes: CandidateCubes,
        most: int = 5,
        cache: str | os.PathLike[str] | None = None,
    ) -> None:
        if most < 1:
            raise UsageError(f"NoduleCutter: at least 1 nodule a scan is needed, found {most}")
        self.detector = detector
        self.cubes = cubes
        self.most = most
        self.cache = cache

    @property
    def channels(self) -> int:
        """Of a cube: one for each window of HU."""
        return len(self.cubes.windows.windows)

    def folder(self, cohort: Cohort) -> Path:
        """Where a cohort's files are."""
        cubes = [self.cubes.size, self.cubes.spacing_mm, self.cubes.windows.windows]
        text = json.dumps([VERSION, cohort.digest, self.detector.digest, cubes, self.most])
        return cache_folder(self.cache) / "patients" / hashlib.sha256(text.encode()).hexdigest()[:24]

    def __call__(self, cohort: Cohort, cases: Sequence[Case]) -> list[FoundNodules]:
        """The nodules of cases, from their files or found now.

        A scan that the detector refuses (one without lungs) has none, and is counted aloud.

        Raises:
            DataError: a volume cannot be read, or the folder cannot be written.
        """
        folder = self.folder(cohort)
        found = {case.series: self._read(folder, cohort, case) for case in cases}
        missing = [case for case in cases if found[case.series] is None]
        if missing:
            try:
                # Several trainings may begin at once: one finds, the others wait and read.
                with exclusive(folder.with_suffix(".lock"), busy="", on_wait=lambda: None):
                    found |= self._find(folder, cohort, missing)
            except OSError as error:
                raise DataError(
                    f"Patients: {folder} cannot be written ({error.strerror}); name another --cache_dir."
                ) from error
        return [one for case in cases if (one := found[case.series]) is not None]

    def _find(self, folder: Path, cohort: Cohort, cases: Sequence[Case]) -> dict[str, FoundNodules | None]:
        found: dict[str, FoundNodules | None] = {}
        detector: Detector | None = None
        refused: list[str] = []
        for case in progress(cases, total=len(cases), description="finding nodules", unit="scan"):
            # Another training may have found them while this one waited.
            one = self._read(folder, cohort, case)
            if one is None:
                detector = detector or self.detector.build()
                one = self._look(detector, cohort, case, refused)
                self._write(folder, cohort, case, one)
            found[case.series] = one
        if refused:
            logger.warning(
                "Cohort %s: %d of %d scans are refused by the detector and count as without nodules; the first: %s",
                *(cohort.name, len(refused), len(cases), refused[0]),
            )
        return found

    def _look(self, detector: Detector, cohort: Cohort, case: Case, refused: list[str]) -> FoundNodules:
        volume = read_volume(cohort.image_path(case))
        try:
            found = detector.detect(volume, "scan")
        except DataError as error:
            refused.append(str(error))
            return FoundNodules(self.cubes(volume, np.zeros((0, 3))), np.zeros((0, 6)), np.zeros(0))
        surest = found.rows(np.argsort(-found.scores, kind="stable")[: self.most])
        return FoundNodules(self.cubes(volume, surest.centers_mm), surest.boxes_mm, surest.scores)

    # -- files ------------------------------------------------------------------------------------------------------

    def _read(self, folder: Path, cohort: Cohort, case: Case) -> FoundNodules | None:
        """What was found before; none where there is no file, one of another volume, or a damaged one."""
        path = folder / f"{file_stem(case.series)}.pt"
        if not path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True)
            if state["volume"] != file_state(cohort.image_path(case)):
                return None
            return FoundNodules(state["cubes"], state["boxes_mm"].numpy(), state["scores"].numpy())
        except DataError:
            raise
        except Exception as error:
            logger.warning("%s is damaged and is made again: %s", path, error)
        return None

    def _write(self, folder: Path, cohort: Cohort, case: Case, found: FoundNodules) -> None:
        state = {
            "volume": file_state(cohort.image_path(case)),
            "cubes": found.cubes,
            "boxes_mm": torch.from_numpy(np.ascontiguousarray(found.boxes_mm)),
            "scores": torch.from_numpy(np.ascontiguousarray(found.scores)),
        }
        write_archive(folder / f"{file_stem(case.series)}.pt", state)
