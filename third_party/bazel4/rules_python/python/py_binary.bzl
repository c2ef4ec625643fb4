"""py_binary."""

def py_binary(name, **kwargs):
    native.py_binary(name = name, python_version = "PY3", srcs_version = "PY3", **kwargs)
