// TensorRT's side of the plugin: sizes, types, fields and errors. All arithmetic is behind kernels.h.
//
// One source for TensorRT 10.3 up to 11 and TensorRT for RTX, to be compiled with the headers of the one that loads it.
// Nothing of TensorRT's libraries is linked, so the library loads where they are not.
#include "plugin.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstring>
#include <exception>
#include <iterator>

// Resolved only where TensorRT was linked before, as in trtexec; see Registration.
#pragma weak getPluginRegistry

namespace gaussian_yolo {
namespace {

using nvinfer1::DataType;
using nvinfer1::PluginField;
using nvinfer1::PluginFieldType;

enum Output { kNumDetections, kBoxes, kScores, kClassIds, kSigmas, kOutputs };
constexpr int kBoxSides = 4;

// The fields of a single number, by name. Anchors and strides are lists, and handled by name.
struct IntField {
  const char* name;
  int DetectParams::* member;
};
constexpr IntField kIntFields[] = {
    {"num_classes", &DetectParams::numClasses},       {"input_height", &DetectParams::inputHeight},
    {"input_width", &DetectParams::inputWidth},       {"max_candidates", &DetectParams::maxCandidates},
    {"max_detections", &DetectParams::maxDetections}, {"variance_vote", &DetectParams::varianceVote},
    {"criterion", &DetectParams::criterion},
};
struct FloatField {
  const char* name;
  float DetectParams::* member;
};
constexpr FloatField kFloatFields[] = {
    {"score_threshold", &DetectParams::scoreThreshold},
    {"iou_threshold", &DetectParams::iouThreshold},
};
constexpr char kAnchorsField[] = "anchors";
constexpr char kStridesField[] = "strides";

std::atomic<nvinfer1::ILoggerFinder*>& loggerFinder() {
  static std::atomic<nvinfer1::ILoggerFinder*> finder{nullptr};
  return finder;
}

void logError(const std::string& message) {
  nvinfer1::ILoggerFinder* const finder = loggerFinder().load();
  nvinfer1::ILogger* const logger = finder == nullptr ? nullptr : finder->findLogger();
  const std::string line = std::string(kPluginName) + ": " + message;
  if (logger != nullptr) {
    logger->log(nvinfer1::ILogger::Severity::kERROR, line.c_str());
  } else {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
}

DataType outputType(int output) {
  return output == kNumDetections || output == kClassIds ? DataType::kINT32 : DataType::kFLOAT;
}

// Numbers of a field, of the types that parsers of different versions give.
template <typename T>
std::string readNumbers(const PluginField& field, std::vector<T>& numbers) {
  numbers.clear();
  for (std::int32_t index = 0; index < field.length; ++index) {
    switch (field.type) {
      case PluginFieldType::kFLOAT32:
        numbers.push_back(static_cast<T>(static_cast<const float*>(field.data)[index]));
        break;
      case PluginFieldType::kFLOAT64:
        numbers.push_back(static_cast<T>(static_cast<const double*>(field.data)[index]));
        break;
      case PluginFieldType::kINT32:
        numbers.push_back(static_cast<T>(static_cast<const std::int32_t*>(field.data)[index]));
        break;
      case PluginFieldType::kINT64:
        numbers.push_back(static_cast<T>(static_cast<const std::int64_t*>(field.data)[index]));
        break;
      default:
        return std::string(field.name) + " holds no numbers";
    }
  }
  return {};
}

template <typename T>
std::string readNumber(const PluginField& field, T& number) {
  std::vector<T> numbers;
  std::string fault = readNumbers(field, numbers);
  if (fault.empty() && numbers.size() != 1) {
    fault = std::string(field.name) + " must be one number";
  }
  if (fault.empty()) {
    number = numbers[0];
  }
  return fault;
}

const PluginField* findField(const nvinfer1::PluginFieldCollection& fields, const char* name) {
  const PluginField* const end = fields.fields + fields.nbFields;
  const PluginField* const found =
      std::find_if(fields.fields, end, [name](const PluginField& field) { return std::strcmp(field.name, name) == 0; });
  return found != end && found->data != nullptr ? found : nullptr;
}

template <typename T>
std::string readList(const nvinfer1::PluginFieldCollection& fields, const char* name, std::vector<T>& numbers) {
  const PluginField* const field = findField(fields, name);
  return field == nullptr ? std::string(name) + " is missing" : readNumbers(*field, numbers);
}

DetectPluginCreator& creator() {
  static DetectPluginCreator instance;
  return instance;
}

// Registers the creator when the library is loaded by a program that is linked with TensorRT and asks for nothing:
// `trtexec --staticPlugins`. In Python, whose TensorRT other libraries do not see, it does nothing.
class Registration {
 public:
  Registration() {
    if (getPluginRegistry != nullptr) {
      nvinfer1::IPluginRegistry* const registry = getPluginRegistry();
      done_ = registry != nullptr && registry->registerCreator(creator(), kPluginNamespace);
    }
  }

  // Takes it back for a program that asks for the creator and registers it then, which fails for one that is there.
  void undo() {
    if (done_) {
      getPluginRegistry()->deregisterCreator(creator());
      done_ = false;
    }
  }

 private:
  bool done_ = false;
};

// Without memory for it at load there is nothing to go on with.
Registration& registration() noexcept {
  static Registration instance;
  return instance;
}

[[maybe_unused]] const Registration& kAtLoad = registration();

}  // namespace

ParamFields::ParamFields(const DetectParams& params) : params_(params) {
  for (const auto& head : params_.anchors) {
    for (int anchor = 0; anchor < params_.anchorsPerHead; ++anchor) {
      anchors_.insert(anchors_.end(), std::begin(head[anchor]), std::end(head[anchor]));
    }
  }
  const auto anchors = static_cast<std::int32_t>(anchors_.size());
  fields_.emplace_back(kAnchorsField, anchors_.data(), PluginFieldType::kFLOAT32, anchors);
  fields_.emplace_back(kStridesField, params_.strides, PluginFieldType::kINT32, kHeads);
  for (const IntField& field : kIntFields) {
    fields_.emplace_back(field.name, &(params_.*field.member), PluginFieldType::kINT32, 1);
  }
  for (const FloatField& field : kFloatFields) {
    fields_.emplace_back(field.name, &(params_.*field.member), PluginFieldType::kFLOAT32, 1);
  }
  collection_.nbFields = static_cast<std::int32_t>(fields_.size());
  collection_.fields = fields_.data();
}

std::string ParamFields::read(const nvinfer1::PluginFieldCollection& fields, DetectParams& params) {
  params = {};
  std::vector<float> anchors;
  std::vector<int> strides;
  std::string fault = readList(fields, kAnchorsField, anchors);
  if (fault.empty()) {
    fault = readList(fields, kStridesField, strides);
  }
  for (const IntField& entry : kIntFields) {
    const PluginField* const field = findField(fields, entry.name);
    if (fault.empty()) {
      fault = field == nullptr ? std::string(entry.name) + " is missing" : readNumber(*field, params.*entry.member);
    }
  }
  for (const FloatField& entry : kFloatFields) {
    const PluginField* const field = findField(fields, entry.name);
    if (fault.empty()) {
      fault = field == nullptr ? std::string(entry.name) + " is missing" : readNumber(*field, params.*entry.member);
    }
  }
  if (!fault.empty()) {
    return fault;
  }
  constexpr std::size_t kSides = 2;
  const std::size_t perHead = anchors.size() / (kHeads * kSides);
  if (strides.size() != kHeads || anchors.size() != kHeads * kSides * perHead || perHead > kMaxAnchors) {
    return "anchors and strides must be of three heads, with 1 to 8 anchors each";
  }
  params.anchorsPerHead = static_cast<int>(perHead);
  std::copy(strides.begin(), strides.end(), params.strides);
  for (std::size_t index = 0; index < anchors.size(); ++index) {
    const std::size_t anchor = index / kSides;
    params.anchors[anchor / perHead][anchor % perHead][index % kSides] = anchors[index];
  }
  const char* const error = detectParamsError(params);
  return error == nullptr ? std::string() : std::string(error);
}

nvinfer1::IPluginCapability* DetectPlugin::getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept {
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

nvinfer1::IPluginV3* DetectPlugin::clone() noexcept {
  try {
    return new DetectPlugin(params_);
  } catch (const std::exception& error) {
    logError(error.what());
    return nullptr;
  }
}

std::int32_t DetectPlugin::getNbOutputs() const noexcept { return kOutputs; }

std::int32_t DetectPlugin::getOutputDataTypes(DataType* outputTypes, std::int32_t nbOutputs,
                                              const DataType* /*inputTypes*/, std::int32_t nbInputs) const noexcept {
  if (nbInputs != kHeads || nbOutputs != kOutputs) {
    return -1;
  }
  for (int output = 0; output < kOutputs; ++output) {
    outputTypes[output] = outputType(output);
  }
  return 0;
}

std::int32_t DetectPlugin::getOutputShapes(const nvinfer1::DimsExprs* inputs, std::int32_t nbInputs,
                                           const nvinfer1::DimsExprs* /*shapeInputs*/, std::int32_t /*nbShapeInputs*/,
                                           nvinfer1::DimsExprs* outputs, std::int32_t nbOutputs,
                                           nvinfer1::IExprBuilder& exprBuilder) noexcept {
  if (nbInputs != kHeads || nbOutputs != kOutputs) {
    return -1;
  }
  for (int output = 0; output < kOutputs; ++output) {
    nvinfer1::DimsExprs& dims = outputs[output];
    dims.nbDims = 1;
    dims.d[0] = inputs[0].d[0];
    if (output != kNumDetections) {
      dims.d[dims.nbDims++] = exprBuilder.constant(params_.maxDetections);
    }
    if (output == kBoxes || output == kSigmas) {
      dims.d[dims.nbDims++] = exprBuilder.constant(kBoxSides);
    }
  }
  return 0;
}

bool DetectPlugin::supportsFormatCombination(std::int32_t pos, const nvinfer1::DynamicPluginTensorDesc* inOut,
                                             std::int32_t nbInputs, std::int32_t nbOutputs) noexcept {
  if (nbInputs != kHeads || nbOutputs != kOutputs || inOut[pos].desc.format != nvinfer1::TensorFormat::kLINEAR) {
    return false;
  }
  const DataType type = inOut[pos].desc.type;
  if (pos >= nbInputs) {
    return type == outputType(pos - nbInputs);
  }
  const bool known = type == DataType::kFLOAT || type == DataType::kHALF;
  return known && type == inOut[0].desc.type;
}

std::int32_t DetectPlugin::configurePlugin(const nvinfer1::DynamicPluginTensorDesc* in, std::int32_t nbInputs,
                                           const nvinfer1::DynamicPluginTensorDesc* /*out*/,
                                           std::int32_t nbOutputs) noexcept {
  if (nbInputs != kHeads || nbOutputs != kOutputs) {
    return -1;
  }
  for (int head = 0; head < kHeads; ++head) {
    if (!fits(in[head].desc.dims, head)) {
      return -1;
    }
  }
  return 0;
}

std::size_t DetectPlugin::getWorkspaceSize(const nvinfer1::DynamicPluginTensorDesc* inputs, std::int32_t /*nbInputs*/,
                                           const nvinfer1::DynamicPluginTensorDesc* /*outputs*/,
                                           std::int32_t /*nbOutputs*/) const noexcept {
  return detectWorkspaceBytes(params_, static_cast<int>(inputs[0].max.d[0]));
}

std::int32_t DetectPlugin::onShapeChange(const nvinfer1::PluginTensorDesc* in, std::int32_t nbInputs,
                                         const nvinfer1::PluginTensorDesc* /*out*/, std::int32_t nbOutputs) noexcept {
  if (nbInputs != kHeads || nbOutputs != kOutputs) {
    return -1;
  }
  for (int head = 0; head < kHeads; ++head) {
    if (!fits(in[head].dims, head)) {
      return -1;
    }
  }
  return 0;
}

// May be captured into a CUDA graph: launchDetect neither waits, allocates nor copies.
std::int32_t DetectPlugin::enqueue(const nvinfer1::PluginTensorDesc* inputDesc,
                                   const nvinfer1::PluginTensorDesc* /*outputDesc*/, const void* const* inputs,
                                   void* const* outputs, void* workspace, cudaStream_t stream) noexcept {
  const DetectOutputs detections = {
      static_cast<std::int32_t*>(outputs[kNumDetections]),
      static_cast<float*>(outputs[kBoxes]),
      static_cast<float*>(outputs[kScores]),
      static_cast<std::int32_t*>(outputs[kClassIds]),
      static_cast<float*>(outputs[kSigmas]),
  };
  const bool half = inputDesc[0].type == DataType::kHALF;
  const auto batch = static_cast<int>(inputDesc[0].dims.d[0]);
  const cudaError_t error = launchDetect(params_, batch, inputs, half, detections, workspace, stream);
  if (error != cudaSuccess) {
    logError(cudaGetErrorString(error));
  }
  return static_cast<std::int32_t>(error);
}

nvinfer1::IPluginV3* DetectPlugin::attachToContext(nvinfer1::IPluginResourceContext* /*context*/) noexcept {
  return clone();
}

bool DetectPlugin::fits(const nvinfer1::Dims& dims, int head) const {
  const int wanted[] = {
      params_.anchorsPerHead * (kBoxEntries + params_.numClasses),
      params_.inputHeight / params_.strides[head],
      params_.inputWidth / params_.strides[head],
  };
  // Sizes that are still open are -1; they are asked about again when they are known.
  bool same = dims.nbDims == 1 + static_cast<int>(std::size(wanted));
  for (std::size_t index = 0; same && index < std::size(wanted); ++index) {
    same = dims.d[index + 1] == wanted[index] || dims.d[index + 1] == -1;
  }
  if (!same) {
    logError("head " + std::to_string(head) + " must be [N, " + std::to_string(wanted[0]) + ", " +
             std::to_string(wanted[1]) + ", " + std::to_string(wanted[2]) + "], as the attributes say");
  }
  return same;
}

DetectPluginCreator::DetectPluginCreator() {
  fields_.emplace_back(kAnchorsField, nullptr, PluginFieldType::kFLOAT32, 0);
  fields_.emplace_back(kStridesField, nullptr, PluginFieldType::kINT32, kHeads);
  for (const IntField& field : kIntFields) {
    fields_.emplace_back(field.name, nullptr, PluginFieldType::kINT32, 1);
  }
  for (const FloatField& field : kFloatFields) {
    fields_.emplace_back(field.name, nullptr, PluginFieldType::kFLOAT32, 1);
  }
  collection_.nbFields = static_cast<std::int32_t>(fields_.size());
  collection_.fields = fields_.data();
}

nvinfer1::IPluginV3* DetectPluginCreator::createPlugin(const char* name, const nvinfer1::PluginFieldCollection* fc,
                                                       nvinfer1::TensorRTPhase /*phase*/) noexcept {
  try {
    DetectParams params = {};
    const std::string fault = fc == nullptr ? "it has no attributes" : ParamFields::read(*fc, params);
    if (fault.empty()) {
      return new DetectPlugin(params);
    }
    logError(std::string("node ") + (name == nullptr ? "" : name) + ": " + fault);
  } catch (const std::exception& error) {
    logError(error.what());
  }
  return nullptr;
}

}  // namespace gaussian_yolo

extern "C" nvinfer1::IPluginCreatorInterface* const* getCreators(std::int32_t& nbCreators) {
  static nvinfer1::IPluginCreatorInterface* const creators[] = {&gaussian_yolo::creator()};
  gaussian_yolo::registration().undo();
  nbCreators = 1;
  return creators;
}

extern "C" void setLoggerFinder(nvinfer1::ILoggerFinder* finder) { gaussian_yolo::loggerFinder().store(finder); }
