"""A nodule classifier as an MLflow model: weights and plain settings, served from an array or a path."""
