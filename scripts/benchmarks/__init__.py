"""What `scripts/benchmark.py` measures, a claim a module: ``NAME``, ``HELP``, ``add_arguments``, ``run``, ``text``."""
