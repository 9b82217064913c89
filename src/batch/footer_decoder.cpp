#include <map>

#include "base/bytes.hpp"
#include "base/error.hpp"
#include "base/hash.hpp"
#include "batch/columns.hpp"
#include "batch/footer.hpp"
#include "batch/format.hpp"

namespace runctl::batch {

namespace {

using base::ByteReader;
using base::Error;
using base::ErrorKind;
using Numbers = std::vector<std::uint64_t>;

[[noreturn]] void corrupt(const char* why) { throw Error(ErrorKind::corrupt, why); }

run::Id id_of_halves(std::uint64_t high, std::uint64_t low) {
  run::Id id;
  for (std::size_t i = 0; i < 8; ++i) {
    id.bytes[i] = static_cast<std::uint8_t>(high >> (56 - 8 * i));
    id.bytes[8 + i] = static_cast<std::uint8_t>(low >> (56 - 8 * i));
  }
  return id;
}

class FooterDecoder {
 public:
  explicit FooterDecoder(std::string_view footer) {
    ByteReader reader(footer);
    const auto magic = reader.number<std::uint32_t>();
    const auto size = reader.number<std::uint32_t>();
    if (!reader.ok() || magic != k_footer_magic || size != reader.rest().size() ||
        size < sizeof(std::uint64_t)) {
      corrupt("the footer is missing or cut");
    }
    const std::string_view content = reader.rest();
    if (!content.starts_with(k_footer_version)) {
      corrupt("the footer is of a format this version does not know; a newer runctl may read it");
    }
    const std::string_view checked = content.substr(0, content.size() - sizeof(std::uint64_t));
    if (base::load_number<std::uint64_t>(checked.data() + checked.size()) != base::xxh3_64(checked)) {
      corrupt("the footer's checksum does not match");
    }
    read_columns(checked.substr(k_footer_version.size()));
  }

  run::Table decode(const Layout& layout) {
    check_frames(layout);
    read_texts();
    read_identity();
    read_times();
    read_tags_and_fields();
    read_metadata();
    check_lengths(layout);
    table_.frames = layout.frames;
    return std::move(table_);
  }

 private:
  void read_columns(std::string_view content) {
    ByteReader reader(content);
    for (std::uint32_t* count : {&runs_, &frames_, &texts_, &traces_, &tags_, &fields_}) {
      *count = reader.number<std::uint32_t>();
    }
    const auto columns = reader.number<std::uint32_t>();
    const bool sane = runs_ <= k_max_runs && frames_ <= k_max_frames && traces_ <= 2 * runs_ &&
                      texts_ <= k_max_items && tags_ <= k_max_items && fields_ <= k_max_items;
    if (!reader.ok() || !sane) corrupt("the footer's counts are out of range");
    for (std::uint32_t i = 0; i < columns; ++i) {
      const auto tag = reader.number<std::uint32_t>();
      const auto size = reader.number<std::uint32_t>();
      const std::string_view bytes = reader.take(size);
      if (!reader.ok()) corrupt("a column of the footer is cut");
      columns_[tag] = bytes;
    }
  }

  [[nodiscard]] bool has(Column which) const { return columns_.contains(static_cast<std::uint32_t>(which)); }
  [[nodiscard]] std::string_view column(Column which) const {
    const auto found = columns_.find(static_cast<std::uint32_t>(which));
    if (found == columns_.end()) corrupt("a column of the footer is missing");
    return found->second;
  }
  [[nodiscard]] Numbers numbers(Column which, std::size_t count) const {
    return decode_numbers(column(which), count);
  }
  // Numbers of which each must be at most `limit`.
  [[nodiscard]] std::vector<std::uint32_t> small_numbers(Column which, std::size_t count,
                                                         std::uint64_t limit) const {
    std::vector<std::uint32_t> small;
    small.reserve(count);
    for (const std::uint64_t number : numbers(which, count)) {
      if (number > limit) corrupt("a number in the footer is out of range");
      small.push_back(static_cast<std::uint32_t>(number));
    }
    return small;
  }
  [[nodiscard]] std::vector<run::Id> ids(Column high, Column low, std::size_t count) const {
    const Numbers highs = numbers(high, count);
    const Numbers lows = numbers(low, count);
    std::vector<run::Id> ids;
    ids.reserve(count);
    for (std::size_t i = 0; i < count; ++i) ids.push_back(id_of_halves(highs[i], lows[i]));
    return ids;
  }

  void check_frames(const Layout& layout) const {
    if (layout.frames.size() != frames_) corrupt("footer and seek table disagree");
    const Numbers stored = numbers(Column::frame_stored, frames_);
    const Numbers raw = numbers(Column::frame_raw, frames_);
    for (std::size_t i = 0; i < frames_; ++i) {
      if (layout.frames[i].stored != stored[i] || layout.frames[i].raw != raw[i]) {
        corrupt("footer and seek table disagree");
      }
    }
  }

  void read_texts() {
    const Numbers lengths = numbers(Column::text_length, texts_);
    const std::string bytes = decode_bytes(column(Column::text_bytes), k_max_text_bytes);
    ByteReader reader(bytes);
    for (std::size_t i = 0; i < texts_; ++i) {
      const std::string_view text = reader.take(lengths[i]);
      if (!reader.ok() || table_.texts.number_of(text) != i + 1) corrupt("the footer's texts are broken");
    }
  }

