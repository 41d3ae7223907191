"""Comparisons: networks, initialisations, label fractions and repetitions of one bundle, as a paired experiment."""
