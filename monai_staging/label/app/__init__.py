"""The folder that MONAI Label is given as its app; it loads ``main.py``."""
