"""The command line: thin files over public Python functions of the same names.

Importing this package loads neither torch nor a department; `vesalius --help` must be quick.
"""

import sys


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return the exit status: 0 done, 1 failed, 2 wrong usage."""
    try:
        from vesalius.cli.app import run

        return run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:  # also while the first modules load
        print("stopped", file=sys.stderr)
        return 130
