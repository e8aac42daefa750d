"""A site on disk: made whole or not at all, private to its owner, and opened only when whole."""

import itertools
import stat
from datetime import UTC, datetime, timedelta, timezone

import pytest

from datasites.errors import PlanError, SettingsError
from datasites.site.card import DataCard
from datasites.site.settings import make_settings
from datasites.site.site import Site, stamp, write_file, write_json
from privacy import Budget, EntryKind, KeyFileError, PrivacyError

SETTINGS = make_settings(name="A", email="owner@hospital-a.example", relay="file:///srv/relay")
BUDGET = Budget(epsilon=8.0, delta=1e-5)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_a_new_site_opens_with_its_settings_key_and_budget(site):
    again = Site.open(site.root)
    assert again == site
    assert again.root.is_absolute()
    assert again.key.public_hex == site.key.public_hex
    assert again.ledger.account().budget == Budget(epsilon=8.0, delta=1e-5)
    kinds = [one.entry.kind for one in again.ledger.entries()]
    assert len(kinds) == 2


def test_everything_of_a_site_is_the_owners_only(site):
    site.pseudonym_key  # noqa: B018  made when it is first asked for
    write_json(site.root / "jobs" / "deep" / "q1.json", {"a": 1})
    assert mode(site.root) == mode(site.root / "keys") == 0o700
    for secret in ("keys/signing.key", "keys/pseudonym.key", "jobs/deep/q1.json"):
        assert mode(site.root / secret) == 0o600
    assert mode(site.root / "jobs" / "deep") == 0o700


def test_an_open_folder_is_closed_when_it_becomes_a_site(tmp_path):
    root = tmp_path / "site"
    root.mkdir(mode=0o755)
    Site.create(root, SETTINGS, budget=BUDGET, actor="owner")
    assert mode(root) == 0o700


def test_a_folder_that_holds_something_is_not_made_a_site(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(SettingsError, match="not empty"):
        Site.create(tmp_path, SETTINGS, budget=BUDGET, actor="owner")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_site_is_not_made_twice(site):
    before = (site.root / "keys" / "signing.key").read_bytes()
    with pytest.raises(SettingsError, match="not empty"):
        Site.create(site.root, SETTINGS, budget=BUDGET, actor="owner")
    assert (site.root / "keys" / "signing.key").read_bytes() == before


def test_a_site_whose_making_was_interrupted_is_no_site(tmp_path, monkeypatch):
    def power_cut(*_args):
        raise OSError("power cut")

    monkeypatch.setattr("datasites.site.site.write_settings", power_cut)
    with pytest.raises(OSError, match="power cut"):
        Site.create(tmp_path / "site", SETTINGS, budget=BUDGET, actor="owner")
    with pytest.raises(SettingsError, match="is not a site"):
        Site.open(tmp_path / "site")


def test_a_half_written_site_toml_opens_nothing(site):
    path = site.root / "site.toml"
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(SettingsError, match="mend it by hand"):
        Site.open(site.root)


def test_a_missing_or_broken_signing_key_is_an_error_not_a_new_key(site):
    (site.root / "keys" / "signing.key").unlink()
    with pytest.raises(KeyFileError):
        Site.open(site.root).key  # noqa: B018
    assert not (site.root / "keys" / "signing.key").exists()


def test_a_ledger_that_was_tampered_with_is_not_opened(site):
    text = site.ledger_path.read_text()
    site.ledger_path.write_text(text.replace("site created", "site_created"))
    with pytest.raises(PrivacyError):
        Site.open(site.root).ledger.entries()


def test_log_appends_a_typed_entry(site):
    site.log(EntryKind.PLAN_RECEIVED, actor="agent", action="receive", resource="p", reason="why")
    entry = list(site.ledger.entries())[-1].entry
    assert (entry.kind, entry.actor, entry.reason) == (EntryKind.PLAN_RECEIVED, "agent", "why")
    assert entry.time.endswith("Z")
    assert entry.detail == {}


def test_a_site_without_data_says_how_to_get_some(site):
    assert not site.has_data
    with pytest.raises(SettingsError, match="dura site ingest"):
        site.card()


def test_a_card_is_read_back_and_a_broken_one_refused(site):
    card = DataCard(
        site="A",
        email="owner@hospital-a.example",
        public_key="0" * 64,
        dataset_version="1" * 64,
        classes=("a", "b"),
        image_size=64,
        unit="patient",
        units=10.5,
        units_per_class=(5.0, 5.5),
        noise_multiplier=10.0,
        mock="mock",
    )
    write_file(site.root / "card.json", card.model_dump_json().encode())
    assert site.has_data
    assert site.card() == card
    write_file(site.root / "card.json", b"{")
    with pytest.raises(PlanError, match="data card"):
        site.card()


def test_private_things_lie_outside_what_syft_sees(site):
    places = [site.shard("train"), site.synthetic("0" * 64), site.keys, site.ledger_path]
    assert not any(place.is_relative_to(site.syftbox) for place in places)
    assert all(place.is_relative_to(site.root) for place in places)
    assert len(set(places)) == len(places)


def test_the_pseudonym_key_is_kept_and_is_the_sites_own(site, tmp_path):
    assert Site.open(site.root).pseudonym_key == site.pseudonym_key
    assert len(bytes.fromhex(site.pseudonym_key)) == 32
    other = Site.create(tmp_path / "other", SETTINGS, budget=BUDGET, actor="owner")
    assert other.pseudonym_key != site.pseudonym_key


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_write_that_fails_leaves_the_old_file_whole_and_no_rest(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    write_file(path, b"old")

    def fail(*_args):
        raise OSError("full disk")

    target = "datasites.durable.os.fsync" if step == "fsync" else "datasites.durable.Path.replace"
    monkeypatch.setattr(target, fail)
    with pytest.raises(OSError, match="full disk"):
        write_file(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_file_is_replaced_and_a_link_in_its_place_is_not_followed(tmp_path):
    (tmp_path / "target").write_bytes(b"untouched")
    (tmp_path / "file").symlink_to(tmp_path / "target")
    write_file(tmp_path / "file", b"new")
    assert (tmp_path / "target").read_bytes() == b"untouched"
    assert not (tmp_path / "file").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"new"


def test_json_has_sorted_keys_whatever_their_order(tmp_path):
    texts = set()
    for keys in itertools.permutations("abc"):
        write_json(tmp_path / "file", dict.fromkeys(keys, 1))
        texts.add((tmp_path / "file").read_text())
    assert texts == {'{\n  "a": 1,\n  "b": 1,\n  "c": 1\n}\n'}


def test_a_time_is_written_in_utc_with_a_z():
    noon = datetime(2026, 6, 1, 12, tzinfo=UTC)
    there = noon.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert stamp(noon) == stamp(there) == "2026-06-01T12:00:00.000Z"
