// argv in, exit status out.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <functional>
#include <new>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.hpp"
#include "command.hpp"
#include "interrupt.hpp"
#include "metrics.hpp"
#include "output.hpp"

namespace runctl::cmd {

namespace {

struct Command {
  const char* name;
  const char* description;
  void (*add)(Program& program, CLI::App& command);
};

constexpr std::array<Command, 8> k_commands = {{
    {"ingest", "Read runs, pack them into batches, store them, record them in the index", add_ingest},
    {"get", "Print runs by id, in the order asked for", add_get},
    {"search", "Find runs in the index", add_search},
    {"index", "The local index: its state, and making it agree", add_index},
    {"verify", "Prove that the store is whole, and that the index agrees with it", add_verify},
    {"cache", "What was read from the store and is kept on the local disk", add_cache},
    {"bench", "Measure this store; compare with a saved result, and fail on a regression", add_bench},
    {"doctor",
     "Check configuration, credentials, clock, store, index, and what interrupted commands left behind",
     add_doctor},
}};

void add_globals(Program& program) {
  CLI::App& app = program.app;
  GlobalFlags& globals = program.globals;
  app.add_option("--store", globals.store,
                 "Where the runs are kept: a directory, file:///DIR or s3://BUCKET[/PREFIX]")
      ->type_name("URL");
  app.add_option("--index", globals.index,
                 "The index file (one for each store, below $XDG_STATE_HOME/runctl)")
      ->type_name("FILE");
  app.add_option("--config", globals.config, "The config file ($XDG_CONFIG_HOME/runctl/config.json)")
      ->type_name("FILE");
  app.add_option("--endpoint-url", globals.endpoint_url, "S3: the server, where it is not that of AWS")
      ->type_name("URL");
  app.add_option("--region", globals.region, "S3: the region of the bucket")->type_name("NAME");
  app.add_option("--profile", globals.profile, "S3: the profile of the shared AWS files to use")
      ->type_name("NAME");
  app.add_option("--addressing-style", globals.addressing_style, "S3: auto, path or virtual")
      ->type_name("STYLE");
  app.add_option("--ca-bundle", globals.ca_bundle, "S3: the certificate authorities to trust, a PEM file")
      ->type_name("FILE");
  app.add_flag("--no-sign-request", globals.no_sign_request, "S3: send no credentials, for public buckets");
  app.add_option(
         "--cache-dir", globals.cache_dir,
         "Keep a cache of what is read here ($XDG_CACHE_HOME/runctl); turns it on for a directory too")
      ->type_name("DIR");
  app.add_option("--cache-size", globals.cache_size, "What the cache may take on disk (1GiB); 0 turns it off")
      ->type_name("SIZE");
  app.add_option("--cache-max-age", globals.cache_max_age,
                 "Remove from the cache what was not used for so long (7d, 12h)")
      ->type_name("AGE");
  app.add_flag("--no-cache", globals.no_cache, "Neither read nor write the cache");
  app.add_flag("--json", globals.json, "Print reports as one JSON object on standard output");
  app.add_flag("-q,--quiet", globals.quiet, "No summary and no progress: only faults and what was not found");
  app.add_flag("-v,--verbose", globals.verbose, "Tell more on standard error");
  app.add_option("--color", globals.color, "auto, always or never")->type_name("WHEN");
  app.add_option("--progress", globals.progress, "auto, always or never")->type_name("WHEN");
  app.add_option("--metrics-file", globals.metrics_file,
                 "Write here at the end what was done, as metrics for Prometheus")
      ->type_name("FILE");
  app.set_version_flag("--version", "runctl " RUNCTL_VERSION);
}

// The arguments, the last one first, as the parser takes them. For the value of "--flag=", which a script
// writes as --flag="$EMPTY", it would take the next argument.
std::vector<std::string> arguments_of(int argc, char** argv) {
  std::vector<std::string> arguments;
  bool flags = true;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument(argv[i]);
    flags = flags && argument != "--";
    if (flags && argument.starts_with("--") && argument.find('=') == argument.size() - 1) {
      arguments.emplace_back(argument.substr(0, argument.size() - 1));
      arguments.emplace_back();
    } else {
      arguments.emplace_back(argument);
    }
  }
  std::reverse(arguments.begin(), arguments.end());
  return arguments;
}

// Does the work, and says on standard error why it failed; the exit status.
int guarded(const std::function<int()>& work) {
  using base::ErrorKind;
  try {
    return work();
  } catch (const base::Error& error) {
    note(error.what());
    const int signal = Interruption::signal();
    if (error.kind() == ErrorKind::interrupted && signal != 0) return 128 + signal;
    return base::exit_status(error.kind());
  } catch (const std::bad_alloc&) {
    note("out of memory");
  } catch (const std::exception& error) {
    note(fmt::format("internal error: {}", error.what()));
  }
  return base::exit_status(base::ErrorKind::io);
}

// The words of the command that was named: "index sync".
std::string command_of(const CLI::App& app) {
  std::string words;
  for (const CLI::App* const command : app.get_subcommands())
    words += command->get_name() + " " + command_of(*command);
  while (words.ends_with(' ')) words.pop_back();
  return words;
}

// Runs the command that was named, and writes its metrics however it ends.
int run_command(Program& program) {
  GlobalFlags& globals = program.globals;
  globals.configured = read_config(globals);
  const Setting file = metrics_file(globals);
  if (!file.value.empty()) {
    try {
      Metrics::require_own(file.value);
    } catch (const base::Error& error) {
      throw base::Error(error.kind(), file.source + ": " + error.what());
    }
  }
  Metrics metrics(command_of(program.app));
  globals.metrics = &metrics;
  const int status = guarded(program.run);
  if (file.value.empty()) return status;
  try {
    metrics.write(file.value, status);
  } catch (const base::Error& error) {
    note(file.source + ": " + error.what());
    // The work is done, or has failed for a reason of its own.
    if (status == 0) return base::exit_status(base::ErrorKind::io);
  }
  return status;
}

int run(int argc, char** argv) {
  Program program;
  program.app.name("runctl");
  program.app.description(
      "Keeps the runs of LLM applications in a plain directory or bucket, and gets any of them back");
  program.app.require_subcommand(1);
  program.app.fallthrough();
  program.app.footer("'runctl COMMAND --help' and the manual page runctl-COMMAND(1) tell more.");
  // The last of several wins, so that an alias can be overruled.
  program.app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  add_globals(program);
  std::vector<std::string> arguments = arguments_of(argc, argv);
  for (const Command& each : k_commands) {
    CLI::App* const command = program.app.add_subcommand(each.name, each.description);
    command->footer("Global flags, as 'runctl --help' lists them, may stand before or behind the command.");
    // The flags of all commands would take a quarter of the time of a small get.
    if (std::find(arguments.begin(), arguments.end(), each.name) != arguments.end())
      each.add(program, *command);
  }
  try {
    program.app.parse(arguments);
  } catch (const CLI::Success& asked) {
    std::ostringstream text;  // help or version
    const int status = program.app.exit(asked, text, text);
    DataOutput out("");
    out.write(text.str());
    out.finish();
    return status;
  } catch (const CLI::RequiredError&) {
    // With no command recognised, the parser complains of that before it names the word it did not know.
    const std::vector<std::string> unknown = program.app.remaining(true);
    const std::string what =
        unknown.empty() ? "a command is missing" : "\"" + unknown.front() + "\": no such command or flag";
    throw base::Error(base::ErrorKind::usage, what + "; see 'runctl --help'");
  } catch (const CLI::ExtrasError&) {
    const std::vector<std::string> unknown = program.app.remaining(true);
    throw base::Error(base::ErrorKind::usage,
                      "\"" + unknown.front() + "\": no such command or flag; see 'runctl --help'");
  } catch (const CLI::ParseError& error) {
    throw base::Error(base::ErrorKind::usage, std::string(error.what()) + "; see 'runctl --help'");
  }
  return run_command(program);
}

}  // namespace

}  // namespace runctl::cmd

int main(int argc, char** argv) {
  // A file that is opened as descriptor 1 or 2 would get our output. Standard output that was closed stays
  // one that cannot be written to: what is printed there must not vanish without a word.
  for (int fd = 0; fd <= 2; ++fd) {
    if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", fd == STDOUT_FILENO ? O_RDONLY : O_RDWR) < 0)
      return 4;
  }
  return runctl::cmd::guarded([argc, argv] { return runctl::cmd::run(argc, argv); });
}
