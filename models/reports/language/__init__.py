"""The language of reports: every sentence that a report can hold, and its reading back."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
