"""Imported before torch: its OpenMP reads the environment at its start, as in `detector.train`."""

from detector.run.heap import before_torch

before_torch(keep_memory=True)
