"""Take folders off paths in texts: a folder tells user names, disks and projects, a file name is enough."""

from __future__ import annotations

import re

from provenance_guard.json_types import Json

# Folders may hold spaces ("C:\Users\Joe Smith\"), but no commas, colons or quotes: those end a path within a sentence.
_WINDOWS = r"""(?:(?<!\w)[A-Za-z]:[\\/]+|(?<![\\\w])\\\\+)(?:[^\\/:*?"<>|,\r\n]+[\\/]+)*"""
_POSIX = r"""(?:file://|(?<![\w./<~-]))~?/(?:[^/\s"'<>|,:][^/"'<>|,:\r\n]*/)+"""
_HOME = r"""(?<![\w./<-])~/"""
_FOLDERS = re.compile(rf"(?:file:/{{2,3}})?(?:{_WINDOWS})|{_POSIX}|{_HOME}")


def strip_folders(text: str) -> str:
    """``text`` with every absolute path (POSIX, Windows, UNC, ``file:`` URI) cut down to its last part."""
    return _FOLDERS.sub("", text)


def without_folders(value: Json, *, name: str = "") -> Json:
    """A JSON value with folders taken off all its texts, but for prompts: a prompt is the person's own words.

    ``name`` is the member under which the value stands.
    """
    if isinstance(value, str):
        return value if "prompt" in name or "template" in name else strip_folders(value)
    if isinstance(value, list):
        return [without_folders(entry, name=name) for entry in value]
    if isinstance(value, dict):
        return {key: without_folders(entry, name=key) for key, entry in value.items()}
    return value
