"""Signed documents: canonical JSON, keys and key files, the one envelope with its purpose."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
