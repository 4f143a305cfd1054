"""Entry point of ``charter``: one place that turns errors into messages and exit codes.

Exit codes: 0 yes; 1 the answer is no (a gate failed, an approval is missing); 2 wrong use or an invalid specification;
3 our fault.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from dataclasses import asdict
from typing import Any

import typer

from charter import __version__
from charter.cli import (
    access,
    alerts,
    build,
    compare,
    experiment,
    features,
    forecast,
    govern,
    incident,
    log,
    monitor,
    retrain,
    review,
    rollout,
    run,
    score,
    spec,
    verify,
)
from charter.cli.output import show_decision
from charter.core.errors import CharterError, Refusal, SpecError
from charter.core.text import in_lines

WRONG_USE: Any = typer.BadParameter.__mro__[2]
"""``ClickException`` as Typer raises it: of click, or of the copy that newer ones carry."""

app = typer.Typer(
    name="charter",
    help="One specification, from business objective to an approved, served and audited model.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
_FULL = (errno.ENOSPC, errno.EDQUOT)
for module in (
    spec,
    build,
    govern,
    run,
    score,
    forecast,
    log,
    monitor,
    alerts,
    incident,
    review,
    retrain,
    rollout,
    compare,
    experiment,
    features,
    access,
    verify,
):
    module.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"charter {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    pass


def main() -> None:
    """Run the command line and exit."""
    # Threads that wait by spinning make a fit ten times slower when anything else runs on the machine. The OpenMP
    # runtime reads this when LightGBM is first imported; whoever has set it knows better.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(_run(sys.argv[1:]))


def _run(arguments: list[str]) -> int:
    for given in arguments:
        if not given.isascii() and any("\ud800" <= c <= "\udfff" for c in given):  # neither kept nor printed
            typer.echo(
                f"{given!a} is not UTF-8\n  Write it in UTF-8; rename a file that is called so.", err=True
            )
            return 2
    try:
        code = app(arguments, prog_name="charter", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except typer.Abort:
        typer.echo("\nStopped by you; what was finished is kept.", err=True)
        return 130
    except WRONG_USE as error:
        error.show()
        return 2
    except CharterError as error:
        _report(error, as_json="--json" in arguments and "predict" not in arguments[:1])
        return error.exit_code
    except KeyboardInterrupt:
        typer.echo("\nStopped by you; what was finished is kept.", err=True)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        where = error.filename2 or error.filename
        typer.echo(
            f"{f'{where}: ' if where else ''}{error.strerror or error}\n  {_surroundings(error)} "
            "The operating system refused; nothing half-written was kept.",
            err=True,
        )
        return 2 if where or error.errno in _FULL else 3
    except ModuleNotFoundError as error:
        typer.echo(
            f"{error.name} is not installed\n  `pip install 'charter-ml[train]'` brings what every command needs. A "
            "machine that only serves runs `python -m charter.serve.io.server DEPLOYMENT`.",
            err=True,
        )
        return 2
    except Exception as error:  # the edge of the program: a fault of ours must still be told in one line
        if os.environ.get("CHARTER_DEBUG"):
            raise
        if os.strerror(errno.ENOSPC) in str(error):  # Polars and SQLAlchemy wrap it in errors of their own
            typer.echo(f"{os.strerror(errno.ENOSPC)}\n  Make room on the disk and run again.", err=True)
            return 2
        typer.echo(
            f"A fault in Charter: {type(error).__name__}: {error}\n"
            "  Nothing half-written was kept. Run again with CHARTER_DEBUG=1 for the details, and please report them.",
            err=True,
        )
        return 3


def _surroundings(error: OSError) -> str:
    if error.errno in _FULL:
        return "Make room on the disk and run again."
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "Check your rights on the file and its folder."
    return "Check the path: a folder is missing, or something else lies there."


def _report(error: CharterError, *, as_json: bool) -> None:
    if as_json:
        detail: dict[str, object] = {
            "error": type(error).__name__,
            "message": error.message,
            "remedy": error.remedy,
        }
        if isinstance(error, Refusal) and error.decision is not None:
            detail["decision"] = error.decision.to_json()
        if isinstance(error, SpecError):
            detail["file"] = error.file
            detail["problems"] = [{**asdict(p), "path": list(p.path)} for p in error.problems]
        typer.echo(json.dumps(detail, ensure_ascii=False))
    else:
        typer.echo(in_lines(str(error)), err=True)
        if isinstance(error, Refusal) and error.decision is not None:
            show_decision(error.decision, indent=2)
