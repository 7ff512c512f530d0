"""``python -m hcrs``: the command that is installed beside this Python, with this Python for its workers."""

import os
import sys

#: Where the command looks for the interpreter that has called it. The path is resolved no further: it makes it a venv's.
VARIABLE = "_HCRS_CALLED_BY"

if __name__ == "__main__":
    folder = os.getcwd()
    sys.path[:] = [path for path in sys.path if path not in ("", folder)]  # it is the app's
    from hcrs.edge import command

    if sys.executable:
        os.environ[VARIABLE] = sys.executable
    os.execv(command(), ["hcrs", *sys.argv[1:]])
