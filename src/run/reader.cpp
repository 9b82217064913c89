#include "run/reader.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "run/line_counter.hpp"

namespace runctl::run {

namespace {

using Place = ReadState::Place;

constexpr std::size_t k_none = std::string_view::npos;

// How far behind a fault the end of the broken record is looked for before all of it is given up.
constexpr std::size_t k_search = 4U << 20;

const char* kind_of_value(char first) {
  switch (first) {
    case '"':
      return "a string";
    case '[':
      return "an array";
    case 't':
    case 'f':
      return "true or false";
    case 'n':
      return "null";
    default:
      return "a number";
  }
}

bool looks_like_utf16(std::string_view text) {
  if (text.size() < 2) return false;
  const auto first = static_cast<unsigned char>(text[0]);
  const auto second = static_cast<unsigned char>(text[1]);
  const bool mark = (first == 0xFF && second == 0xFE) || (first == 0xFE && second == 0xFF);
  const auto opens = [](unsigned char c) { return c == '{' || c == '['; };
  return mark || (opens(first) && second == 0) || (first == 0 && opens(second));
}

// The end of the array element that starts at `begin` and whose grammar is broken: found by its brackets
// and quotes alone. k_none where the text ends first.
std::size_t broken_element_end(std::string_view text, std::size_t begin) {
  std::size_t depth = 0;
  for (std::size_t i = begin; i < text.size(); ++i) {
    switch (text[i]) {
      case '"':
        for (++i; i < text.size() && text[i] != '"'; ++i) {
          if (text[i] == '\\') ++i;
        }
        break;
      case '{':
      case '[':
        ++depth;
        break;
      case '}':
      case ']':
        if (depth == 0) return i;
        if (--depth == 0) return i + 1;
        break;
      case ',':
        if (depth == 0) return i;
        break;
      default:
        break;
    }
  }
  return k_none;
}

}  // namespace

// One pass over one block. The step functions return false where more text is needed.
class BlockReader::Walk {
 public:
  Walk(BlockReader& reader, Block& block, const ReadState& state, bool last)
      : reader_(reader),
        block_(block),
        text_(block.text),
        state_(state),
        last_(last),
        at_(block.consumed),
        lines_(text_, at_, state.column) {}

  void run() {
    if (state_.place == Place::input_start && !input_start()) return finish();
    while (!full() && step()) {
    }
    finish();
  }

 private:
  [[nodiscard]] bool full() const {
    return block_.records.size() + block_.rejects.size() >= reader_.max_found_;
  }

  // Passes a byte order mark; recognises text that is no UTF-8 at all.
  bool input_start() {
    if (text_.size() < 3 && !last_) return false;
    state_.place = Place::between;
    if (text_.starts_with("\xEF\xBB\xBF")) at_ = 3;
    if (looks_like_utf16(text_)) {
      lose("the input is UTF-16: convert it first (iconv -f UTF-16 -t UTF-8)");
    }
    return true;
  }

  bool step() {
    if (state_.place == Place::lost) return pass_rest();
    if (state_.place == Place::skipping_line) return skip_line();
    gap_ = at_;
    while (at_ < text_.size() && is_json_space(text_[at_])) ++at_;
    if (at_ == text_.size()) return false;
    if (text_[at_] == '\0') return pass_nuls();
    report_nuls();
    switch (state_.place) {
      case Place::between:
        if (text_[at_] == '[') return enter(Place::array_begin);
        return value();
      case Place::array_begin:
        if (text_[at_] == ']') return enter(Place::between);
        return value();
      case Place::array_comma:
        return value();
      default:
        return after_element();
    }
  }

  bool enter(Place place) {
    ++at_;
    state_.place = place;
    return true;
  }

  bool after_element() {
    if (text_[at_] == ',') return enter(Place::array_comma);
    if (text_[at_] == ']') return enter(Place::between);
    lose("',' or ']' is missing between the elements of the array; the rest of the input is not read");
    return true;
  }

  [[nodiscard]] bool in_array() const { return state_.place != Place::between; }

  bool value() {
    const std::string_view rest = text_.substr(at_);
    const Scan scan = reader_.scanner_.scan(rest);
    if (scan.verdict == Verdict::valid && scan.end <= reader_.max_run_bytes_) {
      return rest.front() == '{' ? object(scan) : not_an_object(scan.end);
    }
    const std::size_t length = scan.verdict == Verdict::truncated ? rest.size() : scan.end;
    if (length > reader_.max_run_bytes_) return too_long();
    if (scan.verdict == Verdict::truncated && !last_) return false;
    return in_array() ? broken_element(scan) : broken_line(scan);
  }

