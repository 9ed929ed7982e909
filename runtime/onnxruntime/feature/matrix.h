// Rows of numbers beside each other in memory: frames of features.
#pragma once

#include <cstddef>
#include <vector>

namespace speaker {

struct Matrix {
  std::size_t rows = 0;
  std::size_t columns = 0;
  std::vector<float> values;

  Matrix() = default;
  Matrix(std::size_t num_rows, std::size_t num_columns)
      : rows(num_rows), columns(num_columns), values(num_rows * num_columns) {}
  float* row(std::size_t index) { return values.data() + index * columns; }
  const float* row(std::size_t index) const { return values.data() + index * columns; }
};

}  // namespace speaker