  void read_identity() {
    table_.ids = ids(Column::id_high, Column::id_low, runs_);
    table_.fingerprints = numbers(Column::fingerprint, runs_);
    table_.lengths = small_numbers(Column::length, runs_, 0xFFFFFFFE);
    table_.names = small_numbers(Column::name, runs_, texts_);
    table_.run_types = small_numbers(Column::run_type, runs_, texts_);
    table_.statuses = small_numbers(Column::status, runs_, texts_);
    const Numbers references = numbers(Column::trace, runs_);
    const std::vector<run::Id> foreign = ids(Column::trace_high, Column::trace_low, traces_);
    table_.traces.reserve(runs_);
    for (std::size_t i = 0; i < runs_; ++i) table_.traces.push_back(meant_by(i, references[i], foreign));
    table_.parents = table_.ids;
    if (!has(Column::parent)) return;
    const Numbers parents = numbers(Column::parent, runs_);
    for (std::size_t i = 0; i < runs_; ++i) {
      if (parents[i] == 0) continue;
      table_.parents[i] =
          parents[i] == k_parent_is_trace ? table_.traces[i] : meant_by(i, parents[i] - 1, foreign);
    }
  }

  [[nodiscard]] run::Id meant_by(std::size_t i, std::uint64_t reference,
                                 const std::vector<run::Id>& foreign) const {
    if (reference == 0) return table_.ids[i];
    if (reference % 2 == 1) {
      if (reference / 2 >= foreign.size()) corrupt("a trace or parent in the footer is out of range");
      return foreign[reference / 2];
    }
    const std::int64_t distance = base::unzigzag(reference / 2);
    const auto limit = static_cast<std::int64_t>(runs_);
    if (distance <= -limit || distance >= limit) corrupt("a trace or parent in the footer is out of range");
    const std::int64_t position = static_cast<std::int64_t>(i) + distance;
    if (position < 0 || position >= limit) corrupt("a trace or parent in the footer is out of range");
    return table_.ids[static_cast<std::size_t>(position)];
  }

  void read_times() {
    const Numbers starts = numbers(Column::start, runs_);
    const Numbers ends = numbers(Column::end, runs_);
    const Numbers flags = numbers(Column::flags, runs_);
    // Unsigned sums wrap, so foreign numbers cannot overflow.
    std::uint64_t last_start = 0;
    for (std::size_t i = 0; i < runs_; ++i) {
      if ((flags[i] & k_has_start) != 0) last_start += static_cast<std::uint64_t>(base::unzigzag(starts[i]));
      const std::uint64_t end = last_start + static_cast<std::uint64_t>(base::unzigzag(ends[i]));
      table_.starts.push_back((flags[i] & k_has_start) != 0 ? static_cast<std::int64_t>(last_start)
                                                            : base::k_no_time);
      table_.ends.push_back((flags[i] & k_has_end) != 0 ? static_cast<std::int64_t>(end) : base::k_no_time);
      table_.errors.push_back((flags[i] & k_has_error) != 0 ? 1 : 0);
    }
  }

  // Where the items of each run end, from how many each has.
  [[nodiscard]] std::vector<std::uint32_t> ends_of(Column counts, std::uint64_t limit) const {
    std::vector<std::uint32_t> ends;
    ends.reserve(runs_);
    std::uint64_t end = 0;
    for (const std::uint32_t count : small_numbers(counts, runs_, limit)) {
      end += count;
      if (end > limit) corrupt("the footer's tags or metadata are out of range");
      ends.push_back(static_cast<std::uint32_t>(end));
    }
    return ends;
  }

  void read_metadata() {
    table_.metadata_ends.assign(runs_, 0);
    if (runs_ == 0 || !has(Column::metadata_count)) return;
    table_.metadata_ends = ends_of(Column::metadata_count, k_max_items);
    table_.metadata = small_numbers(Column::metadata, table_.metadata_ends.back(), texts_);
  }

  void read_tags_and_fields() {
    table_.tag_ends = ends_of(Column::tag_count, tags_);
    if ((runs_ == 0 ? 0 : table_.tag_ends.back()) != tags_) corrupt("the footer's tags are out of range");
    table_.tags = small_numbers(Column::tag, tags_, texts_);
    const auto field_runs = small_numbers(Column::field_run, fields_, runs_);
    const auto field_names = small_numbers(Column::field_name, fields_, texts_);
    const auto offsets = small_numbers(Column::field_offset, fields_, 0xFFFFFFFE);
    const auto lengths = small_numbers(Column::field_length, fields_, 0xFFFFFFFE);
    for (std::size_t i = 0; i < fields_; ++i) {
      const bool sane = field_runs[i] < runs_ && (i == 0 || field_runs[i - 1] <= field_runs[i]) &&
                        std::uint64_t{offsets[i]} + lengths[i] <= table_.lengths[field_runs[i]];
      if (!sane) corrupt("the footer's fields are out of range");
      table_.fields.push_back({field_runs[i], field_names[i], offsets[i], lengths[i]});
    }
  }

  void check_lengths(const Layout& layout) const {
    std::uint64_t raw = 0;
    for (const run::Frame& frame : layout.frames) raw += frame.raw;
    std::uint64_t lines = 0;
    for (const std::uint32_t length : table_.lengths) lines += std::uint64_t{length} + 1;
    if (raw != lines) corrupt("the runs in the footer do not fill the frames");
  }

  std::uint32_t runs_ = 0, frames_ = 0, texts_ = 0, traces_ = 0, tags_ = 0, fields_ = 0;
  std::map<std::uint32_t, std::string_view> columns_;
  run::Table table_;
};

}  // namespace

run::Table decode_footer(std::string_view footer, const Layout& layout) {
  return FooterDecoder(footer).decode(layout);
}

}  // namespace runctl::batch
