// What many measurements say together.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

namespace runctl::flow {

// In the unit of the samples. Quantiles are by nearest rank: values that were measured, the largest where
// there are few; the median of an even number is the mean of the middle two.
struct BenchSummary {
  double min = 0;
  double q1 = 0;  // a quarter of the samples is not above it
  double median = 0;
  double q3 = 0;
  double p95 = 0;
  double p99 = 0;
  double max = 0;
  double mean = 0;
};

// All 0 where there is no sample.
BenchSummary summarize(std::span<const double> samples);

// How far the repetitions of a step are apart: the median absolute deviation of their medians, times 1.4826
// (which makes it the standard deviation where they are normally distributed), as a part of their median.
// Absent where there is only one.
std::optional<double> noise_of(std::span<const double> medians);

}  // namespace runctl::flow
