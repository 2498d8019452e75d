// From raw heads to candidates by falling score: the first kernels of `launchDetect`, in the order in which it runs
// them.
//
// One list per image holds the keys of all (cell, class) pairs that pass. It has room for all there are, and because
// keys are unique, the order in which threads append to it leaves no trace in what is selected and how it is sorted.
// Source of the semantics: gaussian_yolo_node/detector/decode.py.
#pragma once

#include "launch.h"
#include "maths.h"

namespace gaussian_yolo {

// Tests on the CPU use small blocks where each thread of a block is a thread of the system.
#ifndef GAUSSIAN_YOLO_BLOCK_THREADS
#define GAUSSIAN_YOLO_BLOCK_THREADS 256
#endif
constexpr int kThreads = GAUSSIAN_YOLO_BLOCK_THREADS;
constexpr int kSelectThreads = 4 * kThreads;  // one block an image walks the whole list
constexpr int kDigitBits = 8;                 // of a key, found by one pass of the selection
constexpr int kDigits = 1 << kDigitBits;

/// What the kernels know of the heads: parameters, and what follows from them.
struct Plan {
  DetectParams params;
  const void* heads[kHeads];
  int columns[kHeads];
  int cellsPerAnchor[kHeads];  // rows * columns
  int firstCell[kHeads + 1];   // of each head, counting anchors as cells; the last is their number
  float objectnessGate;        // logit
};

/// Device memory between the kernels; each is [batch] of what is said.
struct Workspace {
  unsigned* found;       // pairs in `keys`
  unsigned* candidates;  // of them that were selected
  int* failed;           // not 0 where something was not finite
  int* kept;             // detections
  Key* keys;             // [cells * classes]
  Key* selected;         // [maxCandidates] in no order
  Quad* boxes;           // [maxCandidates] by falling score, like all that follow
  Quad* sigmas;          // [maxCandidates]
  float* scores;         // [maxCandidates]
  int* classIds;         // [maxCandidates]
  Word* overlaps;        // [maxCandidates][words] bit j of row i: i suppresses j, for j > i
  int* winners;          // [maxDetections] row of each detection
  int pairs;             // length of `keys`
  int words;             // of a row of `overlaps`
};

using Histogram = unsigned[kDigits];

/// Where the entries of one cell lie, and what turns them into a box.
template <typename T>
struct Cell {
  const T* entries;
  int step;  // from one entry to the next
  int row;
  int column;
  int stride;
  float anchorWidth;
  float anchorHeight;

