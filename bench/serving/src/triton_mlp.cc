// A Triton backend that runs our own network kernel: what is compared then is the server around it.
//
// The model's folder has `VERSION/weights.bin`: for each layer int32 inputs, outputs, activation, then the
// weights (outputs x inputs) and the bias, float32. Input `x` [rows, inputs], output `y` [rows, outputs]. The
// rows of a batch that Triton's scheduler made are run at once. INVARIANT: one instance a model, as the
// configuration says; its scratch has no lock.

#include <time.h>

#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "mainspring/mlp.h"
#include "triton_abi.h"

namespace {

using mainspring::Mlp;
using mainspring::MlpWorkspace;

struct Network {
  Mlp mlp;
  MlpWorkspace workspace;
  std::vector<float> x, y;
};

TRITONSERVER_Error* Invalid(const std::string& what) {
  return TRITONSERVER_ErrorNew(kTritonInvalid, what.c_str());
}

std::uint64_t Nanoseconds() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1000000000u + static_cast<std::uint64_t>(t.tv_nsec);
}

TRITONSERVER_Error* Load(const std::string& path, Network* network) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Invalid("cannot read " + path);
  struct Layer {
    std::int32_t inputs, outputs, activation;
    std::vector<float> weights, bias;
  };
  std::vector<Layer> layers;
  std::int32_t head[3];
  while (file.read(reinterpret_cast<char*>(head), sizeof(head))) {
    if (head[0] < 1 || head[1] < 1 || head[0] > 1 << 14 || head[1] > 1 << 14)
      return Invalid("no layer in " + path);
    Layer layer{head[0], head[1], head[2], {}, {}};
    layer.weights.resize(static_cast<std::size_t>(head[0]) * static_cast<std::size_t>(head[1]));
    layer.bias.resize(static_cast<std::size_t>(head[1]));
    for (auto* values : {&layer.weights, &layer.bias}) {
      if (!file.read(reinterpret_cast<char*>(values->data()),
                     static_cast<std::streamsize>(values->size() * 4)))
        return Invalid(path + " ends within a layer");
    }
    layers.push_back(std::move(layer));
  }
  mainspring::MlpSpec spec;
  for (const Layer& layer : layers) {
    mainspring::MlpLayer given;
    given.inputs = static_cast<std::size_t>(layer.inputs);
    given.outputs = static_cast<std::size_t>(layer.outputs);
    given.weights = layer.weights.data();
    given.bias = layer.bias.data();
    given.activation = static_cast<mainspring::Activation>(layer.activation);
    spec.layers.push_back(given);
  }
  if (spec.layers.empty()) return Invalid(path + " is empty");
  spec.dense_width = spec.layers[0].inputs;
  const mainspring::Status status = Mlp::Compile(spec, mainspring::BestTarget(), &network->mlp);
  if (!status.ok()) return Invalid(path + " is no network");
  network->workspace = network->mlp.MakeWorkspace();
  return nullptr;
}

// The rows of a request go behind those that are there.
TRITONSERVER_Error* Gather(TRITONBACKEND_Request* request, Network* network, std::int64_t* rows) {
  TRITONBACKEND_Input* input = nullptr;
  if (auto* error = TRITONBACKEND_RequestInputByIndex(request, 0, &input)) return error;
  const char* name = nullptr;
  int datatype = 0;
  const std::int64_t* shape = nullptr;
  std::uint32_t dimensions = 0, buffers = 0;
  std::uint64_t bytes = 0;
  if (auto* error =
          TRITONBACKEND_InputProperties(input, &name, &datatype, &shape, &dimensions, &bytes, &buffers))
    return error;
  const std::size_t width = network->mlp.dense_width();
  if (datatype != kTritonFp32 || dimensions != 2 || shape[1] != static_cast<std::int64_t>(width) ||
      bytes != static_cast<std::uint64_t>(shape[0]) * width * 4)
    return Invalid("input is not FP32 [rows, inputs]");
  const std::size_t before = network->x.size();
  network->x.resize(before + bytes / 4);
  char* to = reinterpret_cast<char*>(network->x.data() + before);
  for (std::uint32_t i = 0; i < buffers; ++i) {
    const void* from = nullptr;
    std::uint64_t n = 0;
    int memory = 0;
    std::int64_t memory_id = 0;
    if (auto* error = TRITONBACKEND_InputBuffer(input, i, &from, &n, &memory, &memory_id)) return error;
    std::memcpy(to, from, n);
    to += n;
  }
  *rows = shape[0];
  return nullptr;
}

