"""Figures of a classifier: exact, noised, calibrated, and of membership attacks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
