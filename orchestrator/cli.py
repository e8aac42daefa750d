"""The one program, `dura`, and what its exit codes mean.

    0    done
    2    bad input: a file, folder, setting or name is wrong
    3    a hospital refused
    4    relay or network
    5    quorum not reached
    6    verification failed
    130  interrupted

Every refusal is one line on standard error: what was wrong, where, what to do.
"""

from __future__ import annotations

import sys

import typer

from datasites.cli import budget, data, decisions, doctor, peers, releases, site
from orchestrator.commands import audit, bench, demo, encoder, report, study

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Hospitals train one brain-tumour MRI classifier together; nothing private leaves them.",
)
app.add_typer(site.app, name="site")
app.add_typer(data.app, name="data")
study.app.command(name="encoder")(encoder.encoder)
app.add_typer(study.app, name="study")
app.add_typer(audit.app, name="audit")
app.add_typer(report.app, name="report")
app.add_typer(bench.app, name="bench")
app.command(name="demo")(demo.demo)

__all__ = ["app", "budget", "decisions", "doctor", "main", "peers", "releases"]


def main() -> None:
    """Run the command line; refusals become one line and an exit code."""
    from datasites import DatasitesError, IngestError, log_to_terminal, say
    from models import ModelsError, ReportError
    from orchestrator.errors import OrchestratorError
    from privacy import PrivacyError

    log_to_terminal()
    try:
        app()
    except (
        DatasitesError,
        OrchestratorError,
        IngestError,
        ModelsError,
        ReportError,
        PrivacyError,
    ) as error:
        say(f"dura: {error}", error=True)
        sys.exit(getattr(error, "exit_code", 2))
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        say(f"dura: {error.strerror or error}{where}; check the path and the disk", error=True)
        sys.exit(2)
    except KeyboardInterrupt:
        say("dura: interrupted", error=True)
        sys.exit(130)


if __name__ == "__main__":
    main()
