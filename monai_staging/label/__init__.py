"""Annotation through MONAI Label: the server with its app, the data store, and which study comes next.

MONAI Label is no dependency of the package (see ``requirements-label.txt``): only modules that run within its server
import it, and each of them imports :mod:`monai_staging.label.compat` before it.
"""
