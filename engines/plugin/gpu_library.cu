// The kernels on a GPU as a library that Python's ctypes loads, for tests and benchmarks; pointers are to the CPU's
// memory, as in cpu_shim/library.cpp. Every call waits for the GPU.
#include <cstring>
#include <functional>
#include <vector>

#include "kernels.h"

namespace {

using gaussian_yolo::DetectOutputs;
using gaussian_yolo::DetectParams;
using gaussian_yolo::PreprocessParams;

constexpr int kNoise = 0xa5;  // what memory holds before the kernels write to it
constexpr int kOutputs = 5;

#define GY_TRY(call)                                          \
  if (const cudaError_t error = call; error != cudaSuccess) { \
    return error;                                             \
  }

/// Memory of the GPU, freed at the end.
class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept : memory_(other.memory_) { other.memory_ = nullptr; }
  ~Buffer() { cudaFree(memory_); }

  cudaError_t take(std::size_t bytes) {
    GY_TRY(cudaMalloc(&memory_, bytes));
    return cudaMemset(memory_, kNoise, bytes);
  }
  void* get() const { return memory_; }

 private:
  void* memory_ = nullptr;
};

class Stream {
 public:
  Stream() { cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking); }
  ~Stream() { cudaStreamDestroy(stream_); }
  cudaStream_t get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

/// Launches are recorded once and run `times` times; `microseconds` is what one took.
cudaError_t asGraph(cudaStream_t stream, int times, float* microseconds, const std::function<cudaError_t()>& launch) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  cudaEvent_t first = nullptr;
  cudaEvent_t last = nullptr;
  GY_TRY(cudaEventCreate(&first));
  GY_TRY(cudaEventCreate(&last));
  GY_TRY(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal));
  const cudaError_t launched = launch();
  GY_TRY(cudaStreamEndCapture(stream, &graph));
  GY_TRY(launched);
  GY_TRY(cudaGraphInstantiateWithFlags(&executable, graph, 0));
  GY_TRY(cudaGraphLaunch(executable, stream));
  GY_TRY(cudaEventRecord(first, stream));
  for (int run = 0; run < times; ++run) {
    GY_TRY(cudaGraphLaunch(executable, stream));
  }
  GY_TRY(cudaEventRecord(last, stream));
  GY_TRY(cudaStreamSynchronize(stream));
  float milliseconds = 0;
  GY_TRY(cudaEventElapsedTime(&milliseconds, first, last));
  if (microseconds != nullptr) {
    *microseconds = 1000 * milliseconds / static_cast<float>(times);
  }
  cudaGraphExecDestroy(executable);
  cudaGraphDestroy(graph);
  cudaEventDestroy(first);
  return cudaEventDestroy(last);
}

cudaError_t run(cudaStream_t stream, int graphRuns, float* microseconds, const std::function<cudaError_t()>& launch) {
  if (graphRuns > 0) {
    return asGraph(stream, graphRuns, microseconds, launch);
  }
  GY_TRY(launch());
  return cudaStreamSynchronize(stream);
}

std::size_t headBytes(const DetectParams& params, int head, int batch, bool half) {
  const std::size_t cells = static_cast<std::size_t>(params.inputHeight / params.strides[head]) *
                            (params.inputWidth / params.strides[head]) * params.anchorsPerHead;
  return cells * (gaussian_yolo::kBoxEntries + params.numClasses) * batch * (half ? 2 : 4);
}

