"""pybind_extension and pybind_library as pybind11_bazel names them."""

_COPTS = ["-fexceptions", "-fvisibility=hidden"]
_DEPS = [
    "@rules_python//python/cc:pybind11",
    "@rules_python//python/cc:current_py_cc_headers",
]
_FEATURES = ["-use_header_modules", "-parse_headers"]

def pybind_extension(name, copts = [], features = [], linkopts = [], deps = [], testonly = None, visibility = None, **kwargs):
    native.cc_binary(
        name = name + ".so",
        copts = _COPTS + copts,
        features = features + _FEATURES,
        linkopts = linkopts + ["-Wl,-Bsymbolic"],
        linkshared = 1,
        testonly = testonly,
        visibility = visibility,
        deps = deps + _DEPS,
        **kwargs
    )
    native.alias(name = name, actual = name + ".so", testonly = testonly, visibility = visibility)

def pybind_library(name, copts = [], features = [], deps = [], **kwargs):
    native.cc_library(
        name = name,
        copts = _COPTS[:1] + copts,
        features = features + _FEATURES,
        deps = deps + _DEPS,
        **kwargs
    )
