"""The one list of native sources and flags.

Read by Bazel (load) and by setup.py (runpy: it is also valid Python). Keep it to literals.
Paths are relative to this folder; the only include directory a unit needs is `include`.
"""

NATIVE_STD = "-std=c++17"

# For the units that hold no kernel (dispatch, bindings).
NATIVE_COPTS = ["-ffp-contract=off", "-fvisibility=hidden"]

NATIVE_HDRS = [
    "include/mainspring/asof.h",
    "include/mainspring/batcher.h",
    "include/mainspring/batcher_rings.h",
    "include/mainspring/contributions.h",
    "include/mainspring/dense.h",
    "include/mainspring/dense_column.h",
    "include/mainspring/device_plan.h",
    "include/mainspring/float_environment.h",
    "include/mainspring/front.h",
    "include/mainspring/hash.h",
    "include/mainspring/jagged.h",
    "include/mainspring/math/activation-inl.h",
    "include/mainspring/math/log1p-inl.h",
    "include/mainspring/mlp.h",
    "include/mainspring/pool.h",
    "include/mainspring/program.h",
    "include/mainspring/simd/avx2-inl.h",
    "include/mainspring/simd/avx512-inl.h",
    "include/mainspring/simd/generic-inl.h",
    "include/mainspring/status.h",
    "include/mainspring/string_vocabulary.h",
    "include/mainspring/table.h",
    "include/mainspring/table_schema.h",
    "include/mainspring/target.h",
    "include/mainspring/trees.h",
    "include/mainspring/vocabulary.h",
    "src/batcher/delay.h",
    "src/batcher/futex.h",
    "src/batcher/rings.h",
    "src/dense/dense-inl.h",
    "src/dense/dense_kernels.h",
    "src/front/answering.h",
    "src/front/chunks.h",
    "src/front/connection.h",
    "src/front/exchange.h",
    "src/front/feature_answer.h",
    "src/front/feature_plan.h",
    "src/front/feature_reads.h",
    "src/front/features_call.h",
    "src/front/float_digits.h",
    "src/front/http_head.h",
    "src/front/infer_call.h",
    "src/front/json_number.h",
    "src/front/json_reader.h",
    "src/front/json_text.h",
    "src/front/loop.h",
    "src/front/refusal.h",
    "src/front/served.h",
    "src/jagged/jagged-inl.h",
    "src/jagged/jagged_kernels.h",
    "src/mlp/mlp-inl.h",
    "src/mlp/mlp_kernels.h",
    "src/program/bags-inl.h",
    "src/program/ids-inl.h",
    "src/program/lists.h",
    "src/program/program-inl.h",
    "src/program/program_kernels.h",
    "src/program/windows-inl.h",
    "src/table/arena.h",
    "src/table/crc32c.h",
    "src/table/files.h",
    "src/table/heap.h",
    "src/table/keys.h",
    "src/table/log_format.h",
    "src/table/log_writer.h",
    "src/table/recovery.h",
    "src/table/row_layout.h",
    "src/table/row_reader.h",
    "src/table/row_stager.h",
    "src/table/sharing.h",
    "src/table/snapshot.h",
    "src/table/table_memory.h",
    "src/table/table_reader.h",
    "src/table/table_scan.h",
    "src/table/table_writer.h",
    "src/trees/bitvectors.h",
    "src/trees/decision.h",
    "src/trees/json.h",
    "src/trees/trees-inl.h",
    "src/trees/trees_kernels.h",
    "src/trees/walk.h",
]

NATIVE_SRCS = [
    "src/asof/asof.cc",
    "src/batcher/batcher.cc",
    "src/batcher/taking.cc",
    "src/dense/dense.cc",
    "src/device_plan/build.cc",
    "src/device_plan/check.cc",
    "src/front/answering.cc",
    "src/front/chunks.cc",
    "src/front/connection.cc",
    "src/front/connection_requests.cc",
    "src/front/exchange.cc",
    "src/front/feature_answer.cc",
    "src/front/feature_plan.cc",
    "src/front/feature_reads.cc",
    "src/front/features_call.cc",
    "src/front/front.cc",
    "src/front/float_digits.cc",
    "src/front/http_head.cc",
    "src/front/infer_call.cc",
    "src/front/json_number.cc",
    "src/front/json_text.cc",
    "src/front/loop.cc",
    "src/front/refusal.cc",
    "src/front/served.cc",
    "src/hash.cc",
    "src/jagged/jagged.cc",
    "src/mlp/mlp.cc",
    "src/pool.cc",
    "src/program/lists.cc",
    "src/program/program.cc",
    "src/string_vocabulary.cc",
    "src/table/arena.cc",
    "src/table/crc32c.cc",
    "src/table/files.cc",
    "src/table/heap.cc",
    "src/table/log_format.cc",
    "src/table/log_writer.cc",
    "src/table/recovery.cc",
    "src/table/row_layout.cc",
    "src/table/row_stager.cc",
    "src/table/sharing.cc",
    "src/table/snapshot.cc",
    "src/table/table.cc",
    "src/table/table_memory.cc",
    "src/table/table_reader.cc",
    "src/table/table_scan.cc",
    "src/table/table_writer.cc",
    "src/target.cc",
    "src/trees/bitvectors.cc",
    "src/trees/contributions.cc",
    "src/trees/forest.cc",
    "src/trees/forest_run.cc",
    "src/trees/json.cc",
    "src/trees/lightgbm.cc",
    "src/trees/xgboost.cc",
    "src/vocabulary.cc",
]

