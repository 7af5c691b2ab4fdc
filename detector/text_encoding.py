"""Encodings of text files: UTF-16 or UTF-32 if a byte order mark names it, else the default. PowerShell and Windows editors use UTF-16."""

from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE

_BYTE_ORDER_MARKS = {  # mark -> encoding; "": the default. The mark of UTF-32 starts with that of UTF-16.
    BOM_UTF8: "",
    BOM_UTF32_LE: "utf-32-le",
    BOM_UTF32_BE: "utf-32-be",
    BOM_UTF16_LE: "utf-16-le",
    BOM_UTF16_BE: "utf-16-be",
}


def decode_text(data: bytes, default: str = "utf-8", errors: str = "strict") -> str:
    """Return the text without its byte order mark. Raises UnicodeDecodeError.

    Args:
        data: The content of a text file.
        default: Encoding of a file without a byte order mark, or with that of UTF-8.
        errors: Treatment of invalid bytes, as in `bytes.decode`.
    """
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding or default, errors)
    return data.decode(default, errors)
