// The TensorRT plugin of plugin.h; what it launches is in kernels.cu.
#include "plugin.h"

#include <new>

#include "plugin_log.h"

namespace gaussian_yolo {
namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::DimsExprs;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginTensorDesc;

constexpr const char* kName = "GaussianYoloDetect";
constexpr const char* kVersion = "1";
constexpr const char* kNamespace = "";

// In the order of the outputs.
constexpr std::array<DataType, kOutputs> kOutputTypes = {DataType::kINT32, DataType::kFLOAT, DataType::kFLOAT,
                                                         DataType::kINT32, DataType::kFLOAT};

/// Channels, rows and columns of a head.
std::array<std::int64_t, 3> headShape(const DetectParams& params, int head) {
  return {static_cast<std::int64_t>(params.anchorsPerHead) * (kBoxEntries + params.numClasses),
          params.inputHeight / params.strides[head], params.inputWidth / params.strides[head]};
}

/// Whether a head is [batch, channels, rows, columns]; -1 stands for what is not known yet.
bool headFits(const DetectParams& params, int head, int rank, const std::array<std::int64_t, 4>& shape) {
  const auto wanted = headShape(params, head);
  bool fits = rank == 4;
  for (std::size_t axis = 0; axis < wanted.size(); ++axis) {
    fits = fits && (shape[axis + 1] == -1 || shape[axis + 1] == wanted[axis]);
  }
  if (rank != 4) {
    logError("head %d has %d dimensions where [batch, channels, rows, columns] is needed", head, rank);
  } else if (!fits) {
    const auto print = [](std::int64_t size) { return static_cast<long long>(size); };  // NOLINT(google-runtime-int)
    logError(
        "head %d is [batch, %lld, %lld, %lld] where its attributes (stride %d, %d anchors, %d classes, %dx%d px) say "
        "[batch, %lld, %lld, %lld]",
        head, print(shape[1]), print(shape[2]), print(shape[3]), params.strides[head], params.anchorsPerHead,
        params.numClasses, params.inputHeight, params.inputWidth, print(wanted[0]), print(wanted[1]), print(wanted[2]));
  }
  return fits;
}

bool countsFit(std::int32_t nbInputs, std::int32_t nbOutputs) {
  if (nbInputs != kHeads || nbOutputs != kOutputs) {
    logError("has %d inputs and %d outputs where %d heads and %d outputs are needed", nbInputs, nbOutputs, kHeads,
             kOutputs);
    return false;
  }
  return true;
}

}  // namespace

GaussianYoloDetect::GaussianYoloDetect(const DetectParams& params) : attributes_(params) {}

nvinfer1::IPluginCapability* GaussianYoloDetect::getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept {
  switch (type) {
    case nvinfer1::PluginCapabilityType::kCORE:
      return static_cast<nvinfer1::IPluginV3OneCore*>(this);
    case nvinfer1::PluginCapabilityType::kBUILD:
      return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
    case nvinfer1::PluginCapabilityType::kRUNTIME:
      return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
  }
  return nullptr;
}

nvinfer1::IPluginV3* GaussianYoloDetect::clone() noexcept {
  auto* const copy = new (std::nothrow) GaussianYoloDetect(attributes_.params());
  if (copy == nullptr) {
    logError("out of memory");
  }
  return copy;
}

const char* GaussianYoloDetect::getPluginName() const noexcept { return kName; }
const char* GaussianYoloDetect::getPluginVersion() const noexcept { return kVersion; }
const char* GaussianYoloDetect::getPluginNamespace() const noexcept { return kNamespace; }
std::int32_t GaussianYoloDetect::getNbOutputs() const noexcept { return kOutputs; }

