"""What an MLflow model of a nodule classifier is loaded by: code, not a pickle."""

from mlflow.models import set_model

from monai_staging.tracking.pyfunc.model import NodulePyfunc

set_model(NodulePyfunc())
