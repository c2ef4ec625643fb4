"""What a py_binary runs: its first argument is a module (as python -m) or module:function."""

import importlib
import runpy
import sys

# A script's own folder is sys.path[0]: with main in a room, the room's file names would shadow the standard library.
sys.path.pop(0)
sys.argv.pop(0)
module, _, function = sys.argv[0].partition(":")
if function:
    sys.exit(getattr(importlib.import_module(module), function)())
runpy.run_module(module, run_name="__main__", alter_sys=True)
