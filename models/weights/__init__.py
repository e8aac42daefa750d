"""Weights as safetensors bytes, the rules that arriving weights keep to, cards and model files."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
