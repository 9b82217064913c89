#include "flow/verify.hpp"

#include <fmt/format.h>

#include <deque>
#include <future>
#include <unordered_map>
#include <unordered_set>

#include "base/error.hpp"
#include "base/thread_pool.hpp"
#include "batch/format.hpp"
#include "batch/reader.hpp"
#include "flow/sync.hpp"

namespace runctl::flow {

namespace {

using base::Error;
using base::ErrorKind;

// Batches whose checks may be under way or wait for their turn.
constexpr std::size_t k_window = 8;

class Verification {
 public:
  Verification(store::ObjectStore& store, index::Index* index, const VerifyOptions& options,
               const VerifyEvents& events)
      : store_(store), index_(index), options_(options), events_(events) {}

  VerifyReport run() {
    // What the index knows is read first: whatever it names then was in the store before it is listed.
    std::vector<std::string> known;
    if (index_ != nullptr) known = index_->batch_keys();
    list();
    find_missing(known);
    if (index_ != nullptr) {
      if (options_.repair) adopt();
      runs_ = index_->runs_by_batch();
      for (const std::string& key : missing_) report_missing(key);
      if (const auto lost = runs_.find(""); lost != runs_.end()) {
        tell({FaultKind::index, "", "runs of it lie in batches that it does not name", lost->second.count,
              lost->second.first});
      }
    }
    check_batches();
    return report_;
  }

 private:
  void tell(const Fault& fault) {
    if (events_.fault) events_.fault(fault);
  }

  void list() {
    const std::string prefix(batch::k_batch_prefix);
    try {
      store_.list(prefix, [this](const store::ObjectInfo& object) {
        if (!batch::is_batch_key(object.key)) {
          tell({FaultKind::foreign, object.key, "is no batch; no command reads it", 0, {}});
          return;
        }
        objects_.push_back(object);
        report_.bytes += object.size;
      });
    } catch (const Error& error) {
      if (error.kind() != ErrorKind::not_found) throw;
      throw Error(ErrorKind::io, error.what());  // there is nothing to verify, which is not the same as whole
    }
    report_.batches = objects_.size();
  }

  void find_missing(const std::vector<std::string>& known) {
    std::unordered_set<std::string_view> listed;
    for (const store::ObjectInfo& object : objects_) listed.insert(object.key);
    for (const std::string& key : known) {
      if (listed.contains(key)) continue;
      if (store_.head(key)) {
        throw Error(ErrorKind::remote, key +
                                           ": is in the store, but its listing does not name it; what else "
                                           "it leaves out cannot be told");
      }
      missing_.push_back(key);
    }
  }

  // Batches that cannot be adopted stay orphans, and are named as broken when they are read.
  void adopt() {
    for (const store::ObjectInfo& object : objects_) {
      if (!index_->has_batch(object.key)) orphans_.insert(object.key);
    }
    if (!orphans_.empty()) sync(store_, *index_, {}, {});
  }

  void report_missing(const std::string& key) {
    const index::RunsOfBatch& lost = runs_[key];
    tell({FaultKind::missing, key, "is in the index, but not in the store", lost.count, lost.first});
  }

  void check_batches() {
    std::deque<std::future<BatchCheck>> checks;
    std::uint64_t done = 0;
    base::ThreadPool pool(std::min(objects_.size(), store_.calls_at_once()));
    for (std::size_t next = 0, i = 0; i < objects_.size(); ++i) {
      for (; next < objects_.size() && checks.size() < k_window; ++next) {
        ReadPart part = options_.read;
        part.seed += next;
        checks.push_back(pool.submit(
            [&store = store_, &object = objects_[next], part] { return check_batch(store, object, part); }));
      }
      const BatchCheck check = checks.front().get();
      checks.pop_front();
      add(objects_[i], check);
      done += objects_[i].size;
      if (events_.progress) events_.progress(done, report_.bytes);
    }
  }

  void add(const store::ObjectInfo& object, const BatchCheck& check) {
    report_.runs += check.footer.size();
    report_.frames += check.footer.frames.size();
    report_.frames_read += check.frames_read;
    report_.bytes_read += check.bytes_read;
    const auto of_footer = [&](FaultKind kind, const std::string& why, const auto& positions) {
      Fault fault{kind, object.key, why, positions.size(), {}};
      for (std::size_t i = 0; i < std::min(positions.size(), index::k_first_runs); ++i)
        fault.first.push_back(check.footer.ids[positions[i]]);
      tell(fault);
    };
    if (check.readable) {
      if (!check.fault.empty()) of_footer(FaultKind::broken, check.fault, check.runs);
      if (index_ != nullptr) compare(object, check, of_footer);
      return;
    }
    const index::RunsOfBatch& runs = runs_[object.key];
    tell({FaultKind::broken, object.key, check.fault, runs.count, runs.first});
  }

  template <typename OfFooter>
  void compare(const store::ObjectInfo& object, const BatchCheck& check, const OfFooter& of_footer) {
    const auto all = [&check] {
      std::vector<std::uint32_t> positions(check.footer.size());
      for (std::uint32_t i = 0; i < positions.size(); ++i) positions[i] = i;
      return positions;
    };
    const index::Agreement agreement = index_->compare(object.key, check.footer, runs_[object.key].count);
    if (!agreement.known) {
      of_footer(FaultKind::orphan, "is in the store, but not in the index", all());
      return;
    }
    if (orphans_.contains(object.key))
      of_footer(FaultKind::adopted, "was not in the index, and is now", all());
    if (agreement.size != object.size) {
      of_footer(FaultKind::size,
                fmt::format("is {} bytes long, the index says {}", object.size, agreement.size), all());
    }
    if (!agreement.lost.empty())
      of_footer(FaultKind::index, "the index does not find runs of it", agreement.lost);
    else if (!agreement.same_frames)
      of_footer(FaultKind::index, "the index looks for its frames at other places", all());
    if (agreement.strangers > 0)
      tell({FaultKind::index,
            object.key,
            "the index looks for runs in it that it does not hold",
            agreement.strangers,
            {}});
  }

  store::ObjectStore& store_;
  index::Index* const index_;
  const VerifyOptions& options_;
  const VerifyEvents& events_;
  VerifyReport report_;
  std::vector<store::ObjectInfo> objects_;  // the batches, in the order of their keys
  std::vector<std::string> missing_;
  std::unordered_set<std::string> orphans_;  // that were adopted, or tried to be
  std::unordered_map<std::string, index::RunsOfBatch> runs_;
};

}  // namespace

VerifyReport verify(store::ObjectStore& store, index::Index* index, const VerifyOptions& options,
                    const VerifyEvents& events) {
  return Verification(store, index, options, events).run();
}

}  // namespace runctl::flow
