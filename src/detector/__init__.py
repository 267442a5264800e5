"""Train, look into and honestly measure detectors of fake face images."""

__version__ = "0.1.0"
__all__ = ["Predictor", "__version__"]


def __getattr__(name: str):
    if name == "Predictor":  # on first use: it imports torch, which takes seconds
        from detector.predictor import Predictor

        return Predictor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
