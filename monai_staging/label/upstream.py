"""All that we take from MONAI Label, in one place: importing it from here has done first what it needs to start."""

# ruff: noqa: E402, I001  (the order of these imports is what the module is for)
from __future__ import annotations

from monai_staging.label.compat import install

install()

from monailabel.config import settings
from monailabel.datastore.local import DataModel, ImageLabelModel, LocalDatastore, LocalDatastoreModel
from monailabel.endpoints.activelearning import sample
from monailabel.endpoints.batch_infer import router as batch_router
from monailabel.endpoints.batch_infer import run as run_batch
from monailabel.endpoints.datastore import ResultType as DatastoreOutput
from monailabel.endpoints.datastore import datastore, download_image, download_label
from monailabel.endpoints.infer import ResultType, send_response
from monailabel.endpoints.user.auth import RBAC, User, get_current_user
from monailabel.interfaces.app import MONAILabelApp
from monailabel.interfaces.datastore import DefaultLabelTag
from monailabel.interfaces.exception import (
    ImageNotFoundException,
    LabelNotFoundException,
    MONAILabelError,
    MONAILabelException,
)
from monailabel.interfaces.tasks.batch_infer import BatchInferImageType
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.interfaces.tasks.scoring import ScoringMethod
from monailabel.interfaces.tasks.strategy import Strategy
from monailabel.interfaces.tasks.train import TrainTask
from monailabel.interfaces.utils.app import app_instance

__all__ = [
    "RBAC",
    "BatchInferImageType",
    "DataModel",
    "DatastoreOutput",
    "DefaultLabelTag",
    "ImageLabelModel",
    "ImageNotFoundException",
    "InferTask",
    "InferType",
    "LabelNotFoundException",
    "LocalDatastore",
    "LocalDatastoreModel",
    "MONAILabelApp",
    "MONAILabelError",
    "MONAILabelException",
    "ResultType",
    "ScoringMethod",
    "Strategy",
    "TrainTask",
    "User",
    "app_instance",
    "batch_router",
    "datastore",
    "download_image",
    "download_label",
    "get_current_user",
    "run_batch",
    "sample",
    "send_response",
    "settings",
]
