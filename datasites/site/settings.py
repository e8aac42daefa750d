"""A site's settings: `site.toml`, written by `dura site init`, changed by its owner.

Every field is checked; an unknown or misspelt one is refused by name. Nothing secret is in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import pydantic
import tomli_w
from pydantic import BaseModel, ConfigDict, Field

from datasites.durable import write_file
from datasites.errors import PlanError, SettingsError
from datasites.ingest import DEFAULT_CLASSES
from datasites.people import count_people, plain_name
from datasites.plans import Email, Name, ReportDtype, explain, read_toml
from datasites.site.relay_url import checked_relay_url

SETTINGS_FILE = "site.toml"
UnitName = Literal["auto", "patient", "group", "image"]


class SiteSettings(BaseModel):
    """What a site is and how it works.

    Attributes:
        name: short display name, such as `A` or `st-mary`.
        email: the site's syft identity.
        relay: URL of the storage that carries messages, see `datasites.site.relay_url`.
        classes: class names; another disease needs no code.
        image_size: pixels a side of the stored images.
        reviewers: people who may approve, and nobody else; a name may carry the person's
            address, as in `Ann <ann@h.example>`, so that they cannot approve a plan of their
            own. Empty means anyone with access to this account, for a quorum of one only.
        quorum: how many of them must agree.
        approval_days: days after which an approval expires, unless said otherwise.
        threads: threads a job may use.
        job_timeout_s: seconds a job may take.
        job_memory_gib: memory a job may use: address space, /tmp and outputs. Below 6 little is
            left for the libraries.
        unit: unit of privacy, where the owner asks for it by name: `patient`, `group` (of near-
            duplicates) or `image`; `auto` is the patient where a pattern or a table says whose an
            image is, else what the first ingest found, see `docs/units.md`.
        patient_pattern: regular expression that finds the patient's number in a file's name, as its
            group `patient`; empty for none.
        patient_csv: table with the columns `file` and `patient`; empty for none.
        persons_csv: table of the owner's decisions on patients' numbers, with the columns
            `patient`, `other` and `decision`; empty for none.
        report_model: folder or Hub id of a LLaMa that replaces the shipped one; empty for that one.
        report_dtype: number type of its weights; `auto` is float32 on a CPU, else the file's own.
        report_device: where it runs: `cpu`, `cuda` (the first GPU) or `cuda:N`. Only a job that
            writes reports sees the GPU, see `datasites.sandbox.gpu`.
        generator_checkpoint: folder or Hub id of the Stable Diffusion checkpoint that plans may
            adapt; empty for none.
        encoder: folder of the encoder that plans may name in place of the shipped one, see
            `docs/encoders.md`; empty for none.
        poll_s: seconds between looks at the relay; a second or more while nothing comes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal[1] = 1
    name: Name
    email: Email
    relay: Annotated[str, Field(min_length=1)]
    classes: Annotated[tuple[str, ...], Field(min_length=2, max_length=64, strict=False)] = (
        DEFAULT_CLASSES
    )
    image_size: Annotated[int, Field(ge=16, le=256)] = 160
    reviewers: Annotated[tuple[str, ...], Field(strict=False)] = ()
    quorum: Annotated[int, Field(ge=1, le=9)] = 1
    approval_days: Annotated[int, Field(ge=1, le=365)] = 30
    threads: Annotated[int, Field(ge=1, le=256)] = 1
    job_timeout_s: Annotated[int, Field(ge=1, le=604_800)] = 3600
    job_memory_gib: Annotated[int, Field(ge=2, le=1024)] = 16
    unit: UnitName = "auto"
    patient_pattern: str = ""
    patient_csv: str = ""
    persons_csv: str = ""
    report_model: str = ""
    report_dtype: ReportDtype = "auto"
    report_device: Annotated[str, Field(pattern=r"^(cpu|cuda(:\d{1,3})?)$")] = "cpu"
    generator_checkpoint: str = ""
    encoder: str = ""
    poll_s: Annotated[float, Field(ge=0.05, le=3600)] = 0.25

    @pydantic.field_validator("relay")
    @classmethod
    def _relay_has_no_secret(cls, url: str) -> str:
        return checked_relay_url(url)

    @pydantic.field_validator("patient_pattern")
    @classmethod
    def _pattern_names_a_patient(cls, pattern: str) -> str:
        from datasites.ingest import UnitRule, UnitRuleError

        try:
            return UnitRule(patient_pattern=pattern).patient_pattern
        except UnitRuleError as error:
            raise ValueError(str(error)) from error

    @pydantic.model_validator(mode="after")
    def _quorum_possible(self) -> SiteSettings:
        if self.reviewers and self.quorum > len(self.reviewers):
            raise ValueError(f"quorum {self.quorum} of {len(self.reviewers)} reviewers")
        different = count_people(plain_name(name) for name in self.reviewers)
        if self.quorum > 1 and different < self.quorum:
            raise ValueError(
                f"a quorum of {self.quorum} needs as many different named reviewers, and these are "
                f"{different}: case, spaces and width make no other person"
            )
        return self


def make_settings(**values: object) -> SiteSettings:
    """Checked settings from values.

    Raises:
        SettingsError: names the field that is wrong.
    """
    try:
        return SiteSettings.model_validate(values)
    except pydantic.ValidationError as error:
        raise SettingsError(f"wrong setting: {explain(error)}") from error


def read_settings(folder: Path) -> SiteSettings:
    """The settings of the site in `folder`.

    Raises:
        SettingsError: there is no site, or its settings cannot be read.
    """
    path = folder / SETTINGS_FILE
    try:
        values = read_toml(path)
    except FileNotFoundError as error:
        raise SettingsError(
            f"{folder} is not a site (no {SETTINGS_FILE}); `dura site init {folder}` makes one"
        ) from error
    except PlanError as error:
        raise SettingsError(f"{error}; mend it by hand") from error
    try:
        return SiteSettings.model_validate(values)
    except pydantic.ValidationError as error:
        raise SettingsError(f"{path}: {explain(error)}; mend it by hand") from error


def write_settings(folder: Path, settings: SiteSettings) -> None:
    """Write `site.toml`, whole or not at all, durably, for this account only."""
    text = tomli_w.dumps(settings.model_dump(mode="json"))
    write_file(folder / SETTINGS_FILE, text.encode())
