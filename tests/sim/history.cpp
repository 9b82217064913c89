#include "history.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/error.hpp"
#include "flow/sync.hpp"

namespace runctl::sim {

namespace {

using Access = index::Index::Access;

// Later than anything that is still under way.
constexpr Time k_all_is_over = std::chrono::seconds(10);

class History {
 public:
  History(std::uint64_t seed, Workplace& place, bool traced) : place_(place), scene_(seed, traced, place) {}

  Outcome run() {
    prepare();
    disturb();
    for (std::size_t i = 0; i < scene_.inputs.size(); ++i) spawn_writer(i);
    spawn_others(world().below(5));
    scene_.world.run();
    if (scene_.world.failure().empty()) calm_down();
    if (scene_.world.failure().empty()) judge();
    return {scene_.world.failure(), scene_.world.trace(), scene_.counts, scene_.world.steps(),
            scene_.bucket.faults_made};
  }

 private:
  World& world() { return scene_.world; }

  void prepare() {
    const std::size_t ids = 3 + world().below(8);
    for (std::size_t i = 0; i < ids; ++i) scene_.ids.push_back(world().below(k_ids));
    const std::size_t inputs = 1 + world().below(3);
    for (std::size_t i = 0; i < inputs; ++i) make_input(i);
    for (Machine& machine : scene_.machines) make_index(machine);
    world().switch_rate = world().chance(0.5) ? 1 : world().chance(0.5) ? 0.3 : 0.05;
    if (world().chance(0.1)) {
      scene_.foreign_object = true;
      scene_.bucket.put("runs/v1/mixed/notes.txt", "nothing of ours\n");
    }
  }

  // Inputs overlap: the same runs, other versions of them, one run twice.
  void make_input(std::size_t number) {
    Input& input = scene_.inputs.emplace_back();
    input.path = place_ / fmt::format("input{}", number);
    std::string text;
    const std::size_t count = 1 + world().below(12);
    for (std::size_t i = 0; i < count; ++i) {
      if (world().chance(0.03)) {
        text += "{\"id\":7,}\n";
        ++input.rejects;
      }
      const std::size_t id = scene_.ids[world().below(scene_.ids.size())];
      const std::size_t run = id * k_versions + (world().chance(0.5) ? 0 : world().below(k_versions));
      input.runs.push_back(run);
      text += all_runs()[run].text + "\n";
    }
    tests::write_whole(input.path, text);
  }

  // Most begin with an empty index.
  void make_index(Machine& machine) {
    if (!machine.cache_path.empty()) std::filesystem::remove_all(machine.cache_path);
    const std::string name = "index." + machine.name;
    machine.index_path = world().chance(0.02) ? place_.no_index(name) : place_.empty_index(name);
  }

  // In each history some things go wrong often, and others never.
  void disturb() {
    const auto rate = [this](double most) {
      return world().chance(0.4) ? most * static_cast<double>(1 + world().below(10)) / 10 : 0;
    };
    Faults& faults = scene_.bucket.faults;
    if (world().chance(0.1)) return;
    faults = {.put_refused = rate(0.3),
              .put_unanswered = rate(0.3),
              .put_late = rate(0.3),
              .put_twice = rate(0.3),
              .read_failed = rate(0.1),
              .read_short = rate(0.1),
              .head_failed = rate(0.1),
              .list_failed = rate(0.1),
              .list_short = rate(0.6)};
    world().death_rate = rate(0.05);
  }

  Machine& any_machine() { return scene_.machines[world().below(scene_.machines.size())]; }

  void spawn(const std::string& name, Machine& machine, const std::function<void(Process&)>& body) {
    world().spawn(fmt::format("{}@{}", name, machine.name), machine.lock, machine.clock_offset, body);
  }

