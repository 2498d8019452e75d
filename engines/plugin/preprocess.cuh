// A camera's frame to the network's input: geometry and arithmetic of gaussian_yolo_node/detector/letterbox.py.
#pragma once

#include "launch.h"
#include "maths.h"

namespace gaussian_yolo {

constexpr int kPadValue = 128;   // grey level; Darknet pads with 0.5
constexpr int kWeightBits = 11;  // OpenCV's fixed-point weights
constexpr int kWeightOne = 1 << kWeightBits;
constexpr int kTileWidth = 32;  // px of the canvas that a block fills
constexpr int kTileHeight = 8;

/// Where the scaled frame lies on the canvas, px.
struct Placement {
  int scaledHeight;
  int scaledWidth;
  int top;
  int left;
};

/// The largest placement that keeps the aspect, truncated to integers.
inline Placement fitFrame(const PreprocessParams& params) {
  const int height = params.frameHeight;
  const int width = params.frameWidth;
  const int canvasHeight = params.canvasHeight;
  const int canvasWidth = params.canvasWidth;
  int scaledHeight = canvasHeight;
  int scaledWidth = canvasWidth;
  if (canvasWidth * height < canvasHeight * width) {
    scaledHeight = height * canvasWidth / width;
  } else {
    scaledWidth = width * canvasHeight / height;
  }
  scaledHeight = scaledHeight > 0 ? scaledHeight : 1;
  scaledWidth = scaledWidth > 0 ? scaledWidth : 1;
  return {scaledHeight, scaledWidth, (canvasHeight - scaledHeight) / 2, (canvasWidth - scaledWidth) / 2};
}

/// The two lines of the frame that a line of the scaled frame lies between, and the share of the second.
struct Lines {
  int low;
  int high;
  float share;
};

/// Pixel centres on pixel centres, as OpenCV: position (index + 0.5) * source / target - 0.5.
__host__ __device__ inline Lines centredLines(int index, int source, int target) {
  // In integers, because double is slow on most GPUs and float would misplace the floor.
  const int numerator = (2 * index + 1) * source - target;
  const int denominator = 2 * target;
  const int floor = numerator >= 0 ? numerator / denominator : -1;
  const float fraction = static_cast<float>(numerator - floor * denominator) / static_cast<float>(denominator);
  // OpenCV keeps the position in a float and takes the share from there.
  const float share = (static_cast<float>(floor) + fraction) - static_cast<float>(floor);
  return {floor < 0 ? 0 : floor, floor + 1 < source ? floor + 1 : source - 1, share};
}

/// Corner pixels on corner pixels, as Darknet: position index * (source - 1) / (target - 1).
__host__ __device__ inline Lines alignedLines(int index, int source, int target) {
  if (target == 1) {
    return {source - 1, source - 1, 0.0F};  // Darknet reads the last line there
  }
  const int numerator = index * (source - 1);
  const int low = numerator / (target - 1);
  const float share = static_cast<float>(numerator - low * (target - 1)) / static_cast<float>(target - 1);
  return {low, low + 1 < source ? low + 1 : source - 1, share};
}

/// OpenCV's bilinear blend of uint8: weights of 11 bits, rounded in two steps.
__device__ inline int blendFixed(int topLeft, int topRight, int bottomLeft, int bottomRight, float shareX,
                                 float shareY) {
  const int right = static_cast<int>(rintf(shareX * kWeightOne));
  const int left = static_cast<int>(rintf((1.0F - shareX) * kWeightOne));
  const int bottom = static_cast<int>(rintf(shareY * kWeightOne));
  const int top = static_cast<int>(rintf((1.0F - shareY) * kWeightOne));
  const int above = topLeft * left + topRight * right;
  const int below = bottomLeft * left + bottomRight * right;
  return (((top * (above >> 4)) >> 16) + ((bottom * (below >> 4)) >> 16) + 2) >> 2;
}

/// Rows first, then columns, rounded to the nearest.
__device__ inline int blendFloat(int topLeft, int topRight, int bottomLeft, int bottomRight, float shareX,
                                 float shareY) {
  const float left = static_cast<float>(bottomLeft - topLeft) * shareY + static_cast<float>(topLeft);
  const float right = static_cast<float>(bottomRight - topRight) * shareY + static_cast<float>(topRight);
  return static_cast<int>(rintf((right - left) * shareX + left));
}

/// Grey levels B, G, R of one pixel of the canvas.
struct Pixel {
  int channel[3];
};

__device__ inline Pixel canvasPixel(const PreprocessParams& params, const Placement& placement,
                                    const std::uint8_t* frame, std::size_t pitch, int x, int y) {
  const int column = x - placement.left;
  const int row = y - placement.top;
  if (column < 0 || row < 0 || column >= placement.scaledWidth || row >= placement.scaledHeight) {
    return {{kPadValue, kPadValue, kPadValue}};
  }
  const bool aligned = params.resize == static_cast<int>(Resize::kAlignCorners);
  const Lines across = aligned ? alignedLines(column, params.frameWidth, placement.scaledWidth)
                               : centredLines(column, params.frameWidth, placement.scaledWidth);
  const Lines down = aligned ? alignedLines(row, params.frameHeight, placement.scaledHeight)
                             : centredLines(row, params.frameHeight, placement.scaledHeight);
  const std::uint8_t* above = frame + static_cast<std::size_t>(down.low) * pitch;
  const std::uint8_t* below = frame + static_cast<std::size_t>(down.high) * pitch;
  Pixel pixel = {};
  for (int channel = 0; channel < 3; ++channel) {
    const int left = 3 * across.low + channel;
    const int right = 3 * across.high + channel;
    pixel.channel[channel] =
        aligned ? blendFloat(above[left], above[right], below[left], below[right], across.share, down.share)
                : blendFixed(above[left], above[right], below[left], below[right], across.share, down.share);
  }
  return pixel;
}

/// A thread per pixel of the canvas: uint8 [H, W, 3] BGR.
__global__ void canvasKernel(PreprocessParams params, Placement placement, const std::uint8_t* frame, std::size_t pitch,
                             std::uint8_t* canvas) {
  const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int y = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
  if (x >= params.canvasWidth || y >= params.canvasHeight) {
    return;
  }
  const Pixel pixel = canvasPixel(params, placement, frame, pitch, x, y);
  std::uint8_t* out = canvas + (static_cast<std::size_t>(y) * params.canvasWidth + x) * 3;
  for (int channel = 0; channel < 3; ++channel) {
    out[channel] = static_cast<std::uint8_t>(pixel.channel[channel]);
  }
}

__device__ inline void store(float* place, float value) { *place = value; }
__device__ inline void store(__half* place, float value) { *place = __float2half_rn(value); }

/// A thread per pixel of the canvas: planes [3, H, W].
template <typename T>
__global__ void planesKernel(PreprocessParams params, Placement placement, const std::uint8_t* frame, std::size_t pitch,
                             T* planes) {
  const int x = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int y = static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y);
  if (x >= params.canvasWidth || y >= params.canvasHeight) {
    return;
  }
  const Pixel pixel = canvasPixel(params, placement, frame, pitch, x, y);
  const std::size_t plane = static_cast<std::size_t>(params.canvasHeight) * params.canvasWidth;
  T* out = planes + static_cast<std::size_t>(y) * params.canvasWidth + x;
  for (int channel = 0; channel < 3; ++channel) {
    const int position = params.rgb != 0 ? 2 - channel : channel;
    store(out + position * plane, static_cast<float>(pixel.channel[channel]) * params.scale);
  }
}

}  // namespace gaussian_yolo
