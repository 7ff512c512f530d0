"""``python -m hcrs``: the command that is installed beside this Python."""

import os
import sys

from hcrs.edge import command

if __name__ == "__main__":
    os.execv(command(), ["hcrs", *sys.argv[1:]])
