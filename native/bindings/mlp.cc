// Mlp: converts, checks shapes, releases the GIL.

#include "mainspring/mlp.h"

#include <pybind11/stl.h>

#include <tuple>

#include "bindings.h"
#include "bound_model.h"
#include "models.h"
#include "packed.h"

namespace mainspring {
namespace {

// Multiply-adds from which the lock is given up: about half a millisecond (see arrays.h).
constexpr std::size_t kReleaseWork = std::size_t{1} << 24;
constexpr std::size_t kReleaseWorkGeneric = std::size_t{1} << 19;

// A matrix of weights as it lies; (rows, columns).
const float* Weights(const py::object& array, const std::string& name, std::size_t* rows,
                     std::size_t* columns) {
  if (!IsArray(array.ptr()) || py::detail::array_proxy(array.ptr())->nd != 2) {
    CheckArray(array.ptr(), name, Dtype<float>(), 0, 0);
  }
  const auto* const proxy = py::detail::array_proxy(array.ptr());
  *rows = static_cast<std::size_t>(proxy->dimensions[0]);
  *columns = static_cast<std::size_t>(proxy->dimensions[1]);
  CheckArray(array.ptr(), name, Dtype<float>(), *rows, proxy->dimensions[1]);
  return static_cast<const float*>(DataOf(array.ptr()));
}

class NativeMlp : public std::enable_shared_from_this<NativeMlp> {
 public:
  using LayerOf = std::tuple<py::object, py::object, std::int32_t>;  // weight, bias or None, activation
  using TableOf = std::tuple<py::object, std::size_t, bool>;         // weight, id, whether it is added

  // Needs the GIL.
  NativeMlp(std::size_t dense_width, std::size_t n_ids, const std::vector<TableOf>& tables,
            const std::vector<LayerOf>& layers, const py::object& target) {
    MlpSpec spec;
    spec.dense_width = dense_width;
    spec.n_ids = n_ids;
    for (const auto& [weight, bias, activation] : layers) {
      const std::string name = "layers[" + std::to_string(spec.layers.size()) + "]";
      MlpLayer layer;
      layer.weights = Weights(weight, name + ".weight", &layer.outputs, &layer.inputs);
      layer.activation = static_cast<Activation>(activation);
      if (!bias.is_none()) {
        CheckArray(bias.ptr(), name + ".bias", Dtype<float>(), layer.outputs, -1);
        layer.bias = static_cast<const float*>(DataOf(bias.ptr()));
      }
      spec.layers.push_back(layer);
    }
    for (const auto& [weight, id_index, is_added] : tables) {
      MlpTable table;
      const std::string name = "tables[" + std::to_string(spec.tables.size()) + "].weight";
      table.weights = Weights(weight, name, &table.rows, &table.dimensions);
      table.id_index = id_index;
      table.is_added = is_added;
      spec.tables.push_back(table);
    }
    const Status status = Mlp::Compile(spec, ChosenTarget(target), &mlp_);
    if (status.ok()) return;
    const std::size_t n = spec.layers.size();
    const auto at = static_cast<std::size_t>(status.column);
    const std::string place = status.column < 0 ? ""
                              : at < n          ? "`layers[" + std::to_string(at) + "]`"
                                                : "`tables[" + std::to_string(at - n) + "]`";
    Raise(status.code, Message(status, place));
  }

  explicit NativeMlp(Mlp mlp) : mlp_(std::move(mlp)) {}

  const Mlp& mlp() const { return mlp_; }

  // Needs the GIL; gives it up while all bytes are compared.
  std::shared_ptr<NativeMlp> Over(int fd) const {
    Mlp made;
    CheckPacked(WithoutLock([&] { return mlp_.Over(fd, &made); }));
    return std::make_shared<NativeMlp>(std::move(made));
  }

  std::size_t Rows(PyObject* dense, PyObject* ids) const {
    const auto width = static_cast<py::ssize_t>(mlp_.dense_width());
    if (!IsArray(dense) || py::detail::array_proxy(dense)->nd != 2) {
      CheckArray(dense, "dense", Dtype<float>(), 0, width);
    }
    const std::size_t rows = LengthOf(dense);
    CheckArray(dense, "dense", Dtype<float>(), rows, width);
    if (mlp_.n_ids() > 0)
      CheckArray(ids, "ids", Dtype<std::int32_t>(), mlp_.n_ids(), static_cast<py::ssize_t>(rows));
    return rows;
  }

  py::object Out(const py::object& out, PyObject* dense, PyObject* ids, std::size_t rows) const {
    if (out.is_none()) return NewMatrix(Dtype<float>(), rows, mlp_.n_outputs());
    CheckWritable(out.ptr(), "out", Dtype<float>(), rows, static_cast<py::ssize_t>(mlp_.n_outputs()));
    CheckApart(out.ptr(), "dense", dense);
    if (mlp_.n_ids() > 0) CheckApart(out.ptr(), "ids", ids);
    return out;
  }

