"""Images as classifiers take them: pixel values, augmentation, the crop to the head."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
