"""Places in a document whose text is generated: between <!-- name:begin --> and <!-- name:end -->."""

from __future__ import annotations

import re


def inserted(document: str, name: str, text: str) -> str:
    """`document` with `text` in place of whatever stands between the two markers of `name`.

    Raises:
        ValueError: the document does not hold the markers once each, in order.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    if document.count(begin) != 1 or document.count(end) != 1 or document.index(begin) > document.index(end):
        raise ValueError(f"expected {begin} and then {end}, once each")
    between = re.compile(re.escape(begin) + ".*" + re.escape(end), re.DOTALL)
    return between.sub(lambda _: f"{begin}\n{text}{end}", document)