std::int32_t GaussianYoloDetect::getOutputDataTypes(DataType* outputTypes, std::int32_t nbOutputs,
                                                    const DataType* inputTypes, std::int32_t nbInputs) const noexcept {
  if (!countsFit(nbInputs, nbOutputs)) {
    return -1;
  }
  for (int head = 0; head < kHeads; ++head) {
    if ((inputTypes[head] != DataType::kFLOAT && inputTypes[head] != DataType::kHALF) ||
        inputTypes[head] != inputTypes[0]) {
      logError("head %d has TensorRT's data type %d where float (0) or half (1) is needed, the same for all heads",
               head, static_cast<int>(inputTypes[head]));
      return -1;
    }
  }
  for (std::size_t output = 0; output < kOutputTypes.size(); ++output) {
    outputTypes[output] = kOutputTypes[output];
  }
  return 0;
}

std::int32_t GaussianYoloDetect::getOutputShapes(const DimsExprs* inputs, std::int32_t nbInputs,
                                                 const DimsExprs* /*shapeInputs*/, std::int32_t /*nbShapeInputs*/,
                                                 DimsExprs* outputs, std::int32_t nbOutputs,
                                                 nvinfer1::IExprBuilder& builder) noexcept {
  if (!countsFit(nbInputs, nbOutputs)) {
    return -1;
  }
  for (int head = 0; head < kHeads; ++head) {
    std::array<std::int64_t, 4> shape = {-1, -1, -1, -1};
    for (int axis = 0; axis < 4 && axis < inputs[head].nbDims; ++axis) {
      const nvinfer1::IDimensionExpr& size = *inputs[head].d[axis];
      if (size.isConstant()) {
        shape[static_cast<std::size_t>(axis)] = size.getConstantValue();
      }
    }
    if (!headFits(attributes_.params(), head, inputs[head].nbDims, shape)) {
      return -1;
    }
  }
  const nvinfer1::IDimensionExpr* const batch = inputs[0].d[0];
  const nvinfer1::IDimensionExpr* const rows = builder.constant(attributes_.params().maxDetections);
  const nvinfer1::IDimensionExpr* const four = builder.constant(4);
  constexpr std::array<int, kOutputs> kRanks = {1, 3, 2, 2, 3};
  for (std::size_t output = 0; output < kRanks.size(); ++output) {
    outputs[output].nbDims = kRanks[output];
    outputs[output].d[0] = batch;
    outputs[output].d[1] = rows;
    outputs[output].d[2] = four;
  }
  return 0;
}

bool GaussianYoloDetect::supportsFormatCombination(std::int32_t position, const DynamicPluginTensorDesc* inOut,
                                                   std::int32_t nbInputs, std::int32_t nbOutputs) noexcept {
  if (nbInputs != kHeads || nbOutputs != kOutputs || position < 0 || position >= kHeads + kOutputs) {
    return false;
  }
  const PluginTensorDesc& tensor = inOut[position].desc;
  if (tensor.format != nvinfer1::TensorFormat::kLINEAR) {
    return false;
  }
  if (position == 0) {
    return tensor.type == DataType::kFLOAT || tensor.type == DataType::kHALF;
  }
  if (position < kHeads) {
    return tensor.type == inOut[0].desc.type;
  }
  return tensor.type == kOutputTypes[static_cast<std::size_t>(position - kHeads)];
}

std::int32_t GaussianYoloDetect::configurePlugin(const DynamicPluginTensorDesc* inputs, std::int32_t nbInputs,
                                                 const DynamicPluginTensorDesc* /*outputs*/,
                                                 std::int32_t nbOutputs) noexcept {
  if (!countsFit(nbInputs, nbOutputs)) {
    return -1;
  }
  const Dims* const largest[kHeads] = {&inputs[0].max, &inputs[1].max, &inputs[2].max};
  return shapesFit(largest) ? 0 : -1;
}

std::size_t GaussianYoloDetect::getWorkspaceSize(const DynamicPluginTensorDesc* inputs, std::int32_t nbInputs,
                                                 const DynamicPluginTensorDesc* /*outputs*/,
                                                 std::int32_t nbOutputs) const noexcept {
  if (!countsFit(nbInputs, nbOutputs)) {
    return 0;
  }
  return detectWorkspaceBytes(attributes_.params(), static_cast<int>(inputs[0].max.d[0]));
}

