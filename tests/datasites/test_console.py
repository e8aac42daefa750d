"""The way out to a screen: what is said cannot act on it, add a line, or be read as markup."""

import subprocess
import sys

from datasites.cli.text import table
from datasites.console import alarm, bars, say, say_text
from datasites.escaping import is_invisible

HOSTILE = "A\x1b[2J\x9b1m\u202e\u200b\r[red]x[/red]"
SEEN = "A<U+001B>[2J<U+009B>1m<U+202E><U+200B><U+000D>[red]x[/red]"


def test_a_line_is_one_line_and_nothing_in_it_acts(capsys):
    say(f"{HOSTILE}\ninjected")
    say(HOSTILE, error=True)
    alarm(HOSTILE)
    told = capsys.readouterr()
    assert told.out == f"{SEEN}<U+000A>injected\n{SEEN}\n"
    assert told.err == f"{SEEN}\n"


def test_a_text_keeps_its_lines(capsys):
    say_text(f"a\n{HOSTILE}\n")
    assert capsys.readouterr().out == f"a\n{SEEN}\n\n"


def test_columns_are_as_wide_as_what_is_seen(capsys):
    table(("who", "state"), [(HOSTILE + "\nB", "asks"), ("C", "paired")])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert (
        len(
            {
                line.index(word)
                for line, word in zip(lines, ("state", "asks", "paired"), strict=True)
            }
        )
        == 1
    )


_LOGS = """
import logging, sys
from datasites.console import log_to_terminal
log_to_terminal(level=logging.INFO, times=True)
log_to_terminal(times=True)
hostile = sys.argv[1]
logging.getLogger("dura.x").info("not said")
logging.getLogger("dura.x").warning("from %s", hostile)
try:
    raise ValueError(hostile + chr(27))
except ValueError:
    logging.getLogger("dura.x").exception("broke on %s", hostile)
"""


def test_a_log_entry_is_one_line_whatever_it_names():
    hostile = HOSTILE + "\n2026-01-01 INFO forged"
    done = subprocess.run(
        [sys.executable, "-c", _LOGS, hostile], capture_output=True, text=True, check=True
    )
    first, second, *trace = done.stderr.split("\n")
    assert first.endswith(f"WARNING from {SEEN}<U+000A>2026-01-01 INFO forged")
    assert "ERROR broke on" in second
    assert trace[0].startswith("Traceback")
    assert not any(is_invisible(one) for one in done.stderr.replace("\n", ""))


def test_bars_go_to_standard_error():
    assert bars().stderr
