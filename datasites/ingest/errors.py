"""Every error and every coded refusal of ingest.

    IngestError
    ├── FolderError           a folder is missing, is no folder, or holds nothing to ingest
    ├── ClassListError        the list of classes contradicts itself or cannot name folders
    ├── UnitRuleError         patients' numbers cannot be found as said, or the unit would weaken
    ├── ImageError            one image cannot be used; carries a `RefusalReason`
    ├── EmptyDatasetError     no usable image is left
    ├── SplitError            a data set cannot be divided as asked
    └── ShardError            arrays that are not a shard
        ├── ShardExistsError  another shard lies where this one should be written
        └── ShardDamagedError a stored shard is incomplete or not what its hash says

`exit_code` is what the command line returns: 2 bad input, 6 verification failed. Messages may hold
paths and file names: they are for the people of this hospital and never cross its boundary.
"""

from __future__ import annotations

from enum import StrEnum


class RefusalReason(StrEnum):
    """Why one file or folder was left out; the keys of the ingest report."""

    HIDDEN = "hidden"
    SYMLINK = "symlink"
    NOT_A_FILE = "not_a_file"
    OUTSIDE_CLASS_FOLDER = "outside_class_folder"
    UNKNOWN_CLASS = "unknown_class"
    NESTED_FOLDER = "nested_folder"
    UNKNOWN_SUFFIX = "unknown_suffix"
    UNREADABLE = "unreadable"
    EMPTY_FILE = "empty_file"
    WRONG_FORMAT = "wrong_format"
    ABSURD_SIZE = "absurd_size"
    DAMAGED = "damaged"
    BLANK = "blank"
    MULTI_FRAME = "multi_frame"
    BURNED_IN = "burned_in"
    NO_PATIENT = "no_patient"
    TWO_PATIENTS = "two_patients"
    OWNERS_DECISION = "owners_decision"
    CONFLICTING_LABEL = "conflicting_label"
    STRADDLES = "straddles"


class IngestError(Exception):
    """Base of all errors of ingest."""

    exit_code = 2


class FolderError(IngestError):
    """A folder is missing, is no folder, or holds nothing to ingest."""


class ClassListError(IngestError):
    """The list of classes contradicts itself or cannot name folders."""


class UnitRuleError(IngestError):
    """Where the patients' numbers are is said wrongly, or the unit would weaken silently."""


class ImageError(IngestError):
    """One image cannot be used.

    Attributes:
        reason: the coded reason, for the report.
    """

    def __init__(self, reason: RefusalReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class EmptyDatasetError(IngestError):
    """No usable image is left."""


class SplitError(IngestError):
    """A data set cannot be divided as asked."""


class ShardError(IngestError):
    """Arrays that are not a shard."""


class ShardExistsError(ShardError):
    """Another shard lies where this one should be written."""


class ShardDamagedError(ShardError):
    """A stored shard is incomplete or not what its hash says."""

    exit_code = 6
