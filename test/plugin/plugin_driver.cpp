// Drives the built plugin as TensorRT does, without TensorRT: a C interface for ctypes over its headers' classes.
#include <NvInfer.h>
#include <dlfcn.h>

#include <cstdint>
#include <deque>
#include <string>

namespace {

using namespace nvinfer1;

class Log : public ILogger {
 public:
  void log(Severity, const char* message) noexcept override { text += std::string(message) + "\n"; }
  std::string text;
};

class Finder : public ILoggerFinder {
 public:
  ILogger* findLogger() override { return &log; }
  Log log;
};

/// -1 is a size that is not known yet.
struct SizeValue : apiv::VDimensionExpr {
  explicit SizeValue(std::int64_t size) : size(size) {}
  bool isConstant() const override { return size >= 0; }
  std::int64_t getConstantValue() const override { return size; }
  bool isSizeTensor() const override { return false; }
  std::int64_t size;
};

struct Size : IDimensionExpr {
  explicit Size(std::int64_t size) : value(size) { mImpl = &value; }
  SizeValue value;
};

struct BuilderValue : apiv::VExprBuilder {
  const IDimensionExpr* constant(std::int64_t size) override { return &sizes.emplace_back(size); }
  const IDimensionExpr* operation(DimensionOperation, const IDimensionExpr&, const IDimensionExpr&) override {
    return nullptr;
  }
  const IDimensionExpr* declareSizeTensor(std::int32_t, const IDimensionExpr&, const IDimensionExpr&) override {
    return nullptr;
  }
  std::deque<Size> sizes;
};

struct Builder : IExprBuilder {
  Builder() { mImpl = &value; }
  BuilderValue value;
};

Finder finder;
IPluginCreatorV3One* creator = nullptr;

IPluginV3OneBuild* buildOf(IPluginV3* plugin) {
  return static_cast<IPluginV3OneBuild*>(plugin->getCapabilityInterface(PluginCapabilityType::kBUILD));
}

IPluginV3OneRuntime* runtimeOf(IPluginV3* plugin) {
  return static_cast<IPluginV3OneRuntime*>(plugin->getCapabilityInterface(PluginCapabilityType::kRUNTIME));
}

Dims dimsOf(const std::int64_t shape[4], int rank) {
  Dims dims = {};
  dims.nbDims = rank;
  for (int axis = 0; axis < rank; ++axis) {
    dims.d[axis] = shape[axis];
  }
  return dims;
}

}  // namespace

extern "C" {

bool drv_open(const char* path) {
  void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    return false;
  }
  reinterpret_cast<void (*)(ILoggerFinder*)>(dlsym(library, "setLoggerFinder"))(&finder);
  std::int32_t count = 0;
  auto* const creators =
      reinterpret_cast<IPluginCreatorInterface* const* (*)(std::int32_t&)>(dlsym(library, "getCreators"))(count);
  creator = count == 1 ? static_cast<IPluginCreatorV3One*>(creators[0]) : nullptr;
  return creator != nullptr;
}

const char* drv_text(int which) {
  const char* const texts[] = {creator->getPluginName(), creator->getPluginVersion(), creator->getPluginNamespace(),
                               creator->getInterfaceInfo().kind};
  return texts[which];
}

/// What was logged since the last call.
const char* drv_messages() {
  static std::string taken;
  taken.swap(finder.log.text);
  finder.log.text.clear();
  return taken.c_str();
}

const PluginFieldCollection* drv_field_names() { return creator->getFieldNames(); }
IPluginV3* drv_create(const PluginFieldCollection* fields) {
  return creator->createPlugin("detect", fields, TensorRTPhase::kBUILD);
}
IPluginV3* drv_clone(IPluginV3* plugin) { return plugin->clone(); }
IPluginV3* drv_attach(IPluginV3* plugin) { return runtimeOf(plugin)->attachToContext(nullptr); }
void drv_destroy(IPluginV3* plugin) { delete plugin; }
const PluginFieldCollection* drv_serialized(IPluginV3* plugin) { return runtimeOf(plugin)->getFieldsToSerialize(); }

/// Shapes of the outputs, by rank and sizes.
int drv_output_shapes(IPluginV3* plugin, int heads, int rank, const std::int64_t shapes[][4], int ranks[5],
                      std::int64_t sizes[5][4]) {
  std::deque<Size> known;
  DimsExprs inputs[4] = {};
  DimsExprs outputs[5] = {};
  for (int head = 0; head < heads; ++head) {
    inputs[head].nbDims = rank;
    for (int axis = 0; axis < rank; ++axis) {
      inputs[head].d[axis] = &known.emplace_back(shapes[head][axis]);
    }
  }
  Builder builder;
  const int status = buildOf(plugin)->getOutputShapes(inputs, heads, nullptr, 0, outputs, 5, builder);
  for (int output = 0; status == 0 && output < 5; ++output) {
    ranks[output] = outputs[output].nbDims;
    for (int axis = 0; axis < ranks[output]; ++axis) {
      const IDimensionExpr& size = *outputs[output].d[axis];
      sizes[output][axis] = size.isConstant() ? size.getConstantValue() : -1;
    }
  }
  return status;
}

int drv_output_types(IPluginV3* plugin, const int inputs[3], int outputs[5]) {
  DataType given[3];
  DataType types[5];
  for (int head = 0; head < 3; ++head) {
    given[head] = static_cast<DataType>(inputs[head]);
  }
  const int status = buildOf(plugin)->getOutputDataTypes(types, 5, given, 3);
  for (int output = 0; status == 0 && output < 5; ++output) {
    outputs[output] = static_cast<int>(types[output]);
  }
  return status;
}

bool drv_supports(IPluginV3* plugin, int position, const int types[8], const int formats[8]) {
  DynamicPluginTensorDesc tensors[8] = {};
  for (int index = 0; index < 8; ++index) {
    tensors[index].desc.type = static_cast<DataType>(types[index]);
    tensors[index].desc.format = static_cast<TensorFormat>(formats[index]);
  }
  return buildOf(plugin)->supportsFormatCombination(position, tensors, 3, 5);
}

int drv_configure(IPluginV3* plugin, const std::int64_t largest[3][4]) {
  DynamicPluginTensorDesc inputs[3] = {};
  DynamicPluginTensorDesc outputs[5] = {};
  for (int head = 0; head < 3; ++head) {
    inputs[head].max = dimsOf(largest[head], 4);
  }
  return buildOf(plugin)->configurePlugin(inputs, 3, outputs, 5);
}

std::size_t drv_workspace(IPluginV3* plugin, const std::int64_t largest[3][4]) {
  DynamicPluginTensorDesc inputs[3] = {};
  DynamicPluginTensorDesc outputs[5] = {};
  for (int head = 0; head < 3; ++head) {
    inputs[head].max = dimsOf(largest[head], 4);
  }
  return buildOf(plugin)->getWorkspaceSize(inputs, 3, outputs, 5);
}

int drv_shape_change(IPluginV3* plugin, const std::int64_t shapes[3][4]) {
  PluginTensorDesc inputs[3] = {};
  PluginTensorDesc outputs[5] = {};
  for (int head = 0; head < 3; ++head) {
    inputs[head].dims = dimsOf(shapes[head], 4);
  }
  return runtimeOf(plugin)->onShapeChange(inputs, 3, outputs, 5);
}
}
