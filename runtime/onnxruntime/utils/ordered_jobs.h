// A list worked on by several threads, its results delivered one at a time in the order of the list. Only a few
// results wait at any time, so memory does not grow.
//   run_in_order(list, 4, compute, deliver);
#pragma once

#include <functional>
#include <string>

#include "feature/matrix.h"
#include "utils/scp_reader.h"

namespace speaker {

struct Outcome {
  Matrix values;
  double audio_s = 0;
  std::string error;  // why there are no values; empty where there are
};

using Compute = std::function<Outcome(const ScpEntry&)>;
using Deliver = std::function<void(const ScpEntry&, const Outcome&)>;

// An Error or std::bad_alloc of `compute` is an outcome; what `deliver` throws ends the run and is thrown here.
void run_in_order(ScpReader& list, int num_jobs, const Compute& compute, const Deliver& deliver);

}  // namespace speaker
