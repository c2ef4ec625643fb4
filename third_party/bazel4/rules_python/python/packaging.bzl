"""py_package and py_wheel: the part of rules_python's API that this repository uses."""

def _inside_wheel(file):
    path = file.short_path
    return path[path.find("/", 3) + 1:] if path.startswith("../") else path

def _py_package_impl(ctx):
    files = depset(transitive = [d[PyInfo].transitive_sources for d in ctx.attr.deps] +
                                [d[DefaultInfo].default_runfiles.files for d in ctx.attr.deps] +
                                [d[DefaultInfo].data_runfiles.files for d in ctx.attr.deps])
    prefixes = [p.replace(".", "/") for p in ctx.attr.packages]
    keep = [f for f in files.to_list() if not prefixes or [p for p in prefixes if _inside_wheel(f).startswith(p)]]
    return [DefaultInfo(files = depset(keep))]

py_package = rule(
    implementation = _py_package_impl,
    attrs = {
        "deps": attr.label_list(providers = [PyInfo]),
        "packages": attr.string_list(),
    },
)

def _metadata(attr):
    lines = ["Metadata-Version: 2.1", "Name: " + attr.distribution, "Version: " + attr.version]
    for key, value in [
        ("Summary", attr.summary),
        ("Author", attr.author),
        ("License", attr.license),
        ("Requires-Python", attr.python_requires),
    ]:
        if value:
            lines.append("%s: %s" % (key, value))
    lines += ["Classifier: " + c for c in attr.classifiers]
    lines += ["Requires-Dist: " + r for r in attr.requires]
    for extra, requires in sorted(attr.extra_requires.items()):
        lines.append("Provides-Extra: " + extra)
        lines += ["Requires-Dist: %s; extra == '%s'" % (r, extra) for r in requires]
    return "\n".join(lines) + "\n"

def _py_wheel_impl(ctx):
    tag = "-".join([ctx.attr.python_tag, ctx.attr.abi, ctx.attr.platform])
    name = "%s-%s" % (ctx.attr.distribution.replace("-", "_").lower(), ctx.attr.version)
    out = ctx.actions.declare_file("%s-%s.whl" % (name, tag))
    entry_points = []
    for group, points in sorted(ctx.attr.entry_points.items()):
        entry_points += ["[%s]" % group] + sorted(points) + [""]
    extra = [[path, label.files.to_list()[0]] for label, path in ctx.attr.extra_distinfo_files.items()]
    spec = ctx.actions.declare_file(ctx.label.name + ".spec.json")
    ctx.actions.write(spec, json.encode_indent(struct(
        out = out.path,
        metadata = _metadata(ctx.attr),
        entry_points = "\n".join(entry_points),
        tag = tag,
        dist_info = name + ".dist-info",
        strip = ctx.attr.strip_path_prefixes,
        files = [[_inside_wheel(f), f.path] for f in ctx.files.deps],
        description = ctx.file.description_file.path if ctx.file.description_file else "",
        extra_distinfo_files = [[path, f.path] for path, f in extra],
    )))
    ctx.actions.run(
        outputs = [out],
        inputs = ctx.files.deps + [spec] + [f for _, f in extra] + ctx.files.description_file,
        executable = ctx.executable._maker,
        arguments = [spec.path],
        mnemonic = "PyWheel",
    )
    return [DefaultInfo(files = depset([out]), runfiles = ctx.runfiles([out]))]

py_wheel = rule(
    implementation = _py_wheel_impl,
    attrs = {
        "abi": attr.string(default = "none"),
        "author": attr.string(),
        "classifiers": attr.string_list(),
        "deps": attr.label_list(allow_files = True),
        "description_file": attr.label(allow_single_file = True),
        "distribution": attr.string(mandatory = True),
        "entry_points": attr.string_list_dict(),
        "extra_distinfo_files": attr.label_keyed_string_dict(allow_files = True),
        "extra_requires": attr.string_list_dict(),
        "license": attr.string(),
        "platform": attr.string(default = "any"),
        "python_requires": attr.string(),
        "python_tag": attr.string(default = "py3"),
        "requires": attr.string_list(),
        "strip_path_prefixes": attr.string_list(),
        "summary": attr.string(),
        "version": attr.string(mandatory = True),
        "_maker": attr.label(default = "//tools:wheelmaker", executable = True, cfg = "exec"),
    },
)
