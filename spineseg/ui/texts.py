"""Labels and sentences of the page that Python writes, in the order in which a visitor meets them.

The others stand in `static/`: in the *.html files, and under TEXTS in the *.js files. Sentences about a film's levels
and measurements come from `spineseg.inference.levels` and `spineseg.measure`.
"""

from __future__ import annotations

from spineseg.film import CHANNELS, VERTEBRAE

NEEDS_FILE = "A DICOM segmentation needs the film's own file, which this tab no longer has; choose the film again"
FIRST, SECOND, LAST = VERTEBRAE[0], VERTEBRAE[1], VERTEBRAE[-1]

# ---- left: the film ----
CHOOSE_FILM = "Choose a film"
MODEL = "Model"
INVERTED = "Invert grayscale"
SEGMENT = "Segment"
LOADING = "Loading the model"
READY = "Ready: {model} on {device}"
EXAMPLES = "Simulated examples"


FILM_FORMATS = "DICOM, PNG, JPEG, TIFF, BMP or WebP"


def film_hint(max_bytes: int) -> str:
    """Under `CHOOSE_FILM`; max_bytes: of one upload."""
    return f"or drop it: DICOM, PNG, JPEG, TIFF, up to {max_bytes / 2**20:g} MB; several, a folder or a ZIP give a list"


# ---- right: findings ----
NO_FILM = "No film yet."
SIZE = "{rows} × {columns} px"
NOT_SEGMENTED = "{size}, not segmented yet"
SHOW_ANYWAY, SHOW_ANYWAY_TITLE = "Show anyway", "Draw what was found on this picture all the same"
CORRECTED = "Corrected by hand"
VERTEBRA_AND_CONFIDENCE, VERTEBRA = "Vertebra and label confidence", "Vertebra"
NOT_FOUND = "not found"
FORMER_NAME = "was {}"
DROP_TITLE = "Leave {} out"
ALL_NAMES = "Shift labels"
MOVE = {"lower": "caudal", "higher": "cranial"}
MOVE_TITLE = {
    "lower": f"{FIRST} becomes {SECOND}, and so on",
    "higher": f"{SECOND} becomes {FIRST}, and so on",
}
UNDO, UNDO_TITLE = "Undo", "One step back (Ctrl+Z)"
CORRECT_TITLE = "Correct the levels"
DRAWN_BY_HAND, RESHAPED = "drawn by hand", "contour changed"
RENAMED, NAME_AND_FORMER = "renamed: {}", "{} (was {})"
CHANGED = "contour changed: {}"
DRAWN = "drawn by hand: {}"
DROPPED = "left out: what the model called {}"
NAMELESS = "no name is left for what the model called {}"
EMPTY = "now empty: {}"


def names_moved(levels: int) -> str:
    """levels: caudally; negative: cranially."""
    way, count = ("lower" if levels > 0 else "higher"), abs(levels)
    return f"every name {count} {'level' if count == 1 else 'levels'} {way}"


# ---- middle: editing contours ----
EDITOR = {
    "edit": "Edit",
    "editTitle": "Edit contours (E)",
    "helpEdit": "edit contours and labels; then digits choose a vertebra, V B X C a tool, Tab and arrows move a handle",
    "toolbar": "Edit contours",
    "vertebra": "Vertebra to edit",
    "tool": "Tool",
    "shape": "Shape",
    "shapeTitle": "Drag a corner, the middle of a side, or the contour (V)",
    "brush": "Brush",
    "brushTitle": "Paint (B)",
    "erase": "Eraser",
    "eraseTitle": "Erase (X)",
    "corners": "Four corners",
    "cornersTitle": "Click the four corners; the outline is drawn through them (C)",
    "size": "Size",
    "sizeUnit": "{size} px",
    "rename": "Rename to",
    "renameTitle": "Give this vertebra another label; where that is taken, the two are exchanged",
    "neighbours": "with neighbours",
    "neighboursTitle": "All other labels move by as many levels",
    "remove": "Remove",
    "removeTitle": "Remove this vertebra (Delete)",
    "undo": "Undo",
    "undoTitle": "Undo (Ctrl+Z)",
    "redo": "Redo",
    "redoTitle": "Redo (Ctrl+Shift+Z)",
    "original": "Model’s own",
    "originalTitle": "Back to the model’s own masks; Undo brings yours back",
    "done": "Done",
    "doneTitle": "End editing (E or Esc)",
    "byHand": "by hand",
    "corner": "{name}, corner {n}",
    "side": "{name}, side {n}",
    "saySelected": "{name}: drag a corner, a side or the contour.",
    "sayAbsent": "{name} has no mask: choose Four corners, or paint it.",
    "sayBrush": "Paint {name}.",
    "sayErase": "Erase {name}.",
    "sayCorners": "Click the four corners of {name}: {n} of 4.",
    "sayUndone": "Undone: {step}.",
    "sayRedone": "Done again: {step}.",
    "sayNoneLeft": "No vertebra would be left; nothing was moved.",
    "sayRestored": "Your contours of this film are back.",
    "saySegmented": "New masks of the model. Undo brings yours back.",
    "sayForgotten": "Your contours are back. The server no longer holds this film: "
    "choose it again to segment it or to save its overlay.",
    "sayOffline": "No answer from the server; your contours are kept in this browser.",
    "stepShape": "contour of {name}",
    "stepBrush": "brush on {name}",
    "stepErase": "eraser on {name}",
    "stepCorners": "outline of {name}",
    "stepRemove": "removal of {name}",
    "stepRename": "{name} renamed to {other}",
    "stepShift": "all labels moved",
    "stepOriginal": "the model’s own masks",
    "stepSegmented": "new masks of the model",
}
"""What the scripts of the viewer say while a person edits; {name}: of a vertebra."""