cudaError_t detect(const DetectParams& params, int batch, const void* const* heads, bool half,
                   const DetectOutputs& outputs, int graphRuns, float* microseconds) {
  const Stream stream;
  Buffer inputs[gaussian_yolo::kHeads];
  const void* onGpu[gaussian_yolo::kHeads];
  for (int head = 0; head < gaussian_yolo::kHeads; ++head) {
    const std::size_t bytes = headBytes(params, head, batch, half);
    GY_TRY(inputs[head].take(bytes));
    GY_TRY(cudaMemcpy(inputs[head].get(), heads[head], bytes, cudaMemcpyHostToDevice));
    onGpu[head] = inputs[head].get();
  }
  const std::size_t rows = static_cast<std::size_t>(batch) * params.maxDetections;
  const std::size_t sizes[kOutputs] = {batch * sizeof(std::int32_t), rows * 4 * sizeof(float), rows * sizeof(float),
                                       rows * sizeof(std::int32_t), rows * 4 * sizeof(float)};
  Buffer results[kOutputs];
  for (int output = 0; output < kOutputs; ++output) {
    GY_TRY(results[output].take(sizes[output]));
  }
  const DetectOutputs found = {static_cast<std::int32_t*>(results[0].get()), static_cast<float*>(results[1].get()),
                               static_cast<float*>(results[2].get()), static_cast<std::int32_t*>(results[3].get()),
                               static_cast<float*>(results[4].get())};
  Buffer workspace;
  GY_TRY(workspace.take(gaussian_yolo::detectWorkspaceBytes(params, batch)));
  GY_TRY(cudaDeviceSynchronize());  // the memory is filled on another stream
  GY_TRY(run(stream.get(), graphRuns, microseconds, [&] {
    return gaussian_yolo::launchDetect(params, batch, onGpu, half, found, workspace.get(), stream.get());
  }));
  void* const targets[kOutputs] = {outputs.numDetections, outputs.boxes, outputs.scores, outputs.classIds,
                                   outputs.sigmas};
  for (int output = 0; output < kOutputs; ++output) {
    GY_TRY(cudaMemcpy(targets[output], results[output].get(), sizes[output], cudaMemcpyDeviceToHost));
  }
  return cudaSuccess;
}

cudaError_t preprocess(const PreprocessParams& params, const std::uint8_t* frame, std::size_t pitch, void* output,
                       bool half, int graphRuns, float* microseconds) {
  const bool planes = params.layout == static_cast<int>(gaussian_yolo::Layout::kPlanes);
  const std::size_t element = !planes ? 1 : half ? 2 : 4;
  const std::size_t bytes = element * 3 * params.canvasHeight * params.canvasWidth;
  const std::size_t row = static_cast<std::size_t>(params.frameWidth) * 3;
  const Stream stream;
  Buffer source;
  Buffer target;
  GY_TRY(source.take(pitch * params.frameHeight));
  GY_TRY(target.take(bytes));
  GY_TRY(cudaMemcpy2D(source.get(), pitch, frame, pitch, row, params.frameHeight, cudaMemcpyHostToDevice));
  GY_TRY(cudaDeviceSynchronize());
  GY_TRY(run(stream.get(), graphRuns, microseconds, [&] {
    return gaussian_yolo::launchPreprocess(params, static_cast<const std::uint8_t*>(source.get()), pitch, target.get(),
                                           half, stream.get());
  }));
  return cudaMemcpy(output, target.get(), bytes, cudaMemcpyDeviceToHost);
}

/// CUDA keeps an error for whoever asks next, which must not be the next call here.
cudaError_t taken(cudaError_t error) {
  cudaGetLastError();
  return error;
}

}  // namespace

extern "C" {

/// `launchDetect`, plainly where `graphRuns` is 0, else recorded and run that many times; the result is a cudaError_t.
int gy_gpu_detect(const DetectParams* params, int batch, const void* const* heads, int half,
                  const DetectOutputs* outputs, int graphRuns, float* microseconds) {
  return taken(detect(*params, batch, heads, half != 0, *outputs, graphRuns, microseconds));
}

/// `launchPreprocess`, likewise.
int gy_gpu_preprocess(const PreprocessParams* params, const std::uint8_t* frame, std::size_t pitch, void* output,
                      int half, int graphRuns, float* microseconds) {
  return taken(preprocess(*params, frame, pitch, output, half != 0, graphRuns, microseconds));
}

/// Text of `detectParamsError`, or null.
const char* gy_gpu_params_error(const DetectParams* params) { return gaussian_yolo::detectParamsError(*params); }

std::size_t gy_gpu_workspace_bytes(const DetectParams* params, int batch) {
  return gaussian_yolo::detectWorkspaceBytes(*params, batch);
}

/// GPUs there are; 0 where there is no driver.
int gy_gpu_count() {
  int count = 0;
  return cudaGetDeviceCount(&count) == cudaSuccess ? count : 0;
}

}  // extern "C"
