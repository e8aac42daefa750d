"""Files made from reports: they open, say what the report says, and whether it was released."""

import io
from dataclasses import replace
from datetime import UTC, datetime

import pydicom
import pydicom.config
import pytest
from pypdf import PdfReader

from datasites.desk import BLOCK, HeldReport, Item, ItemKind, ItemState, occurrences
from datasites.desk.held_report import redact
from datasites.desk.released import sign_released
from datasites.errors import FormatError
from datasites.escaping import is_invisible
from datasites.reportfile import page_of_held, page_of_released, render
from datasites.reportfile.dicom import encapsulated_pdf, header_from, pseudonymous_header
from datasites.reportfile.format import Format
from orchestrator.results.report_inbox import InboxRow, save
from privacy import SigningKey

NOW = datetime(2026, 11, 24, 2, 0, tzinfo=UTC)
ITEM = Item(
    "a.b", ItemKind.CASE_REPORT, "study", "0" * 64, "r@x.example", "q", "q", ItemState.HELD, ("f",)
)


@pytest.fixture(scope="session")
def held(drafted, case_facts):
    return HeldReport(**drafted(case_facts).model_dump())


@pytest.fixture(scope="session")
def page(held):
    return page_of_held(held, ITEM, hospital="A")


@pytest.fixture(scope="session")
def released(held):
    item = replace(ITEM, state=ItemState.RELEASED, decided="2026-11-24T01:00:00.000Z")
    return sign_released(item, held, hospital="A", key=SigningKey.generate())


def text_of(pdf):
    reader = PdfReader(io.BytesIO(pdf))
    return " ".join(" ".join(page.extract_text() for page in reader.pages).split())


def test_a_pdf_opens_and_holds_every_word(page, held):
    pdf = render(page, Format.PDF, time=NOW, document="")
    text = text_of(pdf)
    for line in held.text.splitlines()[:-1]:
        assert line.replace(": ", " ") in text.replace(": ", " "), line
    assert "HELD AT A; NOT RELEASED" in text
    assert "NOT RELEASED. This report is decision support" in text
    assert "p.1" in text
    assert render(page, Format.PDF, time=NOW, document="") == pdf
    assert PdfReader(io.BytesIO(pdf)).metadata.title == "Case report"


def test_a_released_report_says_by_whom_and_when(released):
    page = page_of_released(released)
    text = text_of(render(page, Format.PDF, time=NOW, document=""))
    assert "released by A on 2026-11-24" in text
    assert "NOT RELEASED" not in text
    assert page.figures[0] == ("glioma", 0.9131)


def test_a_saved_report_is_for_this_account_and_cannot_act_on_who_reads_it(released, tmp_path):
    hostile = "A\x1b[2J\x9b8m\u202e"
    report = released.model_copy(update={"hospital": hostile, "text": released.text + hostile})
    row = InboxRow("a@h.example", "r1", "case-1", "case", "released", report=report)
    written = save([row], tmp_path / "reports", [])
    text = next(path for path in written if path.suffix == ".txt").read_text()
    assert "<U+001B>[2J<U+009B>8m<U+202E>" in text
    assert not any(is_invisible(one) for one in text.replace("\n", ""))
    for path in (tmp_path / "reports").rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_letters_beyond_latin_are_set_as_well(drafted, case_facts):
    facts = replace(case_facts, hospital="Łódź Ωmega")
    page = page_of_held(HeldReport(**drafted(facts).model_dump()), ITEM, hospital="Łódź Ωmega")
    assert "Łódź Ωmega" in text_of(render(page, Format.PDF, time=NOW, document=""))


def test_html_is_one_safe_file_with_everything(page, held):
    html = render(page, Format.HTML, time=NOW, document="").decode()
    assert "http" not in html
    assert "<script" not in html
    assert 'class="status held"' in html
    assert "<li>glioma: 91.3 %</li>" in html
    evil = replace(page, title="<script>x</script>", status='" onload=x')
    html = render(evil, Format.HTML, time=NOW, document="").decode()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_html_shows_what_shows_as_nothing_and_closes_its_lists(page):
    sections = (("A\u202e", ("- one", "- two\x1b[2J", f"{BLOCK}, <b>", "- three")),)
    html = render(replace(page, sections=sections), Format.HTML, time=NOW, document="").decode()
    assert not any(is_invisible(one) for one in html.replace("\n", ""))
    lists = html[html.index("<h2>A&lt;U+202E&gt;</h2>") : html.index("<h2>How")]
    assert lists.split("\n")[1:-1] == [
        "<ul>",
        "<li>one</li>",
        "<li>two&lt;U+001B&gt;[2J</li>",
        "</ul>",
        '<p><span class="block" aria-label="redacted">[redacted]</span>, &lt;b&gt;</p>',
        "<ul>",
        "<li>three</li>",
        "</ul>",
    ]


