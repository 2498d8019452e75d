// The TensorRT plugin of plugin.h; what it launches is in kernels.cu.
#include "plugin.h"

#include <atomic>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <new>

namespace gaussian_yolo {
namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::DimsExprs;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginField;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginFieldType;
using nvinfer1::PluginTensorDesc;

constexpr const char* kName = "GaussianYoloDetect";
constexpr const char* kVersion = "1";
constexpr const char* kNamespace = "";

constexpr const char* kAnchors = "anchors";
constexpr const char* kStrides = "strides";

/// An attribute that is one number, and the member it becomes.
template <typename T>
struct Scalar {
  const char* name;
  T DetectParams::* member;
  bool required;  // others keep the defaults of `defaultParams`
};

constexpr std::array<Scalar<int>, 7> kIntegers = {{
    {"num_classes", &DetectParams::numClasses, true},
    {"input_height", &DetectParams::inputHeight, true},
    {"input_width", &DetectParams::inputWidth, true},
    {"max_candidates", &DetectParams::maxCandidates, false},
    {"max_detections", &DetectParams::maxDetections, false},
    {"variance_vote", &DetectParams::varianceVote, false},
    {"criterion", &DetectParams::criterion, false},
}};
constexpr std::array<Scalar<float>, 2> kFloats = {{
    {"score_threshold", &DetectParams::scoreThreshold, true},
    {"iou_threshold", &DetectParams::iouThreshold, true},
}};
static_assert(2 + kIntegers.size() + kFloats.size() == kAttributes, "anchors and strides are the two lists");

// In the order of the outputs.
constexpr std::array<DataType, kOutputs> kOutputTypes = {DataType::kINT32, DataType::kFLOAT, DataType::kFLOAT,
                                                         DataType::kINT32, DataType::kFLOAT};

DetectParams defaultParams() {
  DetectParams params = {};
  params.maxCandidates = 1000;
  params.maxDetections = 300;
  return params;
}

std::atomic<nvinfer1::ILoggerFinder*>& loggerFinder() {
  static std::atomic<nvinfer1::ILoggerFinder*> finder{nullptr};
  return finder;
}

/// To TensorRT's logger, or to stderr where the library was loaded without one.
__attribute__((format(printf, 1, 2))) void logError(const char* format, ...) noexcept {
  std::array<char, 512> text{};
  const int start = std::snprintf(text.data(), text.size(), "%s: ", kName);
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text.data() + start, text.size() - static_cast<std::size_t>(start), format, arguments);
  va_end(arguments);
  nvinfer1::ILoggerFinder* const finder = loggerFinder().load();
  nvinfer1::ILogger* const logger = finder == nullptr ? nullptr : finder->findLogger();
  if (logger != nullptr) {
    logger->log(nvinfer1::ILogger::Severity::kERROR, text.data());
  } else {
    std::fprintf(stderr, "%s\n", text.data());
  }
}

template <typename T>
constexpr PluginFieldType fieldType();
template <>
constexpr PluginFieldType fieldType<int>() {
  return PluginFieldType::kINT32;
}
template <>
constexpr PluginFieldType fieldType<float>() {
  return PluginFieldType::kFLOAT32;
}

/// The values of a field, or nullptr with the reason logged. A `length` of 0 means any but none.
template <typename T>
const T* valuesOf(const PluginField& field, int length) {
  if (field.type != fieldType<T>()) {
    logError("attribute %s must be %s", field.name, fieldType<T>() == PluginFieldType::kINT32 ? "int32" : "float32");
    return nullptr;
  }
  if (field.data == nullptr || field.length < 1 || (length != 0 && field.length != length)) {
    logError("attribute %s has %d values where %d must be given", field.name, field.data == nullptr ? 0 : field.length,
             length == 0 ? 1 : length);
    return nullptr;
  }
  return static_cast<const T*>(field.data);
}

template <typename T, std::size_t Count>
const Scalar<T>* findScalar(const std::array<Scalar<T>, Count>& scalars, const char* name) {
  for (const Scalar<T>& scalar : scalars) {
    if (std::strcmp(scalar.name, name) == 0) {
      return &scalar;
    }
  }
  return nullptr;
}

bool readAnchors(const PluginField& field, DetectParams& params) {
  const auto* const values = valuesOf<float>(field, 0);
  if (values == nullptr) {
    return false;
  }
  const int perHead = field.length / (kHeads * 2);
  if (perHead * kHeads * 2 != field.length || perHead > kMaxAnchors) {
    logError("attribute anchors has %d values; give the width and height of 1 to %d anchors for each of %d heads",
             field.length, kMaxAnchors, kHeads);
    return false;
  }
  params.anchorsPerHead = perHead;
  for (int index = 0; index < field.length; ++index) {
    if (!std::isfinite(values[index]) || values[index] <= 0.0F) {
      logError("attribute anchors has %g at %d; widths and heights are positive px", static_cast<double>(values[index]),
               index);
      return false;
    }
    params.anchors[index / (perHead * 2)][index / 2 % perHead][index % 2] = values[index];
  }
  return true;
}

