#include "plugin_log.h"

#include <array>
#include <atomic>
#include <cstdarg>
#include <cstddef>
#include <cstdio>

namespace gaussian_yolo {
namespace {

std::atomic<nvinfer1::ILoggerFinder*>& loggerFinder() {
  static std::atomic<nvinfer1::ILoggerFinder*> finder{nullptr};
  return finder;
}

}  // namespace

void logError(const char* format, ...) noexcept {
  std::array<char, 512> text{};
  const int start = std::snprintf(text.data(), text.size(), "GaussianYoloDetect: ");
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text.data() + start, text.size() - static_cast<std::size_t>(start), format, arguments);
  va_end(arguments);
  nvinfer1::ILoggerFinder* const finder = loggerFinder().load();
  nvinfer1::ILogger* const logger = finder == nullptr ? nullptr : finder->findLogger();
  if (logger != nullptr) {
    logger->log(nvinfer1::ILogger::Severity::kERROR, text.data());
  } else {
    std::fprintf(stderr, "%s\n", text.data());
  }
}

void setFinder(nvinfer1::ILoggerFinder* finder) noexcept { loggerFinder().store(finder); }

}  // namespace gaussian_yolo
