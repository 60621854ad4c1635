"""The query of a URL: switches, each ``true`` or ``false``, at most once, and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from http import HTTPStatus
from urllib.parse import parse_qsl

from serving.refusals import Fault, parameter_path, refusal


def switched_on(query: bytes, known: Collection[str]) -> frozenset[str]:
    """The switches that are ``true``; raises :class:`serving.refusals.Refused` with the path of each fault.

    >>> switched_on(b"advice=true", ["advice"]), switched_on(b"advice=false", ["advice"]), switched_on(b"", [])
    (frozenset({'advice'}), frozenset(), frozenset())
    """
    if not query:
        return frozenset()
    sent = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    times = Counter(name for name, _ in sent)
    # By path: names that are no field's share one, because they are not repeated.
    faults: dict[str, str] = {}
    for name, value in sent:
        if name not in known:
            faults[parameter_path(name)] = "unknown parameter"
        elif times[name] > 1:
            faults[parameter_path(name)] = "expected each parameter once"
        elif value not in ("true", "false"):
            faults[parameter_path(name)] = "expected true or false"
    if faults:
        raise refusal(HTTPStatus.UNPROCESSABLE_ENTITY, [Fault(path=path, message=said) for path, said in faults.items()])
    return frozenset(name for name, value in sent if value == "true")
