"""Text as a terminal should get it."""


def shown(text: str) -> str:
    """Whatever would steer the terminal is written out: a message may quote a file, a server or a name that a stranger chose."""
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)
