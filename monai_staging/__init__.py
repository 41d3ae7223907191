"""Chest CT from DICOM to cancer stage, as MONAI bundles.

Nothing heavy is imported here: ``import monai_staging`` stays cheap, subpackages import what they need.
"""

from monai_staging.version import __version__

__all__ = ["__version__"]
