// The arithmetic of Gaussian YOLOv3's decoding and suppression, for host and device.
//
// Choi et al., "Gaussian YOLOv3", ICCV 2019, as in the official code. Single precision, in the order of operations of
// `gaussian_yolo_node.detector`; compile without contraction (nvcc --fmad=false), so that thresholds fall alike.
#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>

#include "kernels.h"
#include "launch.h"

namespace gaussian_yolo {

constexpr float kVoteTemperature = 0.05F;  // sigma_t of He et al., CVPR 2019
constexpr float kLeastSigma = 1e-3F;       // px; keeps a weight finite where a model states no uncertainty
constexpr int kWordBits = 64;              // boxes in a word of the overlap matrix

using Key = unsigned long long;   // NOLINT(google-runtime-int): the type that CUDA's intrinsics take
using Word = unsigned long long;  // NOLINT(google-runtime-int)

/// Four numbers that move as one: the corners x1 y1 x2 y2, or the sigmas of centre x, centre y, width, height.
struct alignas(16) Quad {
  float v[4];
};

__host__ __device__ inline float logistic(float logit) { return 1.0F / (1.0F + expf(-logit)); }

// False for NaN.
__host__ __device__ inline bool isFinite(float value) { return fabsf(value) <= FLT_MAX; }

__device__ inline float asFloat(float value) { return value; }
__device__ inline float asFloat(__half value) { return __half2float(value); }

/// Share of certainty that the four s (after the logistic) leave.
__host__ __device__ inline float certainty(float sx, float sy, float sw, float sh) {
  return 1.0F - (sx + sy + sw + sh) / 4.0F;
}

/// Sorts by falling score, then by rising index of the (cell, class) pair; no two pairs share a key.
__device__ inline Key makeKey(float score, std::uint32_t pair) {
  return (static_cast<Key>(__float_as_uint(score)) << 32U) | ~pair;
}
__device__ inline float keyScore(Key key) { return __uint_as_float(static_cast<std::uint32_t>(key >> 32U)); }
__device__ inline std::uint32_t keyPair(Key key) { return ~static_cast<std::uint32_t>(key); }

/// Corners of a box given by centre and size.
__host__ __device__ inline Quad cornersOf(float x, float y, float width, float height) {
  const float halfWidth = width / 2.0F;
  const float halfHeight = height / 2.0F;
  return {{x - halfWidth, y - halfHeight, x + halfWidth, y + halfHeight}};
}

/// Centre and size of a box given by corners.
__host__ __device__ inline Quad centreOf(const Quad& box) {
  return {{(box.v[0] + box.v[2]) / 2.0F, (box.v[1] + box.v[3]) / 2.0F, box.v[2] - box.v[0], box.v[3] - box.v[1]}};
}

/// Intersection over union of corner boxes; 0 where both have no area.
__host__ __device__ inline float iou(const Quad& a, const Quad& b) {
  const float width = fmaxf(fminf(a.v[2], b.v[2]) - fmaxf(a.v[0], b.v[0]), 0.0F);
  const float height = fmaxf(fminf(a.v[3], b.v[3]) - fmaxf(a.v[1], b.v[1]), 0.0F);
  const float both = width * height;
  const float areas = (a.v[2] - a.v[0]) * (a.v[3] - a.v[1]) + (b.v[2] - b.v[0]) * (b.v[3] - b.v[1]);
  return both / fmaxf(areas - both, FLT_MIN);
}

/// Weight of the vote of a suppressed box before its variance, by its IoU with the winner.
__host__ __device__ inline float voteWeight(float overlap) {
  const float distance = 1.0F - overlap;
  return expf(-(distance * distance) / kVoteTemperature);
}

/// The largest float not above a number, so that `x > floor` asks the same of a float x as `x > number`.
inline float floorToFloat(double number) {
  const float nearest = static_cast<float>(number);
  return static_cast<double>(nearest) > number ? std::nextafter(nearest, -INFINITY) : nearest;
}

/// What objectness must be above, as a logit.
inline float objectnessGate(float threshold) {
  const double probability = threshold;
  return probability > 0 ? floorToFloat(std::log(probability / (1 - probability))) : -INFINITY;
}

}  // namespace gaussian_yolo
