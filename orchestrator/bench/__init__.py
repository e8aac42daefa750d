"""Accuracy for epsilon, measured over seeds, recipes and ways data lie between hospitals."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
