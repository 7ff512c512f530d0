import sys

sys.path[:] = filter(None, sys.path)  # a file beside the configuration may have the name of a module below
import importlib
import importlib.machinery
import importlib.util
import json
import os
import types

result = os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace")
os.dup2(2, 1)  # output of the configuration is for the operator
sys.dont_write_bytecode = True
library = os.path.dirname(os.__file__)
standard = (library, os.path.join(library, "lib-dynload"))
behind = max((place for place, path in enumerate(sys.path, 1) if path in standard), default=0)
sys.path.insert(behind, os.getcwd())
kind, target, *callables = sys.argv[1:]  # names that are printed even if they are callable
if kind == "file":
    loader = importlib.machinery.SourceFileLoader("configuration", target)
    found = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(found)
else:
    try:
        found = importlib.import_module(target)
    except ImportError:
        module, _, attribute = target.rpartition(".")
        if not module:
            raise
        found = getattr(importlib.import_module(module), attribute)


def toml(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, float):
        return repr(float(value))
    if isinstance(value, (str, os.PathLike)):
        return json.dumps(os.fsdecode(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, (list, tuple, set, frozenset)):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        entries = ((key, entry) for key, entry in value.items() if entry is not None)
        return "{" + ", ".join(f"{toml(str(key))} = {toml(entry)}" for key, entry in entries) + "}"
    return "{python = " + toml(repr(value)) + "}"


for name in dir(found):
    value = getattr(found, name)
    is_setting = not name.startswith("_") and not isinstance(value, types.ModuleType)
    if not is_setting or value is None or (callable(value) and name not in callables):
        continue
    result.write(f"{toml(name)} = {toml(value)}\n")