# One translation unit per instruction set and kernel. Its code must be local to the unit: an inline
# or template function that other units share could be linked in from here and then run on a CPU that
# lacks the instructions (native/tests/odr_test.sh holds this). `-ffp-contract=off` and explicit FMA
# make the variants bit-equal to one another. `-fno-exceptions`: kernels never throw, and the personality
# routine that the compiler would name is a weak symbol. `cpu` names the only architecture a variant compiles for.
# buildifier: disable=unsorted-dict-items
NATIVE_VARIANTS = {
    "generic": {
        "cpu": "",
        "srcs": [
            "src/dense/dense_generic.cc",
            "src/jagged/jagged_generic.cc",
            "src/mlp/mlp_generic.cc",
            "src/program/program_generic.cc",
            "src/trees/trees_generic.cc",
        ],
        "copts": ["-O3", "-ffp-contract=off", "-fno-exceptions", "-fvisibility=hidden", "-Wno-psabi"],
    },
    "avx2": {
        "cpu": "x86_64",
        "srcs": [
            "src/dense/dense_avx2.cc",
            "src/jagged/jagged_avx2.cc",
            "src/mlp/mlp_avx2.cc",
            "src/program/program_avx2.cc",
            "src/trees/trees_avx2.cc",
        ],
        "copts": ["-O3", "-ffp-contract=off", "-fno-exceptions", "-fvisibility=hidden", "-mavx2", "-mfma", "-mbmi", "-mbmi2"],
    },
    "avx512": {
        "cpu": "x86_64",
        "srcs": [
            "src/dense/dense_avx512.cc",
            "src/jagged/jagged_avx512.cc",
            "src/mlp/mlp_avx512.cc",
            "src/program/program_avx512.cc",
            "src/trees/trees_avx512.cc",
        ],
        # gcc 12 warns falsely about its own AVX-512 intrinsics.
        "copts": [
            "-O3",
            "-ffp-contract=off",
            "-fno-exceptions",
            "-fvisibility=hidden",
            "-mavx2",
            "-mfma",
            "-mbmi",
            "-mbmi2",
            "-mavx512f",
            "-mavx512bw",
            "-mavx512dq",
            "-mavx512vl",
            "-Wno-maybe-uninitialized",
            "-Wno-uninitialized",
        ],
    },
}

NATIVE_EXT_HDRS = [
    "bindings/arguments.h",
    "bindings/arrays.h",
    "bindings/arrow.h",
    "bindings/bindings.h",
    "bindings/bound_model.h",
    "bindings/buffers.h",
    "bindings/fast_object.h",
    "bindings/models.h",
    "bindings/native_program.h",
    "bindings/table_columns.h",
    "bindings/table_scan.h",
]

NATIVE_EXT_SRCS = [
    "bindings/arrays.cc",
    "bindings/arrow.cc",
    "bindings/asof.cc",
    "bindings/batcher.cc",
    "bindings/bound_model.cc",
    "bindings/buffers.cc",
    "bindings/contributions.cc",
    "bindings/dense.cc",
    "bindings/front.cc",
    "bindings/jagged.cc",
    "bindings/lists.cc",
    "bindings/mlp.cc",
    "bindings/module.cc",
    "bindings/program.cc",
    "bindings/row.cc",
    "bindings/table.cc",
    "bindings/table_columns.cc",
    "bindings/table_scan.cc",
    "bindings/trees.cc",
]

NATIVE_TEST_SRCS = [
    "tests/asof_test.cc",
    "tests/bags_test.cc",
    "tests/batcher_test.cc",
    "tests/cuda_emulation_test.cc",
    "tests/dense_test.cc",
    "tests/front_reads_test.cc",
    "tests/front_server_test.cc",
    "tests/front_test.cc",
    "tests/hash_test.cc",
    "tests/jagged_test.cc",
    "tests/mlp_test.cc",
    "tests/pool_test.cc",
    "tests/program_test.cc",
    "tests/string_vocabulary_test.cc",
    "tests/table_memory_test.cc",
    "tests/table_store_test.cc",
    "tests/trees_test.cc",
]

NATIVE_TEST_HDRS = ["tests/table_testing.h"]

NATIVE_CUDA_HDRS = [
    "cuda/dense.h",
    "cuda/elements.h",
    "cuda/jagged.h",
    "cuda/jagged_block.h",
    "cuda/program.h",
    "cuda/program_block.h",
    "cuda/runtime.h",
    "cuda/status.h",
]

NATIVE_CUDA_SRCS = [
    "cuda/dense.cu",
    "cuda/jagged.cu",
    "cuda/program.cu",
    "cuda/status.cu",
]

# Plain C++ that the library needs, too.
NATIVE_CUDA_HOST_SRCS = ["src/device_plan/check.cc"]

NATIVE_CUDA_TEST_SRCS = ["tests/cuda_test.cc"]

# Parity: no fused multiply-add that the source did not ask for, and IEEE division and denormals.
NATIVE_CUDA_COPTS = [
    "-O3",
    "--fmad=false",
]
