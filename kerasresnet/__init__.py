"""kerasresnet: the best small residual network that a parameter budget can buy.

The public names load on first use, so that importing this package imports no TensorFlow.
"""

import importlib

_HOMES = {
    "StackSpec": "network.spec",
    "ResNetSpec": "network.spec",
    "Recipe": "recipe",
    "build_model": "network.build",
    "count_parameters": "network.budget",
    "count_macs": "network.budget",
    "widen_to_budget": "network.budget",
    "load_data": "data",
    "ImageData": "data",
    "train": "python",
    "open_run": "python",
    "compile_model": "fit.compiled",
    "recipe_optimizer": "fit.compiled",
    "recipe_schedule": "fit.compiled",
    "export_saved_model": "export",
    "KerasResNetError": "errors",
    "UsageError": "errors",
}
__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> object:
    if name == "__version__":
        metadata = importlib.import_module("importlib.metadata")
        return metadata.version("kerasresnet")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
