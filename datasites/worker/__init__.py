"""What runs inside the sandbox: Dura's own trainer, generator and report writer.

No researcher code runs here: models are built from a registry or interpreted from an allow-list.
The worker knows three fixed places (`/data`, `/job/in`, `/job/out`) and nothing else.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