def test_a_pdf_shows_what_shows_as_nothing(page):
    hostile = replace(
        page, title="A\u202e", header=(("B\x1b", "C\u200b"),), sections=(("D\x9b", ()),)
    )
    text = text_of(render(hostile, Format.PDF, time=NOW, document=""))
    for wanted in ("A<U+202E>", "B<U+001B>", "C<U+200B>", "D<U+009B>"):
        assert wanted in text


def test_a_redacted_page_hides_the_same_everywhere(held):
    hidden = redact(held, occurrences(held.text, "91.3 %"))
    hidden = redact(hidden, occurrences(held.text, "case-0123abcd"))
    item = replace(ITEM, state=ItemState.RELEASED, decided="2026-11-24T01:00:00.000Z")
    signed = sign_released(item, hidden, hospital="A", key=SigningKey.generate())
    for page in (page_of_held(hidden, ITEM, hospital="A"), page_of_released(signed)):
        for kind in (Format.TEXT, Format.HTML):
            text = render(page, kind, time=NOW, document="").decode()
            assert "91.3" not in text
            assert "0123abcd" not in text
        pdf = text_of(render(page, Format.PDF, time=NOW, document=""))
        assert "91.3" not in pdf
        assert "[redacted]" in pdf
        assert page.figures == ()
        assert page.case == ""
        with pytest.raises(FormatError, match="no single case"):
            pseudonymous_header(page, hospital="A")
    assert BLOCK in signed.text
    assert "91.3" not in signed.model_dump_json()
    assert "0.9131" not in signed.model_dump_json()


def test_json_is_the_reports_own_document(page, released):
    document = released.model_dump_json()
    assert render(page, Format.JSON, time=NOW, document=document).decode() == document
    assert Format.DICOM.suffix == "dcm"


@pytest.fixture
def strict(monkeypatch):
    """pydicom raises on every value that its own checks find wrong."""
    settings = pydicom.config.settings
    monkeypatch.setattr(settings, "_reading_validation_mode", pydicom.config.RAISE)
    monkeypatch.setattr(settings, "_writing_validation_mode", pydicom.config.RAISE)


def opened(data):
    found = pydicom.dcmread(io.BytesIO(data))
    for element in found.iterall():
        assert element.value is not None or element.VM == 0
    return found


def test_an_archive_gets_the_pdf_under_the_pseudonym(strict, page):
    pdf = render(page, Format.PDF, time=NOW, document="")
    header = pseudonymous_header(page, hospital="A")
    data = encapsulated_pdf(page, pdf, item="x", header=header, time=NOW)
    found = opened(data)
    assert found.SOPClassUID == pydicom.uid.EncapsulatedPDFStorage
    assert found.MIMETypeOfEncapsulatedDocument == "application/pdf"
    assert (found.PatientID, found.PatientIdentityRemoved) == ("case-0123abcd", "YES")
    assert found.Modality == "DOC"
    inside = found.EncapsulatedDocument[: found.EncapsulatedDocumentLength]
    assert inside == pdf
    assert "probability of 91.3 %" in text_of(inside)
    assert encapsulated_pdf(page, pdf, item="x", header=header, time=NOW) == data


@pytest.fixture
def local(tmp_path):
    """A DICOM file of the study, as a hospital has it."""
    source = pydicom.Dataset()
    source.PatientName, source.PatientID = "Doe^Jane", "00471234"
    source.PatientBirthDate, source.PatientSex = "19610324", "F"
    source.StudyInstanceUID, source.AccessionNumber = "1.2.3.4", "A77"
    source.file_meta = pydicom.dataset.FileMetaDataset()
    source.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    source.SOPClassUID, source.SOPInstanceUID = pydicom.uid.MRImageStorage, "1.2.3.4.5"
    source.save_as(tmp_path / "image.dcm", enforce_file_format=True)
    return tmp_path / "image.dcm"


def test_the_owner_files_it_under_the_patient_with_a_local_header(strict, page, local):
    pdf = render(page, Format.PDF, time=NOW, document="")
    found = opened(encapsulated_pdf(page, pdf, item="x", header=header_from(local), time=NOW))
    assert (found.PatientName, found.PatientID) == ("Doe^Jane", "00471234")
    assert (found.StudyInstanceUID, found.AccessionNumber) == ("1.2.3.4", "A77")
    assert "PatientIdentityRemoved" not in found
    assert found.BurnedInAnnotation == "YES"


@pytest.mark.parametrize("content", [b"", b"no dicom", None])
def test_a_header_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "x.dcm"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FormatError, match="no readable DICOM file"):
        header_from(path)


def test_a_cohort_has_no_patient(drafted, cohort_facts):
    report = HeldReport(**drafted(cohort_facts(), "hospital").model_dump())
    page = page_of_held(report, replace(ITEM, kind=ItemKind.HOSPITAL_REPORT), hospital="A")
    assert "precision" in text_of(render(page, Format.PDF, time=NOW, document=""))
    with pytest.raises(FormatError, match="no single case"):
        pseudonymous_header(page, hospital="A")
    with pytest.raises(FormatError, match="no single case"):
        encapsulated_pdf(page, b"", item="x", header=pydicom.Dataset(), time=NOW)
