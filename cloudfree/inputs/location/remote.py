"""The version of a file at an address, by what its server states."""

from __future__ import annotations

import http.client
import re
import urllib.request
from email.message import Message
from threading import Thread

from cloudfree.inputs.location.source import Source

_HEADERS = {"ETag": "etag", "Last-Modified": "last_modified"}
_SECONDS = 10.0


def stated(source: Source) -> dict[str, str]:
    """A file's `etag`, `last_modified` and `size` in bytes, as far as its server states them; no secrets.

    Nothing where there is neither of the first two: then it has no version. So it is with all but HTTP's servers.
    """
    headers = _headers(source.url) if source.url else None
    if headers is None:
        return {}
    version = {name: headers[header] for header, name in _HEADERS.items() if headers[header]}
    whole = re.search(r"/(\d+)$", headers["Content-Range"] or "")
    size = whole[1] if whole else headers["Content-Length"]
    return version | {"size": size} if version and size else version


def _headers(url: str) -> Message | None:
    """Those of an answer that came in time, however slowly a server answers; of the content a byte is enough."""
    # A signature may be of GET alone, not of HEAD.
    request = urllib.request.Request(url, headers={"Range": "bytes=0-0"})
    answers: list[Message] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
                answers.append(answer.headers)
        except (OSError, ValueError, http.client.HTTPException):
            pass

    asking = Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_SECONDS)
    return answers[0] if answers else None
