"""Histology slides: reading them in regions, where their mitoses are, and public data sets as they lie on disk."""
