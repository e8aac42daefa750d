"""The frozen encoder: its network, card and weights, and how one is made of one's own."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
