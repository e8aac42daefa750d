"""Class folders of images -> checked, grey, square, deduplicated arrays with privacy units.

`ingest` reads a data folder into a `Shard` and an `IngestReport`; `save_shard` and `load_shard`
keep shards; `split_dataset` divides one data set into several clients' folders. No module here
bears the name of a public function: importing the one would hide the other.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasites.ingest.changes import Changes as Changes
    from datasites.ingest.changes import compare_versions as compare_versions
    from datasites.ingest.classes import DEFAULT_CLASSES as DEFAULT_CLASSES
    from datasites.ingest.classes import ClassNames as ClassNames
    from datasites.ingest.errors import ClassListError as ClassListError
    from datasites.ingest.errors import EmptyDatasetError as EmptyDatasetError
    from datasites.ingest.errors import FolderError as FolderError
    from datasites.ingest.errors import ImageError as ImageError
    from datasites.ingest.errors import IngestError as IngestError
    from datasites.ingest.errors import RefusalReason as RefusalReason
    from datasites.ingest.errors import ShardDamagedError as ShardDamagedError
    from datasites.ingest.errors import ShardError as ShardError
    from datasites.ingest.errors import ShardExistsError as ShardExistsError
    from datasites.ingest.errors import SplitError as SplitError
    from datasites.ingest.errors import UnitRuleError as UnitRuleError
    from datasites.ingest.ingester import IngestResult as IngestResult
    from datasites.ingest.ingester import ingest as ingest
    from datasites.ingest.ingester import ingest_both as ingest_both
    from datasites.ingest.patients import UnitRule as UnitRule
    from datasites.ingest.pixels import read_grey as read_grey
    from datasites.ingest.report import IngestReport as IngestReport
    from datasites.ingest.scan import ClientFolders as ClientFolders
    from datasites.ingest.scan import Refusal as Refusal
    from datasites.ingest.scan import find_client_folders as find_client_folders
    from datasites.ingest.shard import UNIT_KINDS as UNIT_KINDS
    from datasites.ingest.shard import Shard as Shard
    from datasites.ingest.shard import make_shard as make_shard
    from datasites.ingest.shard import published_version as published_version
    from datasites.ingest.shardstore import load_shard as load_shard
    from datasites.ingest.shardstore import save_shard as save_shard
    from datasites.ingest.shardstore import shard_version as shard_version
    from datasites.ingest.split import SplitPlan as SplitPlan
    from datasites.ingest.split import SplitSettings as SplitSettings
    from datasites.ingest.split import plan_split as plan_split
    from datasites.ingest.splitter import SplitReport as SplitReport
    from datasites.ingest.splitter import split_dataset as split_dataset
    from datasites.ingest.unitwords import unit_meaning as unit_meaning

__all__ = [
    "DEFAULT_CLASSES",
    "UNIT_KINDS",
    "Changes",
    "ClassListError",
    "ClassNames",
    "ClientFolders",
    "EmptyDatasetError",
    "FolderError",
    "ImageError",
    "IngestError",
    "IngestReport",
    "IngestResult",
    "Refusal",
    "RefusalReason",
    "Shard",
    "ShardDamagedError",
    "ShardError",
    "ShardExistsError",
    "SplitError",
    "SplitPlan",
    "SplitReport",
    "SplitSettings",
    "UnitRule",
    "UnitRuleError",
    "compare_versions",
    "find_client_folders",
    "ingest",
    "ingest_both",
    "load_shard",
    "make_shard",
    "plan_split",
    "published_version",
    "read_grey",
    "save_shard",
    "shard_version",
    "split_dataset",
    "unit_meaning",
]

_HOME = {
    "Changes": "changes",
    "ClassListError": "errors",
    "ClassNames": "classes",
    "ClientFolders": "scan",
    "DEFAULT_CLASSES": "classes",
    "EmptyDatasetError": "errors",
    "FolderError": "errors",
    "ImageError": "errors",
    "IngestError": "errors",
    "IngestReport": "report",
    "IngestResult": "ingester",
    "Refusal": "scan",
    "RefusalReason": "errors",
    "Shard": "shard",
    "ShardDamagedError": "errors",
    "ShardError": "errors",
    "ShardExistsError": "errors",
    "SplitError": "errors",
    "SplitPlan": "split",
    "SplitReport": "splitter",
    "SplitSettings": "split",
    "UNIT_KINDS": "shard",
    "UnitRule": "patients",
    "UnitRuleError": "errors",
    "compare_versions": "changes",
    "find_client_folders": "scan",
    "ingest": "ingester",
    "ingest_both": "ingester",
    "load_shard": "shardstore",
    "make_shard": "shard",
    "plan_split": "split",
    "published_version": "shard",
    "read_grey": "pixels",
    "save_shard": "shardstore",
    "shard_version": "shardstore",
    "split_dataset": "splitter",
    "unit_meaning": "unitwords",
}
"""Module of each public name: loaded when first asked for, so that importing this is quick."""


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
