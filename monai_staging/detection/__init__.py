"""Detectors behind one interface: a volume in, boxes in the world's millimetres with scores out."""

from monai_staging.detection.detections import Detections, concatenate, read_detections, write_detections
from monai_staging.detection.detector import Detector
from monai_staging.detection.operating_points import OperatingPoint, OperatingPoints

__all__ = [
    "Detections",
    "Detector",
    "OperatingPoint",
    "OperatingPoints",
    "concatenate",
    "read_detections",
    "write_detections",
]