std::int32_t GaussianYoloDetect::onShapeChange(const PluginTensorDesc* inputs, std::int32_t nbInputs,
                                               const PluginTensorDesc* /*outputs*/, std::int32_t nbOutputs) noexcept {
  if (!countsFit(nbInputs, nbOutputs)) {
    return -1;
  }
  const Dims* const shapes[kHeads] = {&inputs[0].dims, &inputs[1].dims, &inputs[2].dims};
  return shapesFit(shapes) ? 0 : -1;
}

std::int32_t GaussianYoloDetect::enqueue(const PluginTensorDesc* inputDesc, const PluginTensorDesc* /*outputDesc*/,
                                         const void* const* inputs, void* const* outputs, void* workspace,
                                         cudaStream_t stream) noexcept {
  const DetectOutputs detections = {static_cast<std::int32_t*>(outputs[0]), static_cast<float*>(outputs[1]),
                                    static_cast<float*>(outputs[2]), static_cast<std::int32_t*>(outputs[3]),
                                    static_cast<float*>(outputs[4])};
  const cudaError_t status = launchDetect(attributes_.params(), static_cast<int>(inputDesc[0].dims.d[0]), inputs,
                                          inputDesc[0].type == DataType::kHALF, detections, workspace, stream);
  if (status != cudaSuccess) {
    logError("the kernels could not be launched: %s", cudaGetErrorString(status));
    return -1;
  }
  return 0;
}

nvinfer1::IPluginV3* GaussianYoloDetect::attachToContext(nvinfer1::IPluginResourceContext* /*context*/) noexcept {
  return clone();
}

const PluginFieldCollection* GaussianYoloDetect::getFieldsToSerialize() noexcept { return &attributes_.fields(); }

bool GaussianYoloDetect::shapesFit(const Dims* const shapes[kHeads]) const noexcept {
  const auto batch = static_cast<int>(shapes[0]->d[0]);
  for (int head = 0; head < kHeads; ++head) {
    const Dims& shape = *shapes[head];
    if (!headFits(attributes_.params(), head, shape.nbDims, {shape.d[0], shape.d[1], shape.d[2], shape.d[3]})) {
      return false;
    }
    if (shape.d[0] != batch || batch < 1 || batch > kMaxBatch) {
      logError("head %d has a batch of %d and head 0 of %d; all must have the same, from 1 to %d", head,
               static_cast<int>(shape.d[0]), batch, kMaxBatch);
      return false;
    }
  }
  return true;
}

GaussianYoloDetectCreator::GaussianYoloDetectCreator() : fields_(declareAttributes()) {
  collection_ = {kAttributes, fields_.data()};
}

const char* GaussianYoloDetectCreator::getPluginName() const noexcept { return kName; }
const char* GaussianYoloDetectCreator::getPluginVersion() const noexcept { return kVersion; }
const char* GaussianYoloDetectCreator::getPluginNamespace() const noexcept { return kNamespace; }
const PluginFieldCollection* GaussianYoloDetectCreator::getFieldNames() noexcept { return &collection_; }

nvinfer1::IPluginV3* GaussianYoloDetectCreator::createPlugin(const char* /*name*/, const PluginFieldCollection* fields,
                                                             nvinfer1::TensorRTPhase /*phase*/) noexcept {
  DetectParams params = {};
  if (fields == nullptr || !readAttributes(*fields, params)) {
    return nullptr;
  }
  auto* const plugin = new (std::nothrow) GaussianYoloDetect(params);
  if (plugin == nullptr) {
    logError("out of memory");
  }
  return plugin;
}

}  // namespace gaussian_yolo

nvinfer1::IPluginCreatorInterface* const* getCreators(std::int32_t& nbCreators) {
  static gaussian_yolo::GaussianYoloDetectCreator creator;
  static nvinfer1::IPluginCreatorInterface* const creators[] = {&creator};
  nbCreators = 1;
  return creators;
}

void setLoggerFinder(nvinfer1::ILoggerFinder* finder) { gaussian_yolo::setFinder(finder); }
