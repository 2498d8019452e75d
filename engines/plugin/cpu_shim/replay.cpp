// Runs recorded calls, as a program of its own for sanitizers that must be in from the start.
//
// replay CALLS OUTPUTS MODE SEED REPETITIONS DROPPED_SYNC: CALLS is a row of records, each behind an int32 that says
// what it is. 0: {DetectParams, int32 batch, int32 half, heads}; OUTPUTS gets the five outputs in the order of
// DetectOutputs. 1: {PreprocessParams, int32 half, int32 pitch, frame}; OUTPUTS gets the canvas or the planes. All
// repetitions must agree, under seeds that count up from SEED; exit status 3 says that they do not.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "../kernels.h"
#include "schedule.h"

using gaussian_yolo::DetectOutputs;
using gaussian_yolo::DetectParams;
using gaussian_yolo::kHeads;
using gaussian_yolo::PreprocessParams;

extern "C" int gy_cpu_detect(const cpu_shim::Schedule* schedule, const DetectParams* params, int batch,
                             const void* const* heads, int half, const DetectOutputs* outputs);

namespace {

using Bytes = std::vector<char>;

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "replay: %s\n", what);
  std::exit(2);
}

template <typename T>
T readOne(std::FILE* file) {
  T value = {};
  if (std::fread(&value, sizeof value, 1, file) != 1) {
    fail("a record ends early");
  }
  return value;
}

// A block of its own of exactly this size, so that a step over its end is seen.
Bytes readBytes(std::FILE* file, std::size_t count) {
  Bytes bytes(count);
  if (std::fread(bytes.data(), 1, count, file) != count) {
    fail("a record ends early");
  }
  return bytes;
}

struct Detection {
  DetectParams params;
  int batch;
  int half;
  std::vector<Bytes> heads;

  explicit Detection(std::FILE* file)
      : params(readOne<DetectParams>(file)), batch(readOne<std::int32_t>(file)), half(readOne<std::int32_t>(file)) {
    if (const char* wrong = gaussian_yolo::detectParamsError(params)) {
      fail(wrong);
    }
    const std::size_t entries = std::size_t{gaussian_yolo::kBoxEntries} + params.numClasses;
    for (const int stride : params.strides) {
      // NOLINTNEXTLINE(clang-analyzer-core.DivideZero): detectParamsError refuses it
      const std::size_t rows = params.inputHeight / stride;
      const std::size_t columns = params.inputWidth / stride;
      heads.push_back(readBytes(file, rows * columns * params.anchorsPerHead * entries * batch * (half != 0 ? 2 : 4)));
    }
  }

  Bytes run(const cpu_shim::Schedule& schedule) const {
    const std::size_t images = batch;
    const std::size_t rows = images * params.maxDetections;
    std::vector<std::int32_t> counts(images);
    std::vector<float> boxes(rows * 4);
    std::vector<float> scores(rows);
    std::vector<std::int32_t> classIds(rows);
    std::vector<float> sigmas(rows * 4);
    const DetectOutputs outputs = {counts.data(), boxes.data(), scores.data(), classIds.data(), sigmas.data()};
    const void* pointers[kHeads] = {heads[0].data(), heads[1].data(), heads[2].data()};
    if (gy_cpu_detect(&schedule, &params, batch, pointers, half, &outputs) != 0) {
      fail("the kernels refuse the parameters");
    }
    Bytes all;
    const auto append = [&all](const auto& values) {
      const char* first = reinterpret_cast<const char*>(values.data());
      all.insert(all.end(), first, first + values.size() * sizeof(values[0]));
    };
    append(counts);
    append(boxes);
    append(scores);
    append(classIds);
    append(sigmas);
    return all;
  }
};

struct Preprocessing {
  PreprocessParams params;
  int half;
  int pitch;
  Bytes frame;

  explicit Preprocessing(std::FILE* file)
      : params(readOne<PreprocessParams>(file)),
        half(readOne<std::int32_t>(file)),
        pitch(readOne<std::int32_t>(file)),
        frame(readBytes(file, std::size_t{3} * params.frameWidth + (params.frameHeight - std::size_t{1}) * pitch)) {}

  Bytes run(const cpu_shim::Schedule& schedule) const {
    cpu_shim::setSchedule(schedule);
    const bool canvas = params.layout == static_cast<int>(gaussian_yolo::Layout::kCanvas);
    Bytes output(static_cast<std::size_t>(params.canvasHeight) * params.canvasWidth * 3 *
                 (canvas ? 1 : (half != 0 ? 2 : 4)));
    if (gy_preprocess(&params, reinterpret_cast<const std::uint8_t*>(frame.data()), pitch, output.data(), half,
                      nullptr) != 0) {
      fail("the kernel refuses the parameters");
    }
    return output;
  }
};

std::uint64_t number(const char* text) {
  char* end = nullptr;
  const std::uint64_t value = std::strtoull(text, &end, 10);
  if (end == text || *end != '\0') {
    fail("MODE, SEED, REPETITIONS and DROPPED_SYNC are numbers");
  }
  return value;
}

template <typename Call>
bool replay(const Call& call, cpu_shim::Schedule schedule, int repetitions, std::FILE* outputs) {
  const Bytes first = call.run(schedule);
  bool agreed = true;
  for (int repetition = 1; repetition < repetitions; ++repetition) {
    ++schedule.seed;
    agreed = call.run(schedule) == first && agreed;
  }
  std::fwrite(first.data(), 1, first.size(), outputs);
  return agreed;
}

}  // namespace

// NOLINTNEXTLINE(misc-const-correctness): the signature of main
int main(int argc, char** argv) {
  if (argc != 7) {
    fail("usage: replay CALLS OUTPUTS MODE SEED REPETITIONS DROPPED_SYNC");
  }
  std::FILE* calls = std::fopen(argv[1], "rb");
  std::FILE* outputs = std::fopen(argv[2], "wb");
  if (calls == nullptr || outputs == nullptr) {
    fail("a file does not open");
  }
  const cpu_shim::Schedule schedule = {static_cast<int>(number(argv[3])), static_cast<int>(number(argv[6])),
                                       number(argv[4])};
  const auto repetitions = static_cast<int>(number(argv[5]));
  bool agreed = true;
  std::int32_t kind = 0;
  while (std::fread(&kind, sizeof kind, 1, calls) == 1) {
    const bool same = kind == 0 ? replay(Detection(calls), schedule, repetitions, outputs)
                                : replay(Preprocessing(calls), schedule, repetitions, outputs);
    agreed = same && agreed;
  }
  std::fclose(calls);
  std::fclose(outputs);
  return agreed ? 0 : 3;
}
