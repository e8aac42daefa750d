"""`dura site releases ...`: what the owner sees at the desk, and what each command does."""

import json

import pytest
from typer.testing import CliRunner

from datasites.cli import releases as releases_cli
from datasites.cli import site as site_cli
from datasites.desk import BLOCK, ItemKind, ItemState
from datasites.desk.released import check_released
from datasites.errors import (
    AlreadyDecidedError,
    DatasitesError,
    DeskError,
    EditRefusedError,
    FormatError,
    RedactionError,
    ReleaseRefusedError,
    RuleError,
    SettingsError,
    StaleViewError,
)
from datasites.site.plan_store import PlanStore, Submission

assert releases_cli.site_app is site_cli.app
RUNNER = CliRunner()
BY = ("--as", "ann", "--reason", "looked at it")


def _invoke(command, *arguments):
    words = ["releases", command, *(str(argument) for argument in arguments)]
    return RUNNER.invoke(site_cli.app, words)


def run(*arguments):
    result = _invoke(*arguments)
    assert result.exception is None, result.exception
    return result.output


def fail(kind, *arguments):
    result = _invoke(*arguments)
    assert isinstance(result.exception, kind), result.exception or result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)


def unwrapped(text):
    return " ".join(text.split())


@pytest.fixture
def root(site):
    return site.root


def test_the_queue_says_what_each_thing_is_and_that_nothing_leaves_by_itself(
    root, held, drafted, case_facts
):
    held("a-case", ItemKind.CASE_REPORT)
    held("b-lie", ItemKind.CASE_REPORT, text=drafted(case_facts).text.replace("91.3", "99.3"))
    held("c-cohort")
    held("d-weights", ItemKind.WEIGHTS)
    lines = run("list", root).splitlines()
    assert lines[0].split()[:3] == ["item", "kind", "study"]
    rows = {line.split()[0]: line for line in lines[1:-1]}
    assert "DISCLOSES 1 UNIT" in rows["a-case"]
    assert "draft" in rows["b-lie"]
    assert "FAILED" in rows["b-lie"]
    assert "costs nothing more" in rows["c-cohort"]
    assert "verified" in rows["c-cohort"]
    assert lines[-1] == "4 wait(s); 0 decided (--all); nothing leaves by itself"
    run("withhold", root, "c-cohort", *BY)
    assert "c-cohort" not in run("list", root)
    assert "withheld" in run("list", root, "--all")
    listed = json.loads(run("list", root, "--json"))
    assert [row["item"] for row in listed] == ["a-case", "b-lie", "d-weights"]
    assert listed[0]["discloses"] is True


def test_the_page_of_a_case_tells_an_owner_all_that_matters(root, held, desk):
    item = held("a-case", ItemKind.CASE_REPORT)
    page = run("show", root, "a-case")
    for words in (
        "case report (one person)", "HELD", "asked by ann@university.example, request q1",
        "plan 000000000000, approved by ann, in force until 2099-01-01",
        "verified: every number, class, name and comparison follows from its facts",
        "none marked (that is no proof", "NON-PRIVATE DISCLOSURE",
        "epsilon of that unit becomes infinite", "nothing leaves; it stays here",
        "EMPTY: no identifiers.txt here", "names without a title",
        f"release {root} a-case --as NAME --content {item.content_sha256[:12]}",
    ):  # fmt: skip
        assert words in unwrapped(page), words
    assert "probability of 91.3 %[6]" in page
    assert "[6] p.1 of glioma = 91.3 % (exactly 0.9131)" in page
    assert '"case_id": "case-0123abcd"' in page


