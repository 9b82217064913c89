// One history's stage: the store, the machines with their indexes, what users want to store; and how a
// command ends.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "bucket.hpp"
#include "index/index.hpp"
#include "model.hpp"
#include "workplace.hpp"
#include "world.hpp"

namespace runctl::sim {

struct Machine {
  std::string name;
  std::string index_path;
  std::string cache_path;  // empty where there is no cache
  Time clock_offset{0};
  IndexLock lock;
  std::uint64_t rebuilds = 0;  // of its index
  std::set<std::string>
      left_out;  // batches that a rebuild could not read: the index lacks them, and it said so
  std::optional<index::Index> eye;  // through which the model looks
};

// A file that a user wants to have stored.
struct Input {
  std::string path;
  std::vector<std::size_t> runs;  // of all_runs(), in its order
  std::uint64_t rejects = 0;      // records that are no runs
  bool stored = false;            // an ingest of it came to its end
};

// What happened, to tell that something did.
struct Counts {
  std::uint64_t commands = 0;
  std::uint64_t failed = 0;
  std::uint64_t killed = 0;
  std::uint64_t pages = 0;
  std::uint64_t gets = 0;
  std::uint64_t rebuilds = 0;
  std::uint64_t adopted = 0;
};

struct Scene {
  World world;
  Bucket bucket;
  Model model;
  std::deque<Machine> machines;
  std::deque<Input> inputs;
  std::vector<std::size_t> ids;  // that the inputs take runs of
  bool quiet = false;            // nothing fails, nobody dies
  bool foreign_object = false;   // the store holds something that is no batch
  bool tampered = false;         // with a file of a cache
  Counts counts;

  Scene(std::uint64_t seed, bool traced, const Workplace& place);

  // The index of the machine as a process of it opens it; with Access::write it is made where it is absent.
  static std::optional<index::Index> open(const Machine& machine, index::Index::Access access);
  // The model's own, once there is one.
  index::Index* eye(Machine& machine);
  // What the machine's index must answer now.
  Expectation expect(index::Index& index) { return model.expect(index.batch_keys()); }

  // Runs a command as a user does: true where it came to its end. It may fail as the documents say, and in no
  // other way.
  bool command(Process& process, Machine& machine, const std::string& what,
               const std::function<void()>& body);
};

// The commands. All throw base::Error as the house does.
void ingest(Scene& scene, Process& process, Machine& machine, Input& input);
void sync(Scene& scene, Process& process, Machine& machine);
void rebuild(Scene& scene, Process& process, Machine& machine);
void verify(Scene& scene, Process& process, Machine& machine, bool repair);
void clean_cache(Scene& scene, Process& process, const Machine& machine);
void get(Scene& scene, Process& process, Machine& machine);
void get_trace(Scene& scene, Process& process, Machine& machine);
void search(Scene& scene, Process& process, Machine& machine);

// One `get` of one run that the index knows is one range read, none where the cache has it.
void check_requests(Scene& scene, Process& process, Machine& machine);

}  // namespace runctl::sim
