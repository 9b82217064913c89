// How commands are put together: each adds its flags to the parser, and sets what is to be run.
#pragma once

#include <functional>
#include <memory>

#include <CLI/CLI.hpp>

#include "settings.hpp"

namespace runctl::cmd {

// A validator whose description does not stand in the help: the flag's own text says it.
inline CLI::Validator unnamed(CLI::Validator validator) { return validator.description(""); }

struct Program {
  CLI::App app;
  GlobalFlags globals;
  std::function<int()> run;  // set by the command that was named; returns the exit status
};

// One for each command, each in a file of its own name: its flags, and what it runs.
void add_ingest(Program& program, CLI::App& command);
void add_get(Program& program, CLI::App& command);
void add_search(Program& program, CLI::App& command);
void add_index(Program& program, CLI::App& command);
void add_bench(Program& program, CLI::App& command);
void add_verify(Program& program, CLI::App& command);
void add_cache(Program& program, CLI::App& command);
void add_doctor(Program& program, CLI::App& command);

}  // namespace runctl::cmd
