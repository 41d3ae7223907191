"""Losses for labels that may be unknown or known only as a set."""
