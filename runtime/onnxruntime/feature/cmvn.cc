#include "feature/cmvn.h"

#include <algorithm>
#include <cmath>

namespace speaker {
namespace {

constexpr double kMinStd = 1e-3;  // a feature that never changes stays near 0

struct Span {
  long first, end;
};

// A window that begins before the utterance is moved to its start, then one that ends behind it to its end.
Span window_of(long frame, long num_frames, const CmvnConfig& config) {
  long start = std::max(0L, frame - (config.center ? config.window / 2 : config.window));
  const long end = config.center ? start + config.window : std::max<long>(frame + 1, config.min_window);
  start = std::max(0L, start - std::max(0L, end - num_frames));
  return {start, std::min(end, num_frames)};
}

void normalise_column(Matrix& features, std::size_t column, const CmvnConfig& config) {
  const long num_frames = static_cast<long>(features.rows);
  std::vector<double> sums(features.rows + 1, 0.0);
  std::vector<double> squares(features.rows + 1, 0.0);
  for (std::size_t t = 0; t < features.rows; ++t) {
    const double value = static_cast<double>(features.row(t)[column]);
    sums[t + 1] = sums[t] + value;
    squares[t + 1] = squares[t] + value * value;
  }
  for (long t = 0; t < num_frames; ++t) {
    const Span span = config.window ? window_of(t, num_frames, config) : Span{0, num_frames};
    const auto count = static_cast<double>(span.end - span.first);
    const auto first = static_cast<std::size_t>(span.first);
    const auto end = static_cast<std::size_t>(span.end);
    const double mean = (sums[end] - sums[first]) / count;
    float& value = features.row(static_cast<std::size_t>(t))[column];
    double centred = static_cast<double>(value) - mean;
    if (config.std) {
      const double variance = (squares[end] - squares[first]) / count - mean * mean;
      centred /= std::max(kMinStd, std::sqrt(std::max(0.0, variance)));
    }
    value = static_cast<float>(centred);
  }
}

}  // namespace

void apply_cmvn(Matrix& features, const CmvnConfig& config) {
  if (!config.mean || features.rows == 0) return;
  for (std::size_t column = 0; column < features.columns; ++column) normalise_column(features, column, config);
}

}  // namespace speaker
