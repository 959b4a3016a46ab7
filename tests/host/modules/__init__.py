"""A small, typed stand-in of the WebUI's ``modules``: the names that we use, behaving as v1.10.1 does.

``contract.toml`` lists what we rely on; ``tests/fakehost`` holds this stand-in to it and ``tests/webui`` the real host.
"""
