"""Plans, tasks, approvals: what may run, decided by pure rules."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
