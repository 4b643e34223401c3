"""Text as every database takes it."""


def storable(text: str) -> str:
    """NUL and lone surrogates, which databases refuse, as \\x00 and \\udXXX."""
    return text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode()
