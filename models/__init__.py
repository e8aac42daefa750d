"""Models: classifiers, model files, phantoms, diffusion, augmentation, weights, metrics, reports.

What other packages may use is named here and imported when it is first asked for: only what
needs torch imports torch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