  bool object(const Scan& scan) {
    if (!in_array()) {
      const std::size_t next = behind_blanks(at_ + scan.end);
      if (next == text_.size() && !last_) return false;
      const char c = next < text_.size() ? text_[next] : '\n';
      if (c != '\n' && c != '{' && c != '[' && c != '\0') {
        return broken_line({Verdict::invalid, next - at_, "something other than a run follows on the line"});
      }
    }
    const std::size_t begin = at_;
    at_ += scan.end;
    const std::string_view original = text_.substr(begin, scan.end);
    std::string_view json = original;
    if (scan.on_one_line) {
      lines_.pass(begin, at_);
    } else {
      std::string& line = block_.arena.texts.emplace_back(original);
      std::replace(line.begin(), line.end(), '\n', ' ');
      json = line;
    }
    Record record;
    std::string reason = reader_.records_.read(json, reader_.scanner_.members(), block_.arena, record);
    if (reason.empty()) {
      block_.records.push_back(record);
    } else {
      reject(begin, 0, std::move(reason), begin, at_);
    }
    return value_done();
  }

  bool not_an_object(std::size_t length) {
    if (at_ + length == text_.size() && !last_ && in_array()) return false;  // a number may go on
    std::string reason = fmt::format("a run is a JSON object, this is {}", kind_of_value(text_[at_]));
    std::size_t end = at_ + length;
    if (!in_array()) {
      end = end_of_line(at_ + length);
      if (end == k_none) {
        if (text_.size() - at_ <= k_search) return false;
        reject(at_, 0, std::move(reason), begin_on_line(), text_.size());
        at_ = text_.size();
        state_.place = Place::skipping_line;
        return true;
      }
    }
    reject(at_, 0, std::move(reason), in_array() ? at_ : begin_on_line(), end);
    at_ = end;
    return value_done();
  }

  bool value_done() {
    if (in_array()) state_.place = Place::array_value;
    return true;
  }

  // Outside of an array a record whose grammar breaks ends with its line. Where it went on for several lines,
  // it is either one line of NDJSON that was cut, and the next line starts a record of its own, or it is
  // pretty-printed and ends where a line starts with '{'.
  bool broken_line(const Scan& scan) {
    const std::size_t fault = at_ + scan.end;
    std::size_t end = end_of_line(at_);
    if (end == k_none) return text_.size() - fault > k_search ? skip_broken(fault, scan.reason) : false;
    if (fault > end) {
      if (record_starts_at(end + 1)) {
        reject(end, column_of(end), "invalid JSON: the record is not complete at the end of its line",
               begin_on_line(), end);
        at_ = end;
        return true;
      }
      const std::size_t next = text_.find("\n{", fault - 1);
      if (next == k_none && !last_)
        return text_.size() - fault > k_search ? skip_broken(fault, scan.reason) : false;
      end = next == k_none ? text_.size() : next;
    }
    reject(fault, column_of(fault), fmt::format("invalid JSON: {}", scan.reason), begin_on_line(), end);
    at_ = end;
    return true;
  }

  // Whether the line at `begin` starts a record: with its first byte, or, as elements of a pretty-printed
  // record may stand there too, behind blanks where it holds one whole object and nothing else.
  bool record_starts_at(std::size_t begin) {
    const std::size_t first = behind_blanks(begin);
    if (first == text_.size() || text_[first] != '{') return false;
    if (first == begin) return true;
    const std::size_t end = end_of_line(first);
    if (end == k_none) return false;
    const Scan scan = reader_.scanner_.scan(text_.substr(first, end - first));
    return scan.verdict == Verdict::valid && behind_blanks(first + scan.end) == end;
  }

  // The rest of the line is passed over, however long.
  bool skip_broken(std::size_t fault, const char* why) {
    reject(fault, column_of(fault), fmt::format("invalid JSON: {}", why), begin_on_line(), text_.size());
    at_ = text_.size();
    state_.place = Place::skipping_line;
    return true;
  }