  __device__ float logit(int entry) const { return asFloat(entries[static_cast<std::size_t>(entry) * step]); }
};

template <typename T>
__device__ inline Cell<T> locate(const Plan& plan, int image, int cell) {
  const int head = cell < plan.firstCell[1] ? 0 : (cell < plan.firstCell[2] ? 1 : 2);
  const int step = plan.cellsPerAnchor[head];
  const int inHead = cell - plan.firstCell[head];
  const int anchor = inHead / step;
  const int place = inHead - anchor * step;
  const int entries = kBoxEntries + plan.params.numClasses;
  const std::size_t block = static_cast<std::size_t>(image) * plan.params.anchorsPerHead + anchor;
  const T* first = static_cast<const T*>(plan.heads[head]) + block * entries * step + place;
  const int row = place / plan.columns[head];
  return {first,
          step,
          row,
          place - row * plan.columns[head],
          plan.params.strides[head],
          plan.params.anchors[head][anchor][0],
          plan.params.anchors[head][anchor][1]};
}

/// Launched with a thread per image.
__global__ void resetKernel(int batch, Workspace work) {
  const int image = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (image < batch) {
    work.found[image] = 0;
    work.failed[image] = 0;
  }
}

/// A thread per cell: lists the classes that pass. All values are looked at, for one that is not finite fails the
/// image.
template <typename T>
__global__ void findKernel(Plan plan, Workspace work) {
  const int cell = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const int image = static_cast<int>(blockIdx.y);
  if (cell >= plan.firstCell[kHeads]) {
    return;
  }
  const Cell<T> at = locate<T>(plan, image, cell);
  const int classes = plan.params.numClasses;
  bool finite = true;
  for (int entry = 0; entry < kBoxEntries + classes; ++entry) {
    finite = finite && isFinite(at.logit(entry));
  }
  if (!finite) {
    atomicOr(&work.failed[image], 1);
    return;
  }
  const float objectness = at.logit(8);
  if (!(objectness > plan.objectnessGate)) {
    return;
  }
  float factor = logistic(objectness);
  if (plan.params.criterion == static_cast<int>(Criterion::kGaussian)) {
    factor *= certainty(logistic(at.logit(1)), logistic(at.logit(3)), logistic(at.logit(5)), logistic(at.logit(7)));
  }
  Key* keys = work.keys + static_cast<std::size_t>(image) * work.pairs;
  for (int classId = 0; classId < classes; ++classId) {
    const float score = logistic(at.logit(kBoxEntries + classId)) * factor;
    if (score > plan.params.scoreThreshold) {
      const auto pair = static_cast<std::uint32_t>(cell) * classes + classId;
      keys[atomicAdd(&work.found[image], 1U)] = makeKey(score, pair);
    }
  }
}

/// The key of the last of the `wanted` best, or one below it that none of the others reaches. For a whole block.
__device__ inline Key leastOfBest(const Key* keys, unsigned count, unsigned wanted) {
  GY_SHARED(Histogram, histogram);
  Key prefix = 0;
  Key known = 0;  // the bits of `prefix` that are decided
  for (int shift = 64 - kDigitBits; shift >= 0; shift -= kDigitBits) {
    for (unsigned digit = threadIdx.x; digit < kDigits; digit += blockDim.x) {
      histogram[digit] = 0;
    }
    GY_SYNC(1);
    for (unsigned index = threadIdx.x; index < count; index += blockDim.x) {
      if ((keys[index] & known) == prefix) {
        atomicAdd(&histogram[(keys[index] >> shift) & (kDigits - 1)], 1U);
      }
    }
    GY_SYNC(2);
    unsigned digit = kDigits - 1;
    while (histogram[digit] < wanted) {
      wanted -= histogram[digit--];
    }
    const bool whole = histogram[digit] == wanted;
    prefix |= static_cast<Key>(digit) << shift;
    known |= static_cast<Key>(kDigits - 1) << shift;
    if (whole) {
      break;  // for all threads alike
    }
    GY_SYNC(3);
  }
  return prefix;
}

/// A block per image: selects the best `maxCandidates`.
__global__ void selectKernel(Plan plan, Workspace work) {
  GY_SHARED(unsigned, taken);
  const unsigned image = blockIdx.x;
  const Key* keys = work.keys + static_cast<std::size_t>(image) * work.pairs;
  Key* selected = work.selected + static_cast<std::size_t>(image) * plan.params.maxCandidates;
  const unsigned found = work.found[image];
  const auto most = static_cast<unsigned>(plan.params.maxCandidates);
  if (threadIdx.x == 0) {
    taken = 0;
    work.candidates[image] = found < most ? found : most;
  }
  const Key least = found > most ? leastOfBest(keys, found, most) : 0;
  GY_SYNC(4);
  for (unsigned index = threadIdx.x; index < found; index += blockDim.x) {
    if (keys[index] >= least) {
      selected[atomicAdd(&taken, 1U)] = keys[index];
    }
  }
}

/// A thread per candidate: decodes its box and puts it where it belongs by score.
template <typename T>
__global__ void sortKernel(Plan plan, Workspace work) {
  const unsigned place = blockIdx.x * blockDim.x + threadIdx.x;
  const int image = static_cast<int>(blockIdx.y);
  const unsigned count = work.candidates[image];
  if (place >= count) {
    return;
  }
  const std::size_t first = static_cast<std::size_t>(image) * plan.params.maxCandidates;
  const Key* selected = work.selected + first;
  const Key key = selected[place];
  unsigned better = 0;
  for (unsigned other = 0; other < count; ++other) {
    better += selected[other] > key ? 1U : 0U;
  }
  const auto classes = static_cast<std::uint32_t>(plan.params.numClasses);
  const std::uint32_t cell = keyPair(key) / classes;
  const Cell<T> at = locate<T>(plan, image, static_cast<int>(cell));
  const auto stride = static_cast<float>(at.stride);
  const float width = expf(at.logit(4)) * at.anchorWidth;
  const float height = expf(at.logit(6)) * at.anchorHeight;
  if (!isFinite(width) || !isFinite(height)) {
    atomicOr(&work.failed[image], 1);
  }
  const float x = (static_cast<float>(at.column) + logistic(at.logit(0))) * stride;
  const float y = (static_cast<float>(at.row) + logistic(at.logit(2))) * stride;
  work.boxes[first + better] = cornersOf(x, y, width, height);
  // Delta method: a standard deviation of t times the derivative of the pixel coordinate by t.
  work.sigmas[first + better] = {{logistic(at.logit(1)) * stride, logistic(at.logit(3)) * stride,
                                  logistic(at.logit(5)) * width, logistic(at.logit(7)) * height}};
  work.scores[first + better] = keyScore(key);
  work.classIds[first + better] = static_cast<int>(keyPair(key) - cell * classes);
}

}  // namespace gaussian_yolo
