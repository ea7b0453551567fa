"""The HTML beside the picture: findings, comparison, and what a model's card says; `measures` has the measurements.

Sentences come from `texts`; whatever may come from a file or a card is escaped.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from spineseg.film import VERTEBRAE
from spineseg.inference.levels import LevelReport
from spineseg.inference.verdict import VERDICTS
from spineseg.render import LEGEND
from spineseg.ui import texts
from spineseg.ui.compare import NOTHING, REFERENCES, SHOWN, Comparison, mean
from spineseg.ui.correction import former_name
from spineseg.ui.examples import Example
from spineseg.ui.language import translated
from spineseg.ui.measures import measurements
from spineseg.ui.session import SessionState


def escaped(text: object) -> str:
    """For HTML, inside and outside of quotes."""
    return html.escape(str(text))


def device_name(device: str) -> str:
    """A torch device as a person says it."""
    return "GPU" if device.startswith("cuda") else device.upper()


def status(text: str, kind: str = "") -> str:
    """The line at the end of the settings; kind: "ready", "failed" or "" while the model loads."""
    return f'<p class="status {kind}">{escaped(text)}</p>'


def examples(found: Sequence[Example]) -> str:
    """A button for each example, with its thumbnail where it has one; nothing where there are none."""
    buttons = "".join(_example(n, example) for n, example in enumerate(found))
    return f'<p class="caption">{texts.EXAMPLES}</p><div class="examples">{buttons}</div>' if buttons else ""


def _example(n: int, example: Example) -> str:
    thumbnail = example.thumbnail
    picture = f'<img src="{thumbnail}" alt="">' if thumbnail else ""
    return (
        f'<button type="button" data-example="{n}" data-name="{escaped(example.path.stem)}">'
        f"{picture}<span>{escaped(translated(example.caption))}</span></button>"
    )


def panels(state: SessionState | None) -> tuple[str, str, str]:
    """Findings, comparison and measurements."""
    return findings(state), comparison(state), measurements(state)


def findings(state: SessionState | None) -> str:
    """Size, model, device, seconds; the verdict with its reasons; what to know of the file; each vertebra."""
    if state is None:
        return f'<p class="verdicts note" role="status">{texts.NO_FILM}</p>'
    rows, columns = state.film.shape
    size = texts.SIZE.format(rows=rows, columns=columns)
    layer = state.layer
    if layer is None or layer.levels is None:
        if state.corrected is None:
            return f'<p class="verdicts facts" role="status">{texts.NOT_SEGMENTED.format(size=size)}</p>'
        return f'<p class="verdicts" role="status">{_corrected()}</p><p class="facts">{size}</p>' + _vertebrae(state)
    seconds = f"{layer.seconds:.1f}\N{NO-BREAK SPACE}s"
    facts = (size, escaped(translated(layer.title)), device_name(layer.device), seconds)
    return (
        f'<p class="verdicts" role="status">{_verdict(state, layer.levels)}</p><p class="facts">{" · ".join(facts)}</p>'
        + _sentences("remarks", (*state.film.remarks, *(() if state.inverted else state.remarks)))
        + _found(state, layer.levels)
    )


def _found(state: SessionState, levels: LevelReport) -> str:
    """Reasons, corrections and vertebrae; of a picture that looks like no lumbar film only once they are asked for."""
    if state.held_back:
        return f'<div class="corrections">{_button("show", texts.SHOW_ANYWAY, texts.SHOW_ANYWAY_TITLE)}</div>'
    corrected = state.changes.sentences if state.changes else ()
    reasons = "" if state.renumbered else _sentences("reasons", levels.reasons) + _other_numbering(levels)
    return reasons + _sentences("corrected", corrected) + _vertebrae(state)


def _other_numbering(levels: LevelReport) -> str:
    """A button that moves all names; nothing where the numbering is not ambiguous."""
    if not levels.shift:
        return ""
    way = "lower" if levels.shift > 0 else "higher"
    change, likelihood = texts.MOVE_TITLE[way], f"{levels.shift_likelihood:.0%}"
    text = texts.OTHER_NUMBERING.format(change=change, likelihood=likelihood)
    return f'<div class="corrections">{_button(way, text, texts.OTHER_NUMBERING_TITLE)}</div>'


def _note(text: str) -> str:
    return f'<p class="note">{text}</p>'


_VERDICT_CLASSES = dict(zip(VERDICTS, ("reliable", "check", "other"), strict=True))


def _corrected() -> str:
    return f'<span class="verdict corrected">{texts.CORRECTED}</span>'


def _verdict(state: SessionState, levels: LevelReport) -> str:
    if state.renumbered:
        return _corrected()
    verdict, corrected = levels.verdict, f" {_corrected()}" if state.corrected is not None else ""
    said = translated(verdict)
    return f'<span class="verdict {_VERDICT_CLASSES[verdict]}">{said[0].upper()}{said[1:]}</span>{corrected}'


def _sentences(kind: str, sentences: Sequence[str]) -> str:
    """One paragraph of class `kind`; what was written below the page comes in English."""
    text = "; ".join(map(translated, sentences))
    return f'<p class="{kind}">{escaped(text[0].upper() + text[1:])}.</p>' if text else ""


def _vertebrae(state: SessionState) -> str:
    """A row for each name, with a cross that leaves it out; then the buttons that move all names."""
    assert state.bits is not None
    seen = int(np.bitwise_or.reduce(state.bits, axis=None))
    rows = "".join(_vertebra(state, k) if seen >> k & 1 else _absent(k) for k in range(len(VERTEBRAE)))
    caption = texts.VERTEBRA_AND_CONFIDENCE if state.corrected is None else texts.VERTEBRA
    moves = "".join(_button(way, text, texts.MOVE_TITLE[way]) for way, text in texts.MOVE.items())
    undo = "" if state.corrected is None else _button("undo", texts.UNDO, texts.UNDO_TITLE)
    return (
        f'<table class="vertebrae"><caption>{caption}</caption><tbody>{rows}</tbody></table>'
        f'<div class="corrections" role="group" aria-label="{texts.CORRECT_TITLE}"><span>{texts.ALL_NAMES}</span>'
        f"{moves}{undo}</div>"
    )


def _swatch(k: int) -> str:
    return f'<th scope="row"><i style="--colour:{LEGEND[VERTEBRAE[k]].hex}"></i>{VERTEBRAE[k]}</th>'


def _absent(k: int) -> str:
    return f'<tr class="absent">{_swatch(k)}<td colspan="2">{texts.NOT_FOUND}</td></tr>'


def _vertebra(state: SessionState, k: int) -> str:
    cross = _button("drop", "×", texts.DROP_TITLE.format(VERTEBRAE[k]), vertebra=k)
    return f"<tr>{_swatch(k)}<td>{_origin(state, k)}</td><td>{cross}</td></tr>"


def _origin(state: SessionState, k: int) -> str:
    """How sure the model is of a vertebra that it named so; else what a person changed."""
    changed, layer = state.changes, state.layer
    if state.corrected is not None and changed is None:
        return ""
    source = changed.sources[k] if changed else k
    if source is None:
        return f"<span>{texts.DRAWN_BY_HAND}</span>"
    former = [texts.FORMER_NAME.format(former_name(source))] if source != k else []
    reshaped = [texts.RESHAPED] if changed and changed.by_hand[k] else []
    if former or reshaped:
        return f"<span>{', '.join([*former, *reshaped])}</span>"
    confidence = layer.levels.confidence[k] if layer and layer.levels else 0.0
    return f'<meter min="0" max="1" value="{confidence:.3f}"></meter><span>{confidence:.0%}</span>'


def _button(action: str, text: str, title: str, vertebra: int | None = None) -> str:
    """One that `corrections.js` hands to the viewer, which keeps all changes."""
    which = "" if vertebra is None else f' data-vertebra="{vertebra}"'
    label = f' aria-label="{title}"' if vertebra is not None else ""
    return f'<button type="button" data-correct="{action}"{which} title="{title}"{label}>{text}</button>'


def comparison(state: SessionState | None) -> str:
    """Scores of A against B, whether bodies and names agree, and why a reference was refused."""
    if state is None:
        return _note(texts.NOTHING_TO_COMPARE)
    titles = dict(zip(REFERENCES, texts.REFERENCE_TITLES, strict=True))
    refused = [
        (_capital(titles[choice]), _capital(translated(sentence))) for choice, sentence in state.refusals.items()
    ]
    return "".join(_disagree(escaped(texts.REFUSED.format(*both))) for both in refused) + _compared(state, titles)


def _compared(state: SessionState, titles: Mapping[str, str]) -> str:
    """Scores, or what there is to do before there are any."""
    scores, layers = state.comparison, [state.side(choice) for choice in state.sides]
    for layer in layers:
        if layer and layer.undecoded and not any(layer.present):
            return _disagree(f"{escaped(texts.NO_MASKS.format(translated(layer.title)))} {texts.LOOK_AT_MAPS}")
    if scores is not None:
        return _scores_of(scores, state) + "".join(_sentences("reasons", layer.remarks) for layer in layers if layer)
    if NOTHING in state.sides:
        return _note(texts.NOTHING_TO_COMPARE)
    if state.sides[0] == state.sides[1]:
        return _note(texts.THE_SAME_TWICE)
    missing = [titles[choice] for choice in state.sides if choice in titles and choice not in state.references]
    return _note(texts.REFERENCE_TO_COME.format(missing[0]) if missing else texts.NO_SCORES_YET)


def _scores_of(scores: Comparison, state: SessionState) -> str:
    spacing = state.film.spacing
    plane = texts.PLANE.format(translated(spacing.plane)) if spacing else ""
    columns = (scores.dice, scores.iou, scores.hd95)
    rows = [(name, values) for name, *values in zip(VERTEBRAE, *columns, strict=True)]
    body = "".join(_score_row(name, values) for name, values in [*rows, (texts.MEAN, list(map(mean, columns)))])
    return (
        f'<p class="facts">{escaped(texts.COMPARED.format(translated(scores.title), translated(scores.other)))}</p>'
        f"{_relation(scores, state.sides)}"
        f'<table class="numbers scores"><thead><tr><th></th><th>Dice</th><th>IoU</th>'
        f'<th title="{texts.HAUSDORFF_TITLE}{plane}">HD95 {scores.unit}</th></tr></thead><tbody>{body}</tbody></table>'
    )


def _score_row(name: str, values: Sequence[float]) -> str:
    cells = zip(values, (3, 3, 1), strict=True)
    numbers = "".join(f"<td>{_number(value, digits)}</td>" for value, digits in cells)
    return f'<tr><th scope="row">{name}</th>{numbers}</tr>'


def _disagree(content: str) -> str:
    return f'<p class="disagree">{content}</p>'


def _relation(scores: Comparison, sides: tuple[str, str]) -> str:
    """Whether both are of one film, and name the same bodies alike."""
    if scores.same_names:
        return f'<p class="agree">{texts.SAME_NAMES}</p>'
    if scores.strangers:
        which = texts.STRANGERS if len(scores.strangers) > 1 else texts.STRANGER
        return _disagree(f"{which}: {texts.STRANGER_REASON.format(scores.fit)}.")
    if scores.apart:
        return _disagree(texts.FEW_IN_COMMON.format(scores.fit))
    if scores.shift:
        matched = texts.MATCHED.format(scores.fit)
        return _disagree(f"{_shifted(scores.shift)} {matched} {_move_all(scores.shift, sides)}")
    only = ((texts.ONLY_IN_A, scores.only_here), (texts.ONLY_IN_B, scores.only_there))
    return _disagree(" ".join([texts.OTHER_NAMES, *(text.format(", ".join(names)) for text, names in only if names)]))


def _shifted(levels: int) -> str:
    way = "lower" if levels > 0 else "higher"
    return texts.SHIFTED[way] if abs(levels) == 1 else texts.SHIFTED[f"{way} by more"].format(abs(levels))


def _move_all(levels: int, sides: tuple[str, str]) -> str:
    """The button that moves the names of the film's masks towards those of the other side; none where neither is."""
    if SHOWN not in sides:
        return ""
    way = "lower" if (levels > 0) == (sides[0] == SHOWN) else "higher"
    return _button(way, texts.MOVE_ALL[way], texts.CORRECT_TITLE)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _number(value: float, digits: int = 3) -> str:
    if math.isnan(value):
        return f'<span title="{texts.IN_NEITHER}">–</span>'
    return f'<span title="{texts.IN_ONE_ONLY}">∞</span>' if math.isinf(value) else f"{value:.{digits}f}"


