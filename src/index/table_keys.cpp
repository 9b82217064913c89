#include "index/table_keys.hpp"

#include <algorithm>
#include <numeric>

#include "index/terms.hpp"

namespace runctl::index {

namespace {

// Each text of a batch is a term of many runs: these are counted and dealt out by its number, which takes a
// fraction of what it takes to sort an entry for each.
class TermSorter {
 public:
  explicit TermSorter(const run::Table& table) : table_(table) {}

  void sort_into(TableKeys& keys) {
    note_terms();
    make_room(keys);
    deal_out(keys);
  }

 private:
  // The terms that the texts of the table are as one kind, numbered when they are first met.
  class OfKind {
   public:
    OfKind(TermSorter& sorter, TermKind kind)
        : sorter_(sorter), kind_(kind), numbers_(sorter.table_.texts.size() + 1, 0) {}

    void note(std::uint32_t text) {
      if (numbers_[text] == 0) numbers_[text] = 1 + sorter_.add(kind_, sorter_.table_.texts.text(text));
      sorter_.noted_.push_back(numbers_[text] - 1);
    }

   private:
    TermSorter& sorter_;
    const TermKind kind_;
    std::vector<std::uint32_t> numbers_;  // 1 more than each; 0 where the text was not met
  };

  std::uint32_t add(TermKind kind, std::string_view text) {
    term_keys_.push_back(term_key(kind, text));
    return static_cast<std::uint32_t>(term_keys_.size() - 1);
  }

  // What each run can be found by, run by run.
  void note_terms() {
    noted_.reserve(4 * table_.size() + table_.tags.size() + table_.metadata.size());
    ends_.reserve(table_.size());
    const std::uint32_t all = add(TermKind::all, "");
    const std::uint32_t error = add(TermKind::error, "");
    std::uint32_t trace = all;  // of the run before that is in another's
    const run::Id* trace_id = nullptr;
    OfKind names(*this, TermKind::name);
    OfKind run_types(*this, TermKind::run_type);
    OfKind tags(*this, TermKind::tag);
    OfKind metadata(*this, TermKind::metadata);
    for (std::size_t i = 0; i < table_.size(); ++i) {
      noted_.push_back(all);
      if (table_.traces[i] != table_.ids[i]) {
        if (trace_id == nullptr || *trace_id != table_.traces[i]) {
          trace_id = &table_.traces[i];
          trace = add(TermKind::trace, bytes_of(*trace_id));
        }
        noted_.push_back(trace);
      }
      if (table_.names[i] != 0) names.note(table_.names[i]);
      if (table_.run_types[i] != 0) run_types.note(table_.run_types[i]);
      if (table_.errors[i] != 0) noted_.push_back(error);
      for (std::uint32_t t = i == 0 ? 0 : table_.tag_ends[i - 1]; t < table_.tag_ends[i]; ++t)
        tags.note(table_.tags[t]);
      for (std::uint32_t m = i == 0 ? 0 : table_.metadata_ends[i - 1]; m < table_.metadata_ends[i]; ++m)
        metadata.note(table_.metadata[m]);
      ends_.push_back(noted_.size());
    }
  }

  // A range of positions for each key, still empty. A trace has several numbers where its runs do not follow
  // one another, and any two terms may have one key.
  void make_room(TableKeys& keys) {
    std::vector<Posting> by_key;
    by_key.reserve(term_keys_.size());
    for (const std::uint64_t key : term_keys_)
      by_key.push_back({key, 0, static_cast<std::uint32_t>(by_key.size())});
    sort_postings(by_key);
    std::vector<std::uint32_t> places(by_key.size());  // of each term among the sorted ones
    for (const Posting& term : by_key) {
      if (keys.terms.empty() || keys.terms.back().key != term.key) keys.terms.push_back({term.key, 0, 0});
      places[term.row] = static_cast<std::uint32_t>(keys.terms.size() - 1);
    }
    for (std::uint32_t& term : noted_) {
      term = places[term];
      ++keys.terms[term].end;
    }
    std::uint32_t begin = 0;
    for (TableKeys::Term& term : keys.terms) {
      const std::uint32_t count = term.end;
      term.begin = term.end = begin;
      begin += count;
    }
    keys.positions.resize(begin);
  }

  void deal_out(TableKeys& keys) const {
    for (const std::uint32_t run : in_time_order()) {
      for (std::size_t n = run == 0 ? 0 : ends_[run - 1]; n < ends_[run]; ++n) {
        TableKeys::Term& term = keys.terms[noted_[n]];
        const bool twice = term.end != term.begin && keys.positions[term.end - 1] == run;  // a tag may be
        if (!twice) keys.positions[term.end++] = run;
      }
    }
    std::erase_if(keys.terms, [](const TableKeys::Term& term) { return term.begin == term.end; });
  }

  [[nodiscard]] std::vector<std::uint32_t> in_time_order() const {
    std::vector<std::uint32_t> runs(table_.size());
    std::iota(runs.begin(), runs.end(), 0);
    const auto is_earlier = [this](std::uint32_t a, std::uint32_t b) {
      return order_of(table_.starts[a]) < order_of(table_.starts[b]);
    };
    if (!std::is_sorted(runs.begin(), runs.end(), is_earlier))
      std::stable_sort(runs.begin(), runs.end(), is_earlier);
    return runs;
  }

  const run::Table& table_;
  std::vector<std::uint64_t> term_keys_;  // by the term's number
  std::vector<std::uint32_t> noted_;      // terms, run after run
  std::vector<std::size_t> ends_;         // of each run's
};

}  // namespace

TableKeys keys_of(const run::Table& table) {
  TableKeys keys;
  keys.ids = postings_of(table.ids);
  TermSorter(table).sort_into(keys);
  return keys;
}

std::vector<Posting> postings_of(const std::vector<run::Id>& ids) {
  std::vector<Posting> postings;
  postings.reserve(ids.size());
  for (const run::Id& id : ids)
    postings.push_back({id_key(id), 0, static_cast<std::uint32_t>(postings.size())});
  sort_postings(postings);
  return postings;
}

}  // namespace runctl::index
