"""`vesalius doctor`."""

from typing import Annotated

from cyclopts import Parameter


def doctor(*, as_json: Annotated[bool, Parameter(name="--json", negative=())] = False) -> int:
    """Say what is installed, what is missing and how to get it, and which device will be used.

    Parameters
    ----------
    as_json
        Print one JSON document and nothing else to standard output.
    """
    from vesalius.doctor import print_doctor

    return print_doctor(json=as_json)
