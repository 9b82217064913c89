#include "flow/bench_runs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/time.hpp"
#include "run/id.hpp"

namespace runctl::flow {

namespace {

// By frequency, the most frequent first.
constexpr std::string_view k_words[] = {
    "the",       "of",       "and",       "to",       "a",        "in",        "is",       "that",
    "for",       "it",       "as",        "with",     "be",       "by",        "on",       "not",
    "this",      "are",      "have",      "from",     "or",       "one",       "an",       "they",
    "which",     "you",      "all",       "would",    "there",    "their",     "we",       "when",
    "who",       "will",     "more",      "if",       "no",       "out",       "so",       "what",
    "its",       "about",    "than",      "into",     "them",     "can",       "only",     "other",
    "new",       "some",     "could",     "time",     "these",    "two",       "may",      "then",
    "do",        "first",    "any",       "now",      "such",     "like",      "our",      "over",
    "most",      "even",     "made",      "after",    "also",     "many",      "before",   "must",
    "through",   "back",     "years",     "where",    "much",     "way",       "well",     "down",
    "should",    "because",  "each",      "just",     "those",    "people",    "too",      "how",
    "little",    "state",    "good",      "very",     "make",     "world",     "still",    "own",
    "see",       "work",     "long",      "get",      "here",     "between",   "both",     "being",
    "under",     "never",    "same",      "another",  "know",     "while",     "last",     "might",
    "answer",    "question", "customer",  "order",    "document", "search",    "result",   "query",
    "model",     "tool",     "context",   "user",     "request",  "system",    "message",  "summary",
    "table",     "column",   "value",     "record",   "error",    "number",    "list",     "name",
    "account",   "invoice",  "payment",   "delivery", "address",  "product",   "price",    "support",
    "ticket",    "issue",    "release",   "version",  "function", "argument",  "return",   "file",
    "path",      "server",   "client",    "database", "index",    "report",    "section",  "source",
    "reference", "page",     "paragraph", "sentence", "language", "translate", "review",   "comment",
    "policy",    "contract", "agreement", "deadline", "schedule", "meeting",   "project",  "task",
    "analysis",  "estimate", "measure",   "average",  "increase", "decrease",  "compare",  "explain",
    "describe",  "provide",  "include",   "require",  "confirm",  "cancel",    "refund",   "shipping",
    "weather",   "region",   "country",   "currency", "market",   "company",   "research", "history"};

constexpr std::array k_names = {"support-agent", "plan",         "retrieve-documents", "rerank",
                                "answer",        "lookup_order", "summarise",          "classify-intent",
                                "critique",      "embed-query",  "web_search",         "translate"};
constexpr std::array k_types = {"chain", "llm", "retriever", "tool"};

constexpr std::uint64_t k_runs_of_trace = 5;
constexpr std::uint64_t k_runs_of_error = 20;                  // one in so many
constexpr std::int64_t k_first_start = 1'717'200'000'000'000;  // 2024-06-01T00:00:00Z
constexpr std::int64_t k_step = 50'000;                        // microseconds between starts

// What a number stands for in all runs of a seed.
run::Id id_of(std::uint64_t seed, std::uint64_t number, std::int64_t start) {
  BenchRandom random(seed ^ (number * 0xD1B54A32D192ED03));
  std::array<std::uint8_t, 16> bytes{};
  for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random.next() >> 56);
  return run::new_uuid_v7(start / 1000, bytes);
}

std::int64_t start_of(std::uint64_t number) {
  return k_first_start + static_cast<std::int64_t>(number) * k_step;
}

}  // namespace

BenchRuns::BenchRuns(std::uint64_t seed, std::uint64_t payload) : seed_(seed), payload_(payload) {
  // Zipf's law, without the peak that two or three words would have.
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < std::size(k_words); ++i) weights_.push_back(sum += 1'000'000 / (i + 4));
}

std::string BenchRuns::sentence(BenchRandom& random) const {
  std::string out;
  const std::uint64_t words = 6 + random.below(10);
  for (std::uint64_t i = 0; i < words; ++i) {
    if (i > 0) out += ' ';
    if (random.below(20) == 0) {
      out += std::to_string(random.below(random.below(2) == 0 ? 1'000 : 10'000'000));
      continue;
    }
    const auto at = std::upper_bound(weights_.begin(), weights_.end(), random.below(weights_.back()));
    out += k_words[at - weights_.begin()];
  }
  if (out.front() >= 'a') out.front() = static_cast<char>(out.front() - 'a' + 'A');
  return out + ". ";
}

std::string BenchRuns::text(BenchRandom& random, std::size_t length) const {
  std::string out;
  std::vector<std::string> said;
  while (out.size() < length) {
    if (said.size() > 4 && random.below(5) == 0) {
      out += said[random.below(said.size())];
      continue;
    }
    out += said.emplace_back(sentence(random));
    if (said.size() > 64) said.erase(said.begin(), said.begin() + 32);
  }
  out.resize(length);
  return out;
}

std::string BenchRuns::field(BenchRandom& random, std::string_view head, std::string_view tail) const {
  std::string out(head);
  out += text(random, payload_ - head.size() - tail.size());
  return out.append(tail);
}

std::string BenchRuns::run(std::uint64_t number) const {
  BenchRandom random(seed_ * 0x2545F4914F6CDD1D + number);
  const std::int64_t start = start_of(number);
  const std::uint64_t root = number - number % k_runs_of_trace;
  const std::string trace = run::uuid_text(id_of(seed_, root, start_of(root)));
  const std::string id = run::uuid_text(id_of(seed_, number, start));
  const std::int64_t latency = 20'000 + static_cast<std::int64_t>(random.below(4'000'000));
  const char* const name = k_names[random.below(k_names.size())];
  const char* const type = number == root ? "chain" : k_types[random.below(k_types.size())];
  const std::string parent = number == root ? "" : fmt::format("\"parent_run_id\":\"{}\",", trace);
  const char* const error =
      random.below(k_runs_of_error) == 0 ? R"("error":"RateLimitError: try again",)" : "";
  // One after the other: the order in which a call's arguments are evaluated is the compiler's choice.
  const std::uint64_t team = random.below(8);
  const std::uint64_t model = random.below(4);
  const std::uint64_t user = random.below(500);
  const std::string inputs = field(random, R"({"messages":[{"role":"user","content":")", R"("}]})");
  const std::string outputs = field(random, R"({"text":")", R"("})");
  const std::string metadata = field(
      random, fmt::format(R"({{"model":"model-{}","user":"user-{:03}","notes":")", model, user), R"("})");
  return fmt::format(
      R"({{"id":"{}","trace_id":"{}",{}"name":"{}","run_type":"{}","start_time":"{}","end_time":"{}",)"
      R"("tags":["bench","team-{}"],{}"inputs":{},"outputs":{},"metadata":{}}})",
      id, trace, parent, name, type, base::iso_text(start), base::iso_text(start + latency), team, error,
      inputs, outputs, metadata);
}

}  // namespace runctl::flow
