"""@pyproject: the [project] table of pyproject.toml as Starlark, so that the wheel's metadata has one source."""

load(":python_configure.bzl", "find_python")

_READ = """
import json, sys, tomllib
with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)["project"]
entry_points = {"console_scripts": project.get("scripts", {}), **project.get("entry-points", {})}
print(json.dumps({
    "name": project["name"],
    "summary": project["description"],
    "author": ", ".join(a["name"] for a in project["authors"]),
    "license": project["license"],
    "python_requires": project["requires-python"],
    "classifiers": project["classifiers"],
    "requires": project["dependencies"],
    "extra_requires": project["optional-dependencies"],
    "entry_points": {g: [f"{n} = {v}" for n, v in p.items()] for g, p in entry_points.items()},
}))
"""

def _pyproject_impl(ctx):
    python = find_python(ctx)
    result = ctx.execute([python, "-I", "-c", _READ, str(ctx.path(ctx.attr.file))])
    if result.return_code:
        fail("%s cannot read %s: %s" % (python, ctx.attr.file, result.stderr))
    ctx.file("BUILD.bazel", "")
    ctx.file("defs.bzl", "PROJECT = %s\n" % repr(json.decode(result.stdout)))

pyproject = repository_rule(
    implementation = _pyproject_impl,
    attrs = {"file": attr.label(mandatory = True, allow_single_file = True)},
    environ = ["PYTHON_BIN_PATH", "PATH"],
)
