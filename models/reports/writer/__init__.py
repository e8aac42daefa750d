"""The writer of reports: a LLaMa that can only say sentences of the language."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
