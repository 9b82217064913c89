// A store that fails, answers late, twice or not at all, lists short, and honours conditional creation or
// does not: what S3 servers do to a client, behind the interface that the house sees.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "store/object_store.hpp"
#include "world.hpp"

namespace runctl::sim {

// How often what goes wrong; all zero in a quiet time.
struct Faults {
  double put_refused = 0;     // nothing happens
  double put_unanswered = 0;  // it happens, but the client is told that it did not
  double put_late = 0;        // the client is told so, and it happens later
  double put_twice = 0;       // at once, or much later
  double read_failed = 0;
  double read_short = 0;  // broken bytes, after all attempts
  double head_failed = 0;
  double list_failed = 0;
  double list_short = 0;  // what is new is left out
};

class Bucket {
 public:
  struct Object {
    std::string bytes;
    std::int64_t modified_ns = 0;
    Time created{0};
    bool overwritten = false;  // by itself, at another time: which version is the latest has changed
  };

  Bucket(World& world, bool conditional, std::chrono::milliseconds step, Time clock_offset)
      : world_(world), conditional_(conditional), step_(step), clock_offset_(clock_offset) {}

  // What a PUT does when it comes to the server; false where the server kept what was there.
  bool put(const std::string& key, const std::string& bytes);

  [[nodiscard]] const std::map<std::string, Object>& objects() const { return objects_; }
  [[nodiscard]] bool conditional() const { return conditional_; }
  [[nodiscard]] std::chrono::milliseconds step() const { return step_; }

  Faults faults;
  std::uint64_t faults_made = 0;

 private:
  World& world_;
  const bool conditional_;
  const std::chrono::milliseconds step_;
  const Time clock_offset_;
  std::map<std::string, Object> objects_;
  std::int64_t last_modified_ns_ = 0;
};

// The bucket as one process sees it. Each call is several steps of the process, and what a PUT does happens
// between two of them.
class SimulatedStore final : public store::ObjectStore {
 public:
  SimulatedStore(Bucket& bucket, Process& process) : bucket_(bucket), process_(process) {}

  store::PutResult put(const std::string& key, std::span<const std::string_view> parts,
                       const base::Sha256Digest& digest) override;
  void read(std::span<const store::Range> ranges, const RangeSink& sink) override;
  std::optional<store::ObjectInfo> head(const std::string& key) override;
  void list(const std::string& prefix, const std::function<void(const store::ObjectInfo&)>& visit) override;
  std::vector<std::string> list_groups(const std::string& prefix) override;
  bool remove(const std::string& key) override;
  [[nodiscard]] std::string url() const override { return "sim://bucket"; }
  [[nodiscard]] std::chrono::milliseconds time_step() const override { return bucket_.step(); }
  [[nodiscard]] std::size_t calls_at_once() const override { return 0; }
  [[nodiscard]] store::Traffic traffic() const override { return {requests_, read_, written_, 0}; }

 private:
  void begin() { process_.step(Process::Next::anything_else); }
  // Whoever has an answer may record it.
  void end() { process_.step(Process::Next::write_index); }
  bool happens(double probability);
  [[noreturn]] void fail(const std::string& key, const std::string& what);
  void send(const std::string& key, const std::string& bytes);
  [[nodiscard]] bool is_hidden(const Bucket::Object& object, bool short_listing) const;
  void visit_page(const std::string& prefix, std::string& last, bool short_listing,
                  std::vector<store::ObjectInfo>& page);

  Bucket& bucket_;
  Process& process_;
  std::uint64_t requests_ = 0;
  std::uint64_t read_ = 0;
  std::uint64_t written_ = 0;
};

}  // namespace runctl::sim
