"""mainspring_room: a top-level folder as the package mainspring.<folder>, and its tests.

A room's folder is `platform/`, its package `mainspring.platform`: the files are linked under
bazel-bin/platform/_py/mainspring/platform/, and _py goes onto sys.path.
"""

load("@rules_python//python:py_library.bzl", "py_library")
load("//tools:shipped.bzl", "NOT_SHIPPED_FILES", "NOT_SHIPPED_FOLDERS", "SHIPPED_ENDINGS")
load("//tools/pytest:defs.bzl", "pytest_test")

# Where the package tree of a folder is laid, under the folder's own output.
ROOT = "_py"

def _namespaced_impl(ctx):
    outs = []
    for f in ctx.files.srcs:
        inside = f.short_path[len(ctx.label.package) + 1:]
        out = ctx.actions.declare_file("%s/mainspring/%s/%s" % (ROOT, ctx.label.package, inside))
        ctx.actions.symlink(output = out, target_file = f)
        outs.append(out)
    return [DefaultInfo(files = depset(outs), runfiles = ctx.runfiles(outs))]

_namespaced = rule(
    implementation = _namespaced_impl,
    attrs = {"srcs": attr.label_list(allow_files = True)},
)

def mainspring_room(name, deps, built = [], visibility = None):
    """A py_library of all that a room ships, importable as mainspring.<room>.*.

    Which files ship is tools/shipped.bzl's to say, for Bazel and pip alike; new files need no change here.

    Args:
      name: the room, its folder's name.
      deps: other rooms and @pypi libraries.
      built: files that rules make under ROOT (the extension).
      visibility: who may use the room.
    """
    exclude = ["%s/**" % f for f in NOT_SHIPPED_FOLDERS] + ["**/%s/**" % f for f in NOT_SHIPPED_FOLDERS] + ["**/" + f for f in NOT_SHIPPED_FILES]
    modules = native.glob(
        ["**/*.py"],
        allow_empty = True,
        exclude = exclude,
    )
    _namespaced(
        name = name + "_srcs",
        srcs = modules,
        tags = ["manual"],
        visibility = ["//visibility:private"],
    )
    _namespaced(
        name = name + "_data",
        srcs = native.glob(
            ["**/*" + ending for ending in SHIPPED_ENDINGS],
            allow_empty = True,
            exclude = exclude,
        ),
        tags = ["manual"],
        visibility = ["//visibility:private"],
    )
    py_library(
        name = name,
        # py_library refuses a source without any .py file, as a room has before its first module.
        srcs = [":%s_srcs" % name] if modules else [],
        data = [":%s_data" % name] + built,
        imports = [ROOT],
        visibility = visibility,
        deps = deps,
    )

def room_tests(deps, data = [], exclude = [], size = "medium"):
    """One pytest_test for each tests/test_*.py of this package, named after it: tests/test_core_plan.py is :core_plan_test.

    Tests marked slow, soak, integration, e2e or gpu are left to `make test`: they start servers.

    Args:
      deps: what the tests import.
      data: files outside tests/ that the tests read.
      exclude: test files that only pytest runs, each with its reason beside it.
      size: of every test.
    """
    tests = native.glob(
        ["tests/test_*.py", "**/tests/test_*.py"],
        allow_empty = True,
        exclude = exclude,
    )
    beside = native.glob(
        ["tests/**/*.py", "**/tests/**/*.py"],
        allow_empty = True,
        exclude = ["tests/**/test_*.py", "**/tests/**/test_*.py"],
    )
    beside_data = native.glob(
        ["tests/**", "**/tests/**"],
        allow_empty = True,
        exclude = ["**/*.py", "**/*.cc", "**/*.sh", "**/__pycache__/**"],
    )
    for test in tests:
        pytest_test(
            name = test.split("/")[-1][len("test_"):-len(".py")] + "_test",
            size = size,
            srcs = [test],
            support = beside,
            args = ["-m", "'not slow and not soak and not integration and not e2e and not gpu'"],
            data = beside_data + data,
            deps = deps,
        )
