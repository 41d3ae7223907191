"""The app that MONAI Label runs: it loads this file, and takes the class in it that is a ``MONAILabelApp``."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from monai_staging.dicomweb import Archive
from monai_staging.errors import UsageError
from monai_staging.label.archive import ArchiveDatastore
from monai_staging.label.compat import without_absent_gpus
from monai_staging.label.datastore import StudyDatastore
from monai_staging.label.infers import TASKS, StudyTask
from monai_staging.label.orders import MODELS
from monai_staging.label.pieces import Pieces, Settings
from monai_staging.label.scoring import METHODS
from monai_staging.label.strategies import STRATEGIES
from monai_staging.label.tasks import Scoring, Training
from monai_staging.label.trainer import Trainer
from monai_staging.label.upstream import DefaultLabelTag, MONAILabelApp, MONAILabelError, MONAILabelException
from monai_staging.outputs.findings import Algorithm
from monai_staging.predict.study import Study
from monai_staging.version import __version__


class StagingApp(MONAILabelApp):
    """Annotation of chest CT with this project's bundles.

    Args:
        app_dir: the folder of this file.
        studies: the folder of the studies, or the URL of an archive.
        conf: ``models``, the tasks served, parted by commas (all of them by default), ``work``, the folder that what
            is derived of an archive is kept in, and what
            :class:`monai_staging.label.pieces.Settings` has.
    """

    def __init__(self, app_dir: str, studies: str, conf: Mapping[str, str]) -> None:
        conf = dict(conf)
        self._models = chosen_models(conf.pop("models", ""))
        self._work = Path(conf.pop("work", "") or studies)
        self._pieces = Pieces(Settings.of(conf), self._work)
        self.trainer = Trainer(self._pieces.trainings, self._pieces, self.datastore)
        super().__init__(
            app_dir,
            studies,
            conf,
            name="monai-staging",
            description="Chest CT from DICOM to cancer stage. Not a medical device: for research only.",
            version=__version__,
        )

    def init_datastore(self) -> StudyDatastore:
        """The studies: those of a folder, or of an archive."""
        archive = Archive.parse(self.studies)
        return StudyDatastore(self.studies) if archive is None else ArchiveDatastore(archive, self._work)

    def init_infers(self) -> dict[str, Any]:
        """The tasks that are served."""
        return {name: TASKS[name](self._pieces) for name in self._models}

    def init_trainers(self) -> dict[str, Any]:
        """The models that are served and can be trained."""
        return {name: Training(name, self.trainer) for name in MODELS if name in self._models}

    def init_scoring_methods(self) -> dict[str, Any]:
        """The ways to score labels."""
        return {name: Scoring(name, self._pieces.trainings) for name in METHODS}

    def init_strategies(self) -> dict[str, Any]:
        """The ways to the next study."""
        return {name: strategy(self._pieces) for name, strategy in STRATEGIES.items()}

    def task(self, name: str) -> StudyTask:
        """The task of a model's name.

        Raises:
            MONAILabelException: it is not served.
        """
        task: StudyTask | None = self._infers.get(name)
        if task is None:
            reason = f"Model: one of {', '.join(self._infers)}; found {name[:60]!r}."
            raise MONAILabelException(MONAILabelError.APP_ERROR, reason)
        return task

    @property
    def algorithm(self) -> Algorithm:
        """What makes its answers."""
        return self._pieces.predictor.algorithm

    def study(self, image: str) -> Study:
        """A study of the data store, read; kept in memory as those that were asked for last."""
        with self._pieces.lock:
            return self._pieces.open(self.datastore().source(image)).study

    def load(self) -> None:
        """Loads the networks, so that what is wrong with them is said before anything is served."""
        self.trainer.recover()
        with self._pieces.lock:
            _ = self._pieces.predictor

    @property
    def scorers(self) -> dict[str, Scoring]:
        """The ways to score labels, by name."""
        return dict(self._scoring_methods)

    def infer(self, request: Mapping[str, Any], datastore: Any = None) -> dict[str, Any]:
        """One answer; see upstream. A study is named by its image id, never by a path that a client sent.

        Args:
            request: ``model``, ``image``, and the task's parameters. An ``image`` that is a :class:`pathlib.Path` is
                a file that the server itself has written.
            datastore: kept from upstream; the app's own is used.

        Raises:
            MONAILabelException: no such model, or no such study.
        """
        name, image = str(request.get("model", "")), request["image"]
        task = self.task(name)
        store = self.datastore()
        stored = not isinstance(image, Path)
        file, params = task({**request, "study": os.fspath(store.source(image) if stored else image)})
        label, tag = file, DefaultLabelTag.ORIGINAL.value
        if stored and file is not None and request.get("save_label") is True:
            tag = str(getattr(asked := request.get("label_tag", tag), "value", asked))
            label = store.save_label(image, file, tag, {"model": name, "params": params})
        return {"label": label, "tag": tag, "file": file, "params": params}

    def batch_infer(self, request: Mapping[str, Any], datastore: Any = None) -> Any:
        """Answers for many studies; see upstream."""
        return super().batch_infer(without_absent_gpus(request, torch.cuda.device_count()), datastore)


def chosen_models(names: str) -> list[str]:
    """The tasks of a list that is parted by commas; all of them where it is empty.

    Raises:
        UsageError: one is not known.
    """
    asked = [name.strip() for name in names.split(",") if name.strip()] or list(TASKS)
    unknown = [name for name in asked if name not in TASKS]
    if unknown:
        raise UsageError(f"--models are of {', '.join(TASKS)}; found {unknown[0]!r}")
    return asked