# ---- middle: window, lengths and angles ----
WINDOW_AND_RULERS = {
    "window": "Window level / width",
    "level": "Level",
    "width": "Width",
    "windows": "Presets of the window",
    "windowDefault": "Default",
    "windowDefaultTitle": "1st to 99.5th percentile of the film",
    "windowFile": "From the file",
    "windowFileTitle": "The window that the file states",
    "windowBone": "Bone",
    "windowBoneTitle": "Around the values of the vertebrae found; without them, of the brighter half of the film",
    "windowSoft": "Soft tissue",
    "windowSoftTitle": "The darker part of the film, without air",
    "windowFull": "Full range",
    "windowFullTitle": "Lowest to highest value",
    "windowAuto": "Auto",
    "windowAutoTitle": "Of the part in view, without borders",
    "windowLoading": "8-bit picture; the film’s own values follow",
    "windowPicture": "8-bit picture; choose the film again for its own values",
    "invert": "Invert",
    "tools": "Tools of the pointer",
    "toolWindow": "Window",
    "toolWindowTitle": "Drag up: brighter; drag to the right: wider (G); the right button does so with any tool",
    "toolRuler": "Ruler",
    "toolRulerTitle": "A length: drag, or click both ends; Enter puts one in the middle (T)",
    "toolAngle": "Angle",
    "toolAngleTitle": "An angle at its middle point: click three points; Enter puts one in the middle (V)",
    "toolCobb": "Cobb",
    "toolCobbTitle": "The angle between two lines: drag one, then the other; Enter puts them in the middle (K)",
    "measured": "Lengths and angles",
    "rulerDetector": "Ruler {n}: {mm} mm at the detector",
    "rulerPatient": "Ruler {n}: {mm} mm at the patient",
    "rulerPixels": "Ruler {n}: {px} px; the film states no pixel spacing",
    "angle": "Angle {n}: {degrees}°",
    "cobb": "Cobb angle {n}: {degrees}°",
    "shortMm": "{mm} mm",
    "shortPixels": "{px} px",
    "shortDegrees": "{degrees}°",
    "deleteMark": "Delete {what}",
    "point": "{what}, point {n}",
    "at": "row {row}  column {column}",
    "value": "value {value}",
    "valueRounded": "value about {value}",
    "atDetector": "{down} mm down, {right} mm right at the detector",
    "atPatient": "{down} mm down, {right} mm right at the patient",
    "helpTools": "window level / width, ruler, angle, Cobb angle by dragging; Esc ends. Enter puts one in the middle, "
    "Tab and arrows move its points, Delete removes it",
    "helpRightButton": "drag with the right button: up brighter, to the right a wider window",
}
"""What the scripts of the viewer say of the window and of what a person measures; {n}: counted from 1."""
# ---- middle: while waiting ----
READING = "Reading the film"
SEGMENTING, SEGMENTING_VIEW = "Segmenting", "Segmenting, view {view} of {count}"

