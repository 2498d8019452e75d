// The launches declared in kernels.h.
#include "candidates.cuh"
#include "preprocess.cuh"
#include "suppression.cuh"

namespace gaussian_yolo {
namespace {

constexpr std::size_t kAlignment = 256;  // bytes, as cudaMalloc's

unsigned blocks(int count, int perBlock) { return static_cast<unsigned>((count + perBlock - 1) / perBlock); }

Plan makePlan(const DetectParams& params, const void* const heads[kHeads]) {
  Plan plan = {};
  plan.params = params;
  for (int head = 0; head < kHeads; ++head) {
    plan.heads[head] = heads == nullptr ? nullptr : heads[head];
    plan.columns[head] = params.inputWidth / params.strides[head];
    plan.cellsPerAnchor[head] = params.inputHeight / params.strides[head] * plan.columns[head];
    plan.firstCell[head + 1] = plan.firstCell[head] + params.anchorsPerHead * plan.cellsPerAnchor[head];
  }
  plan.objectnessGate = objectnessGate(params.scoreThreshold);
  return plan;
}

/// Hands out aligned parts of one block of memory, or counts what they need where that is null.
class Carver {
 public:
  explicit Carver(void* memory) : memory_(static_cast<std::uint8_t*>(memory)) {}

  template <typename T>
  void take(T*& part, std::size_t count) {
    part = memory_ == nullptr ? nullptr : reinterpret_cast<T*>(memory_ + used_);
    used_ += (count * sizeof(T) + kAlignment - 1) / kAlignment * kAlignment;
  }
  std::size_t used() const { return used_; }

