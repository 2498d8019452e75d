// The TensorRT plugin `GaussianYoloDetect`: raw heads to finished detections inside an engine.
//
// Inputs: kHeads raw heads [N, anchors * (9 + classes), rows, columns], all float or all half, linear.
// Outputs: num_detections [N] int32, boxes [N, K, 4], scores [N, K], class_ids [N, K] int32, sigmas [N, K, 4] float.
// What the numbers mean is told at DetectParams and DetectOutputs.
#pragma once

#include <NvInfer.h>

#include <string>
#include <vector>

#include "kernels.h"

namespace gaussian_yolo {

constexpr char kPluginName[] = "GaussianYoloDetect";
constexpr char kPluginVersion[] = "1";
constexpr char kPluginNamespace[] = "";

/// The parameters as fields of a plugin, and back. Their memory belongs to this object.
class ParamFields {
 public:
  explicit ParamFields(const DetectParams& params);
  ParamFields(const ParamFields&) = delete;
  ParamFields& operator=(const ParamFields&) = delete;

  const nvinfer1::PluginFieldCollection* collection() const { return &collection_; }

  /// Reads the fields of an ONNX node or of an engine into `params`.
  ///
  /// @return what is wrong with them, or an empty string.
  static std::string read(const nvinfer1::PluginFieldCollection& fields, DetectParams& params);

 private:
  DetectParams params_;
  std::vector<float> anchors_;
  std::vector<nvinfer1::PluginField> fields_;
  nvinfer1::PluginFieldCollection collection_ = {};
};

/// One node of a network, or one context of an engine.
class DetectPlugin : public nvinfer1::IPluginV3,
                     public nvinfer1::IPluginV3OneCore,
                     public nvinfer1::IPluginV3OneBuild,
                     public nvinfer1::IPluginV3OneRuntime {
 public:
  explicit DetectPlugin(const DetectParams& params) : params_(params), fields_(params) {}

  nvinfer1::IPluginCapability* getCapabilityInterface(nvinfer1::PluginCapabilityType type) noexcept override;
  nvinfer1::IPluginV3* clone() noexcept override;

  const char* getPluginName() const noexcept override { return kPluginName; }
  const char* getPluginVersion() const noexcept override { return kPluginVersion; }
  const char* getPluginNamespace() const noexcept override { return kPluginNamespace; }

  std::int32_t getNbOutputs() const noexcept override;
  std::int32_t getOutputDataTypes(nvinfer1::DataType* outputTypes, std::int32_t nbOutputs,
                                  const nvinfer1::DataType* inputTypes, std::int32_t nbInputs) const noexcept override;
  std::int32_t getOutputShapes(const nvinfer1::DimsExprs* inputs, std::int32_t nbInputs,
                               const nvinfer1::DimsExprs* shapeInputs, std::int32_t nbShapeInputs,
                               nvinfer1::DimsExprs* outputs, std::int32_t nbOutputs,
                               nvinfer1::IExprBuilder& exprBuilder) noexcept override;
  bool supportsFormatCombination(std::int32_t pos, const nvinfer1::DynamicPluginTensorDesc* inOut,
                                 std::int32_t nbInputs, std::int32_t nbOutputs) noexcept override;
  std::int32_t configurePlugin(const nvinfer1::DynamicPluginTensorDesc* in, std::int32_t nbInputs,
                               const nvinfer1::DynamicPluginTensorDesc* out, std::int32_t nbOutputs) noexcept override;
  std::size_t getWorkspaceSize(const nvinfer1::DynamicPluginTensorDesc* inputs, std::int32_t nbInputs,
                               const nvinfer1::DynamicPluginTensorDesc* outputs,
                               std::int32_t nbOutputs) const noexcept override;

  std::int32_t onShapeChange(const nvinfer1::PluginTensorDesc* in, std::int32_t nbInputs,
                             const nvinfer1::PluginTensorDesc* out, std::int32_t nbOutputs) noexcept override;
  std::int32_t enqueue(const nvinfer1::PluginTensorDesc* inputDesc, const nvinfer1::PluginTensorDesc* outputDesc,
                       const void* const* inputs, void* const* outputs, void* workspace,
                       cudaStream_t stream) noexcept override;
  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept override;
  const nvinfer1::PluginFieldCollection* getFieldsToSerialize() noexcept override { return fields_.collection(); }

 private:
  bool fits(const nvinfer1::Dims& dims, int head) const;

  DetectParams params_;
  ParamFields fields_;
};

/// Makes the plugin from the node of an ONNX graph, or from what an engine holds.
class DetectPluginCreator : public nvinfer1::IPluginCreatorV3One {
 public:
  DetectPluginCreator();

  nvinfer1::IPluginV3* createPlugin(const char* name, const nvinfer1::PluginFieldCollection* fc,
                                    nvinfer1::TensorRTPhase phase) noexcept override;
  const nvinfer1::PluginFieldCollection* getFieldNames() noexcept override { return &collection_; }
  const char* getPluginName() const noexcept override { return kPluginName; }
  const char* getPluginVersion() const noexcept override { return kPluginVersion; }
  const char* getPluginNamespace() const noexcept override { return kPluginNamespace; }

 private:
  std::vector<nvinfer1::PluginField> fields_;
  nvinfer1::PluginFieldCollection collection_ = {};
};

}  // namespace gaussian_yolo

extern "C" {
/// What `IPluginRegistry::loadLibrary` asks for.
nvinfer1::IPluginCreatorInterface* const* getCreators(std::int32_t& nbCreators);
/// Called before, with what finds TensorRT's logger.
void setLoggerFinder(nvinfer1::ILoggerFinder* finder);
}