# ---- middle: lines and downloads ----
VIEWER = {
    "lines": "Measurement lines",
    "segTitle": "DICOM segmentation that refers to this film; without patient fields",
    "csvTitle": "The table of measurements with 95 % intervals",
    "seg": "DICOM SEG",
    "csv": "Measurements CSV",
    "noSeg": "DICOM SEG is not offered. {reason}.",
    "saySegNeedsFile": NEEDS_FILE,
}

# ---- left: several films ----
BATCH = {
    "films": "Several films",
    "open": "Open this film",
    "waiting": "waiting",
    "segmenting": "segmenting",
    "cancelled": "cancelled",
    "skipped": "left out",
    "corrected": "{verdict}, corrected by hand",
    "renamed": "{state}, saved as {stem}",
    "correctedRemark": "corrected by hand",
    "tooLarge": "larger than {limit}",
    "failed": "could not be sent",
    "unreadable": "cannot be opened",
    "looking": "Looking for films",
    "progress": "Segmenting, {n} of {count} films",
    "saving": "Corrected films again, {n} of {count} films",
    "stopping": "Stopping",
    "ready": "{good} of {count} films are ready",
    "stopped": "Stopped: {good} of {count} films are ready",
    "cancel": "Cancel",
    "save": "Save ZIP",
    "close": "Close",
    "measurements": "Measurements of all films",
    "show": "Show",
    "copy": "Copy",
    "copyTitle": "Copy the table for a spreadsheet",
    "copied": "Copied",
    "csv": "CSV",
    "csvTitle": "Save measurements.csv",
    "film": "Film",
    "verdict": "Verdict",
    "head": "{name} ({unit})",
    "tableNote": "Slips: above 0 anterolisthesis, below 0 retrolisthesis. Millimetres as each film states them.",
}
"""What the panel of several films says."""
# ---- middle: comparing ----
VIEWER_COMPARISON = {
    "masks": "Masks",
    "masksTitle": "Masks on the film (M)",
    "sideATitle": "Side A alone (,)",
    "sideBTitle": "Side B alone (.)",
    "swipe": "Swipe",
    "swipeTitle": "A left, B right of a line to drag (S)",
    "blink": "Blink",
    "blinkTitle": "A and B in turn (B)",
    "difference": "Difference",
    "differenceTitle": "Pixels of A alone, of B alone, of both (D)",
    "contours": "Both outlines",
    "contoursTitle": "Outlines of A, and dashed those of B (C)",
    "maps": "Probability maps",
    "mapsTitle": "Before post-processing (R)",
    "mapsOf": "Probability maps: {title}",
    "asCorrected": "{title}, corrected",
    "side": "{side}: {title}",
    "onlyA": "Only A: {count} px",
    "onlyB": "Only B: {count} px",
    "otherName": "Other name: {count} px",
    "both": "Both: {count} px",
    "helpCompare": "swipe; blink; difference; both outlines; masks (where there is something to compare)",
    "helpSides": "side A alone; side B alone",
    "helpMaps": "probability maps of the network; pressed again, of those compared",
}
"""What the viewer says while two sets of masks are compared; {title}: of one of them, {count}: of pixels."""

# ---- right: comparison ----
COMPARE = "Compare"
SIDE_A, SIDE_B = "Side A", "Side B"
NOTHING, SHOWN = "nothing", "Shown, as corrected"
REFERENCE_TITLES = ("reference 1", "reference 2")
CHOOSE_REFERENCES = ("Choose reference 1", "Choose reference 2")
DROP_REFERENCE = "or drop it"
REFERENCE_HINT = (
    f".mat, .npy or .npz of rows × columns × {len(CHANNELS)}, label PNG or TIFF, NIfTI or DICOM segmentation"
)
FAILS_ON_PURPOSE = "{} (fails on purpose)"
AS_CORRECTED = "{}, corrected"
NOTHING_TO_COMPARE = "Choose what to compare: masks of a model, or a reference of your own."
THE_SAME_TWICE = "A and B are the same; choose another."
REFERENCE_TO_COME = "Choose a file for {}."
REFUSED = "{} was refused. {}."
NO_MASKS = "{} has no masks: none of its channels comes above 0.5."
LOOK_AT_MAPS = (
    f"Swipe, then show one channel at a time with Shift and 1 to {len(VERTEBRAE)}, or look at its probability maps."
)
NO_SCORES_YET = "The scores appear here once the film is segmented."
COMPARED = "A: {}; B: {}"
MEAN = "Mean"
HAUSDORFF_TITLE = "95 % Hausdorff distance"
PLANE = ", at the {}"
SAME_NAMES = "Every vertebra bears the same name in both."
SHIFTED = {
    "lower": "The same bodies, named one level lower in B.",
    "higher": "The same bodies, named one level higher in B.",
    "lower by more": "The same bodies, named {} levels lower in B.",
    "higher by more": "The same bodies, named {} levels higher in B.",
}
MOVE_ALL = {
    "lower": f"Shift labels: caudal ({FIRST} becomes {SECOND})",
    "higher": f"Shift labels: cranial ({SECOND} becomes {FIRST})",
}
MATCHED = "Matched at best, their mean Dice is {:.2f}."
OTHER_NAMES = "Not every vertebra bears the same name in both."
ONLY_IN_A, ONLY_IN_B = "Only in A: {}.", "Only in B: {}."
STRANGER = "This reference does not belong to this film"
STRANGERS = "These references do not belong to this film"
STRANGER_REASON = "its bodies do not lie on those found here; matched at best, their mean Dice is {:.2f}"
FEW_IN_COMMON = "A and B have hardly a body in common: matched at best, their mean Dice is {:.2f}."
IN_NEITHER, IN_ONE_ONLY = "in neither", "in one of them only"

