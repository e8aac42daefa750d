"""What a job left and cannot be removed is an alarm that stays until it is gone."""

import logging

from datasites.errors import CleanUpError
from datasites.owner import doctor
from datasites.owner.doctor import Health
from datasites.sandbox import JobFolder
from datasites.site import cleanup
from datasites.site.cleanup import clear, discard, left_behind


class Stuck:
    """A sandbox whose folder cannot be removed."""

    def __init__(self, folder):
        self.folder = JobFolder(folder)

    def discard(self):
        raise CleanUpError(f"{self.folder.root} cannot be removed (busy)")


def test_a_folder_that_stays_is_named_in_the_log_and_by_the_doctor(site, caplog):
    folder = site.root / "scratch" / "job"
    folder.mkdir(parents=True)
    assert doctor._leftovers(site).health is Health.FINE
    with caplog.at_level(logging.ERROR):
        discard(site, Stuck(folder))
    assert "clean-up failed" in caplog.text
    assert left_behind(site) == [folder]
    seen = doctor._leftovers(site)
    assert (seen.health, str(folder) in seen.mend) == (Health.PROBLEM, True)
    clear(site, site.root / "scratch")
    assert left_behind(site) == []
    assert doctor._leftovers(site).health is Health.FINE


def test_what_an_earlier_agent_left_does_not_stop_the_next_but_is_named(site, monkeypatch):
    def refuse(path):
        raise CleanUpError(f"{path} cannot be removed")

    (site.root / "scratch").mkdir(exist_ok=True)
    monkeypatch.setattr(cleanup, "remove_tree", refuse)
    clear(site, site.root / "scratch")
    assert left_behind(site) == [site.root / "scratch"]
