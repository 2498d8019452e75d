// Where the plugin says what is wrong.
#pragma once

#include <NvInfer.h>

namespace gaussian_yolo {

/// To TensorRT's logger, or to stderr where the library was loaded without one.
__attribute__((format(printf, 1, 2))) void logError(const char* format, ...) noexcept;

void setFinder(nvinfer1::ILoggerFinder* finder) noexcept;

}  // namespace gaussian_yolo
