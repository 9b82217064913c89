// Inputs in, parsed blocks out, in order: one thread reads, a pool parses ahead, and the consumer repairs
// what was parsed under a wrong assumption.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/queue.hpp"
#include "base/text.hpp"
#include "base/thread_pool.hpp"
#include "flow/input.hpp"
#include "run/reader.hpp"

namespace runctl::flow {

struct ParsedBlock {
  // Not moved: views of records may point into a short text inside the string itself. Who shares it has the
  // text for as long; what was found in it is read anew where the block was full.
  std::shared_ptr<run::Block> block;
  std::size_t input = 0;           // position among the inputs
  std::uint64_t first_line = 1;    // of the block in its input
  bool input_ends = false;         // nothing of this input follows
  bool streams = false;            // it comes from a pipe or a file that grows
  std::optional<FilePlace> place;  // behind it in a followed file, if a line begins there
};

class BlockSource {
 public:
  struct Options {
    run::RecordOptions records;
    std::size_t max_run_bytes = 0;
    std::size_t blocks_ahead = 4;  // 0: no thread reads; all is read before the first block is given
    // How long lines of a pipe that has become quiet wait for more; 0: until a block is full.
    std::chrono::milliseconds linger{0};
  };

  // The inputs are read one after the other, from the first next() on. `pool` must outlive the source.
  BlockSource(std::vector<Input> inputs, const Options& options, base::ThreadPool& pool);
  ~BlockSource();
  BlockSource(const BlockSource&) = delete;
  BlockSource& operator=(const BlockSource&) = delete;

  // Begins to read before that.
  void start();

  using Clock = Input::Clock;
  // The next block, which stands until the next call; null when all inputs are read, which ended() tells, or
  // when this time has come. A compressed stream that breaks becomes a reject of the block that ends its
  // input. Throws what reading threw.
  const ParsedBlock* next(std::optional<Clock::time_point> until = {});
  [[nodiscard]] bool ended() { return pieces_.ended(); }

  // From any thread: no more is read. What was read is given up to the last line that is whole; the input
  // does not end with it.
  void cancel();

  // Bytes of text read so far, inflated.
  [[nodiscard]] std::uint64_t text_bytes() const { return text_bytes_; }
  // Bytes of the files read so far, as they lie there.
  [[nodiscard]] std::uint64_t file_bytes() const;

 private:
  // What the reading thread hands over.
  struct Piece {
    std::size_t input = 0;
    bool last = false;                                // the input ends with this piece
    bool early = false;                               // the input is quiet: no more is there
    std::string failure;                              // why it ends early
    std::optional<FilePlace> followed_from;           // where the followed file that it is of was begun
    std::future<std::unique_ptr<run::Block>> parsed;  // where it was parsed ahead, under `assumed`
    run::ReadState assumed;
    base::Text text;  // where it was not
    std::exception_ptr error;
  };

  void read_inputs();
  void read_input(std::size_t input);
  std::size_t read_some(std::size_t input, base::Text& text);
  bool hand_over(Piece piece, base::Text text, bool whole_lines);
  bool accept();
  bool parse_here();
  void give();
  [[nodiscard]] std::optional<FilePlace> place_behind(const run::Block& block) const;
  void start_input();

  std::vector<Input> inputs_;
  std::optional<Clock::time_point> quiet_at_;  // when the lines that were read have waited long enough
  const Options options_;
  base::ThreadPool& pool_;
  base::Queue<Piece> pieces_;
  std::atomic<std::uint64_t> text_bytes_{0};
  std::atomic<bool> parse_ahead_{true};
  std::atomic<bool> cancelled_{false};

  // The consumer's place in the current input.
  Piece piece_;
  ParsedBlock given_;
  run::BlockReader reader_;
  run::ReadState state_;
  base::Text carry_;             // text that is read but not consumed
  std::size_t carry_tried_ = 0;  // how much of it was in vain parsed
  std::uint64_t line_ = 1;
  bool at_start_ = true;        // nothing of this input, or of this followed file, was accepted yet
  std::uint64_t carry_at_ = 0;  // where in the followed file the carry begins, in bytes

  bool started_ = false;
  std::thread thread_;  // last: it uses all of the above
};

}  // namespace runctl::flow
