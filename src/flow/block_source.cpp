#include "flow/block_source.hpp"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/error.hpp"

namespace runctl::flow {

namespace {

// Large enough that handing blocks between threads costs nothing, small enough that several fit in a cache.
constexpr std::size_t k_block = 1U << 20;
// What a full block may be larger by, so that there is room for a whole piece of a pipe at its end.
constexpr std::size_t k_piece = 128U << 10;
// Runs and rejects in a block: more than real input has in its size, and what is kept of them is a few MB.
constexpr std::size_t k_found = 1U << 13;

run::ReadState input_start() {
  run::ReadState state;
  state.place = run::ReadState::Place::input_start;
  return state;
}

std::unique_ptr<run::Block> parse(run::BlockReader& reader, base::Text text, const run::ReadState& state,
                                  bool last) {
  auto block = std::make_unique<run::Block>();
  block->text = std::move(text);
  reader.read(*block, state, last);
  return block;
}

}  // namespace

BlockSource::BlockSource(std::vector<Input> inputs, const Options& options, base::ThreadPool& pool)
    : inputs_(std::move(inputs)),
      options_(options),
      pool_(pool),
      pieces_(options.blocks_ahead > 0 ? options.blocks_ahead : std::numeric_limits<std::size_t>::max()),
      reader_(options.records, options.max_run_bytes, k_found),
      state_(input_start()) {}

BlockSource::~BlockSource() {
  cancel();
  pieces_.close();
  if (thread_.joinable()) thread_.join();
}

void BlockSource::start() {
  if (std::exchange(started_, true)) return;
  if (options_.blocks_ahead > 0)
    thread_ = std::thread([this] { read_inputs(); });
  else
    read_inputs();
}

void BlockSource::cancel() {
  cancelled_ = true;
  for (Input& input : inputs_) input.cancel();
}

std::uint64_t BlockSource::file_bytes() const {
  std::uint64_t sum = 0;
  for (const Input& input : inputs_) sum += input.position();
  return sum;
}

void BlockSource::read_inputs() {
  try {
    for (std::size_t i = 0; i < inputs_.size() && !cancelled_; ++i) {
      read_input(i);
      while (inputs_[i].followed_from() && !cancelled_) read_input(i);
    }
  } catch (...) {
    Piece piece;
    piece.error = std::current_exception();
    pieces_.push(std::move(piece));
  }
  pieces_.close();
}

// Reads behind `text`; 0 at the end, or when what was read has waited long enough for more.
std::size_t BlockSource::read_some(std::size_t input, base::Text& text) {
  const std::size_t most = std::max(k_block, text.size()) + k_piece - text.size();
  // A small file needs no more than its size, and a byte to see its end; one that inflates to more grows from
  // there.
  const std::uint64_t whole = inputs_[input].size().value_or(k_block + k_piece) + 1;
  const std::size_t room = text.size() < whole ? std::min<std::uint64_t>(most, whole - text.size()) : 1;
  const std::span<char> out = text.room(room);
  const std::size_t got = inputs_[input].read(out.first(std::min(out.size(), most)), quiet_at_);
  text.grow(got);
  text_bytes_ += got;
  if (got > 0 && !quiet_at_ && options_.linger.count() > 0) quiet_at_ = Clock::now() + options_.linger;
  return got;
}

// Blocks end with a line wherever one ends in them, so that those of NDJSON can be parsed by themselves.
void BlockSource::read_input(std::size_t input) {
  base::Text text;
  bool at_line_start = true;
  bool first = true;
  Piece piece;
  piece.input = input;
  quiet_at_.reset();
  try {
    while (true) {
      const std::size_t got = read_some(input, text);
      const bool early = got == 0 && inputs_[input].is_waiting();
      if (got == 0 && !early) break;
      if (early) quiet_at_.reset();
      if (text.size() < k_block && !early) continue;
      const std::size_t newline = text.view().rfind('\n');
      if (early && newline == std::string::npos) continue;
      const std::size_t cut = newline == std::string::npos ? text.size() : newline + 1;
      base::Text rest(text.view().substr(cut));
      text.cut(cut);
      Piece next;
      next.input = input;
      next.early = early;
      next.followed_from = inputs_[input].followed_from();
      next.assumed = first ? input_start() : run::ReadState{};
      const bool whole_lines = at_line_start && newline != std::string::npos;
      at_line_start = newline != std::string::npos;
      first = false;
      if (!hand_over(std::move(next), std::move(text), whole_lines)) return;
      text = std::move(rest);
    }
  } catch (const base::Error& error) {
    if (error.kind() != base::ErrorKind::input) throw;
    piece.failure = error.what();
  }
  piece.last = !cancelled_;
  piece.followed_from = inputs_[input].followed_from();
  if (cancelled_) {
    // Half a record must not be taken for a broken one.
    text.cut(text.view().rfind('\n') + 1);
    piece.failure.clear();
  }
  piece.assumed = first ? input_start() : run::ReadState{};
  hand_over(std::move(piece), std::move(text), at_line_start);
}

bool BlockSource::hand_over(Piece piece, base::Text text, bool whole_lines) {
  if (whole_lines && parse_ahead_) {
    // The task may outlive this object, so it holds all it needs.
    auto task = [options = options_, state = piece.assumed, last = piece.last,
                 shared = std::make_shared<base::Text>(std::move(text))] {
      run::BlockReader reader(options.records, options.max_run_bytes, k_found);
      return parse(reader, std::move(*shared), state, last);
    };
    piece.parsed = pool_.submit(std::move(task));
  } else {
    piece.text = std::move(text);
  }
  return pieces_.push(std::move(piece));
}

const ParsedBlock* BlockSource::next(std::optional<Clock::time_point> until) {
  start();
  if (given_.block && given_.block->full) {
    reader_.read(*given_.block, state_, piece_.last);
    give();
    return &given_;
  }
  given_ = {};  // its memory is free before the next is waited for, unless somebody shares it
  while (auto piece = pieces_.pop_until(until)) {
    if (piece->error) std::rethrow_exception(piece->error);
    piece_ = std::move(*piece);
    if (accept()) return &given_;
  }
  return nullptr;
}

// False where more text is needed first.
bool BlockSource::accept() {
  if (at_start_ && piece_.followed_from) {
    carry_at_ = piece_.followed_from->offset;
    line_ = 1 + piece_.followed_from->line;
  }
  at_start_ = false;
  if (!piece_.parsed.valid()) return parse_here();
  std::unique_ptr<run::Block> block = piece_.parsed.get();
  if (carry_.size() == 0 && state_ == piece_.assumed) {
    given_.block = std::move(block);
    give();
    return true;
  }
  // The block started inside a record or an array: what was parsed ahead is worthless, and would be again.
  parse_ahead_ = false;
  piece_.text = std::move(block->text);
  return parse_here();
}

bool BlockSource::parse_here() {
  carry_.append(piece_.text);
  // A record that did not end in what there was is not tried again before there is twice as much, so
  // that a long one costs no more than reading it twice. In a quiet pipe a short one is.
  const bool quiet = piece_.early && carry_.size() <= 4 * k_block;
  if (!piece_.last && !quiet && carry_.size() < 2 * carry_tried_) return false;
  given_.block = parse(reader_, std::move(carry_), state_, piece_.last);
  give();
  return true;
}

// Completes what is given, and moves the place behind it.
void BlockSource::give() {
  run::Block& block = *given_.block;
  given_.input = piece_.input;
  given_.streams = !inputs_[piece_.input].size();
  given_.first_line = line_;
  state_ = block.end;
  line_ += block.lines;
  given_.place = place_behind(block);
  carry_ = {};
  if (block.full) return;
  carry_at_ += block.consumed;
  given_.input_ends = piece_.last;
  carry_ = base::Text(block.text.view().substr(block.consumed));
  carry_tried_ = carry_.size();
  if (!piece_.failure.empty()) {
    run::Reject reject;
    reject.line = block.lines;
    reject.reason = piece_.failure;
    reject.position = block.records.size();
    block.rejects.push_back(std::move(reject));
  }
  if (piece_.last) start_input();
}

std::optional<FilePlace> BlockSource::place_behind(const run::Block& block) const {
  // Elsewhere than between two lines a reader that begins there would not know what it is in.
  if (!piece_.followed_from || block.consumed == 0 || block.end != run::ReadState{}) return std::nullopt;
  FilePlace place = *piece_.followed_from;
  place.offset = carry_at_ + block.consumed;
  place.line = line_ - 1;
  set_tail(place, block.text.view().substr(0, block.consumed));
  return place;
}

void BlockSource::start_input() {
  at_start_ = true;
  state_ = input_start();
  carry_ = {};
  carry_tried_ = 0;
  line_ = 1;
  parse_ahead_ = true;
}

}  // namespace runctl::flow