def about(name: str, card: Mapping[str, Any], device: str) -> str:
    """What a model is, how it was trained and what it scored, as its card says."""
    origin, scores = card.get("origin", {}), card.get("scores", {})
    network, grid = card.get("network", {}), card.get("grid", {})
    facts = {
        texts.CARD_WHAT: translated(card.get("description") or "") or texts.NO_DESCRIPTION,
        texts.CARD_NETWORK: texts.NETWORK.format(
            features=" ".join(map(str, network.get("features", ()))),
            rows=grid.get("rows"),
            columns=grid.get("columns"),
            device=device_name(device),
        ),
        texts.CARD_DECODER: texts.ORDERED if card.get("decoder") == "ordered" else texts.UNDECODED,
        texts.CARD_TRAINED: _trained(origin),
        texts.CARD_COMMAND: origin.get("command", ""),
    }
    rows = "".join(
        f"<div><dt>{key}</dt><dd>{_code(value) if key == texts.CARD_COMMAND else escaped(value)}</dd></div>"
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
            texts.CARD_FILMS.format(films=origin["films"]) if "films" in origin else "",
            texts.CARD_MINUTES.format(minutes=f"{seconds / 60:.0f}") if isinstance(seconds, int | float) else "",
            str(origin.get("hardware", "")),
            texts.CARD_COMMIT.format(commit=origin["commit"]) if origin.get("commit") else "",
        )
        if text
    )