bool readStrides(const PluginField& field, DetectParams& params) {
  const auto* const values = valuesOf<int>(field, kHeads);
  if (values == nullptr) {
    return false;
  }
  for (int head = 0; head < kHeads; ++head) {
    params.strides[head] = values[head];
  }
  return true;
}

template <typename T>
bool readScalar(const Scalar<T>& scalar, const PluginField& field, DetectParams& params) {
  const auto* const values = valuesOf<T>(field, 1);
  if (values != nullptr) {
    params.*scalar.member = *values;
  }
  return values != nullptr;
}

bool readField(const PluginField& field, DetectParams& params) {
  if (std::strcmp(field.name, kAnchors) == 0) {
    return readAnchors(field, params);
  }
  if (std::strcmp(field.name, kStrides) == 0) {
    return readStrides(field, params);
  }
  if (const Scalar<int>* const scalar = findScalar(kIntegers, field.name)) {
    return readScalar(*scalar, field, params);
  }
  if (const Scalar<float>* const scalar = findScalar(kFloats, field.name)) {
    return readScalar(*scalar, field, params);
  }
  logError("there is no attribute %s", field.name);
  return false;
}

bool isGiven(const PluginFieldCollection& fields, const char* name) {
  for (int index = 0; index < fields.nbFields; ++index) {
    if (std::strcmp(fields.fields[index].name, name) == 0) {
      return true;
    }
  }
  logError("attribute %s is missing", name);
  return false;
}

template <typename T, std::size_t Count>
bool areGiven(const PluginFieldCollection& fields, const std::array<Scalar<T>, Count>& scalars) {
  for (const Scalar<T>& scalar : scalars) {
    if (scalar.required && !isGiven(fields, scalar.name)) {
      return false;
    }
  }
  return true;
}

bool readFields(const PluginFieldCollection& fields, DetectParams& params) {
  if (!isGiven(fields, kAnchors) || !isGiven(fields, kStrides) || !areGiven(fields, kIntegers) ||
      !areGiven(fields, kFloats)) {
    return false;
  }
  for (int index = 0; index < fields.nbFields; ++index) {
    if (!readField(fields.fields[index], params)) {
      return false;
    }
  }
  if (const char* const fault = detectParamsError(params)) {
    logError("%s", fault);
    return false;
  }
  return true;
}

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

Attributes::Attributes(const DetectParams& params) : params_(params) {
  const int perHead = params_.anchorsPerHead;
  const int length = kHeads * perHead * 2;
  for (int index = 0; index < length; ++index) {
    anchors_[static_cast<std::size_t>(index)] = params_.anchors[index / (perHead * 2)][index / 2 % perHead][index % 2];
  }
  std::size_t next = 0;
  fields_[next++] = {kAnchors, anchors_.data(), fieldType<float>(), length};
  fields_[next++] = {kStrides, params_.strides, fieldType<int>(), kHeads};
  for (const auto& scalar : kIntegers) {
    fields_[next++] = {scalar.name, &(params_.*scalar.member), fieldType<int>(), 1};
  }
  for (const auto& scalar : kFloats) {
    fields_[next++] = {scalar.name, &(params_.*scalar.member), fieldType<float>(), 1};
  }
  collection_ = {kAttributes, fields_.data()};
}

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

GaussianYoloDetectCreator::GaussianYoloDetectCreator() {
  std::size_t next = 0;
  fields_[next++] = {kAnchors, nullptr, fieldType<float>(), 0};
  fields_[next++] = {kStrides, nullptr, fieldType<int>(), kHeads};
  for (const auto& scalar : kIntegers) {
    fields_[next++] = {scalar.name, nullptr, fieldType<int>(), 1};
  }
  for (const auto& scalar : kFloats) {
    fields_[next++] = {scalar.name, nullptr, fieldType<float>(), 1};
  }
  collection_ = {kAttributes, fields_.data()};
}

const char* GaussianYoloDetectCreator::getPluginName() const noexcept { return kName; }
const char* GaussianYoloDetectCreator::getPluginVersion() const noexcept { return kVersion; }
const char* GaussianYoloDetectCreator::getPluginNamespace() const noexcept { return kNamespace; }
const PluginFieldCollection* GaussianYoloDetectCreator::getFieldNames() noexcept { return &collection_; }

nvinfer1::IPluginV3* GaussianYoloDetectCreator::createPlugin(const char* /*name*/, const PluginFieldCollection* fields,
                                                             nvinfer1::TensorRTPhase /*phase*/) noexcept {
  DetectParams params = defaultParams();
  if (fields == nullptr || !readFields(*fields, params)) {
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

void setLoggerFinder(nvinfer1::ILoggerFinder* finder) { gaussian_yolo::loggerFinder().store(finder); }
