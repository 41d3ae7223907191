"""Transforms: MONAI array transforms and their dictionary twins, one concept a module."""