TRITONSERVER_Error* Answer(TRITONBACKEND_Response* response, const float* y, std::int64_t rows,
                           std::int64_t outputs) {
  TRITONBACKEND_Output* output = nullptr;
  const std::int64_t shape[2] = {rows, outputs};
  if (auto* error = TRITONBACKEND_ResponseOutput(response, &output, "y", kTritonFp32, shape, 2)) return error;
  void* buffer = nullptr;
  int memory = 0;
  std::int64_t memory_id = 0;
  const std::uint64_t bytes = static_cast<std::uint64_t>(rows * outputs) * 4;
  if (auto* error = TRITONBACKEND_OutputBuffer(output, &buffer, bytes, &memory, &memory_id)) return error;
  std::memcpy(buffer, y, bytes);
  return nullptr;
}

}  // namespace

extern "C" {

TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model* model) {
  int artifact = 0;
  const char* path = nullptr;
  std::uint64_t version = 0;
  if (auto* error = TRITONBACKEND_ModelRepository(model, &artifact, &path)) return error;
  if (auto* error = TRITONBACKEND_ModelVersion(model, &version)) return error;
  auto network = std::make_unique<Network>();
  if (auto* error = Load(std::string(path) + "/" + std::to_string(version) + "/weights.bin", network.get()))
    return error;
  return TRITONBACKEND_ModelSetState(model, network.release());
}

TRITONSERVER_Error* TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model* model) {
  void* state = nullptr;
  if (auto* error = TRITONBACKEND_ModelState(model, &state)) return error;
  delete static_cast<Network*>(state);
  return nullptr;
}

// Returns nullptr always: Triton keeps the requests otherwise.
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(TRITONBACKEND_ModelInstance* instance,
                                                       TRITONBACKEND_Request** requests,
                                                       const std::uint32_t count) {
  const std::uint64_t began = Nanoseconds();
  TRITONBACKEND_Model* model = nullptr;
  void* state = nullptr;
  if (auto* error = TRITONBACKEND_ModelInstanceModel(instance, &model)) return error;
  if (auto* error = TRITONBACKEND_ModelState(model, &state)) return error;
  Network& network = *static_cast<Network*>(state);
  network.x.clear();
  struct One {
    TRITONBACKEND_Response* response = nullptr;
    TRITONSERVER_Error* error = nullptr;
    std::int64_t rows = 0;
  };
  std::vector<One> all(count);
  std::size_t n_rows = 0;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (auto* error = TRITONBACKEND_ResponseNew(&all[i].response, requests[i]))
      TRITONSERVER_ErrorDelete(error);
    const std::size_t before = network.x.size();
    all[i].error = Gather(requests[i], &network, &all[i].rows);
    if (all[i].error) {
      network.x.resize(before);
      all[i].rows = 0;
    }
    n_rows += static_cast<std::size_t>(all[i].rows);
  }
  const std::size_t outputs = network.mlp.n_outputs();
  network.y.resize(n_rows * outputs);
  const std::uint64_t computing = Nanoseconds();
  const bool is_run =
      network.mlp.Run(network.x.data(), nullptr, n_rows, &network.workspace, network.y.data()).ok();
  const std::uint64_t computed = Nanoseconds();
  const float* y = network.y.data();
  for (std::uint32_t i = 0; i < count; ++i) {
    One& one = all[i];
    if (!one.error && !is_run)
      one.error = TRITONSERVER_ErrorNew(kTritonInternal, "the network refused its rows");
    if (!one.error && one.response)
      one.error = Answer(one.response, y, one.rows, static_cast<std::int64_t>(outputs));
    y += static_cast<std::size_t>(one.rows) * outputs;
    const bool is_right = one.error == nullptr;
    if (one.response) {
      if (auto* error = TRITONBACKEND_ResponseSend(one.response, kTritonFinal, one.error))
        TRITONSERVER_ErrorDelete(error);
    }
    if (one.error) TRITONSERVER_ErrorDelete(one.error);
    for (auto* error : {TRITONBACKEND_ModelInstanceReportStatistics(instance, requests[i], is_right, began,
                                                                    computing, computed, Nanoseconds()),
                        TRITONBACKEND_RequestRelease(requests[i], kTritonReleaseAll)}) {
      if (error) TRITONSERVER_ErrorDelete(error);
    }
  }
  if (auto* error = TRITONBACKEND_ModelInstanceReportBatchStatistics(instance, n_rows, began, computing,
                                                                     computed, Nanoseconds()))
    TRITONSERVER_ErrorDelete(error);
  return nullptr;
}

}  // extern "C"
