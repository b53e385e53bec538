"""Put what a command found into its place in docs/testing.md."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs" / "testing.md"


def write_section(name: str, text: str, page: Path = PAGE) -> None:
    """Replace what stands between `<!-- begin NAME -->` and `<!-- end NAME -->`; ValueError where these are not."""
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->\n"
    head, opened, rest = page.read_text(encoding="utf-8").partition(begin)
    _, closed, tail = rest.partition(end)
    if not (opened and closed):
        raise ValueError(f"{page} has no place for {name!r}: add {begin!r} and {end!r}.")
    page.write_text(f"{head}{begin}\n{text}\n\n{end}{tail}", encoding="utf-8")
