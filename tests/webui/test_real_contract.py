"""The real host keeps the contract that the stand-in is tested against."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HOST = Path(__file__).parents[1] / "host"

# Imports the host as its own start does, then checks. The stand-in's folder must not be on the path.
PROGRAM = """
import json, os, runpy, sys
contract, sys.argv = json.load(sys.stdin), [sys.argv[0], "--skip-torch-cuda-test", "--use-cpu", "all", "--no-half"]
sys.path[:0] = [os.getcwd(), os.path.join(os.getcwd(), "extensions-builtin", "Lora")]
from modules import initialize
initialize.imports()
import modules.processing
checker = runpy.run_path(os.environ["CHECKER"], run_name="checker")
print("DEVIATIONS", json.dumps(checker["deviations"](contract)))
"""


def test_real_host_keeps_the_contract(webui_dir, webui_python):
    import os

    contract = tomllib.loads((HOST / "contract.toml").read_text("utf-8"))
    done = subprocess.run(
        [webui_python, "-c", PROGRAM],
        input=json.dumps(contract),
        cwd=webui_dir,
        env={**os.environ, "CHECKER": str(HOST / "check_contract.py")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    answers = [line for line in done.stdout.splitlines() if line.startswith("DEVIATIONS")]
    assert answers == ["DEVIATIONS []"], done.stdout[-2000:] + done.stderr[-2000:]
