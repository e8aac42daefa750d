"""The agent of one datasite: it receives, checks, runs, commits, and sends what was released."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
