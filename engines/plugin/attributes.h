// The attributes of `GaussianYoloDetect`: read from an ONNX node or an engine, and as they go into one.
#pragma once

#include <NvInfer.h>

#include <array>
#include <cstddef>

#include "kernels.h"

namespace gaussian_yolo {

constexpr int kAttributes = 11;

using AttributeFields = std::array<nvinfer1::PluginField, kAttributes>;

/// Names, types and numbers of values, without values; 0 stands for any number.
AttributeFields declareAttributes() noexcept;

/// @return false for attributes that are missing, unknown, of another type or out of range, with the reason logged.
bool readAttributes(const nvinfer1::PluginFieldCollection& fields, DetectParams& params) noexcept;

/// Attributes of the plugin, as TensorRT stores them in an engine.
class Attributes {
 public:
  explicit Attributes(const DetectParams& params);
  // Fields point into the object.
  Attributes(const Attributes&) = delete;
  Attributes& operator=(const Attributes&) = delete;
  ~Attributes() = default;

  const DetectParams& params() const { return params_; }
  const nvinfer1::PluginFieldCollection& fields() const { return collection_; }

 private:
  DetectParams params_;
  std::array<float, std::size_t{kHeads} * kMaxAnchors * 2> anchors_{};  // flat
  AttributeFields fields_{};
  nvinfer1::PluginFieldCollection collection_{};
};

}  // namespace gaussian_yolo
