"""py_test."""

def py_test(name, **kwargs):
    native.py_test(name = name, python_version = "PY3", srcs_version = "PY3", **kwargs)
