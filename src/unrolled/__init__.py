"""Recurrent networks on CPUs: train them, read them, use them.

    import unrolled
    unrolled.load("reviews").predict(["This film was just brilliant"])

The public names stand below, once. Each is resolved when it is first used (PEP 562), so that `import unrolled`
loads neither torch nor NumPy. A name is never also the name of a room: `unrolled.evaluate` is always the module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .bundle import Bundle as Bundle
    from .bundle import Prediction as Prediction
    from .config import RunConfig as RunConfig
    from .errors import BundleError as BundleError
    from .errors import DataError as DataError
    from .errors import DownloadError as DownloadError
    from .errors import EngineError as EngineError
    from .errors import MissingExtraError as MissingExtraError
    from .errors import ShapeError as ShapeError
    from .errors import TrainingError as TrainingError
    from .errors import UnknownNameError as UnknownNameError
    from .errors import UnrolledError as UnrolledError
    from .errors import UsageError as UsageError
    from .estimators import TextClassifier as TextClassifier
    from .evaluate import Evaluation as Evaluation
    from .explain import Influence as Influence
    from .kernels import Stepper as Stepper
    from .language import LanguageModel as LanguageModel
    from .network import GRU as GRU
    from .network import LSTM as LSTM
    from .network import Dense as Dense
    from .network import Dropout as Dropout
    from .network import Embedding as Embedding
    from .network import Network as Network
    from .network import Pooling as Pooling
    from .network import SimpleRNN as SimpleRNN
    from .patch import PatchReport as PatchReport
    from .patch import patch_report as patch_report
    from .patch import patch_torch as patch_torch
    from .patch import torch_is_patched as torch_is_patched
    from .patch import torch_patched as torch_patched
    from .patch import unpatch_torch as unpatch_torch
    from .sequential import Sequential as Sequential
    from .timeseries import EventDetector as EventDetector
    from .timeseries import Forecaster as Forecaster

    load = Bundle.load

__version__ = "0.1.0"

_ROOMS = {
    "bundle": ("Bundle", "Prediction"),
    "config": ("RunConfig",),
    "errors": (
        "BundleError",
        "DataError",
        "DownloadError",
        "EngineError",
        "MissingExtraError",
        "ShapeError",
        "TrainingError",
        "UnknownNameError",
        "UnrolledError",
        "UsageError",
    ),
    "estimators": ("TextClassifier",),
    "evaluate": ("Evaluation",),
    "explain": ("Influence",),
    "kernels": ("Stepper",),
    "language": ("LanguageModel",),
    "network": ("Dense", "Dropout", "Embedding", "GRU", "LSTM", "Network", "Pooling", "SimpleRNN"),
    "patch": (
        "PatchReport",
        "patch_report",
        "patch_torch",
        "torch_is_patched",
        "torch_patched",
        "unpatch_torch",
    ),
    "sequential": ("Sequential",),
    "timeseries": ("EventDetector", "Forecaster"),
}
_WHERE = {name: room for room, names in _ROOMS.items() for name in names} | {"load": "bundle"}
_MODULES = ("data", "datasets", "evaluate", "explain", "kernels", "metrics", "nn", "patch", "recipe", "report", "train")

__all__ = [*_WHERE, *_MODULES, "__version__"]  # noqa: PLE0604 - all of them strings


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name not in _WHERE:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'. Public: {', '.join(__all__)}.")
    room = import_module(f".{_WHERE[name]}", __name__)
    value = room.Bundle.load if name == "load" else getattr(room, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
