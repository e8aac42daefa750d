"""A case report as a DICOM Encapsulated PDF, for a hospital's own archive; knows pydicom.

Patient and study are the pseudonym's, unless the owner names a DICOM file of the study on this
machine: then its patient and study attributes are taken over (`header_from`), and the file made is
as identifying as that one. Such a file never leaves through Dura: only the released document does.

Modules: Patient, General Study, Encapsulated Document Series, General and SC Equipment,
Encapsulated Document, SOP Common (PS3.3 A.45.1).
"""

from __future__ import annotations

import io
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from pydicom import Dataset, dcmread
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian, generate_uid

from datasites.errors import FormatError
from datasites.reportfile.page import Page

_TAKEN_OVER = (
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "StudyDescription",
    "AccessionNumber",
    "ReferringPhysicianName",
)
_MIME = "application/pdf"


def header_from(path: Path) -> Dataset:
    """Patient and study of a DICOM file on this machine.

    Raises:
        FormatError: it is no DICOM file, or names no patient or study.
    """
    try:
        source = dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, OSError, ValueError) as error:
        raise FormatError(f"{path} is no readable DICOM file: {error}") from error
    header = Dataset()
    for name in _TAKEN_OVER:
        if name in source:
            setattr(header, name, source.get(name))
    if not header.get("PatientID") or not header.get("StudyInstanceUID"):
        raise FormatError(f"{path} names no patient or no study; choose a file of the study")
    return header


def pseudonymous_header(page: Page, *, hospital: str) -> Dataset:
    """Patient and study of a report that names nobody; the same case gives the same study.

    Raises:
        FormatError: it is no case report, or its case is redacted.
    """
    if not page.case:
        raise FormatError("an archive files reports by patient; this one is about no single case")
    header = Dataset()
    header.PatientName = f"{page.case}^"
    header.PatientID = page.case
    header.IssuerOfPatientID = hospital
    header.PatientIdentityRemoved = "YES"
    header.DeidentificationMethod = "keyed pseudonym of the hospital"
    header.StudyInstanceUID = generate_uid(entropy_srcs=["dura study", hospital, page.case])
    return header


def encapsulated_pdf(
    page: Page, pdf: bytes, *, item: str, header: Dataset, time: datetime
) -> bytes:
    """The DICOM file.

    Args:
        page: what the PDF shows.
        pdf: the PDF.
        item: id of the report on the desk; the same item and study give the same instance.
        header: of `header_from` or `pseudonymous_header`.
        time: UTC, of the document.

    Raises:
        FormatError: it is no case report.
    """
    if not page.case:
        raise FormatError("an archive files reports by patient; this one is about no single case")
    document = common(header, time=time, item=item, kind="pdf", modality="DOC")
    document.SOPClassUID = EncapsulatedPDFStorage
    document.ConversionType = "WSD"
    document.BurnedInAnnotation = "NO" if header.get("PatientIdentityRemoved") == "YES" else "YES"
    document.AcquisitionDateTime = ""
    document.DocumentTitle = page.title
    document.ConceptNameCodeSequence = Sequence(
        [code("18748-4", "LN", "Diagnostic imaging report")]
    )
    document.MIMETypeOfEncapsulatedDocument = _MIME
    document.VerificationFlag = "UNVERIFIED"  # DICOM's word for: no physician has signed it
    document.EncapsulatedDocumentLength = len(pdf)
    document.EncapsulatedDocument = pdf + b"\0" * (len(pdf) % 2)
    return written(document)


def common(header: Dataset, *, time: datetime, item: str, kind: str, modality: str) -> Dataset:
    """Patient, study, series, equipment and instance of a document."""
    document = Dataset()
    for name in ("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate",
                 "StudyTime", "StudyID", "AccessionNumber", "ReferringPhysicianName"):  # fmt: skip
        setattr(document, name, "")  # type 2: present, perhaps empty
    document.update(header)
    moment = time.astimezone(UTC)
    study = str(header.StudyInstanceUID)
    document.Modality = modality
    document.SeriesInstanceUID = generate_uid(entropy_srcs=["dura series", kind, study])
    document.SeriesNumber = "9001" if kind == "pdf" else "9002"
    document.SeriesDescription = "Dura decision support"
    document.InstanceNumber = "1"
    document.SOPInstanceUID = generate_uid(entropy_srcs=["dura instance", kind, study, item])
    document.Manufacturer = "Dura"
    document.ManufacturerModelName = "Dura"
    document.DeviceSerialNumber = "0"
    document.SoftwareVersions = version("dura")
    document.ContentDate = moment.strftime("%Y%m%d")
    document.ContentTime = moment.strftime("%H%M%S")
    document.InstanceCreationDate = document.ContentDate
    document.InstanceCreationTime = document.ContentTime
    document.TimezoneOffsetFromUTC = "+0000"
    document.SpecificCharacterSet = "ISO_IR 192"
    return document


def code(value: str, scheme: str, meaning: str) -> Dataset:
    """A coded concept."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def written(document: Dataset) -> bytes:
    """The file: preamble, meta information, document."""
    document.file_meta = FileMetaDataset()
    document.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    document.file_meta.MediaStorageSOPClassUID = document.SOPClassUID
    document.file_meta.MediaStorageSOPInstanceUID = document.SOPInstanceUID
    buffer = io.BytesIO()
    dcmwrite(buffer, document, enforce_file_format=True)
    return buffer.getvalue()
