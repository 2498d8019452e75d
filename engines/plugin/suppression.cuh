// From candidates by falling score to detections: the last kernels of `launchDetect`.
//
// Source of the semantics: gaussian_yolo_node/detector/nms.py.
#pragma once

#include "candidates.cuh"

namespace gaussian_yolo {

constexpr int kMaxWords = kMaxCandidates / kWordBits;

using DiagonalWords = Word[kWordBits];
using RemovedWords = Word[kMaxWords];
using VoteSums = double[kWordBits][8];

/// A thread per row and word of the matrix of overlaps, from the diagonal on.
__global__ void overlapKernel(Plan plan, Workspace work) {
  const int word = static_cast<int>(blockIdx.x);
  const int image = static_cast<int>(blockIdx.z);
  const int row = static_cast<int>(blockIdx.y * blockDim.x + threadIdx.x);
  const int count = static_cast<int>(work.candidates[image]);
  if (row >= count || word < row / kWordBits || word * kWordBits >= count) {
    return;
  }
  const std::size_t first = static_cast<std::size_t>(image) * plan.params.maxCandidates;
  const Quad* boxes = work.boxes + first;
  const int* classIds = work.classIds + first;
  const Quad box = boxes[row];
  const int classId = classIds[row];
  Word bits = 0;
  for (int bit = 0; bit < kWordBits; ++bit) {
    const int other = word * kWordBits + bit;
    if (other > row && other < count && classIds[other] == classId &&
        iou(box, boxes[other]) > plan.params.iouThreshold) {
      bits |= Word{1} << bit;
    }
  }
  work.overlaps[(first + row) * work.words + word] = bits;
}

/// A block of a word's threads per image: greedy suppression, a word of candidates at a time.
///
/// Leaves in the rows of the winners only the boxes that each is the first to suppress: those vote for it.
__global__ void suppressKernel(Plan plan, Workspace work) {
  GY_SHARED(RemovedWords, removed);
  GY_SHARED(DiagonalWords, diagonal);
  GY_SHARED(Word, keptBits);
  const unsigned image = blockIdx.x;
  const int thread = static_cast<int>(threadIdx.x);
  const int count = static_cast<int>(work.candidates[image]);
  const int most = plan.params.maxDetections;
  Word* overlaps = work.overlaps + static_cast<std::size_t>(image) * plan.params.maxCandidates * work.words;
  int* winners = work.winners + static_cast<std::size_t>(image) * most;
  const int words = (count + kWordBits - 1) / kWordBits;
  for (int word = thread; word < words; word += kWordBits) {
    removed[word] = 0;
  }
  int kept = 0;
  for (int chunk = 0; chunk < words && kept < most; ++chunk) {
    const int start = chunk * kWordBits;
    const int row = start + thread;
    diagonal[thread] = row < count ? overlaps[static_cast<std::size_t>(row) * work.words + chunk] : 0;
    GY_SYNC(5);
    if (thread == 0) {
      Word gone = removed[chunk];
      Word stay = 0;
      for (int bit = 0; bit < kWordBits && start + bit < count; ++bit) {
        if (((gone >> bit) & 1U) == 0) {
          stay |= Word{1} << bit;
          gone |= diagonal[bit];
        }
      }
      keptBits = stay;
    }
    GY_SYNC(6);
    const Word stay = keptBits;
    for (int word = chunk + thread; word < words; word += kWordBits) {
      Word gone = removed[word];
      for (int bit = 0; bit < kWordBits; ++bit) {
        if (((stay >> bit) & 1U) != 0) {
          Word& overlap = overlaps[static_cast<std::size_t>(start + bit) * work.words + word];
          const Word all = overlap;
          overlap = all & ~gone;
          gone |= all;
        }
      }
      removed[word] = gone;
    }
    const int slot = kept + __popcll(stay & ((Word{1} << thread) - 1));
    if (((stay >> thread) & 1U) != 0 && slot < most) {
      winners[slot] = row;
    }
    kept += __popcll(stay);
  }
  if (thread == 0) {
    work.kept[image] = kept < most ? kept : most;
  }
}

/// A thread per row of the outputs.
__global__ void writeKernel(Plan plan, Workspace work, DetectOutputs outputs) {
  const int slot = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  const unsigned image = blockIdx.y;
  const int rows = plan.params.maxDetections;
  if (slot >= rows) {
    return;
  }
  const int kept = work.failed[image] != 0 ? -1 : work.kept[image];
  const std::size_t out = static_cast<std::size_t>(image) * rows + slot;
  Quad box = {};
  Quad sigma = {};
  float score = 0;
  int classId = 0;
  if (slot < kept) {
    const std::size_t row = static_cast<std::size_t>(image) * plan.params.maxCandidates + work.winners[out];
    box = work.boxes[row];
    sigma = work.sigmas[row];
    score = work.scores[row];
    classId = work.classIds[row];
  }
  if (slot == 0) {
    outputs.numDetections[image] = kept;
  }
  for (int coordinate = 0; coordinate < 4; ++coordinate) {
    outputs.boxes[out * 4 + coordinate] = box.v[coordinate];
    outputs.sigmas[out * 4 + coordinate] = sigma.v[coordinate];
  }
  outputs.scores[out] = score;
  outputs.classIds[out] = classId;
}

/// A block of a word's threads per row of the outputs: the mean of a winner and the boxes that it suppressed.
///
/// Sums are taken in a fixed order, in double because variances of many scales meet in them.
__global__ void voteKernel(Plan plan, Workspace work, DetectOutputs outputs) {
  GY_SHARED(VoteSums, sums);
  const unsigned image = blockIdx.y;
  const auto slot = static_cast<int>(blockIdx.x);
  const int thread = static_cast<int>(threadIdx.x);
  if (work.failed[image] != 0 || slot >= work.kept[image]) {
    return;  // the whole block
  }
  const std::size_t first = static_cast<std::size_t>(image) * plan.params.maxCandidates;
  const std::size_t out = static_cast<std::size_t>(image) * plan.params.maxDetections + slot;
  const int winner = work.winners[out];
  const int words = (static_cast<int>(work.candidates[image]) + kWordBits - 1) / kWordBits;
  const Word* voters = work.overlaps + (first + winner) * work.words;
  const Quad box = work.boxes[first + winner];
  double total[4] = {};
  double moment[4] = {};
  for (int word = winner / kWordBits; word < words; ++word) {
    const int row = word * kWordBits + thread;
    const bool self = row == winner;
    if (!self && ((voters[word] >> thread) & 1U) == 0) {
      continue;
    }
    const Quad other = work.boxes[first + row];
    const Quad sigma = work.sigmas[first + row];
    const Quad centre = centreOf(other);
    // Set, because a box without area has no IoU even with itself.
    const double weight = self ? 1.0 : voteWeight(iou(box, other));
    for (int coordinate = 0; coordinate < 4; ++coordinate) {
      const double deviation = fmaxf(sigma.v[coordinate], kLeastSigma);
      const double vote = weight / (deviation * deviation);
      total[coordinate] += vote;
      moment[coordinate] += vote * centre.v[coordinate];
    }
  }
  for (int coordinate = 0; coordinate < 4; ++coordinate) {
    sums[thread][coordinate] = total[coordinate];
    sums[thread][4 + coordinate] = moment[coordinate];
  }
  for (int half = kWordBits / 2; half > 0; half /= 2) {
    GY_SYNC(7);
    if (thread < half) {
      for (int column = 0; column < 8; ++column) {
        sums[thread][column] += sums[thread + half][column];
      }
    }
  }
  if (thread == 0) {
    Quad mean = {};
    for (int coordinate = 0; coordinate < 4; ++coordinate) {
      mean.v[coordinate] = static_cast<float>(sums[0][4 + coordinate] / sums[0][coordinate]);
      const bool certain = !(work.sigmas[first + winner].v[coordinate] > 0);
      outputs.sigmas[out * 4 + coordinate] = certain ? 0.0F : static_cast<float>(1.0 / sqrt(sums[0][coordinate]));
    }
    const Quad corners = cornersOf(mean.v[0], mean.v[1], mean.v[2], mean.v[3]);
    for (int coordinate = 0; coordinate < 4; ++coordinate) {
      outputs.boxes[out * 4 + coordinate] = corners.v[coordinate];
    }
  }
}

}  // namespace gaussian_yolo
