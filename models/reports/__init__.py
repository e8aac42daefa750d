"""Reports: what they may say (facts), how it is said, who writes it, and its verification."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