  void think(Process& process) {
    process.sleep_until(process.steady() + std::chrono::milliseconds(world().below(2'500)));
  }

  // Who was killed or told of a failure gives the same command again, at times even who was not.
  void spawn_writer(std::size_t number) {
    Machine& machine = any_machine();
    spawn(fmt::format("ingest{}", number), machine, [this, number, &machine](Process& process) {
      Input& input = scene_.inputs[number];
      for (std::size_t tries = 1 + world().below(3); tries > 0; --tries) {
        if (world().chance(0.7)) think(process);
        const bool done =
            scene_.command(process, machine, "ingest", [&] { ingest(scene_, process, machine, input); });
        if (done && world().chance(0.9)) return;
      }
    });
  }

  struct Other {
    const char* name;
    std::function<void(Process&, Machine&)> command;
  };

  // Users of what is stored, and keepers of the index.
  void spawn_others(std::size_t count) {
    const std::vector<Other> others = {
        {"get", [this](Process& p, Machine& m) { get(scene_, p, m); }},
        {"trace", [this](Process& p, Machine& m) { get_trace(scene_, p, m); }},
        {"search", [this](Process& p, Machine& m) { search(scene_, p, m); }},
        {"search", [this](Process& p, Machine& m) { search(scene_, p, m); }},
        {"sync", [this](Process& p, Machine& m) { sync(scene_, p, m); }},
        {"rebuild", [this](Process& p, Machine& m) { rebuild(scene_, p, m); }},
        {"verify", [this](Process& p, Machine& m) { verify(scene_, p, m, world().chance(0.5)); }},
        {"clean", [this](Process& p, Machine& m) { clean_cache(scene_, p, m); }},
    };
    for (; count > 0; --count) {
      Machine& machine = any_machine();
      spawn(others[world().below(others.size())], machine);
    }
  }

  void spawn(const Other& other, Machine& machine) {
    spawn(other.name, machine, [this, other, &machine](Process& process) {
      for (std::size_t times = world().chance(0.2) ? 2 : 1; times > 0; --times) {
        think(process);
        scene_.command(process, machine, other.name, [&] { other.command(process, machine); });
      }
    });
  }

  // Nothing fails any more, but what was under way may still come; each input is stored at last.
  void calm_down() {
    world().death_rate = 0;
    scene_.bucket.faults = {};
    scene_.quiet = true;
    world().log("model", "quiet");
    for (std::size_t i = 0; i < scene_.inputs.size(); ++i) {
      if (scene_.inputs[i].stored && !world().chance(0.1)) continue;
      Machine& machine = any_machine();
      spawn(fmt::format("ingest{}", i), machine, [this, i, &machine](Process& process) {
        // An index that is made anew meanwhile may make it fail once more.
        for (std::size_t tries = 3; tries > 0; --tries) {
          const bool done = scene_.command(process, machine, "ingest",
                                           [&] { ingest(scene_, process, machine, scene_.inputs[i]); });
          if (done) return;
        }
        world().fail("promise 1: an ingest does not come to its end though nothing fails");
      });
    }
    if (world().chance(0.2)) spawn_others(1);
    world().run();
  }

  void judge() {
    for (Machine& machine : scene_.machines) {
      spawn("judge", machine, [this, &machine](Process& process) {
        process.sleep_until(process.steady() + k_all_is_over);
        scene_.command(process, machine, "judge", [&] { judge_machine(process, machine); });
      });
    }
    world().run();
  }

  // The index that grew, made to agree with the store in one of the ways that there are, and one made anew
  // from the store answer what the model has worked out.
  void judge_machine(Process& process, Machine& machine) {
    Scene::open(machine, Access::write);  // perhaps nobody has come to use it
    switch (world().below(3)) {
      case 0:
        sync(scene_, process, machine);
        break;
      case 1:
        verify(scene_, process, machine, true);
        break;
      default:
        // Names them all, mends nothing.
        verify(scene_, process, machine, false);
        sync(scene_, process, machine);
    }
    index::Index& index = *scene_.eye(machine);
    const Expectation all = scene_.model.expect_all();
    scene_.model.check_index(index, all, "the index that grew");
    for (const Input& input : scene_.inputs) check_input(input, all);
    check_requests(scene_, process, machine);
    if (world().chance(0.3)) search(scene_, process, machine);
    if (world().chance(0.3)) get_trace(scene_, process, machine);
    if (!world().chance(0.2)) return;
    rebuild(scene_, process, machine);
    scene_.model.check_index(index, all, "the index made anew");
    verify(scene_, process, machine, false);
  }

  void check_input(const Input& input, const Expectation& all) {
    for (const std::size_t number : input.runs) {
      const Run& run = all_runs()[number];
      if (!all.has(run)) world().fail("promise 1: the store has lost " + run.id_text);
      if (!is_alone(input, run.id) || !all.is_sure(run.id)) continue;
      // Of what one file holds, and no other, the last new version is the latest.
      if (all_runs()[last_new(input, run.id)].fingerprint !=
          all_runs()[all.of(run.id).front().run].fingerprint)
        world().fail("promise 1: the latest version of " + run.id_text + " is not the one that came last");
    }
  }

  bool is_alone(const Input& input, const run::Id& id) {
    return std::all_of(scene_.inputs.begin(), scene_.inputs.end(), [&](const Input& other) {
      return &other == &input || std::none_of(other.runs.begin(), other.runs.end(),
                                              [&id](std::size_t run) { return all_runs()[run].id == id; });
    });
  }

  static std::size_t last_new(const Input& input, const run::Id& id) {
    std::set<std::size_t> seen;
    std::size_t last = 0;
    for (const std::size_t run : input.runs) {
      if (all_runs()[run].id == id && seen.insert(run).second) last = run;
    }
    return last;
  }

  Workplace& place_;
  Scene scene_;
};

}  // namespace

Outcome run_history(std::uint64_t seed, Workplace& place, Connections connections, Traced traced) {
  place.begin(connections);
  return History(seed, place, traced == Traced::yes).run();
}

}  // namespace runctl::sim
