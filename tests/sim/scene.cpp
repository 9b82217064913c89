#include "scene.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.hpp"

namespace runctl::sim {

namespace {

using base::ErrorKind;

std::chrono::milliseconds random_step(std::uint64_t seed) {
  return std::chrono::milliseconds(seed % 3 == 0 ? 0 : 1000);
}

const char* name_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::usage:
      return "usage";
    case ErrorKind::input:
      return "input";
    case ErrorKind::not_found:
      return "not found";
    case ErrorKind::corrupt:
      return "corrupt";
    case ErrorKind::io:
      return "io";
    case ErrorKind::remote:
      return "remote";
    case ErrorKind::interrupted:
      return "interrupted";
  }
  return "";
}

}  // namespace

Scene::Scene(std::uint64_t seed, bool traced, const Workplace& place)
    : world(seed, traced),
      // In braces: what is drawn first must not depend on the compiler.
      bucket{world, world.chance(0.6), random_step(seed),
             std::chrono::milliseconds{static_cast<std::int64_t>(world.below(800)) - 400}},
      model(world, bucket) {
  const std::size_t count = world.chance(0.25) ? 2 : 1;
  const bool cached = world.chance(0.25);
  for (std::size_t i = 0; i < count; ++i) {
    Machine& machine = machines.emplace_back();
    machine.name = fmt::format("m{}", i);
    if (cached) machine.cache_path = place / fmt::format("cache{}", i);
    machine.clock_offset = std::chrono::milliseconds(static_cast<std::int64_t>(world.below(400)) - 200);
  }
}

std::optional<index::Index> Scene::open(const Machine& machine, index::Index::Access access) {
  return index::Index::open(machine.index_path, "sim://bucket", access);
}

index::Index* Scene::eye(Machine& machine) {
  if (!machine.eye) machine.eye = open(machine, index::Index::Access::read);
  return machine.eye ? &*machine.eye : nullptr;
}

bool Scene::command(Process& process, Machine& machine, const std::string& what,
                    const std::function<void()>& body) {
  ++counts.commands;
  const std::uint64_t rebuilds = machine.rebuilds;
  process.log(what);
  try {
    if (process.command(body)) {
      process.log(what + ": done");
      return true;
    }
    ++counts.killed;
  } catch (const base::Error& error) {
    ++counts.failed;
    process.log(fmt::format("{}: failed: {}", what, name_of(error.kind())));
    // An index that is made anew gives batches other numbers; whoever remembers one is told to try again.
    const bool overtaken = error.kind() == ErrorKind::corrupt && machine.rebuilds != rebuilds;
    const bool provoked = !quiet && (error.kind() == ErrorKind::remote ||
                                     (error.kind() == ErrorKind::corrupt && process.met_corruption));
    if (!overtaken && !provoked) {
      world.fail(fmt::format("promise 5: {} {} failed without a cause, {}: {}", process.name(), what,
                             name_of(error.kind()), error.what()));
    }
  }
  return false;
}

}  // namespace runctl::sim
