"""@local_cuda: the CUDA toolkit of this machine, or an empty stand-in.

$CUDA_PATH, else /usr/local/cuda, else what nvcc on PATH says of itself (it may be a wrapper
script, so that its own folder tells nothing).
"""

def _toolkit(ctx):
    root = ctx.os.environ.get("CUDA_PATH", "")
    if not root and ctx.path("/usr/local/cuda/bin/nvcc").exists:
        root = "/usr/local/cuda"
    if not root and ctx.which("nvcc"):
        ctx.file("probe.cu", "")
        told = ctx.execute([ctx.which("nvcc"), "--dryrun", "-c", "probe.cu"])
        for line in (told.stdout + told.stderr).split("\n"):
            if line.startswith("#$ TOP="):
                root = str(ctx.path(line[len("#$ TOP="):].strip()).realpath)
    return root if root and ctx.path(root + "/bin/nvcc").exists else ""

def _impl(ctx):
    root = _toolkit(ctx)
    ctx.file("defs.bzl", "CUDA_PATH = %r\n" % root)
    if root:
        ctx.symlink(root + "/include", "include")
        ctx.symlink(root + "/lib64" if ctx.path(root + "/lib64").exists else root + "/lib", "lib")
    ctx.file("BUILD.bazel", """
load("@rules_cc//cc:cc_library.bzl", "cc_library")

package(default_visibility = ["//visibility:public"])

cc_library(
    name = "runtime",
    srcs = glob(["lib/libcudart_static.a"], allow_empty = True),
    hdrs = glob(["include/**"], allow_empty = True),
    includes = ["include"],
    linkopts = ["-ldl", "-lrt", "-lpthread"],
)
""")

cuda_configure = repository_rule(
    implementation = _impl,
    configure = True,
    local = True,
    environ = ["CUDA_PATH", "PATH"],
)
