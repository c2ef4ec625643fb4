"""py_library with those attributes of today's rules_python that this repository uses."""

def py_library(name, data = [], pyi_srcs = [], **kwargs):
    native.py_library(name = name, data = data + pyi_srcs, srcs_version = "PY3", **kwargs)
