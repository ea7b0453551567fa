"""How a folder of films is converted, split and changed; imports nothing that takes time, for the command line."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from spineseg.film import VERTEBRAE


@dataclass(frozen=True)
class ConvertConfig:
    """What is converted, from where to where."""

    films: Path
    """Folder of films: .dcm, .png, .jpg, .tif, .bmp, .webp (bone bright), .nii or .nii.gz."""
    labels: Path
    """Folder of label maps, <film>.png, .tif, .nii or .nii.gz; or of one PNG per vertebra, <film>_L1.png."""
    out: Path
    """Folder that is made, with img/*.dcm and label/*."""
    values: tuple[str, ...] = tuple(f"{name}={number}" for number, name in enumerate(VERTEBRAE, 1))
    """Which number is which vertebra, as L1=20 L2=21."""
    ignore: tuple[int, ...] = ()
    """Numbers that are something else, and become background."""
    film_suffix: str = ""
    """What a film's name ends with beyond its label's, as _0000."""
    label_suffix: str = ""
    """What a label's name ends with beyond its film's, as _seg."""
    label_format: Literal["mat", "npy"] = "mat"
    orientation: Literal["header", "stored", "exchanged"] = "header"
    """Of NIfTI: header, where it says that the axes point; for files whose header is wrong, stored (the first axis runs
    to the right, the second down) or exchanged."""
    invert: bool = False
    """Bone is dark in the films."""
    skip: bool = False
    """Leave out what cannot be converted, instead of converting nothing."""
    force: bool = False
    """Replace a folder of an earlier conversion."""


@dataclass(frozen=True, kw_only=True)
class SplitConfig:
    """Which films are held back."""

    validation: float | None = None
    """Share of the films held back, whole films; if left open a fifth, of more than 200 films 40 or a twentieth."""
    folds: int = 0
    """Cross-validation: train so many times, each time holding back another part of the films; 0 for one training."""
    fold: int = 0
    """Train only this one of the folds, counted from 1; 0 for all, one after the other."""
    patients: Literal["dicom"] | Path | None = None
    """Hold back the films of one patient together: a CSV file with the columns film and patient (or fold), or dicom for
    the films' Patient ID, which is read into memory and never written."""
    seed: int = 0


@dataclass(frozen=True)
class AugmentConfig:
    """Ranges of the random changes; probabilities are per film. `AugmentConfig.none()` changes nothing."""

    flip_probability: float = 0.5
    """Left to right."""
    rotate_deg: float = 9.0
    """Deviation of a turn in the plane."""
    scale: float = 0.12
    """Deviation of log size."""
    stretch: float = 0.05
    """Deviation of log aspect."""
    shear: float = 0.04
    shift: float = 0.06
    """Deviation of a shift as a share of the grid."""
    cut_probability: float = 0.12
    """A blank band along one side, as collimation leaves."""
    invert_probability: float = 0.05
    gamma: float = 0.35
    """Deviation of log gamma."""
    bias: float = 0.25
    """Deviation of a slow multiplicative field."""
    noise: float = 0.03
    """Largest deviation of added noise; values are 0..1."""
    blur_probability: float = 0.25
    sharpen_probability: float = 0.2
    box_probability: float = 0.25
    """Up to three small patches of an even value."""
    clip_probability: float = 0.25
    """Highlights or shadows lost."""

    @classmethod
    def none(cls) -> AugmentConfig:
        """The identity."""
        return cls(*(0.0,) * len(fields(cls)))
