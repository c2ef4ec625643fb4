"""Which files of a room go into the wheel: read by Bazel (load) and by setup.py (as Python)."""

# The rooms, in the order of the imports: each is the package mainspring.<room>.
ROOMS = ["native", "core", "serving", "workflows", "platform", "bench"]

# Folders of these names hold sources, tests or things to copy, never package files, at any depth.
NOT_SHIPPED_FOLDERS = [
    "tests",
    "src",
    "include",
    "cuda",
    "bindings",
    "skeleton",
    "deploy",
    "tools",
    "web",
]

# Files that only serve pytest, at any depth.
NOT_SHIPPED_FILES = [
    "conftest.py",
    "bench_*.py",
]

# What ships beside the .py files, by ending.
SHIPPED_ENDINGS = [
    ".pyi",
    "py.typed",
    ".sql",
    ".json",
    ".yaml",
    ".toml",
    ".txt",
    ".html",
    ".css",
    ".js",
    ".svg",
    ".mako",
    ".proto",
    ".cedar",
    ".cedarschema",
    ".tmpl",
]