  bool broken_element(const Scan& scan) {
    const std::size_t fault = at_ + scan.end;
    if (text_[at_] == ',' || text_[at_] == ']') {
      // A comma too many, or one in front of the bracket: nothing is lost by it.
      reject(at_, column_of(at_), "invalid JSON: a value is missing between the elements of the array", at_,
             at_);
      return enter(text_[at_] == ',' ? Place::array_comma : Place::between);
    }
    const std::size_t end = broken_element_end(text_, at_);
    if (end == k_none && !last_ && text_.size() - fault <= k_search) return false;
    if (end == k_none || end == at_) {
      lose_at(fault, fmt::format("invalid JSON: {}; the rest of the array is not read", scan.reason));
      return true;
    }
    reject(fault, column_of(fault), fmt::format("invalid JSON: {}", scan.reason), at_, end);
    at_ = end;
    return value_done();
  }

  bool too_long() {
    std::string reason = fmt::format("the record is longer than {} bytes", reader_.max_run_bytes_);
    if (in_array()) {
      lose(std::move(reason) + "; the rest of the array is not read");
      return true;
    }
    reject(at_, 0, std::move(reason), begin_on_line(), at_);
    state_.place = Place::skipping_line;
    return true;
  }

  bool skip_line() {
    const std::size_t newline = text_.find('\n', at_);
    const std::size_t end = newline == k_none ? text_.size() : newline;
    continue_reject(end);
    if (newline == k_none) return false;
    state_.place = Place::between;
    return true;
  }

  bool pass_rest() {
    continue_reject(text_.size());
    return false;
  }

  void continue_reject(std::size_t end) {
    if (end > at_) {
      reject(at_, 0, {}, at_, end);
      block_.rejects.back().continuation = true;
    }
    at_ = end;
  }

  // A log that was truncated while its writer went on starts with a hole of zero bytes.
  bool pass_nuls() {
    while (at_ < text_.size() && text_[at_] == '\0') {
      ++at_;
      ++state_.nul_bytes;
    }
    return true;
  }

  void report_nuls() {
    if (state_.nul_bytes == 0) return;
    reject(at_, 0, fmt::format("{} zero bytes were passed over", state_.nul_bytes), at_, at_);
    state_.nul_bytes = 0;
  }

  void lose(std::string reason) { lose_at(at_, std::move(reason)); }

  void lose_at(std::size_t fault, std::string reason) {
    reject(fault, column_of(fault), std::move(reason), at_, text_.size());
    at_ = text_.size();
    state_.place = Place::lost;
  }

  // What is left behind the last whole record.
  void finish() {
    block_.full = full();
    if (last_ && !block_.full) {
      report_nuls();
      const bool array_open = state_.place == Place::array_begin || state_.place == Place::array_comma ||
                              state_.place == Place::array_value;
      if (array_open) lose("the input ends before the array is closed");
    }
    block_.consumed = at_;
    block_.lines = lines_.line_at(at_);
    state_.column = lines_.column_at(at_);
    block_.end = state_;
  }

  void reject(std::size_t fault, std::uint64_t column, std::string reason, std::size_t begin,
              std::size_t end) {
    block_.rejects.push_back({lines_.line_at(fault), column, std::move(reason),
                              text_.substr(begin, end - begin), block_.records.size(), false});
  }

  // For a person: in bytes, from 1.
  std::uint64_t column_of(std::size_t offset) { return lines_.column_at(offset) + 1; }

  // Where the record at `at_` begins if the blanks before it on its line are counted.
  [[nodiscard]] std::size_t begin_on_line() const {
    std::size_t begin = at_;
    while (begin > gap_ && text_[begin - 1] != '\n') --begin;
    return begin;
  }

  // The newline at or behind `from`; the text's end where none follows and none can; k_none where one may.
  [[nodiscard]] std::size_t end_of_line(std::size_t from) const {
    const std::size_t newline = text_.find('\n', from);
    return newline == k_none && last_ ? text_.size() : newline;
  }

  [[nodiscard]] std::size_t behind_blanks(std::size_t from) const {
    while (from < text_.size() && text_[from] != '\n' && is_json_space(text_[from])) ++from;
    return from;
  }

  BlockReader& reader_;
  Block& block_;
  const std::string_view text_;
  ReadState state_;
  const bool last_;
  std::size_t at_;
  std::size_t gap_ = at_;  // the end of what came before the white space in front of `at_`
  LineCounter lines_;
};

void BlockReader::read(Block& block, const ReadState& state, bool last) {
  block.arena = {};
  block.records.clear();
  block.rejects.clear();
  Walk(*this, block, state, last).run();
}

}  // namespace runctl::run
