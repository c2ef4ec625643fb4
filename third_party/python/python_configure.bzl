"""Finds a Python interpreter and what is installed beside it.

@local_python: the runtime toolchain, the C headers and pybind11's headers.
@pypi: one target per distribution of the lock file, with rules_python's labels
(@pypi//numpy, @pypi//numpy:pkg).

The interpreter: $PYTHON_BIN_PATH, else <workspace>/.venv/bin/python, else python3 on PATH.
Its packages are seen through a layer: a venv made here whose one .pth file names their folder.
Python reads no further .pth files in a folder that a .pth file named, so that the packages are
there, and the finder of an editable install (`pip install -e .` of this checkout) is not: it
would satisfy imports that no BUILD file declares.
"""

_PROBE = """
import importlib.metadata, importlib.util, json, pathlib, re, site, sys, sysconfig
dists = {}
for dist in importlib.metadata.distributions():
    dists.setdefault(re.sub(r"[-_.]+", "_", dist.metadata["Name"]).lower(), dist.version)
try:
    import pybind11
    pybind = pybind11.get_include()
except ImportError:
    pybind = ""
def is_program(file):  # a binary that a wheel brought, not a script for the interpreter below
    with file.open("rb") as opened:
        return opened.read(4) == b"\\x7fELF" and not file.name.startswith("python")
scripts = pathlib.Path(sysconfig.get_paths()["scripts"])
print(json.dumps({
    "programs": [str(f) for f in scripts.iterdir() if f.is_file() and is_program(f)] if sys.prefix != sys.base_prefix else [],
    "version": "%d.%d" % sys.version_info[:2],
    "include": sysconfig.get_paths()["include"],
    "site": site.getsitepackages(),
    "pybind11": pybind,
    "dists": dists,
    "sees_mainspring": importlib.util.find_spec("mainspring") is not None,
}))
"""

def find_python(ctx):
    """The interpreter to look through, as an absolute path.

    Args:
      ctx: a repository rule's context.
    Returns:
      $PYTHON_BIN_PATH, else .venv/bin/python of the workspace, else python3 on PATH.
    """
    root = str(ctx.path(Label("//:pyproject.toml")).dirname)
    for candidate in [ctx.os.environ.get("PYTHON_BIN_PATH", ""), root + "/.venv/bin/python"]:
        if candidate and ctx.path(candidate).exists:
            return candidate
    found = ctx.which("python3")
    if not found:
        fail("no Python; run `make setup`, or set PYTHON_BIN_PATH")
    return str(found)

def _probe(ctx, python):
    result = ctx.execute([python, "-I", "-c", _PROBE])
    if result.return_code:
        fail("%s does not run: %s" % (python, result.stderr))
    return json.decode(result.stdout)

def _layered(ctx):
    """Makes the layer venv in this repository; returns its interpreter, what it sees, and the interpreter below."""
    below = find_python(ctx)
    made = ctx.execute([below, "-I", "-m", "venv", "--without-pip", str(ctx.path("venv"))])
    if made.return_code:
        fail("%s makes no venv: %s%s" % (below, made.stdout, made.stderr))
    info = _probe(ctx, below)
    folder = "venv/lib/python%s/site-packages" % info["version"]
    ctx.file(folder + "/layer.pth", "\n".join(info["site"]) + "\n")
    for program in info["programs"]:
        ctx.symlink(program, "venv/bin/" + program.split("/")[-1])
    python = str(ctx.path("venv/bin/python"))
    info = _probe(ctx, python)
    if info["sees_mainspring"]:
        # Its files would satisfy imports that a BUILD file does not declare. (Bazel remembers a
        # failed fetch until its server ends, hence the shutdown.)
        fail("a copy of mainspring is installed for %s; run: %s -m pip uninstall mainspring; bazel shutdown" % (below, below))
    return python, info, below

def _local_python_impl(ctx):
    python, info, _ = _layered(ctx)
    ctx.symlink(info["include"], "include")
    if info["pybind11"]:
        ctx.symlink(info["pybind11"], "pybind11_include")
    ctx.file("BUILD.bazel", """
load("@bazel_tools//tools/python:toolchain.bzl", "py_runtime_pair")
load("@rules_cc//cc:cc_library.bzl", "cc_library")

package(default_visibility = ["//visibility:public"])

py_runtime(
    name = "runtime",
    interpreter_path = "{python}",
    python_version = "PY3",
    stub_shebang = "#!{python} -I",
)

py_runtime_pair(
    name = "runtime_pair",
    py3_runtime = ":runtime",
)

toolchain(
    name = "toolchain",
    toolchain = ":runtime_pair",
    toolchain_type = "@bazel_tools//tools/python:toolchain_type",
)

cc_library(
    name = "headers",
    hdrs = glob(["include/**/*.h"]),
    includes = ["include"],
)

cc_library(
    name = "pybind11",
    hdrs = glob(["pybind11_include/**/*.h"]),
    includes = ["pybind11_include"],
    deps = [":headers"],
)
""".format(python = python))
    ctx.file("defs.bzl", "PYTHON = %r\nPYTHON_VERSION = %r\n" % (python, info["version"]))

local_python = repository_rule(
    implementation = _local_python_impl,
    configure = True,
    local = True,
    environ = ["PYTHON_BIN_PATH", "PATH"],
)

def _pins(text):
    pins = {}
    for line in text.replace("\\\n", " ").split("\n"):
        line = line.split("#")[0].split(";")[0].split(" --hash")[0].strip()
        if "==" in line:
            name, version = line.split("==")
            name = name.split("[")[0].strip().lower().replace("-", "_").replace(".", "_")
            pins[name] = version.strip()
    return pins

def _local_pypi_impl(ctx):
    _, info, below = _layered(ctx)
    pins = _pins(ctx.read(ctx.attr.lock))
    wrong = []
    for name, version in sorted(pins.items()):
        have = info["dists"].get(name, "")

        # A local label (torch 2.13.0+cpu) satisfies its public version.
        if have.split("+")[0] != version.split("+")[0]:
            wrong.append("  %s: lock %s, installed %s" % (name, version, have or "none"))
        ctx.file(name + "/version.txt", "%s==%s\n" % (name, have))
        ctx.file(name + "/BUILD.bazel", """
load("@rules_python//python:py_library.bzl", "py_library")

package(default_visibility = ["//visibility:public"])

# version.txt makes a changed pin rerun what depends on it.
py_library(
    name = "{name}",
    data = ["version.txt"],
)

alias(
    name = "pkg",
    actual = ":{name}",
)
""".format(name = name))
    if wrong:
        fail("%s does not have what %s pins:\n%s\nrun: %s -m pip install -r %s; bazel shutdown" % (
            below,
            ctx.attr.lock.name,
            "\n".join(wrong),
            below,
            ctx.attr.lock.name,
        ))
    ctx.file("BUILD.bazel", "")
    ctx.file("requirements.bzl", "all_requirements = %r\n" % ["@pypi//" + n for n in sorted(pins)])

local_pypi = repository_rule(
    implementation = _local_pypi_impl,
    attrs = {"lock": attr.label(mandatory = True, allow_single_file = True)},
    configure = True,
    local = True,
    environ = ["PYTHON_BIN_PATH", "PATH"],
)
