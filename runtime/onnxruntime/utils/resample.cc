#include "utils/resample.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>

namespace speaker {
namespace {

constexpr double kBeta = 5.0;
constexpr double kPi = 3.14159265358979323846;

double bessel_i0(double x) {
  double sum = 1;
  double term = 1;
  for (int n = 1; term > 1e-17 * sum; ++n) {
    const double factor = x / (2 * n);
    term *= factor * factor;
    sum += term;
  }
  return sum;
}

// The right half of the symmetric filter, the centre first; it passes `up` times what is constant.
std::vector<float> half_filter(std::int64_t up, std::int64_t down) {
  const auto longest = static_cast<double>(std::max(up, down));
  const std::int64_t half = 10 * std::max(up, down);
  std::vector<double> taps(static_cast<std::size_t>(half) + 1);
  double sum = 0;
  for (std::int64_t n = 0; n <= half; ++n) {
    const double x = kPi * static_cast<double>(n) / longest;
    const double place = static_cast<double>(n) / static_cast<double>(half);
    const double window = bessel_i0(kBeta * std::sqrt(std::max(0.0, 1 - place * place)));
    taps[static_cast<std::size_t>(n)] = (n ? std::sin(x) / x : 1.0) * window;
    sum += (n ? 2 : 1) * taps[static_cast<std::size_t>(n)];
  }
  std::vector<float> filter(taps.size());
  for (std::size_t n = 0; n < taps.size(); ++n) filter[n] = static_cast<float>(taps[n] * static_cast<double>(up) / sum);
  return filter;
}

}  // namespace

std::vector<float> resample(const std::vector<float>& samples, int from_rate, int to_rate) {
  if (from_rate == to_rate) return samples;
  const std::int64_t common = std::gcd(from_rate, to_rate);
  const std::int64_t up = to_rate / common;
  const std::int64_t down = from_rate / common;
  const std::vector<float> filter = half_filter(up, down);
  const std::int64_t half = static_cast<std::int64_t>(filter.size()) - 1;
  const auto num_in = static_cast<std::int64_t>(samples.size());
  std::vector<float> result(static_cast<std::size_t>((num_in * up + down - 1) / down));
  for (std::size_t m = 0; m < result.size(); ++m) {
    const std::int64_t centre = static_cast<std::int64_t>(m) * down;  // at the rate of both
    const std::int64_t first = std::max<std::int64_t>(0, centre <= half ? 0 : (centre - half + up - 1) / up);
    const std::int64_t last = std::min(num_in - 1, (centre + half) / up);
    double sum = 0;
    for (std::int64_t k = first; k <= last; ++k)
      sum += static_cast<double>(samples[static_cast<std::size_t>(k)]) *
             static_cast<double>(filter[static_cast<std::size_t>(std::abs(centre - k * up))]);
    result[m] = static_cast<float>(sum);
  }
  return result;
}

}  // namespace speaker
