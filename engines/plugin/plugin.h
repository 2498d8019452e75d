// The TensorRT plugin `GaussianYoloDetect`, version "1", namespace "": detections from raw heads.
//
// Inputs are the three heads [N, anchors * (9 + classes), rows, columns], float or half, linear. Outputs are
// num_detections int32 [N], boxes float [N, K, 4] in canvas px, scores float [N, K], class_ids int32 [N, K] and sigmas
// float [N, K, 4] in canvas px, as `DetectOutputs` has them. One source for TensorRT 10.3 to 11.
#pragma once

#include <NvInfer.h>

#include <array>
#include <cstddef>
#include <cstdint>

#include "attributes.h"
#include "kernels.h"

namespace gaussian_yolo {

constexpr int kOutputs = 5;
constexpr int kMaxBatch = 65535;  // blocks of a grid in y

/// Methods that return int32_t give 0 for success; what is wrong otherwise goes to TensorRT's logger.
class GaussianYoloDetect final : public nvinfer1::IPluginV3,
                                 public nvinfer1::IPluginV3OneCore,
                                 public nvinfer1::IPluginV3OneBuild,
                                 public nvinfer1::IPluginV3OneRuntime {
 public:
  explicit GaussianYoloDetect(const DetectParams& params);

  nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override;
  nvinfer1::IPluginV3* clone() noexcept override;

  const char* getPluginName() const noexcept override;
  const char* getPluginVersion() const noexcept override;
  const char* getPluginNamespace() const noexcept override;

  std::int32_t getNbOutputs() const noexcept override;
  std::int32_t getOutputDataTypes(nvinfer1::DataType* outputTypes, std::int32_t nbOutputs,
                                  const nvinfer1::DataType* inputTypes, std::int32_t nbInputs) const noexcept override;
  std::int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, std::int32_t nbInputs,
                               const nvinfer1::DimsExprs* shapeInputs, std::int32_t nbShapeInputs,
                               nvinfer1::DimsExprs* outputs, std::int32_t nbOutputs,
                               nvinfer1::IExprBuilder& builder) noexcept override;
  bool supportsFormatCombination(std::int32_t position, const nvinfer1::DynamicPluginTensorDesc* inOut,
                                 std::int32_t nbInputs, std::int32_t nbOutputs) noexcept override;
  std::int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc* inputs, std::int32_t nbInputs,
                               const nvinfer1::DynamicPluginTensorDesc* outputs,
                               std::int32_t nbOutputs) noexcept override;
  std::size_t getWorkspaceSize(const nvinfer1::DynamicPluginTensorDesc* inputs, std::int32_t nbInputs,
                               const nvinfer1::DynamicPluginTensorDesc* outputs,
                               std::int32_t nbOutputs) const noexcept override;

  std::int32_t onShapeChange(const nvinfer1::PluginTensorDesc* inputs, std::int32_t nbInputs,
                             const nvinfer1::PluginTensorDesc* outputs, std::int32_t nbOutputs) noexcept override;
  /// Only launches kernels on the stream, so that it can be captured into a CUDA graph.
  std::int32_t enqueue(const nvinfer1::PluginTensorDesc* inputDesc, const nvinfer1::PluginTensorDesc* outputDesc,
                       const void* const* inputs, void* const* outputs, void* workspace,
                       cudaStream_t stream) noexcept override;
  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept override;
  const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override;

 private:
  bool shapesFit(const nvinfer1::Dims* const shapes[kHeads]) const noexcept;

  Attributes attributes_;
};

/// Makes plugins of the attributes in an ONNX node or an engine; without any, the fields tell names and types.
class GaussianYoloDetectCreator final : public nvinfer1::IPluginCreatorV3One {
 public:
  GaussianYoloDetectCreator();

  const char* getPluginName() const noexcept override;
  const char* getPluginVersion() const noexcept override;
  const char* getPluginNamespace() const noexcept override;
  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override;
  /// @return nullptr for attributes that are missing, unknown, of another type or out of range, with the reason logged.
  nvinfer1::IPluginV3* createPlugin(const char* name, const nvinfer1::PluginFieldCollection* fields,
                                    nvinfer1::TensorRTPhase phase) noexcept override;

 private:
  AttributeFields fields_;
  nvinfer1::PluginFieldCollection collection_{};
};

}  // namespace gaussian_yolo

// What TensorRT's `IPluginRegistry::loadLibrary` looks for in a library of plugins.
extern "C" {
nvinfer1::IPluginCreatorInterface* const* getCreators(std::int32_t& nbCreators);
void setLoggerFinder(nvinfer1::ILoggerFinder* finder);
}
