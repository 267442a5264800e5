"""Train, look into and honestly measure detectors of fake face images."""

__version__ = "0.1.0"
