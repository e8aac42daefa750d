"""Diffusion generators of synthetic images, how they start, and the check for copies."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
