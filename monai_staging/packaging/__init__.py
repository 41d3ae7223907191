"""A bundle as others take it: the Model Zoo's layout, exported networks, a model card, and proof that it works."""
