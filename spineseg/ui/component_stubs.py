"""Gradio imported without what it does for its own developers.

While Gradio is imported it writes a stub file (`*.pyi`) beside the source of each of its 80 components, or finds
that the one there is the same. That is two fifths of the import, helps nobody who only serves a page, and writes into
the folder where packages are installed. Gradio offers no setting for it.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import spec_from_file_location
from types import ModuleType
from typing import Any

MODULE, FUNCTION = "gradio.component_meta", "create_or_modify_pyi"


class _WithoutStubs(SourceFileLoader):
    def exec_module(self, module: ModuleType) -> None:
        """Runs the module, then replaces the function that writes a stub. Where there is none nothing is changed."""
        super().exec_module(module)
        if hasattr(module, FUNCTION):
            setattr(module, FUNCTION, lambda *_: None)


class _Finder:
    @staticmethod
    def find_spec(name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Of Gradio's module alone, where it is a plain file; all else is left to the finders after this one."""
        found = PathFinder.find_spec(name, path, target) if name == MODULE else None
        if found is None or found.origin is None or not isinstance(found.loader, SourceFileLoader):
            return None
        return spec_from_file_location(name, found.origin, loader=_WithoutStubs(name, found.origin))


def leave_out_stubs() -> None:
    """From here on an import of Gradio writes no stubs; without effect where it was imported already."""
    if not any(finder is _Finder for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder)