  bool IsLong(std::size_t rows) const {
    const bool is_generic = mlp_.target() == Target::kGeneric;
    return rows * mlp_.n_weights() >= (is_generic ? kReleaseWorkGeneric : kReleaseWork);
  }

  Status RunOn(PyObject* dense, PyObject* ids, std::size_t rows, MlpWorkspace* workspace,
               PyObject* out) const {
    const auto* const from = mlp_.n_ids() > 0 ? static_cast<const std::int32_t*>(DataOf(ids)) : nullptr;
    return mlp_.Run(static_cast<const float*>(DataOf(dense)), from, rows, workspace,
                    static_cast<float*>(DataOf(out)));
  }

  void CheckRun(Status status) const {
    if (status.ok()) return;
    const std::string row = std::to_string(static_cast<std::int64_t>(status.got));
    status.has_got = false;
    Raise(status.code, Message(status, "row " + row + " of `tables[" + std::to_string(status.column) + "]`"));
  }

  // Needs the GIL; gives it up while a large batch is computed.
  py::object Run(const py::object& dense, const py::object& ids, const py::object& out) {
    const std::size_t rows = Rows(dense.ptr(), ids.ptr());
    py::object result = Out(out, dense.ptr(), ids.ptr(), rows);
    std::unique_ptr<MlpWorkspace> workspace = idle_.Take([this] { return mlp_.MakeWorkspace(); });
    Status status;
    if (IsLong(rows)) {
      const py::gil_scoped_release released;
      status = RunOn(dense.ptr(), ids.ptr(), rows, workspace.get(), result.ptr());
    } else {
      status = RunOn(dense.ptr(), ids.ptr(), rows, workspace.get(), result.ptr());
    }
    idle_.Return(std::move(workspace));
    CheckRun(status);
    return result;
  }

  py::object Bind(const py::object& dense, const py::object& ids, const py::object& out);

 private:
  Mlp mlp_;
  Idle<MlpWorkspace> idle_;
};

class BoundMlp : public BoundModel {
 public:
  BoundMlp(std::shared_ptr<const NativeMlp> owner, const py::object& dense, const py::object& ids,
           const py::object& out_or_none)
      : owner_(std::move(owner)), dense_(dense), ids_(ids), rows_(owner_->Rows(dense.ptr(), ids.ptr())) {
    out = owner_->Out(out_or_none, dense.ptr(), ids.ptr(), rows_);
    workspace_ = owner_->mlp().MakeWorkspace();
  }

  // Keeps the lock: nobody else can be in here.
  void Run() override {
    owner_->CheckRun(owner_->RunOn(dense_.ptr(), ids_.ptr(), rows_, &workspace_, out.ptr()));
  }

 private:
  const std::shared_ptr<const NativeMlp> owner_;
  const py::object dense_, ids_;
  const std::size_t rows_;
  MlpWorkspace workspace_;
};

py::object NativeMlp::Bind(const py::object& dense, const py::object& ids, const py::object& out) {
  return NewBoundModel(std::make_unique<BoundMlp>(shared_from_this(), dense, ids, out));
}

}  // namespace

std::shared_ptr<const Mlp> MlpOf(const py::handle& object) {
  if (!py::isinstance<NativeMlp>(object)) return nullptr;
  const auto owner = py::cast<std::shared_ptr<NativeMlp>>(object);
  return {owner, &owner->mlp()};
}

void BindMlp(py::module_& module) {
  py::options options;
  options.disable_function_signatures();
  py::class_<NativeMlp, std::shared_ptr<NativeMlp>>(module, "Mlp", py::is_final(),
                                                    "A small network. See mainspring.native.mlp.")
      .def(py::init<std::size_t, std::size_t, const std::vector<NativeMlp::TableOf>&,
                    const std::vector<NativeMlp::LayerOf>&, const py::object&>())
      .def("run", &NativeMlp::Run, py::arg("dense"), py::arg("ids") = py::none(), py::arg("out") = py::none())
      .def("bind", &NativeMlp::Bind, py::arg("dense"), py::arg("ids") = py::none(),
           py::arg("out") = py::none())
      .def("sealed", [](const NativeMlp& self) { return Sealed(*self.mlp().packed()); })
      .def("over", &NativeMlp::Over, py::arg("fd"))
      .def_property_readonly("packed", [](const NativeMlp& self) { return PackedView(self.mlp().packed()); })
      .def_property_readonly("is_mapped",
                             [](const NativeMlp& self) { return self.mlp().packed()->is_mapped(); })
      .def_property_readonly("dense_width", [](const NativeMlp& self) { return self.mlp().dense_width(); })
      .def_property_readonly("n_ids", [](const NativeMlp& self) { return self.mlp().n_ids(); })
      .def_property_readonly("n_outputs", [](const NativeMlp& self) { return self.mlp().n_outputs(); })
      .def_property_readonly("target", [](const NativeMlp& self) { return TargetName(self.mlp().target()); });
}

}  // namespace mainspring
