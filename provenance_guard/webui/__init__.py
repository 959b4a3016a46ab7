"""The WebUI's side of the door: the only room that imports the host's ``modules``.

``hooks`` is loaded first and imports nothing heavy, so that a broken part ends in the policy's ``on_error`` instead of
silently switching the extension off. Everything else is imported where it is needed.
"""
