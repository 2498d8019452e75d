#include "attributes.h"

#include <cmath>
#include <cstring>

#include "plugin_log.h"

namespace gaussian_yolo {
namespace {

using nvinfer1::PluginField;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginFieldType;

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

DetectParams defaultParams() {
  DetectParams params = {};
  params.maxCandidates = 1000;
  params.maxDetections = 300;
  return params;
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

}  // namespace

AttributeFields declareAttributes() noexcept {
  AttributeFields fields{};
  std::size_t next = 0;
  fields[next++] = {kAnchors, nullptr, fieldType<float>(), 0};
  fields[next++] = {kStrides, nullptr, fieldType<int>(), kHeads};
  for (const auto& scalar : kIntegers) {
    fields[next++] = {scalar.name, nullptr, fieldType<int>(), 1};
  }
  for (const auto& scalar : kFloats) {
    fields[next++] = {scalar.name, nullptr, fieldType<float>(), 1};
  }
  return fields;
}

bool readAttributes(const PluginFieldCollection& fields, DetectParams& params) noexcept {
  if (!isGiven(fields, kAnchors) || !isGiven(fields, kStrides) || !areGiven(fields, kIntegers) ||
      !areGiven(fields, kFloats)) {
    return false;
  }
  params = defaultParams();
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

}  // namespace gaussian_yolo
