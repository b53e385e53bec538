"""Charts as files: SVG, PDF and PNG by matplotlib, one self-contained page by plotly."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from featlab.errors import FeatlabError, OptionError
from featlab.replacing import write_text

if TYPE_CHECKING:
    from featlab.plot.chart import Chart

SUFFIXES = (".svg", ".pdf", ".png", ".html")


def save_chart(chart: Chart, path: str | os.PathLike[str]) -> None:
    """Write a chart to a file, in the format that the suffix of the path names.

    Raises
    ------
    OptionError
        When the suffix is another one, the file cannot be written, or matplotlib is needed and not installed.

    Examples
    --------
    >>> from featlab.plot.chart import Chart
    >>> save_chart(Chart("Nothing"), "nothing.html")
    >>> Path("nothing.html").read_text()[:15]
    '<!DOCTYPE html>'
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in SUFFIXES:
        raise OptionError(f"{target.name!r} does not end with {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}.")
    try:
        if suffix == ".html":
            write_text(target, _page(chart))
        else:
            from featlab.plot.draw_matplotlib import draw_matplotlib, save_figure

            save_figure(draw_matplotlib(chart), target)
    except FeatlabError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise OptionError(
            f"the figure cannot be written to {str(target)!r} ({reason}); name a file in a folder that exists."
        ) from error


def _page(chart: Chart) -> str:
    from featlab.plot.draw_plotly import draw_plotly

    # Newer releases of plotly offer to send a figure to a server of theirs.
    unsent = {"plotlyServerURL": "", "modeBarButtonsToRemove": ["sendChartToCloud", "sendDataToCloud"]}
    figure = draw_plotly(chart).to_html(
        full_html=False, include_plotlyjs=True, auto_play=False, config={"displaylogo": False, **unsent}
    )
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(chart.title)}</title>\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        "<style>body { font: 15px/1.5 system-ui, sans-serif; color: #1f2328; background: white; margin: 1rem; }</style>"
        f"\n</head>\n<body>\n{figure}\n<p>{escape(chart.how)}</p>\n</body>\n</html>\n"
    )
