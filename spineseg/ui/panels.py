"""What the page says of a film beside its picture: verdict, names to correct, scores, measurements, the model.

Each function returns HTML; whatever may come from a file or a card is escaped.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

from spineseg.film import VERTEBRAE
from spineseg.measure.measurements import Row
from spineseg.render import LEGEND
from spineseg.ui.correction import Correction
from spineseg.ui.models import device
from spineseg.ui.session import Answer, Desk


def escaped(text: object) -> str:
    """For HTML, inside and outside of quotes."""
    return html.escape(str(text))


def panels(desk: Desk | None) -> tuple[str, str, str]:
    """Findings, comparison and measurements."""
    return findings(desk), comparison(desk), measurements(desk)


def findings(desk: Desk | None) -> str:
    """Size, model, device, seconds; the verdict with its reasons; each vertebra, with what may be corrected."""
    if desk is None:
        return '<p class="quiet">No film yet.</p>'
    rows, columns = desk.film.shape
    size = f"{rows} × {columns} px"
    found = desk.found
    if found is None or found.levels is None:
        return f'<p class="facts">{size}, not segmented yet</p>'
    facts = (size, escaped(found.title), device(found.device), f"{found.seconds:.1f} s")
    return (
        f'<p class="verdicts">{_verdict(desk, found)}</p><p class="facts">{" · ".join(facts)}</p>'
        + _sentences("reasons", found.levels.reasons)
        + _sentences("corrected", desk.correction.said(found.present))
        + _vertebrae(desk, found)
    )


def _verdict(desk: Desk, found: Answer) -> str:
    assert found.levels is not None
    if desk.correction:
        return '<span class="verdict corrected">Corrected by hand</span>'
    known = "sure" if found.levels.verdict == "sure" else "unsure"
    return f'<span class="verdict {known}">Levels {known}</span>'


def _sentences(kind: str, lines: Sequence[str]) -> str:
    text = "; ".join(lines)
    return f'<p class="{kind}">{escaped(text[0].upper() + text[1:])}.</p>' if text else ""


def _vertebrae(desk: Desk, found: Answer) -> str:
    """A row for each name, with its own cross to leave it out; then the presses that move all names."""
    lines = "".join(_vertebra(desk.correction, found, k) for k in range(len(VERTEBRAE)))
    sure = "" if desk.correction.shift else " and how sure its level is"
    undo = _press("undo", "Undo", "Back to the model's own names") if desk.correction else ""
    return (
        f'<table class="vertebrae"><caption>Vertebra{sure}</caption><tbody>{lines}</tbody></table>'
        f'<div class="presses" role="group" aria-label="Correct the levels"><span>All names</span>'
        f"{_press('lower', 'one lower', 'L1 becomes L2, and so on')}"
        f"{_press('higher', 'one higher', 'L2 becomes L1, and so on')}{undo}</div>"
    )


def _vertebra(correction: Correction, found: Answer, k: int) -> str:
    name, source = VERTEBRAE[k], correction.source(k)
    swatch = f'<th scope="row"><i style="--colour:{LEGEND[name].hex}"></i>{name}</th>'
    if source is None or not found.present[source]:
        return f'<tr class="absent">{swatch}<td colspan="2">not found</td></tr>'
    sure = found.levels.confidence[source] if found.levels else 0.0
    said = f"was {VERTEBRAE[source]}" if correction.shift else f"{sure:.0%}"
    bar = "" if correction.shift else f'<meter min="0" max="1" value="{sure:.3f}"></meter>'
    cross = _press("drop", "×", f"Leave {name} out", vertebra=k)
    return f"<tr>{swatch}<td>{bar}<span>{said}</span></td><td>{cross}</td></tr>"


def _press(action: str, text: str, title: str, vertebra: int | None = None) -> str:
    which = "" if vertebra is None else f' data-vertebra="{vertebra}"'
    label = f' aria-label="{title}"' if vertebra is not None else ""
    return f'<button type="button" data-correct="{action}"{which} title="{title}"{label}>{text}</button>'


def comparison(desk: Desk | None) -> str:
    """Dice, IoU and Hausdorff distance per vertebra, and whether the names agree."""
    if desk is None or desk.other is None:
        return '<p class="quiet">Choose a reference or another model to compare with.</p>'
    if desk.other.undecoded and not any(desk.other.present):
        empty = f"{desk.other.title} has no masks: none of its channels comes above 0.5."
        look = "Swipe, then show one channel at a time with Shift and 1 to 6, or look at its raw channels."
        return f'<p class="disagree">{escaped(empty)} {look}</p>'
    if desk.comparison is None:
        return '<p class="quiet">The scores appear here once the film is segmented.</p>'
    scores = desk.comparison
    body = "".join(
        f'<tr><th scope="row">{name}</th><td>{_number(d)}</td><td>{_number(i)}</td><td>{_number(h, 1)}</td></tr>'
        for name, d, i, h in zip(VERTEBRAE, scores.dice, scores.iou, scores.hd95, strict=True)
    )
    plane = desk.film.spacing.plane if desk.film.spacing else None
    whose = f", at the {plane}" if plane else ""
    return (
        f'<p class="facts">{escaped(scores.title)} against {escaped(scores.other)}: '
        f"mean Dice <strong>{_number(scores.mean_dice)}</strong></p>{_names_agree(desk)}"
        f'<table class="numbers"><thead><tr><th></th><th>Dice</th><th>IoU</th>'
        f'<th title="95 % Hausdorff distance{whose}">HD95 {scores.unit}</th></tr></thead><tbody>{body}</tbody></table>'
        + _sentences("reasons", desk.other.remarks)
    )


def _names_agree(desk: Desk) -> str:
    scores = desk.comparison
    assert scores is not None
    if scores.same_names:
        return '<p class="agree">Every vertebra bears the same name in both.</p>'
    if scores.better_shift:
        action, way = ("lower", "lower") if scores.better_shift > 0 else ("higher", "higher")
        press = _press(action, f"Move all names one {way}", "Correct the levels")
        return f'<p class="disagree">The names are off by one level. {press}</p>'
    return '<p class="disagree">Not every vertebra bears the same name in both.</p>'


def measurements(desk: Desk | None) -> str:
    """Each figure with its error; hovering says whose method it is."""
    measured = desk.measurements if desk else None
    if measured is None:
        return '<p class="quiet">Measurements appear once a film is segmented.</p>'
    rows = "".join(_measured(row) for row in measured.table())
    plane = f"Millimetres at the {measured.spacing.plane}. " if measured.spacing else ""
    reasons = dict.fromkeys(measured.left_out.values())
    said = [f"{', '.join(n for n, why in measured.left_out.items() if why == r)}: {r}" for r in reasons]
    left = "; ".join([*said, *(f"{name}: too uncertain" for name in measured.withheld)])
    return (
        f'<p class="quiet">{plane}± half of a 95 % interval, from the masks’ own uncertainty.</p>'
        f'<table class="numbers"><tbody>{rows}</tbody></table>'
        + (f'<p class="reasons">Not measured: {escaped(left)}</p>' if left else "")
    )


def _measured(row: Row) -> str:
    """Value, error and unit; what a unit says beyond itself (which way a slip goes, a grade's range) is by the name."""
    unit, _, more = row.unit.partition(" ")
    if row.error is None:  # a grade
        value, more = f"{row.value:g}", row.unit
    else:
        digits = 2 if row.error < 0.2 else 1 if row.error < 10 else 0
        sign = "°" if unit == "deg" else f" {escaped(unit)}"
        value = f"{row.value:.{digits}f} ± {row.error:.{digits}f}{sign}".rstrip()
    aside = f" <small>{escaped(more)}</small>" if more and not more.startswith("at the") else ""
    name = f'<th scope="row">{escaped(row.name)}{aside}</th>'
    return f'<tr title="{escaped(row.source)}">{name}<td>{value}</td></tr>'


def _number(value: float, digits: int = 3) -> str:
    if math.isnan(value):
        return '<span title="in neither">–</span>'
    return '<span title="in one of them only">∞</span>' if math.isinf(value) else f"{value:.{digits}f}"


def about(name: str, card: Mapping[str, Any], on: str) -> str:
    """What a model is, how it was trained and what it scored, as its card says."""
    origin, scores = card.get("origin", {}), card.get("scores", {})
    network, grid = card.get("network", {}), card.get("grid", {})
    facts = {
        "What it is": card.get("description") or "No description on its card.",
        "Network": f"U-Net, features {' '.join(map(str, network.get('features', ())))}; "
        f"sees the whole film as {grid.get('rows')} × {grid.get('columns')}; runs on {device(on)}",
        "Decoder": "Names bodies along one path from head to tail, so that no level comes twice or out of order."
        if card.get("decoder") == "ordered"
        else "None: each pixel goes to its strongest channel where that is above 0.5, as the network says it.",
        "Trained on": _trained(origin),
        "Command": origin.get("command", ""),
    }
    rows = "".join(
        f"<div><dt>{key}</dt><dd>{_code(value) if key == 'Command' else escaped(value)}</dd></div>"
        for key, value in facts.items()
        if value
    )
    return f"<h3>{escaped(name)}</h3><dl>{rows}</dl>{_score_table(scores)}"


def _code(text: object) -> str:
    return f"<code>{escaped(text)}</code>"


def _trained(origin: Mapping[str, Any]) -> str:
    """Films, time, hardware and commit, as far as the card states them."""
    seconds = origin.get("seconds")
    return ", ".join(
        text
        for text in (
            f"{origin['films']} films" if "films" in origin else "",
            f"{seconds / 60:.0f} minutes" if isinstance(seconds, int | float) else "",
            str(origin.get("hardware", "")),
            f"commit {origin['commit']}" if origin.get("commit") else "",
        )
        if text
    )


_SCORES = {
    "films": "films",
    "mean Dice": "mean dice",
    "levels right": "right",
    "right, called unsure": "right but flagged",
    "wrong, called sure": "wrong and not flagged",
}
"""Heads of the table, and what a card calls them."""


def _scores(row: Mapping[str, Any]) -> dict[str, Any]:
    """A card's figures under the table's heads; a Dice for each vertebra becomes their mean."""
    found = {head: row[key] for head, key in _SCORES.items() if key in row and key != "mean dice"}
    dice = row.get("mean dice", row.get("dice"))
    each = list(dice.values()) if isinstance(dice, Mapping) else dice if isinstance(dice, list) else [dice]
    numbers = [value for value in each if isinstance(value, int | float)]
    if numbers:
        found["mean Dice"] = f"{sum(numbers) / len(numbers):.2f}"
    return found


def _score_table(scores: Mapping[str, Any]) -> str:
    """A row for each set of films on the card, a column for each kind of figure that any of them has."""
    found = {kind: _scores(row) for kind, row in scores.items() if isinstance(row, Mapping)}
    heads = [head for head in _SCORES if any(head in row for row in found.values())]
    if not heads:
        return '<p class="quiet">Its card states no scores.</p>'
    rows = [
        f'<tr><th scope="row">{escaped(str(kind).replace("_", " "))}</th>'
        + "".join(f"<td>{escaped(row.get(head, '–'))}</td>" for head in heads)
        + "</tr>"
        for kind, row in found.items()
    ]
    head = "".join(f"<th>{text}</th>" for text in heads)
    return (
        f'<div class="wide"><table class="numbers"><caption>Scores on its card</caption><thead><tr><th></th>{head}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
