"""The version of a file at an address, by what its server states."""

from __future__ import annotations

import http.client
import re
import urllib.request

from cloudfree.inputs.location.source import Source

_HEADERS = {"ETag": "etag", "Last-Modified": "last_modified"}
_SECONDS = 10.0


def stated(source: Source) -> dict[str, str]:
    """A file's `etag`, `last_modified` and `size` in bytes, as far as its server states them; no secrets."""
    if not source.url:
        return {}
    # A signature may be of GET alone, not of HEAD; of the content a byte is enough.
    request = urllib.request.Request(source.url, headers={"Range": "bytes=0-0"})
    try:
        with urllib.request.urlopen(request, timeout=_SECONDS) as answer:
            headers = answer.headers
    except (OSError, ValueError, http.client.HTTPException):
        return {}
    version = {name: headers[header] for header, name in _HEADERS.items() if headers[header]}
    whole = re.search(r"/(\d+)$", headers["Content-Range"] or "")
    size = whole[1] if whole else headers["Content-Length"]
    return version | ({"size": size} if size else {})