_SCORES = ("films", "mean dice", "right", "right but flagged", "wrong and not flagged")
"""Keys of a card's scores, in the order of the table."""


def _scores(row: Mapping[str, Any]) -> dict[str, Any]:
    """A card's figures; a Dice for each vertebra becomes their mean."""
    found = {key: row[key] for key in _SCORES if key in row and key != "mean dice"}
    dice = row.get("mean dice", row.get("dice"))
    each = list(dice.values()) if isinstance(dice, Mapping) else dice if isinstance(dice, list) else [dice]
    numbers = [value for value in each if isinstance(value, int | float)]
    if numbers:
        found["mean dice"] = f"{sum(numbers) / len(numbers):.2f}"
    return found


def _films_scored(kind: str) -> str:
    """What a card calls a set of films, in words."""
    words = kind.replace("_", " ").split()
    return translated(" ".join(word.upper() if word.upper() in VERTEBRAE else word for word in words))


def _score_table(scores: Mapping[str, Any]) -> str:
    """A row for each set of films on the card, a column for each kind of figure that any of them has."""
    found = {kind: _scores(row) for kind, row in scores.items() if isinstance(row, Mapping)}
    columns = [key for key in _SCORES if any(key in row for row in found.values())]
    if not columns:
        return _note(texts.NO_SCORES)
    rows = [
        f'<tr><th scope="row">{escaped(_films_scored(str(kind)))}</th>'
        + "".join(f"<td>{escaped(row.get(key, '–'))}</td>" for key in columns)
        + "</tr>"
        for kind, row in found.items()
    ]
    head = "".join(f"<th>{texts.SCORE_HEADS[key]}</th>" for key in columns)
    return (
        f'<div class="wide"><table class="numbers"><caption>{texts.SCORES}</caption><thead><tr><th></th>{head}</tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )
