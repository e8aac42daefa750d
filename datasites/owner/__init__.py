"""What a hospital's people decide and look at: intake, pairing, plans, synthetic images, doctor."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
