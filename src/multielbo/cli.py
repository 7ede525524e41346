"""The command `multielbo`: build the book, run one notebook, print the ledger, make records."""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Sequence
from pathlib import Path

from multielbo.commands import records
from multielbo.commands.repository import repository, say

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0 for success, 1 for a fault in the book and 2 for one in the input."""
    from multielbo.publishing.execution import NotebookError
    from multielbo.publishing.render import RenderError

    options = _parser().parse_args(arguments)
    try:
        return options.command(options)
    except (NotebookError, RenderError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        print(f"multielbo: {where}{error.strerror or error}", file=sys.stderr)
    except (ValueError, ArithmeticError, MemoryError) as error:
        print(f"multielbo: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("multielbo: interrupted", file=sys.stderr)
        return 130
    return 2


def book(options: argparse.Namespace) -> int:
    """Execute what changed, render the book, print the path of its first page."""
    from multielbo.publishing.book import check_profile, execute_all
    from multielbo.publishing.render import render

    root = repository()
    execute_all(root, {"profile": check_profile(options.profile)}, options.jobs, say)
    print(render(root))
    return 0


def run(options: argparse.Namespace) -> int:
    """Execute one notebook with the given parameters, away from the book; print its path."""
    from multielbo.profiles import check_profile
    from multielbo.publishing.execution import execute

    root = repository()
    parameters = {name: _value(text) for name, text in options.parameters}
    if "profile" in parameters:
        check_profile(str(parameters["profile"]))
    name = options.notebook.removeprefix("notebooks/").removesuffix(".py")
    source = root / "notebooks" / f"{name}.py"
    if not source.is_file():
        raise FileNotFoundError(2, "there is no such notebook", str(source.relative_to(root)))
    out = options.out or root / "build" / "runs" / f"{name}.ipynb"
    execute(source, out, parameters, root)
    print(out)
    return 0


def ledger(options: argparse.Namespace) -> int:
    """Print the equation ledger and its faults."""
    from multielbo.publishing.book import titles
    from multielbo.publishing.ledger import faults, read_ledger, table

    root = repository()
    found = read_ledger(root)
    print(table(found, titles(root)))
    wrong = faults(found)
    for line in wrong:
        print(line, file=sys.stderr)
    return int(bool(wrong))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="multielbo", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("book", help=book.__doc__, description=book.__doc__)
    command.add_argument("--profile", default="quick", help="quick, laptop or full")
    command.add_argument("--jobs", type=int, default=2, help="notebooks run at once")
    command.set_defaults(command=book)

    command = commands.add_parser("run", help=run.__doc__, description=run.__doc__)
    command.add_argument("notebook", help="such as reproductions/polydigits")
    command.add_argument(
        *("-p", "--parameter"),
        dest="parameters",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="a name of the notebook's parameters cell, such as profile, and its value",
    )
    command.add_argument("--out", type=Path, help="default: build/runs/NOTEBOOK.ipynb")
    command.set_defaults(command=run)

    command = commands.add_parser("ledger", help=ledger.__doc__, description=ledger.__doc__)
    command.set_defaults(command=ledger)

    records.add(commands)
    return parser


def _value(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


if __name__ == "__main__":
    sys.exit(main())
