"""Labels and sentences of the page that Python writes, in the order in which a visitor meets them.

The others stand in `static/`: in the *.html files, and under TEXTS in the *.js files. Sentences about a film's levels
and measurements come from `spineseg.inference.levels` and `spineseg.measure`.
"""

from __future__ import annotations

from spineseg.film import CHANNELS, VERTEBRAE

FIRST, SECOND, LAST = VERTEBRAE[0], VERTEBRAE[1], VERTEBRAE[-1]

# ---- left: the film ----
CHOOSE_FILM = "Choose a film"
MODEL = "Model"
INVERTED = "Invert grayscale"
RUN_AGAIN = "Run again"
LOADING = "Loading the model"
READY = "Ready: {model} on {device}"
EXAMPLES = "Simulated examples"
PUBLISHED = "published weights"


FILM_FORMATS = "DICOM, PNG, JPEG, TIFF, BMP or WebP"


def film_hint(max_bytes: int) -> str:
    """Under `CHOOSE_FILM`; max_bytes: of one upload."""
    return f"or drop it: DICOM, PNG, JPEG, TIFF, up to {max_bytes / 2**20:g} MB; several, a folder or a ZIP give a ZIP"


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


# ---- middle: the viewer ----
EDITOR = {
    "example": "Simulated example - drop your film here",
    "exampleTitle": "Choose a film of your own",
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
"""What the viewer says, above all while a person edits; {name}: of a vertebra."""

# ---- right: comparison ----
COMPARE, COMPARE_WITH = "Compare", "Compare with"
NOTHING, A_REFERENCE = "nothing", "a reference file"
CHOOSE_REFERENCE = "Choose a reference"
REFERENCE_HINT = (
    f".mat, .npy or .npz of rows × columns × {len(CHANNELS)}, label PNG or TIFF, NIfTI or DICOM segmentation"
)
REFERENCE_TITLE = "reference"
NOTHING_TO_COMPARE = "Choose a reference or another model to compare with."
NO_MASKS = "{} has no masks: none of its channels comes above 0.5."
LOOK_AT_MAPS = (
    f"Swipe, then show one channel at a time with Shift and 1 to {len(VERTEBRAE)}, or look at its probability maps."
)
NO_SCORES_YET = "The scores appear here once the film is segmented."
COMPARED = "{} against {}: mean Dice"
HAUSDORFF_TITLE = "95 % Hausdorff distance"
PLANE = ", at the {}"
SAME_NAMES = "Every vertebra bears the same name in both."
NAMES_OFF_BY_ONE = "The names are off by one level."
MOVE_ALL = {
    "lower": f"Shift labels: caudal ({FIRST} becomes {SECOND})",
    "higher": f"Shift labels: cranial ({SECOND} becomes {FIRST})",
}
OTHER_NAMES = "Not every vertebra bears the same name in both."
IN_NEITHER, IN_ONE_ONLY = "in neither", "in one of them only"

# ---- right: measurements ----
MEASUREMENTS = "Measurements"
NO_MEASUREMENTS = "Measurements appear once a film is segmented."
MILLIMETRES = "Millimetres at the {}. "
INTERVAL = "± half of a 95 % interval, from the masks’ own uncertainty."
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
NO_FILM_TO_SEGMENT = "No film is open; choose one first"
NO_FILM_FOR_REFERENCE = "No film is open; choose it before its reference"
UNKNOWN_EXAMPLE = "There is no such example; open the page again"
BAD_MASKS = "These masks are not of this film's size; open the film again"
RAGGED_MASKS = "These masks are too ragged to be vertebrae; smooth them with the brush"
OVERLAPPING_MASKS = "A pixel of these masks is in two vertebrae; open the film again"
BAD_FILM = "Size or spacing of this film is not within the limits; open the film again"
NEEDS_FILM = "The overlay needs the film, which this server no longer holds; choose it again, your contours come back"
MODEL_UNKNOWN = "changed by a person; the server no longer held the model's masks"
NO_FILM_TO_DOWNLOAD = "The server no longer holds this film; choose it again"
NO_MASKS_TO_DOWNLOAD = "This film has no masks yet; press Run again"
NO_SESSION = "Expected a session with a random name, got none; open the page again"
MCP_FILE = "Expected the address of a film on this page, got another; upload it to /gradio_api/upload first"
UNKNOWN_MODEL = "Expected one of the models {}, got another; choose one"
UNKNOWN_DOWNLOAD = "Expected one of {}, got another kind of file; choose one"
TOO_LARGE = "This file exceeds the maximum allowed size of {:g} MB; export a single film, compressed"
NO_UPLOAD = "Expected {}, got nothing; choose a file"
UPLOAD_GONE = "Expected {}, but it is no longer here; choose it again"
DISCLAIMER = "For research, not for diagnosis."
