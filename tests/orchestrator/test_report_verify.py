"""`dura report verify`: anybody, offline; every kind of change is found, and the check is named."""

import json

import pytest
from typer.testing import CliRunner

from datasites.desk import HeldReport, Item, ItemKind, ItemState, occurrences
from datasites.desk.held_report import redact
from datasites.desk.released import sign_released
from models import CaseFacts
from models.reports.language.layout import compose
from models.reports.language.rendering import render
from models.reports.language.template import template_body
from orchestrator.cli import app
from orchestrator.errors import StudyError, VerificationError
from privacy import Purpose, SigningKey, sha256_hex, sign_document

KEY = SigningKey.generate()
RUNNER = CliRunner()


@pytest.fixture(scope="session")
def held():
    facts = CaseFacts(
        hospital="A",
        case_id="case-0123abcd",
        predicted="glioma",
        probabilities={"glioma": 0.75, "notumor": 0.25},
        model_sha256="ab" * 32,
        dataset_version="cd" * 32,
        epsilon=2.5,
        delta=1e-5,
        privacy_unit="patient",
    )
    text = render(compose(facts, template_body(facts), "template"), facts).text
    return HeldReport(
        name="case-1", kind="case", text=text, facts=facts.to_json(), source="template", attempts=1
    )


def signed(held):
    item = Item(
        "q1", ItemKind.CASE_REPORT, "study", "0" * 64, "r@x.example", "q", "q",
        ItemState.RELEASED, ("f",), decided="2026-11-24T02:00:00.000Z",
    )  # fmt: skip
    return sign_released(item, held, hospital="A", key=KEY)


@pytest.fixture
def verify(tmp_path):
    def check(document, *options):
        path = tmp_path / "report.json"
        path.write_text(document if isinstance(document, str) else json.dumps(document))
        options = options or ("--key", KEY.public_hex)
        return RUNNER.invoke(app, ["report", "verify", str(path), *map(str, options)])

    return check


def fields(report):
    return json.loads(report.model_dump_json())


def test_a_released_report_holds(verify, held):
    done = verify(fields(signed(held)))
    assert done.exit_code == 0, done.exception
    assert [line.split()[:2] for line in done.output.splitlines()[:-1]] == [
        [name, "holds"] for name in ("form", "key", "signature", "hash", "facts")
    ]
    assert "case report q1" in done.output


def test_a_redacted_report_holds_and_says_what_could_be_checked(verify, held):
    done = verify(fields(signed(redact(held, occurrences(held.text, "75.0 %")))))
    assert done.exit_code == 0, done.exception
    assert "the whole text was verified at the hospital" in " ".join(done.output.split())


def forged(report, **changes):
    """The same report with other contents and a signature that fits them."""
    changed = report.model_copy(update=changes)
    if "text" in changes and "text_sha256" not in changes:
        changed = changed.model_copy(update={"text_sha256": sha256_hex(changed.text.encode())})
    return changed.model_copy(
        update={
            "signature": sign_document(
                changed.model_dump(mode="json", exclude={"signature"}),
                purpose=Purpose.RELEASED_REPORT,
                key=KEY,
            )
        }
    )


OTHERS = {
    "item": lambda value: value + "x",
    "released": lambda value: value.replace("2026", "2027"),
    "plan_sha256": lambda value: value[1:] + ("0" if value[0] != "0" else "1"),
}


@pytest.mark.parametrize("name", ["item", "hospital", "text", "facts", "released", "plan_sha256"])
def test_any_changed_field_breaks_the_signature(verify, held, name):
    document = fields(signed(held))
    document[name] = OTHERS.get(name, lambda value: value + " ")(document[name])
    done = verify(document)
    assert isinstance(done.exception, VerificationError)
    assert done.exception.exit_code == 6
    assert "signature" in str(done.exception)
    assert "signature  DOES NOT HOLD" in done.output


LIES = {
    "number": lambda text: text.replace("75.0 %", "85.0 %"),
    "class": lambda text: text.replace("to glioma", "to no tumour"),
    "order": lambda text: text.replace("runner-up", "winner"),
    "section": lambda text: text.replace("Recommendation\n", ""),
    "certainty": lambda text: text.replace("The confidence is moderate", "It is certain"),
    "disclaimer": lambda text: text.replace("not a diagnosis", "a diagnosis"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_hospital_that_signs_a_lie_is_found(verify, held, lie):
    text = LIES[lie](held.text)
    assert text != held.text
    done = verify(fields(forged(signed(held), text=text)))
    assert isinstance(done.exception, VerificationError)
    assert "facts      DOES NOT HOLD" in done.output
    assert "hash       holds" in done.output


@pytest.mark.parametrize(
    "changes",
    [{"redactions": 1}, {"visible_facts": {}}, {"facts": "{}"}, {"text": "nothing at all"}],
    ids=lambda changes: next(iter(changes)),
)
def test_a_redacted_report_that_says_more_than_it_shows_is_found(verify, held, changes):
    hidden = signed(redact(held, occurrences(held.text, "75.0 %")))
    done = verify(fields(forged(hidden, **changes)))
    assert isinstance(done.exception, VerificationError)
    assert "facts      DOES NOT HOLD" in done.output


def test_a_wrong_hash_is_named(verify, held):
    done = verify(fields(forged(signed(held), text_sha256="0" * 64)))
    assert "hash       DOES NOT HOLD" in done.output
    assert "signature  holds" in done.output


def test_another_hospitals_key_is_named(verify, held):
    other = SigningKey.generate().public_hex
    done = verify(fields(signed(held)), "--key", other)
    assert "key        DOES NOT HOLD" in done.output
    assert isinstance(done.exception, VerificationError)


@pytest.mark.parametrize("junk", ["", "[]", "{}", "[" * 100_000, '{"public_key": 3}', "\x00"])
def test_what_is_no_report_is_named(verify, junk):
    done = verify(junk)
    assert isinstance(done.exception, VerificationError)
    assert done.output.startswith("form       DOES NOT HOLD")


def test_a_key_comes_from_the_checker_never_from_the_report(verify, held, tmp_path):
    done = verify(fields(signed(held)), "--study", tmp_path / "none")
    assert isinstance(done.exception, StudyError)
    path = tmp_path / "report.json"
    done = RUNNER.invoke(app, ["report", "verify", str(path)])
    assert isinstance(done.exception, StudyError)
    assert "say whose key" in str(done.exception)


@pytest.mark.parametrize("where", ["run", "study"])
def test_the_key_that_a_run_pinned(verify, held, tmp_path, where):
    run, study = tmp_path / "run", tmp_path / "study"
    run.mkdir()
    study.mkdir()
    keys = {"b@x.example": SigningKey.generate().public_hex, "a@x.example": KEY.public_hex}
    (run / "keys.json").write_text(json.dumps(keys))
    (study / "last_run.json").write_text(json.dumps({"out": str(run)}))
    done = verify(fields(signed(held)), "--study", {"run": run, "study": study}[where])
    assert done.exit_code == 0, done.exception
    assert "released by a@x.example (A)" in done.output
    stranger = verify(fields(forged(signed(held), public_key="f" * 64)), "--study", run)
    assert "key        DOES NOT HOLD" in stranger.output
