"""Class folders of images -> checked, grey, square, deduplicated arrays with privacy units.

`ingest` reads a data folder into a `Shard` and an `IngestReport`; `save_shard` and `load_shard`
keep shards; `split_dataset` divides one data set into several clients' folders. No module here
bears the name of a public function: importing the one would hide the other.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
