"""``python -m hcrs``: the command that is installed with this interpreter, which also runs the workers."""

import os
import sys

#: The variable with the interpreter that has called the command. Symlinks stay as they are: they mark a venv's Python.
VARIABLE = "_HCRS_CALLED_BY"

if __name__ == "__main__":
    folder = os.getcwd()
    sys.path[:] = [path for path in sys.path if path not in ("", folder)]  # the app's directory
    from hcrs.edge import command

    if sys.executable:
        os.environ[VARIABLE] = sys.executable
    os.execv(command(), ["hcrs", *sys.argv[1:]])
