"""Imported before torch, whose OpenMP reads the environment at its start; as `detector.train` does."""

from detector.run.heap import before_torch

before_torch(keep_memory=True)