def test_the_page_says_what_is_wrong(site, root, held, grant, drafted, case_facts):
    text = drafted(case_facts).text.replace("to glioma", "to pituitary")
    held("x", ItemKind.CASE_REPORT, text=text)
    (root / "identifiers.txt").write_text("radiologist\n")
    grant(revoked=True)
    page = unwrapped(run("show", root, "x"))
    for words in ("DRAFT", "REVOKED since: it cannot leave", "FAILED:", "1 MARKED",
                  "word of the site's list: 'radiologist' in text", "(1 words)"):  # fmt: skip
        assert words in page, words
    assert "releases release" not in page
    assert "releases withhold" in page


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"expires": "2020-01-01T00:00:00.000Z"}, "ran out on 2020-01-01"),
     ({"decision": "rejected"}, "NOT IN FORCE")],
)  # fmt: skip
def test_the_page_says_how_the_approval_stands(root, held, grant, fields, words):
    held("x")
    grant(**fields)
    assert words in unwrapped(run("show", root, "x"))


def test_weights_and_unreadable_reports_have_a_page_too(root, held, desk):
    held("w", ItemKind.WEIGHTS)
    assert "paid in full when its job ran" in unwrapped(run("show", root, "w"))
    held("e", ItemKind.EVALUATION)
    page = unwrapped(run("show", root, "e"))
    assert "noised, and paid for" in page
    assert "--- all of it {}" in page
    item = held("x")
    (root / "desk" / "x" / item.files[0]).write_bytes(b"{")
    assert "cannot be read" in run("show", root, "x")
    assert "UNREADABLE" in run("list", root)


def test_release_and_withhold(root, held, desk):
    held("a", ItemKind.CASE_REPORT)
    held("b")
    assert "non-private disclosure of one unit" in run("release", root, "a", "--as", "ann")
    said = run("withhold", root, "b", *BY, "--code", "withheld_inaccurate")
    assert "told withheld_inaccurate" in said
    fail(AlreadyDecidedError, "release", root, "a", "--as", "ann")
    fail(AlreadyDecidedError, "withhold", root, "a", *BY)
    page = unwrapped(run("show", root, "b"))
    assert "withheld by ann" in page
    assert "told as withheld_inaccurate" in page
    assert "looked at it" in page
    assert "is no reason to withhold" in fail(
        DeskError, "withhold", root, "b", *BY, "--code", "job_failed"
    )


def test_what_changed_since_it_was_seen_is_not_released(root, held):
    item = held("a", ItemKind.CASE_REPORT)
    run("redact", root, "a", "--words", "glioma", *BY)
    seen = item.content_sha256[:12]
    assert "look again" in fail(
        StaleViewError, "release", root, "a", "--as", "x", "--content", seen
    )


def test_an_edit_by_file(root, held, desk, tmp_path):
    item = held("a", ItemKind.CASE_REPORT)
    text = tmp_path / "text.txt"
    text.write_text(desk.report(item).text.replace("91.3 %", "93.1 %"))
    problem = fail(EditRefusedError, "edit", root, "a", "--file", text, *BY)
    assert "'93.1 %'" in problem or "93.1" in problem
    text.write_text(desk.report(item).text.replace(" The runner-up is meningioma with 5.0 %.", ""))
    assert "verified again" in run("edit", root, "a", "--file", text, *BY)
    page = run("show", root, "a")
    assert "edited 1 time(s), verified again" in unwrapped(page)
    assert "+++ after edit 1" in page
    text.write_bytes(b"\xff\xfe")
    fail(DeskError, "edit", root, "a", "--file", text, *BY)


def test_a_redaction_by_words_and_by_place(root, held, desk):
    item = held("a", ItemKind.CASE_REPORT)
    said = run("redact", root, "a", "--words", "91.3 %", "--words", "case-0123abcd", *BY)
    assert "3 block(s)" in said
    assert BLOCK in said
    page = run("show", root, "a")
    assert "without its facts" in unwrapped(page)
    assert "facts, whole (stay here)" in page
    assert "case-0123abcd" not in page.split("--- facts")[0].split("--- text")[1]
    assert "0 block(s)" in run("redact", root, "a", "--clear", *BY)
    start = desk.report(item).text.index("wide")
    run("redact", root, "a", "--span", f"{start}:{start + 2}", *BY)
    assert "margin is █████ at" in run("show", root, "a")
    for options in ((), ("--clear", "--words", "x"), ("--span", "x"), ("--span", "3:1"),
                    ("--words", "nowhere")):  # fmt: skip
        fail(RedactionError, "redact", root, "a", *options, *BY)


