#include "flow/bench_statistics.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace runctl::flow {

namespace {

double median_of(std::span<const double> sorted) {
  const std::size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}

// Of `per_mille` of the samples none is above it.
double quantile_of(std::span<const double> sorted, std::size_t per_mille) {
  const std::size_t rank = (sorted.size() * per_mille + 999) / 1000;
  return sorted[std::max<std::size_t>(rank, 1) - 1];
}

std::vector<double> sorted_copy(std::span<const double> samples) {
  std::vector<double> sorted(samples.begin(), samples.end());
  std::sort(sorted.begin(), sorted.end());
  return sorted;
}

}  // namespace

BenchSummary summarize(std::span<const double> samples) {
  BenchSummary summary;
  if (samples.empty()) return summary;
  const std::vector<double> sorted = sorted_copy(samples);
  summary.min = sorted.front();
  summary.q1 = quantile_of(sorted, 250);
  summary.median = median_of(sorted);
  summary.q3 = quantile_of(sorted, 750);
  summary.p95 = quantile_of(sorted, 950);
  summary.p99 = quantile_of(sorted, 990);
  summary.max = sorted.back();
  summary.mean = std::accumulate(sorted.begin(), sorted.end(), 0.0) / static_cast<double>(sorted.size());
  return summary;
}

std::optional<double> noise_of(std::span<const double> medians) {
  if (medians.size() < 2) return std::nullopt;
  const double middle = median_of(sorted_copy(medians));
  if (!(middle > 0)) return std::nullopt;
  std::vector<double> deviations;
  for (const double median : medians) deviations.push_back(std::abs(median - middle));
  constexpr double k_normal = 1.4826;
  return k_normal * median_of(sorted_copy(deviations)) / middle;
}

}  // namespace runctl::flow