# ---- right: measurements ----
MEASUREMENTS = "Measurements"
NO_MEASUREMENTS = "Measurements appear once a film is segmented."
BY_HAND = "by hand"
MILLIMETRES = "Millimetres at the {}. "
INTERVAL = "95 % intervals from the masks’ own uncertainty. Point at a row to see its lines."
MEASUREMENT_HEAD = ("Measurement", "Value", "95 % interval")
TOPICS = {"alignment": "Alignment", "slips": "Slips", "discs": "Discs", "bodies": "Vertebral bodies"}
FROM_TO = "{} to {}"
FIGURE, FIGURE_WITH_INTERVAL = "{name} {value}", "{name} {value} ({interval})"
COPY, COPIED, COPY_TITLE = "Copy table", "Copied", "Copy all rows for a spreadsheet"
NOT_MEASURED = "Not measured: {}"
TOO_UNCERTAIN = "{}: too uncertain"

# ---- below: the model ----
ABOUT = "About: the model, its limits, your own model"
NO_DESCRIPTION = "No description on its card."
NETWORK = "U-Net, features {features}; sees the whole film as {rows} × {columns}; runs on {device}"
ORDERED = "Names bodies along one path from head to tail, so that no level comes twice or out of order."
UNDECODED = "None: each pixel goes to its strongest channel where that is above 0.5, as the network says it."
SCORES = "Scores on its card"
NO_SCORES = "Its card states no scores."

# ---- messages ----
UNFORESEEN = "Something went wrong here, not with what you did; try again, or try another film."
OVERTAKEN = "Expected the film as it was, but another press came between; press again"
NO_GPU = "The GPU that this page borrows for a film did not segment it ({}); try again later"
BUSY = "the page is busy; try again later"
NO_FILM_TO_SEGMENT = "Expected a film, got none; choose one first"
NO_FILM_FOR_REFERENCE = "Expected a film before its reference, got none; choose the film first"
BAD_MASKS = "These masks are not of this film's size; open the film again"
RAGGED_MASKS = "These masks are too ragged to be vertebrae; smooth them with the brush"
OVERLAPPING_MASKS = "A pixel of these masks is in two vertebrae; open the film again"
BAD_FILM = "Size or spacing of this film is not within the limits; open the film again"
NEEDS_FILM = "The overlay needs the film, which this server no longer holds; choose it again, your contours come back"
MODEL_UNKNOWN = "changed by a person; the server no longer held the model's masks"
NO_FILM_TO_DOWNLOAD = "Expected a segmented film, got none; open it again and press Segment"
NO_MASKS_TO_DOWNLOAD = "Expected a film with masks, got none; press Segment first"
NO_SESSION = "Expected a session with a random name, got none; open the page again"
MCP_FILE = "Expected the address of a film on this page, got another; upload it to /gradio_api/upload first"
UNKNOWN_MODEL = "Expected one of the models {}, got another; choose one"
UNKNOWN_DOWNLOAD = "Expected one of {}, got another kind of file; choose one"
TOO_LARGE = "This file exceeds the maximum allowed size of {:g} MB; export a single film, compressed"
NO_UPLOAD = "Expected {}, got nothing; choose a file"
UPLOAD_GONE = "Expected {}, but it is no longer here; choose it again"
DISCLAIMER = "For research, not for diagnosis."