@pytest.mark.parametrize("item", ["nothing", "../plans", "..", ""])
@pytest.mark.parametrize("command", ["show", "release", "withhold", "redact"])
def test_an_unknown_item_is_named(root, desk, command, item):
    options = {"show": (), "redact": ("--clear", *BY)}.get(command, BY)
    assert repr(item) in fail(DeskError, command, root, item, *options)


@pytest.mark.parametrize("command", ["list", "show x", "rules"])
def test_what_is_no_site_is_refused(tmp_path, command):
    name, *rest = command.split()
    assert "is not a site" in fail(SettingsError, name, tmp_path / "none", *rest)


def test_rules_are_set_listed_used_and_withdrawn(site, root, held, desk, bundle, approval, changed):
    store = PlanStore(site)
    store.add(
        Submission(bundle, "r@university.example", "0000", "plan-1", "2026-01-01T00:00:00.000Z")
    )
    store.decide(changed(approval, plan_sha256=bundle.sha256, expires="2099-01-01T00:00:00.000Z"))
    held("h", plan=bundle.sha256)
    said = run("rule", root, bundle.sha256[:12], *BY, "--days", 3)
    assert "never case reports or weights" in said
    name = said.split(":")[0]
    assert f"{name}  {bundle.sha256[:12]}" in run("rules", root)
    from datasites.desk import RuleBook

    assert RuleBook(site, desk).apply() == ["h"]
    listed = run("rules", root).splitlines()[1]
    assert listed.endswith("in force  1")
    assert f"released by {name} by ann" in unwrapped(run("show", root, "h"))
    assert desk.get("h").state is ItemState.RELEASED
    run("unrule", root, name, *BY)
    assert "withdrawn by ann" in run("rules", root)
    fail(RuleError, "unrule", root, name, *BY)
    fail(RuleError, "rule", root, bundle.sha256, *BY, "--kinds", "case")
    fail(RuleError, "rule", root, bundle.sha256, *BY, "--kinds", "")


def test_a_release_under_a_revoked_approval_is_exit_code_three(root, held, grant):
    held("a")
    grant(revoked=True)
    assert "revoked" in fail(ReleaseRefusedError, "release", root, "a", "--as", "ann")
    assert ReleaseRefusedError.exit_code == 3


@pytest.mark.parametrize("kind", ["text", "html", "pdf", "json", "dicom"])
def test_a_report_is_written_in_every_format(root, held, desk, tmp_path, kind):
    held("a", ItemKind.CASE_REPORT)
    out = tmp_path / f"report.{kind}"
    assert "NOT RELEASED" in run("export", root, "a", "--format", kind, "--out", out)
    starts = {"text": b"Case report", "html": b"<!doctype", "pdf": b"%PDF", "json": b"{"}
    assert out.read_bytes().startswith(starts.get(kind, b"\0" * 128 + b"DICM"))
    assert out.stat().st_mode & 0o077 == 0
    assert "is there already" in fail(FormatError, "export", root, "a", "--out", out)
    run("release", root, "a", "--as", "ann")
    second = tmp_path / "second"
    assert "(released)" in run("export", root, "a", "--format", kind, "--out", second)
    if kind == "json":
        key = desk._site.key.public_hex
        assert all(check.holds for check in check_released(second.read_bytes(), public_hex=key))


def test_what_cannot_be_written_is_said(root, held, tmp_path):
    held("c")
    held("w", ItemKind.WEIGHTS)
    out = tmp_path / "x"
    for words, item, options in (
        ("no single case", "c", ("--format", "dicom")),
        ("not a report", "w", ()),
        ("--header is for", "c", ("--header", tmp_path)),
        ("no readable DICOM", "c", ("--format", "dicom", "--header", tmp_path)),
    ):
        assert words in fail(DatasitesError, "export", root, item, "--out", out, *options)
    assert not out.exists()
