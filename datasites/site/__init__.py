"""A hospital's folder on its own disk: settings, card, ledger, decisions on file, locks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
