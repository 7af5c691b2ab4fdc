"""The parts of a report's page. Whatever comes from data is escaped here; nothing is loaded from anywhere."""

from base64 import b64encode
from collections.abc import Collection, Iterable, Sequence
from html import escape

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""The browser itself is told that there is nothing to load and nothing to run."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2126; --dim: #5b6570; --page: #fcfcfb; --line: #d9dde1; --mark: #fff1cc; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ea; --dim: #a0a8b0; --page: #14171a; --line: #353b41; --mark: #4a3b10; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1rem; background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: .5rem 0 0; font-size: 1.6rem; line-height: 1.2; }
h2 { margin: 2.5rem 0 .75rem; border-top: 1px solid var(--line); padding-top: 1rem; font-size: 1.25rem; }
h3 { margin: 1.5rem 0 .5rem; font-size: 1rem; }
p { max-width: 45rem; margin: .5rem 0; }
.dim, figcaption { color: var(--dim); }
.facts { display: flex; flex-wrap: wrap; gap: .5rem 2.5rem; margin: 1rem 0; padding: 0; list-style: none; }
.facts b { display: block; font-size: 1.6rem; line-height: 1.2; font-weight: 600; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .5rem 0; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td { overflow-wrap: normal; }
th { font-weight: 600; }
td.number, th.number { text-align: right; }
tr.marked td { background: var(--mark); }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1rem; }
.photos { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 17rem), 1fr)); gap: 1rem; }
figure { margin: 0; }
figcaption { margin-top: .25rem; font-size: .85rem; line-height: 1.35; }
svg, img { display: block; max-width: 100%; height: auto; }
.plots svg { width: 34rem; }
summary { cursor: pointer; }
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole document. parts: HTML."""
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def heading(words: str, level: int = 2) -> str:
    """A heading of that level."""
    return f"<h{level}>{escape(words)}</h{level}>"


def paragraph(words: str, kind: str = "") -> str:
    """A paragraph; kind: a class of the style sheet."""
    return f"<p{_class(kind)}>{escape(words)}</p>"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """(large value, what it is) side by side."""
    return f'<ul class="facts">{"".join(f"<li><b>{escape(value)}</b>{escape(what)}</li>" for value, what in pairs)}</ul>'


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: Collection[int] = (), marked: Collection[int] = ()) -> str:
    """numbers: columns that are set to the right. marked: rows that stand out."""
    head = "".join(
        f'<th scope="col"{_class("number" if place in numbers else "")}>{escape(each)}</th>' for place, each in enumerate(headings)
    )
    body = "".join(
        f"<tr{_class('marked' if line in marked else '')}>"
        + "".join(f"<td{_class('number' if place in numbers else '')}>{escape(each)}</td>" for place, each in enumerate(row))
        + "</tr>"
        for line, row in enumerate(rows)
    )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def listed(items: Iterable[str]) -> str:
    """A list of sentences."""
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"


def folded(words: str, inside: str) -> str:
    """HTML that is shown when one opens it."""
    return f"<details><summary>{escape(words)}</summary>{inside}</details>"


def grid(kind: str, inside: Iterable[str]) -> str:
    """HTML side by side: plots or photos."""
    return f'<div class="{kind}">{"".join(inside)}</div>'


def plot(svg: str, caption: str = "") -> str:
    """An <svg>, which scrolls where the window is narrower than it can be read, and a sentence below it."""
    below = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f'<figure><div class="wide">{svg}</div>{below}</figure>'


def photo(jpeg: bytes, size: tuple[int, int], caption: str) -> str:
    """A JPEG of that width and height, and what it shows."""
    source = f"data:image/jpeg;base64,{b64encode(jpeg).decode()}"
    image = f'<img src="{source}" width="{size[0]}" height="{size[1]}" alt="{escape(caption)}">'
    return f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""
