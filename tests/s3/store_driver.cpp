// The S3 store at a command line, for the tests of its faults: each ObjectStore call is a command. Data goes
// to stdout, errors and the retry log to stderr; the exit status is the one that runctl has for the error.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <sstream>

#include <CLI/CLI.hpp>

#include "base/error.hpp"
#include "base/hash.hpp"
#include "s3/make_bucket.hpp"
#include "store/s3_store.hpp"

namespace {

using namespace runctl;

void print(const store::ObjectInfo& info) {
  fmt::print("{} {} {}\n", info.key, info.size, info.modified_ns / 1'000'000'000);
}

std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// In three parts, as a caller with a header, a payload and a footer has them.
void put(store::ObjectStore& store, const std::string& key, const std::string& path) {
  const std::string bytes = read_file(path);
  const std::string_view whole = bytes;
  const std::size_t third = whole.size() / 3;
  const std::string_view parts[] = {whole.substr(0, third), whole.substr(third, third),
                                    whole.substr(2 * third)};
  const store::PutResult result = store.put(key, parts, base::sha256(bytes));
  fmt::print("{} ", result.created ? "created" : "kept");
  print(result.info);
}

// `ranges` reads OFFSET+LENGTH each; their bytes are printed in that order.
void get(store::ObjectStore& store, const std::string& key, const std::vector<std::string>& texts) {
  std::vector<store::Range> ranges;
  for (const std::string& text : texts) {
    ranges.push_back({key, std::stoull(text), std::stoull(text.substr(text.find('+') + 1))});
  }
  std::vector<std::string> found(ranges.size());
  store.read(ranges, [&](std::size_t index, std::string bytes) { found[index] = std::move(bytes); });
  for (const std::string& bytes : found) std::fwrite(bytes.data(), 1, bytes.size(), stdout);
}

void describe(store::S3Store& store) {
  fmt::print("url {}\ncredentials {}\nregion {}\n", store.url(), store.credentials_source(), store.region());
  fmt::print("endpoint {} ({})\n", store.settings().endpoint_url.value, store.settings().endpoint_url.source);
}

void run(store::S3Store& store, const std::string& command, const std::vector<std::string>& arguments) {
  const auto argument = [&](std::size_t i) { return i < arguments.size() ? arguments[i] : std::string{}; };
  if (command == "make-bucket") {
    tests::make_bucket(store.settings());
  } else if (command == "put") {
    put(store, argument(0), argument(1));
  } else if (command == "get") {
    get(store, argument(0), {arguments.begin() + 1, arguments.end()});
  } else if (command == "head") {
    const auto info = store.head(argument(0));
    if (!info) throw base::Error(base::ErrorKind::not_found, argument(0) + ": no such object");
    print(*info);
  } else if (command == "list") {
    store.list(argument(0), print);
  } else if (command == "groups") {
    for (const std::string& group : store.list_groups(argument(0))) fmt::print("{}\n", group);
  } else if (command == "remove") {
    fmt::print("{}\n", store.remove(argument(0)) ? "removed" : "absent");
  } else if (command == "probe") {
    fmt::print("{}\n", store.honours_conditional_create() ? "honoured" : "ignored");
  } else if (command == "uploads") {
    for (const auto& upload : store.unfinished_uploads()) fmt::print("{} {}\n", upload.key, upload.begun_ns);
  } else if (command == "abort-uploads") {
    for (const auto& upload : store.unfinished_uploads()) store.abort_upload(upload);
  } else if (command == "describe") {
    describe(store);
  } else {
    throw base::Error(base::ErrorKind::usage, command + ": no such command");
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("the S3 store, one call at a time");
  store::S3Options options;
  std::string command;
  std::vector<std::string> arguments;
  int stall = 20;
  long budget_ms = options.retry.budget.count();
  long first_delay_ms = options.retry.first_delay.count();
  bool unsigned_requests = false;
  bool conditional = false;
  bool verbose = false;
  app.add_option("--endpoint-url", options.flags.endpoint_url);
  app.add_option("--region", options.flags.region);
  app.add_option("--profile", options.flags.profile);
  app.add_option("--ca-bundle", options.flags.ca_bundle);
  app.add_option("--addressing-style", options.flags.addressing_style);
  app.add_option("--attempts", options.retry.attempts);
  app.add_option("--first-delay-ms", first_delay_ms);
  app.add_option("--budget-ms", budget_ms);
  app.add_option("--stall", stall, "seconds");
  app.add_option("--multipart-threshold", options.multipart_threshold);
  app.add_option("--part-size", options.part_size);
  app.add_flag("--no-sign-request", unsigned_requests);
  app.add_flag("--conditional", conditional);
  app.add_flag("-v", verbose);
  app.add_option("url", options.url)->required();
  app.add_option("command", command)->required();
  app.add_option("arguments", arguments);
  CLI11_PARSE(app, argc, argv);

  options.retry.budget = std::chrono::milliseconds(budget_ms);
  options.retry.first_delay = std::chrono::milliseconds(first_delay_ms);
  options.stall_timeout = std::chrono::seconds(stall);
  if (unsigned_requests) options.sign = store::SignRequests::no;
  if (conditional) options.conditional_create = store::ConditionalCreate::honoured;
  if (verbose) options.log = [](const std::string& line) { std::cerr << "retry: " << line << "\n"; };
  try {
    const auto store = store::open_s3(options);
    run(*store, command, arguments);
    return 0;
  } catch (const base::Error& error) {
    std::cerr << "runctl: " << error.what() << "\n";
    return base::exit_status(error.kind());
  }
}
