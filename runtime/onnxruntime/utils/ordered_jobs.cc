#include "utils/ordered_jobs.h"

#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "speaker_engine/error.h"

namespace speaker {
namespace {

constexpr std::uint64_t kWaiting = 4;  // results for each job that may wait for an earlier one

Outcome computed(const Compute& compute, const ScpEntry& entry) {
  Outcome outcome;
  try {
    return compute(entry);
  } catch (const Error& error) {
    outcome.error = error.what();
  } catch (const std::bad_alloc&) {
    outcome.error = entry.source + ": does not fit into memory; cut it into parts";
  }
  return outcome;
}

class Jobs {
 public:
  Jobs(ScpReader& list, int num_jobs, const Compute& compute, const Deliver& deliver)
      : list_(list), room_(kWaiting * static_cast<std::uint64_t>(num_jobs)), compute_(compute), deliver_(deliver) {}

  void work() {
    try {
      ScpEntry entry;
      std::uint64_t number = 0;
      while (take(entry, number)) {
        Outcome outcome = computed(compute_, entry);
        hand_in(number, std::move(entry), std::move(outcome));
        entry = ScpEntry();
      }
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!problem_) problem_ = std::current_exception();
      changed_.notify_all();
    }
  }

  void rethrow() const {
    if (problem_) std::rethrow_exception(problem_);
  }

 private:
  bool take(ScpEntry& entry, std::uint64_t& number) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [this] { return problem_ || taken_ < delivered_ + room_; });
    if (problem_ || !list_.next(entry)) return false;
    number = taken_++;
    return true;
  }

  void hand_in(std::uint64_t number, ScpEntry entry, Outcome outcome) {
    const std::lock_guard<std::mutex> lock(mutex_);
    waiting_.emplace(number, std::make_pair(std::move(entry), std::move(outcome)));
    for (auto first = waiting_.find(delivered_); first != waiting_.end() && !problem_;
         first = waiting_.find(delivered_)) {
      deliver_(first->second.first, first->second.second);
      waiting_.erase(first);
      ++delivered_;
    }
    changed_.notify_all();
  }

  ScpReader& list_;
  std::uint64_t room_;
  const Compute& compute_;
  const Deliver& deliver_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::uint64_t, std::pair<ScpEntry, Outcome>> waiting_;
  std::uint64_t taken_ = 0, delivered_ = 0;
  std::exception_ptr problem_;
};

}  // namespace

void run_in_order(ScpReader& list, int num_jobs, const Compute& compute, const Deliver& deliver) {
  Jobs jobs(list, num_jobs, compute, deliver);
  std::vector<std::thread> threads;
  try {
    for (int n = 1; n < num_jobs; ++n) threads.emplace_back([&jobs] { jobs.work(); });
  } catch (const std::system_error&) {  // no more threads are to be had: those that are there do the work
  }
  jobs.work();
  for (std::thread& thread : threads) thread.join();
  jobs.rethrow();
}

}  // namespace speaker