 private:
  std::uint8_t* memory_;
  std::size_t used_ = 0;
};

Workspace carveWorkspace(const Plan& plan, int batch, Carver& carver) {
  const auto images = static_cast<std::size_t>(batch);
  const std::size_t candidates = images * plan.params.maxCandidates;
  Workspace work = {};
  work.pairs = plan.firstCell[kHeads] * plan.params.numClasses;
  work.words = (plan.params.maxCandidates + kWordBits - 1) / kWordBits;
  carver.take(work.found, images);
  carver.take(work.candidates, images);
  carver.take(work.failed, images);
  carver.take(work.kept, images);
  carver.take(work.keys, images * work.pairs);
  carver.take(work.selected, candidates);
  carver.take(work.boxes, candidates);
  carver.take(work.sigmas, candidates);
  carver.take(work.scores, candidates);
  carver.take(work.classIds, candidates);
  carver.take(work.overlaps, candidates * work.words);
  carver.take(work.winners, images * plan.params.maxDetections);
  return work;
}

template <typename T>
void launchKernels(const Plan& plan, int batch, const Workspace& work, const DetectOutputs& outputs,
                   cudaStream_t stream) {
  const DetectParams& params = plan.params;
  const auto images = static_cast<unsigned>(batch);
  const auto words = static_cast<unsigned>(work.words);
  GY_LAUNCH(dim3(blocks(batch, kThreads)), dim3(kThreads), stream, resetKernel, batch, work);
  GY_LAUNCH(dim3(blocks(plan.firstCell[kHeads], kThreads), images), dim3(kThreads), stream, findKernel<T>, plan, work);
  GY_LAUNCH(dim3(images), dim3(kSelectThreads), stream, selectKernel, plan, work);
  GY_LAUNCH(dim3(blocks(params.maxCandidates, kThreads), images), dim3(kThreads), stream, sortKernel<T>, plan, work);
  GY_LAUNCH(dim3(words, words, images), dim3(kWordBits), stream, overlapKernel, plan, work);
  GY_LAUNCH(dim3(images), dim3(kWordBits), stream, suppressKernel, plan, work);
  GY_LAUNCH(dim3(blocks(params.maxDetections, kThreads), images), dim3(kThreads), stream, writeKernel, plan, work,
            outputs);
  if (params.varianceVote != 0) {
    GY_LAUNCH(dim3(static_cast<unsigned>(params.maxDetections), images), dim3(kWordBits), stream, voteKernel, plan,
              work, outputs);
  }
}

bool sidesAreValid(const PreprocessParams& params) {
  for (const int side : {params.frameHeight, params.frameWidth, params.canvasHeight, params.canvasWidth}) {
    if (side < 1 || side > kMaxFrameSide) {
      return false;
    }
  }
  return true;
}

}  // namespace

const char* detectParamsError(const DetectParams& params) {
  if (params.anchorsPerHead < 1 || params.anchorsPerHead > kMaxAnchors) {
    return "anchors: each head must have 1 to 8";
  }
  if (params.numClasses < 1) {
    return "num_classes must be at least 1";
  }
  if (params.inputHeight < 1 || params.inputWidth < 1) {
    return "input_height and input_width must be at least 1 px";
  }
  double pairs = 0;
  for (int head = 0; head < kHeads; ++head) {
    const int stride = params.strides[head];
    if (stride < 1 || params.inputHeight % stride != 0 || params.inputWidth % stride != 0) {
      return "strides must be positive and divide input_height and input_width";
    }
    const int rows = params.inputHeight / stride;
    const int columns = params.inputWidth / stride;
    pairs += static_cast<double>(rows) * columns * params.anchorsPerHead * params.numClasses;
  }
  if (pairs > INT32_MAX) {
    return "cells times num_classes must stay below 2^31";
  }
  if (!(params.scoreThreshold >= 0 && params.scoreThreshold < 1)) {
    return "score_threshold must be at least 0 and below 1";
  }
  if (!(params.iouThreshold >= 0 && params.iouThreshold <= 1)) {
    return "iou_threshold must lie in 0..1";
  }
  if (params.maxCandidates < 1 || params.maxCandidates > kMaxCandidates) {
    return "max_candidates must lie in 1..8192";
  }
  if (params.maxDetections < 1 || params.maxDetections > kMaxCandidates) {
    return "max_detections must lie in 1..8192";
  }
  if (params.varianceVote != 0 && params.varianceVote != 1) {
    return "variance_vote must be 0 or 1";
  }
  if (params.criterion != static_cast<int>(Criterion::kGaussian) &&
      params.criterion != static_cast<int>(Criterion::kConfidence)) {
    return "criterion must be 0 (gaussian) or 1 (confidence)";
  }
  return nullptr;
}

std::size_t detectWorkspaceBytes(const DetectParams& params, int batch) {
  if (detectParamsError(params) != nullptr || batch < 1) {
    return 0;
  }
  Carver carver(nullptr);
  carveWorkspace(makePlan(params, nullptr), batch, carver);
  return carver.used();
}

cudaError_t launchDetect(const DetectParams& params, int batch, const void* const heads[kHeads], bool half,
                         const DetectOutputs& outputs, void* workspace, cudaStream_t stream) {
  if (detectParamsError(params) != nullptr || batch < 1 || workspace == nullptr) {
    return cudaErrorInvalidValue;
  }
  const Plan plan = makePlan(params, heads);
  Carver carver(workspace);
  const Workspace work = carveWorkspace(plan, batch, carver);
  if (half) {
    launchKernels<__half>(plan, batch, work, outputs, stream);
  } else {
    launchKernels<float>(plan, batch, work, outputs, stream);
  }
  return cudaGetLastError();
}

cudaError_t launchPreprocess(const PreprocessParams& params, const std::uint8_t* frame, std::size_t pitch, void* output,
                             bool half, cudaStream_t stream) {
  if (!sidesAreValid(params) || pitch < static_cast<std::size_t>(params.frameWidth) * 3) {
    return cudaErrorInvalidValue;
  }
  const Placement placement = fitFrame(params);
  const dim3 block(kTileWidth, kTileHeight);
  const dim3 grid(blocks(params.canvasWidth, kTileWidth), blocks(params.canvasHeight, kTileHeight));
  if (params.layout == static_cast<int>(Layout::kCanvas)) {
    GY_LAUNCH(grid, block, stream, canvasKernel, params, placement, frame, pitch, static_cast<std::uint8_t*>(output));
  } else if (half) {
    GY_LAUNCH(grid, block, stream, planesKernel<__half>, params, placement, frame, pitch, static_cast<__half*>(output));
  } else {
    GY_LAUNCH(grid, block, stream, planesKernel<float>, params, placement, frame, pitch, static_cast<float*>(output));
  }
  return cudaGetLastError();
}

}  // namespace gaussian_yolo

extern "C" int gy_preprocess(const gaussian_yolo::PreprocessParams* params, const std::uint8_t* frame,
                             std::size_t pitch, void* output, int half, void* stream) {
  return gaussian_yolo::launchPreprocess(*params, frame, pitch, output, half != 0, static_cast<cudaStream_t>(stream));
}
