"""How much a regular expression of a stranger asks for when it is compiled.

A repeat such as `a{1000}` is written out when it is compiled, and repeats inside each other multiply: a few letters may
ask for all memory. How long a search may take is limited where one is made.
"""

import re
from typing import Final

MOST_STEPS: Final = 50_000  # of one schema's patterns together, repeats written out

_ESCAPED: Final = re.compile(r"\\.", re.S)
_CLASS: Final = re.compile(r"\[(?!\^\])[^\[\](){}]+\]")
_FOREIGN: Final = re.compile(r"[\[\]]|\(\*|\(\?(?![:=!<])")  # flags, comments, recursion; a bracket that is left over
_PART: Final = re.compile(r"\{(\d+)[^}]*\}|.", re.S)


def steps(pattern: str) -> int | None:
    """How many it has written out, or a few more; None for what is no regular expression as JSON Schema knows them.

    Inside `[…]` brackets, parentheses and braces must be escaped: then it is plain where each group ends.
    """
    plain = _CLASS.sub("_", _ESCAPED.sub("_", pattern))
    if _FOREIGN.search(plain):
        return None
    open_groups, last = [0], 0
    for part in _PART.finditer(plain):
        if part[0] == "(":
            open_groups.append(0)
            last = 0
        elif part[0] == ")":
            last = open_groups.pop()
            if not open_groups:
                return None
            open_groups[-1] += last
        elif part[1]:
            times = max(1, int(part[1])) if len(part[1]) < 10 else MOST_STEPS + 1
            open_groups[-1] += last * (times - 1)
            last *= times
        elif part[0] not in "?*+":
            last = 1
            open_groups[-1] += 1
    return open_groups[0] if len(open_groups) == 1 else None
