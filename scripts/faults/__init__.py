"""Faults on purpose: real commands are killed, starved and lied to, and run again."""
