"""Marks what may identify a person: in a report's text, and in the words of its facts. Pure.

What is looked for, and what cannot be, is said in `SCANNED` and `NOT_SCANNED`, and shown with
every result: a scan that marks nothing is no proof that nobody can be recognised. Values whose
form this hospital makes itself (hashes, keyed pseudonyms, figures of the facts) are passed over
only where they stand in exactly that form.

Fails towards marking: where a rule is unsure, it marks, and a person looks.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

SCANNED: Final = (
    "names after a title or a label (Dr, Mrs, Patient:), initials with a surname, DICOM person "
    "names; dates; record numbers (a label with digits, or six digits and more); e-mail and web "
    "addresses; telephone numbers; IP addresses; DICOM tags and UIDs; words of this site's list"
)
NOT_SCANNED: Final = (
    "names without a title that are not on the site's list, misspelt words, indirect descriptions "
    "(a rare finding, a profession, a place), and what one who knows the patient would recognise"
)


class MarkKind(StrEnum):
    """What a mark says it saw."""

    NAME = "name"
    DATE = "date"
    RECORD_NUMBER = "record number"
    EMAIL = "e-mail"
    WEB = "web address"
    PHONE = "telephone"
    ADDRESS = "IP address"
    DICOM_TAG = "DICOM tag"
    DICOM_UID = "DICOM UID"
    SITE_WORD = "word of the site's list"


@dataclass(frozen=True)
class Mark:
    """One thing that may identify somebody.

    Attributes:
        kind: what it looks like.
        start, end: characters of the scanned text, `end` not included.
        words: these characters.
        where: `text`, or `facts.` and the place of the value in the facts.
    """

    kind: MarkKind
    start: int
    end: int
    words: str
    where: str = "text"


_MONTHS: Final = (
    r"(?:jan(?:uary|uar)?|feb(?:ruary|ruar)?|mar(?:ch)?|märz|apr(?:il)?|may|mai|jun[ei]?|jul[yi]?|"
    r"aug(?:ust)?|sep(?:t(?:ember)?)?|o[ck]t(?:ober)?|nov(?:ember)?|de[cz](?:ember)?)"
)
_TITLES: Final = r"(?:Dr|Prof|Mr|Mrs|Ms|Miss|Sir|Herr|Frau|Hr|Fr|Mme|Mlle|Sr|Sra|Sig|Nurse|Sister)"
_CAPITAL: Final = r"[^\W\d_a-z][\w'’-]+"
_PATTERNS: Final = (
    (MarkKind.EMAIL, r"[\w.+-]+\s?@\s?[\w-]+(?:\.[\w-]+)+"),
    (MarkKind.WEB, r"(?:https?://|www\.)\S+"),
    (MarkKind.DICOM_TAG, r"\(?[0-9a-fA-F]{4},\s?[0-9a-fA-F]{4}\)?"),
    (MarkKind.DICOM_UID, r"\b[0-2](?:\.(?:0|[1-9]\d*)){4,}\b"),
    (MarkKind.ADDRESS, r"\b\d{1,3}(?:\.\d{1,3}){3}\b"),
    (MarkKind.DATE, r"\b\d{1,4}[-./]\d{1,2}[-./]\d{1,4}\b"),
    (MarkKind.DATE, rf"(?i:\b\d{{1,2}}(?:st|nd|rd|th|\.)?\s{_MONTHS}\b\.?(?:\s\d{{2,4}})?)"),
    (MarkKind.DATE, rf"(?i:\b{_MONTHS}\.?\s\d{{1,2}}(?:st|nd|rd|th)?(?:,?\s\d{{4}})?\b)"),
    (MarkKind.DATE, rf"(?i:\b{_MONTHS}\s\d{{4}}\b)"),
    (MarkKind.DATE, r"\b(?:19|20)\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\b"),
    (MarkKind.DATE, r"(?i:\b(?:born|aged?|dob|d\.o\.b\.)[:\s]+(?:in\s|on\s)?\d[\d/.-]*)"),
    (MarkKind.PHONE, r"(?<![\w.])(?:\+\d{1,3}|00\d{1,3}[\s()/-])(?:[\s()/-]*\d){6,12}"),
    (MarkKind.PHONE, r"(?<![\w.])\(?0\d{1,4}\)?(?:[\s/-]\d{2,}){2,5}"),
    (MarkKind.PHONE, r"(?<![\w.])\(?\d{3}\)?[\s.-]\d{3}[\s.-]\d{4}\b"),
    (
        MarkKind.RECORD_NUMBER,
        r"(?i:\b(?:mrn|pid|patient\s?(?:id|no|number)|record|acc(?:ession)?|case\s?(?:no|number)|"
        r"file|nhs|ssn|insurance)\b[\s:#.]*(?:no|number|id)?[\s:#.]*[a-z]{0,4}[-/]?\d[\w/-]*)",
    ),
    (MarkKind.RECORD_NUMBER, r"(?<![\w.,])[A-Za-z]{0,4}[-/]?\d(?:[\s-]?\d){5,}(?![\d.])"),
    (MarkKind.NAME, rf"\b{_TITLES}\b\.?\s{_CAPITAL}(?:[\s-]{_CAPITAL})*"),
    (MarkKind.NAME, rf"(?i:\b(?:patient|name|surname))\s?(?:name)?\s?[:=]\s?{_CAPITAL}.*"),
    (MarkKind.NAME, rf"\b(?:[A-Z]\.\s?){{1,3}}{_CAPITAL}"),
    (MarkKind.NAME, r"\b[^\W\d_]+\^[^\W\d_]+(?:\^[^\W\d_]*)*"),
)
_RULES: Final = tuple((kind, re.compile(pattern)) for kind, pattern in _PATTERNS)
_OWN_FORMS: Final = re.compile(
    r"\bsha256:[0-9a-f]{12}(?![0-9a-f])|(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])"
)
PSEUDONYM: Final = re.compile(r"case-[0-9a-f]{8,64}")


def scan(
    text: str, *, words: Sequence[str], own: Collection[str] = (), where: str = "text"
) -> tuple[Mark, ...]:
    """Everything in `text` that may identify somebody, in the order of the text.

    Args:
        text: what is scanned.
        words: the site's list; found in any case, with or without accents, as whole words.
        own: values that this hospital's software made (pseudonyms, figures); a mark that lies
            inside one is dropped, except one for a word of the list.
        where: what the text is, for the marks.
    """
    safe = [match.span() for match in _OWN_FORMS.finditer(text)]
    for value in own:
        if value:
            safe += [match.span() for match in re.finditer(_whole(value), text)]
    marks = [
        Mark(kind, match.start(), match.end(), match.group(), where)
        for kind, rule in _RULES
        for match in rule.finditer(text)
        if not any(low <= match.start() and match.end() <= high for low, high in safe)
    ]
    found = [*_outermost(marks), *_listed(text, words, where)]
    return tuple(sorted(found, key=lambda mark: (mark.start, mark.end)))


def _whole(value: str) -> str:
    return rf"(?<!\w){re.escape(value)}(?!\w)"


def _listed(text: str, words: Sequence[str], where: str) -> Iterator[Mark]:
    plain, places = _folded(text)
    for word in words:
        folded, _ = _folded(word)
        parts = [re.escape(part) for part in re.split(r"[\s.,-]+", folded) if part]
        if not parts:
            continue
        pattern = r"[\s.,-]+".join(parts)
        for match in re.finditer(rf"(?<!\w){pattern}(?!\w)", plain):
            start, end = places[match.start()], places[match.end() - 1] + 1
            yield Mark(MarkKind.SITE_WORD, start, end, text[start:end], where)


def _folded(text: str) -> tuple[str, list[int]]:
    """Lower case without accents, and for each character the place it came from."""
    plain, places = [], []
    for place, character in enumerate(text):
        for piece in unicodedata.normalize("NFKD", character).casefold():
            if not unicodedata.combining(piece):
                plain.append(piece)
                places.append(place)
    return "".join(plain), places


def _outermost(marks: list[Mark]) -> Iterator[Mark]:
    """Marks without those that lie wholly inside another."""
    reach = -1
    for mark in sorted(marks, key=lambda mark: (mark.start, -mark.end)):
        if mark.end > reach:
            reach = mark.end
            yield mark
