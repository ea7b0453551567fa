"""Measurements as people read them: a table, its text for a spreadsheet, and what each line on the film measures."""

from __future__ import annotations

import csv
import html
import io
import json
from collections.abc import Iterable, Sequence
from itertools import groupby

from spineseg.measure.figures import TABLE_HEAD, Row
from spineseg.measure.measurements import Measurements
from spineseg.ui import texts
from spineseg.ui.correction import BadRequest
from spineseg.ui.language import ENGLISH, speaking, translated
from spineseg.ui.session import SessionState


def measurements(state: SessionState | None) -> str:
    """The panel: a table with intervals, copied by one press; rows name their lines on the film."""
    measured = state.measurements if state else None
    if measured is None:
        held_back = state is not None and state.held_back
        return f'<p class="note">{texts.MEASURED_IF_SHOWN if held_back else texts.NO_MEASUREMENTS}</p>'
    plane = texts.MILLIMETRES.format(translated(measured.spacing.plane)) if measured.spacing else ""
    missing = _left_out(measured)
    return (_table(measured.table(), f"{plane}{texts.INTERVAL}") if measured.figures else "") + (
        f'<p class="reasons">{_escaped(texts.NOT_MEASURED.format("; ".join(missing)))}</p>' if missing else ""
    )


def _left_out(measured: Measurements) -> list[str]:
    """Vertebrae and figures that are not given, with the reason."""
    reasons = dict.fromkeys(measured.left_out.values())
    missing = [f"{', '.join(n for n, why in measured.left_out.items() if why == r)}: {translated(r)}" for r in reasons]
    return missing + [texts.TOO_UNCERTAIN.format(translated(name)) for name in measured.withheld]


def _table(rows: Sequence[Row], caption: str) -> str:
    head = "".join(f'<th scope="col">{text}</th>' for text in texts.MEASUREMENT_HEAD)
    return (
        f'<div class="copying"><button type="button" data-copy="{_escaped(tab_separated(rows))}" '
        f'data-copied="{texts.COPIED}" title="{texts.COPY_TITLE}">{texts.COPY}</button>'
        f'<span role="status"></span></div><p class="note">{caption}</p>'
        f'<table class="numbers figures"><thead><tr>{head}</tr></thead>'
        f"{''.join(_group(list(group), rows[0]) for _, group in groupby(rows, lambda row: row.topic))}</table>"
    )


def _group(rows: Sequence[Row], first: Row) -> str:
    """The figures of one topic; first: of the whole table."""
    head = f'<tr class="topic"><th colspan="3" scope="rowgroup">{texts.TOPICS[rows[0].topic]}</th></tr>'
    return f"<tbody>{head}{''.join(_row(row, first=row is first) for row in rows)}</tbody>"


def _row(row: Row, *, first: bool) -> str:
    """One figure. Its lines are drawn on the film while it is hovered or has the focus; the first row takes the Tab."""
    lines, source, name = _escaped(json.dumps(row.lines)), _escaped(row.source), _escaped(translated(row.name))
    return (
        f'<tr tabindex="{0 if first else -1}" data-lines="{lines}" title="{source}"><th scope="row">{name}</th>'
        f"<td>{_escaped(value_text(row))}</td><td>{interval_text(row)}</td></tr>"
    )


def value_text(row: Row) -> str:
    """Value and unit with as many digits as the interval allows; of a grade, the grade."""
    if row.error is None:
        return f"{row.value:g}"
    unit = row.unit.partition(" ")[0]
    return _fixed(row.value, row.error) + {"deg": "°", "": ""}.get(unit, f" {unit}")


def interval_text(row: Row) -> str:
    """Both ends of the 95 % interval; nothing for a grade."""
    if row.error is None:
        return ""
    low, high = (_fixed(row.value + sign * row.error, row.error) for sign in (-1, 1))
    return texts.FROM_TO.format(low, high)


def _fixed(value: float, error: float) -> str:
    """With as many decimals as the error allows, and never -0."""
    digits = 2 if error < 0.2 else 1 if error < 10 else 0
    return f"{round(value, digits) + 0.0:.{digits}f}"


def line_figures(measured: Measurements) -> dict[str, list[str]]:
    """What each line measures, by its name: the figures that need the fewest lines beside it."""
    table = measured.table()
    found: dict[str, list[str]] = {}
    for line in measured.lines:
        rows = [row for row in table if line.name in row.lines]
        fewest = min((len(row.lines) for row in rows), default=0)
        found[line.name] = [_sentence(row) for row in rows if len(row.lines) == fewest]
    return found


def _sentence(row: Row) -> str:
    interval = interval_text(row)
    text = texts.FIGURE_WITH_INTERVAL if interval else texts.FIGURE
    return text.format(name=translated(row.name), value=value_text(row), interval=interval)


def tab_separated(rows: Iterable[Row]) -> str:
    """The table as a spreadsheet takes it from the clipboard."""
    return "\n".join("\t".join(cells) for cells in (TABLE_HEAD, *(row.cells for row in rows))) + "\n"


def comma_separated(state: SessionState) -> bytes:
    """The table as CSV, in UTF-8; then a line for each vertebra or figure that is left out, with the reason."""
    measured = state.measurements
    if measured is None:
        raise BadRequest(texts.NO_MASKS_TO_DOWNLOAD)
    with speaking(ENGLISH):
        return _comma_separated(measured, by_hand=state.corrected is not None)


def _comma_separated(measured: Measurements, *, by_hand: bool) -> bytes:
    remark = texts.CORRECTED if by_hand else ""
    rows = [(*row.cells, remark) for row in measured.table()]
    blank = ("",) * len(TABLE_HEAD)
    reasons = [(*blank, texts.NOT_MEASURED.format(each)) for each in _left_out(measured)]
    stream = io.StringIO()
    csv.writer(stream).writerows([(*TABLE_HEAD, "remark"), *rows, *reasons])
    return stream.getvalue().encode()


def _escaped(text: object) -> str:
    return html.escape(str(text))
