"""cuda_library: .cu files by nvcc into a cc_library. Incompatible unless --config=cuda."""

load("@local_cuda//:defs.bzl", "CUDA_PATH")
load("@rules_cc//cc:cc_library.bzl", "cc_library")

ARCHS = ["80", "86", "89", "90", "100"]

CUDA_ONLY = select({
    "//third_party/cuda:is_enabled": [],
    "//conditions:default": ["@platforms//:incompatible"],
})

def _cuda_object_impl(ctx):
    if not CUDA_PATH:
        fail("no CUDA toolkit; set CUDA_PATH to the folder that holds bin/nvcc")

    # Only objects called .pic.o reach a shared library.
    out = ctx.actions.declare_file(ctx.label.name + ".pic.o")
    args = ctx.actions.args()
    args.add_all(ctx.attr.copts)
    args.add_all([ctx.label.package + "/" + i for i in ctx.attr.includes], before_each = "-I")
    args.add_all(["-Xcompiler", "-fPIC", "-I.", "-c", "-o", out, ctx.file.src])

    # nvcc names its temporary files after its pid. In sandboxes, which share /tmp and not their pids, two would
    # write the same ones.
    args.add("-objtemp")
    for arch in ctx.attr.archs:
        args.add("-gencode=arch=compute_%s,code=sm_%s" % (arch, arch))
    args.add("-gencode=arch=compute_%s,code=compute_%s" % (ctx.attr.archs[-1], ctx.attr.archs[-1]))
    ctx.actions.run(
        outputs = [out],
        inputs = [ctx.file.src] + ctx.files.hdrs,
        executable = CUDA_PATH + "/bin/nvcc",
        arguments = [args],
        mnemonic = "CudaCompile",
        progress_message = "nvcc %s" % ctx.file.src.short_path,
        use_default_shell_env = True,
    )
    return [DefaultInfo(files = depset([out]))]

_cuda_object = rule(
    implementation = _cuda_object_impl,
    attrs = {
        "archs": attr.string_list(default = ARCHS),
        "copts": attr.string_list(),
        "hdrs": attr.label_list(allow_files = [".h", ".cuh"]),
        "includes": attr.string_list(),
        "src": attr.label(allow_single_file = [".cu"], mandatory = True),
    },
)

def cuda_library(name, srcs, hdrs = [], copts = [], includes = [], archs = ARCHS, deps = [], target_compatible_with = None, **kwargs):
    """A cc_library from .cu files.

    Args:
      name: the library.
      srcs: .cu files.
      hdrs: headers, seen by nvcc and by users.
      copts: for nvcc.
      includes: folders of this package, for nvcc and for users.
      archs: compute capabilities without the dot; the last is also kept as PTX.
      deps: C++ libraries to link; their headers go into hdrs.
      target_compatible_with: --config=cuda if not given.
      **kwargs: passed to cc_library.
    """
    compatible = target_compatible_with or CUDA_ONLY
    objects = []
    for src in srcs:
        obj = "%s_%s" % (name, src.replace("/", "_").replace(".", "_"))
        _cuda_object(
            name = obj,
            src = src,
            hdrs = hdrs,
            archs = archs,
            copts = copts,
            includes = includes,
            target_compatible_with = compatible,
        )
        objects.append(":" + obj)
    cc_library(
        name = name,
        srcs = objects,
        hdrs = hdrs,
        includes = includes,
        linkstatic = True,
        target_compatible_with = compatible,
        deps = deps + ["@local_cuda//:runtime"],
        **kwargs
    )
