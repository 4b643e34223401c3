"""What a run can be found by, and what is looked for: text made so that a database's index of trigrams finds it.

Words stand in lower case with two blanks before each. So a word of one or two letters, which is shorter than a trigram,
becomes one with the blanks before it: it is looked for at the beginning of words, and longer ones anywhere.
"""

from collections.abc import Iterator

from runs.core.text import storable

MOST_INPUT = 2000  # characters of the inputs that are searched
MOST_ERROR = 1000
MOST_WORDS = 8  # further ones are not looked for
TRIGRAM = 3


def text_of(flow_name: str, run_name: str, inputs: object = None, error: object = None) -> str:
    """The text of a run. `inputs` and `error` are JSON values, masked."""
    given, said = (" ".join(_scalars(value)) for value in (inputs, error))
    words = f"{flow_name} {run_name} {given[:MOST_INPUT]} {said[:MOST_ERROR]}".lower().split()
    return storable("".join(f"  {word}" for word in words))


def needles_of(query: str) -> tuple[str, ...]:
    """What a text must hold, all of it, to fit the query; nothing for a query of blanks."""
    words = list(dict.fromkeys(query.lower().split()))[:MOST_WORDS]
    return tuple(storable(word.rjust(TRIGRAM)) for word in words)


def _scalars(value: object) -> Iterator[str]:
    """The texts and numbers in a JSON value, without the names of its fields."""
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            waiting += reversed(one.values())
        elif isinstance(one, list):
            waiting += reversed(one)
        elif one is not None:
            yield str(one)
