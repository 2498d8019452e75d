// Runs recorded calls of `gy_cpu_detect`, as a program of its own for sanitizers that must be in from the start.
//
// replay CASES OUTPUTS MODE SEED REPETITIONS DROPPED_SYNC: CASES is a row of records {DetectParams, int32 batch, int32
// half, heads}; OUTPUTS gets, for each record, the five outputs in the order of DetectOutputs. All repetitions must
// agree, under seeds that count up from SEED; exit status 3 says that they do not.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../kernels.h"
#include "schedule.h"

using gaussian_yolo::DetectOutputs;
using gaussian_yolo::DetectParams;
using gaussian_yolo::kHeads;

extern "C" int gy_cpu_detect(const cpu_shim::Schedule* schedule, const DetectParams* params, int batch,
                             const void* const* heads, int half, const DetectOutputs* outputs);

namespace {

struct Result {
  std::vector<std::int32_t> counts;
  std::vector<float> boxes;
  std::vector<float> scores;
  std::vector<std::int32_t> classIds;
  std::vector<float> sigmas;

  bool operator==(const Result& other) const {
    return counts == other.counts && boxes == other.boxes && scores == other.scores && classIds == other.classIds &&
           sigmas == other.sigmas;
  }
};

Result detect(const DetectParams& params, int batch, const std::vector<std::vector<char>>& heads, int half,
              const cpu_shim::Schedule& schedule) {
  const std::size_t images = batch;
  const std::size_t rows = images * params.maxDetections;
  Result result = {std::vector<std::int32_t>(images), std::vector<float>(rows * 4), std::vector<float>(rows),
                   std::vector<std::int32_t>(rows), std::vector<float>(rows * 4)};
  const DetectOutputs outputs = {result.counts.data(), result.boxes.data(), result.scores.data(),
                                 result.classIds.data(), result.sigmas.data()};
  const void* pointers[kHeads] = {heads[0].data(), heads[1].data(), heads[2].data()};
  if (gy_cpu_detect(&schedule, &params, batch, pointers, half, &outputs) != 0) {
    std::fprintf(stderr, "replay: the kernels refuse the parameters\n");
    std::exit(2);
  }
  return result;
}

template <typename T>
void write(const std::vector<T>& values, std::FILE* file) {
  std::fwrite(values.data(), sizeof(T), values.size(), file);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 7) {
    std::fprintf(stderr, "usage: replay CASES OUTPUTS MODE SEED REPETITIONS DROPPED_SYNC\n");
    return 2;
  }
  std::FILE* cases = std::fopen(argv[1], "rb");
  std::FILE* written = std::fopen(argv[2], "wb");
  if (cases == nullptr || written == nullptr) {
    std::perror("replay");
    return 2;
  }
  cpu_shim::Schedule schedule = {std::atoi(argv[3]), std::atoi(argv[6]), std::strtoull(argv[4], nullptr, 10)};
  const int repetitions = std::atoi(argv[5]);
  bool agreed = true;
  DetectParams params = {};
  while (std::fread(&params, sizeof params, 1, cases) == 1) {
    std::int32_t batchAndHalf[2] = {};
    if (std::fread(batchAndHalf, sizeof batchAndHalf, 1, cases) != 1) {
      return 2;
    }
    std::vector<std::vector<char>> heads;
    for (const int stride : params.strides) {
      const std::size_t cells = params.inputHeight / stride * (params.inputWidth / stride);
      const std::size_t entries = params.anchorsPerHead * (gaussian_yolo::kBoxEntries + params.numClasses);
      heads.emplace_back(cells * entries * batchAndHalf[0] * (batchAndHalf[1] != 0 ? 2 : 4));
      if (std::fread(heads.back().data(), 1, heads.back().size(), cases) != heads.back().size()) {
        return 2;
      }
    }
    const Result first = detect(params, batchAndHalf[0], heads, batchAndHalf[1], schedule);
    for (int repetition = 1; repetition < repetitions; ++repetition) {
      ++schedule.seed;
      agreed = detect(params, batchAndHalf[0], heads, batchAndHalf[1], schedule) == first && agreed;
    }
    write(first.counts, written);
    write(first.boxes, written);
    write(first.scores, written);
    write(first.classIds, written);
    write(first.sigmas, written);
  }
  std::fclose(cases);
  std::fclose(written);
  return agreed ? 0 : 3;
}
