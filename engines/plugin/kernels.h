// What the plugin and the runtime call: detection from raw heads, and frames to the network's input, on a GPU.
//
// Nothing here needs TensorRT. Every call only launches kernels on the given stream: it neither waits, allocates nor
// copies, and so may be captured into a CUDA graph.
#pragma once

#ifdef GAUSSIAN_YOLO_CPU_SHIM
#include "cpu_shim/cuda_on_cpu.h"
#else
#include <cuda_runtime_api.h>
#endif

#include <cstddef>
#include <cstdint>

namespace gaussian_yolo {

constexpr int kHeads = 3;
constexpr int kMaxAnchors = 8;        // of one head
constexpr int kMaxCandidates = 8192;  // bounds the matrix of overlaps: 8 MiB an image
constexpr int kBoxEntries = 9;        // mu and s of x, y, w, h, then objectness
constexpr int kMaxFrameSide = 16384;  // px; beyond, positions do not fit an int

enum class Criterion : int { kGaussian = 0, kConfidence = 1 };
enum class Resize : int { kBilinear = 0, kAlignCorners = 1 };
enum class Layout : int { kCanvas = 0, kPlanes = 1 };

/// How heads become detections; plain data, as it is serialised.
struct DetectParams {
  float anchors[kHeads][kMaxAnchors][2];  // width and height in canvas px, in the order of the heads
  int strides[kHeads];                    // canvas px per cell
  int anchorsPerHead;
  int numClasses;
  int inputHeight;  // of the canvas, px
  int inputWidth;
  float scoreThreshold;  // 0 <= t < 1; objectness and score must be above it
  float iouThreshold;    // 0 <= t <= 1; a box is suppressed above it
  int maxCandidates;     // best (cell, class) pairs that go on to suppression
  int maxDetections;     // K, rows of the outputs
  int varianceVote;      // 0 or 1
  int criterion;         // a Criterion
};

/// Device memory that is written, per image; rows from `numDetections` on are zero.
struct DetectOutputs {
  std::int32_t* numDetections;  // [N]; -1 where a head holds NaN or infinity, or a box is of infinite size
  float* boxes;                 // [N, K, 4] x1 y1 x2 y2 in canvas px, not clipped
  float* scores;                // [N, K] falling
  std::int32_t* classIds;       // [N, K]
  float* sigmas;                // [N, K, 4] standard deviations of centre x, centre y, width, height in canvas px
};

/// What is wrong with the parameters, or nullptr.
const char* detectParamsError(const DetectParams& params);

/// Bytes of device memory that `launchDetect` needs for a batch, to be aligned to 256 bytes.
std::size_t detectWorkspaceBytes(const DetectParams& params, int batch);

/// Decodes, selects and suppresses, as `gaussian_yolo_node.detector` does with `decode` and `nms`.
///
/// @param heads raw heads [batch, anchors * (9 + classes), rows, columns], float, or half where `half` is true.
/// @param workspace of `detectWorkspaceBytes`; what it holds before does not matter.
/// @return the first error of a launch, or cudaErrorInvalidValue for parameters that `detectParamsError` refuses.
cudaError_t launchDetect(const DetectParams& params, int batch, const void* const heads[kHeads], bool half,
                         const DetectOutputs& outputs, void* workspace, cudaStream_t stream);

/// How a frame becomes the network's input; geometry as in `gaussian_yolo_node.detector.letterbox`.
struct PreprocessParams {
  int frameHeight;  // px
  int frameWidth;
  int canvasHeight;
  int canvasWidth;
  int resize;   // a Resize
  int layout;   // a Layout: uint8 [H, W, 3] BGR, or planes [3, H, W] of float or half
  int rgb;      // planes in the order R, G, B (1) or B, G, R (0); the canvas is always BGR
  float scale;  // planes hold grey level times this
};

/// Fits a frame onto the canvas, padded with grey.
///
/// @param frame device memory, uint8 [frameHeight, frameWidth, 3] BGR, rows `pitch` bytes apart.
/// @param output device memory of one image, in the layout of `params`.
/// @param half whether planes hold half rather than float; the canvas is uint8 either way.
/// @return as `launchDetect`.
cudaError_t launchPreprocess(const PreprocessParams& params, const std::uint8_t* frame, std::size_t pitch, void* output,
                             bool half, cudaStream_t stream);

}  // namespace gaussian_yolo

extern "C" {
/// `launchPreprocess` for callers from other languages; the result is a cudaError_t.
__attribute__((visibility("default"))) int gy_preprocess(const gaussian_yolo::PreprocessParams* params,
                                                         const std::uint8_t* frame, std::size_t pitch, void* output,
                                                         int half, void* stream);
}
