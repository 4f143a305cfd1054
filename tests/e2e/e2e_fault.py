"""A fault for servers that tests start: one of their models becomes slow while a file is there.

`install` writes a ``sitecustomize.py``, which an interpreter imports by itself when ``PYTHONPATH`` names its folder.
"""

from __future__ import annotations

import os
from pathlib import Path

HOOK = """
import importlib.abc
import importlib.util
import json
import os
import sys
import time


class Hook(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "charter.serve.scorer":
            return None
        sys.meta_path.remove(self)
        found = importlib.util.find_spec(name)
        load = found.loader.exec_module

        def exec_module(module):
            load(module)
            runs = module.Scorer.run

            def slow(self, frame, **options):
                if os.path.exists({flag!r}) and {feature!r} in json.dumps(self.bundle.featureset):
                    time.sleep(0.5)
                return runs(self, frame, **options)

            module.Scorer.run = slow

        found.loader.exec_module = exec_module
        return found


sys.meta_path.insert(0, Hook())
"""


def install(folder: Path, *, feature: str) -> tuple[Path, dict[str, str]]:
    """Let the model that has a feature take half a second, while a file is there.

    Returns
    -------
    The file, which is not there yet, and the environment for the server.
    """
    flag = folder / "slow"
    (folder / "site").mkdir(parents=True)
    (folder / "site" / "sitecustomize.py").write_text(HOOK.format(flag=str(flag), feature=f'"{feature}"'))
    known = os.environ.get("PYTHONPATH")
    return flag, {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(folder / "site"), *([known] if known else [])]),
    }
