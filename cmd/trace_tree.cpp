#include "trace_tree.hpp"

#include <algorithm>
#include <numeric>
#include <set>
#include <string_view>
#include <utility>

namespace runctl::cmd {

namespace {

constexpr std::size_t k_none = static_cast<std::size_t>(-1);

constexpr std::size_t k_most_alike = 10;
constexpr std::size_t k_most_lines = 200;
constexpr std::size_t k_lines_kept = 20;

// The earlier start, or the only one.
void widen(std::int64_t& start, std::int64_t& end, std::int64_t other_start, std::int64_t other_end) {
  if (other_start != base::k_no_time && (start == base::k_no_time || other_start < start))
    start = other_start;
  end = std::max(end, other_end);  // no time is less than any
}

class Arranger {
 public:
  Arranger(const std::vector<run::Facts>& runs, Collapse collapse)
      : runs_(runs), collapse_(collapse), nodes_(runs.size()), order_(runs.size()) {}

  TraceTree arrange() {
    order_by_start();
    find_parents();
    cut_cycles();
    list_children();
    sum_up();
    draw();
    return std::move(tree_);
  }

 private:
  struct Node {
    std::size_t parent = k_none;
    Root root = Root::no_parent;
    std::size_t first_child = 0;  // in children_
    std::size_t children = 0;
    // Of the run and all below it:
    std::size_t size = 1;
    std::size_t lines = 1;  // to draw them
    bool error = false;
    std::int64_t start = base::k_no_time;
    std::int64_t end = base::k_no_time;
  };

  void order_by_start() {
    std::iota(order_.begin(), order_.end(), std::size_t{0});
    std::stable_sort(order_.begin(), order_.end(), [this](std::size_t a, std::size_t b) {
      // As unsigned numbers counted from the earliest time, so that no time, made the greatest, comes last.
      const auto rank = [](std::int64_t time) { return static_cast<std::uint64_t>(time) + (1ULL << 63) - 1; };
      return rank(runs_[a].start) < rank(runs_[b].start);
    });
  }

  void find_parents() {
    // Sorted rather than hashed: ids are foreign, and could be made to collide.
    std::vector<std::size_t> by_id = order_;
    std::stable_sort(by_id.begin(), by_id.end(),
                     [this](std::size_t a, std::size_t b) { return runs_[a].id < runs_[b].id; });
    for (std::size_t i = 0; i < runs_.size(); ++i) {
      if (!runs_[i].parent) continue;
      const auto found =
          std::lower_bound(by_id.begin(), by_id.end(), *runs_[i].parent,
                           [this](std::size_t a, const run::Id& id) { return runs_[a].id < id; });
      if (found != by_id.end() && runs_[*found].id == *runs_[i].parent) {
        nodes_[i].parent = *found;
      } else {
        nodes_[i].root = Root::parent_missing;
        ++tree_.parents_missing;
      }
    }
  }

  void cut_cycles() {
    // Walks up from each run until it meets a run that was met before; in the same walk, that closes a cycle.
    std::vector<std::size_t> rank(runs_.size());
    for (std::size_t i = 0; i < order_.size(); ++i) rank[order_[i]] = i;
    std::vector<std::size_t> walk_of(runs_.size(), k_none);
    for (std::size_t i = 0; i < runs_.size(); ++i) {
      std::size_t at = i;
      while (at != k_none && walk_of[at] == k_none) {
        walk_of[at] = i;
        at = nodes_[at].parent;
      }
      if (at == k_none || walk_of[at] != i) continue;
      std::size_t earliest = at;
      for (std::size_t member = nodes_[at].parent; member != at; member = nodes_[member].parent) {
        if (rank[member] < rank[earliest]) earliest = member;
      }
      nodes_[earliest].parent = k_none;
      nodes_[earliest].root = Root::cycle;
      ++tree_.cycles;
    }
  }

  void list_children() {
    for (const Node& node : nodes_) {
      if (node.parent != k_none) ++nodes_[node.parent].children;
    }
    std::size_t place = 0;
    for (Node& node : nodes_) {
      node.first_child = place;
      place += node.children;
    }
    children_ = std::vector<std::size_t>(place);
    std::vector<std::size_t> filled(runs_.size());
    for (const std::size_t i : order_) {
      const std::size_t parent = nodes_[i].parent;
      if (parent == k_none)
        roots_.push_back(i);
      else
        children_[nodes_[parent].first_child + filled[parent]++] = i;
    }
  }

  void sum_up() {
    std::vector<std::size_t> downwards = roots_;  // each parent before its children
    downwards.reserve(runs_.size());
    for (std::size_t at = 0; at < downwards.size(); ++at) {
      const Node& node = nodes_[downwards[at]];
      for (std::size_t i = 0; i < node.children; ++i) downwards.push_back(children_[node.first_child + i]);
    }
    for (std::size_t at = downwards.size(); at-- > 0;) {
      const std::size_t i = downwards[at];
      Node& node = nodes_[i];
      node.error = node.error || runs_[i].error;
      if (runs_[i].error) ++tree_.errors;
      widen(node.start, node.end, runs_[i].start, std::max(runs_[i].start, runs_[i].end));
      widen(tree_.start, tree_.end, node.start, node.end);
      for (const Group& group : groups_of(children_.data() + node.first_child, node.children))
        node.lines += group.size > 1 ? 1 : nodes_[children_[node.first_child + group.first]].lines;
      if (node.parent == k_none) continue;
      Node& parent = nodes_[node.parent];
      parent.size += node.size;
      parent.error = parent.error || node.error;
      widen(parent.start, parent.end, node.start, node.end);
    }
  }

  void draw() {
    tree_.lines.reserve(runs_.size());
    std::vector<TreeLine> waiting;  // the next one at the end
    push(waiting, roots_.data(), roots_.size(), 0);
    while (!waiting.empty()) {
      const TreeLine line = waiting.back();
      waiting.pop_back();
      tree_.lines.push_back(line);
      if (line.siblings > 1) {
        tree_.collapsed += line.runs;
      } else {
        const Node& node = nodes_[line.run];
        push(waiting, children_.data() + node.first_child, node.children, line.depth + 1);
      }
    }
  }

  // The lines of siblings, the first on top.
  void push(std::vector<TreeLine>& waiting, const std::size_t* siblings, std::size_t count,
            std::size_t depth) {
    const std::size_t below = waiting.size();
    for (const Group& group : groups_of(siblings, count))
      waiting.push_back(line_of(siblings + group.first, group.size, depth));
    if (waiting.size() > below) waiting.back().last = true;
    std::reverse(waiting.begin() + static_cast<std::ptrdiff_t>(below), waiting.end());
  }

  // Siblings that share a line.
  struct Group {
    std::size_t first = 0;
    std::size_t size = 1;
  };

  [[nodiscard]] std::vector<Group> groups_of(const std::size_t* siblings, std::size_t count) const {
    std::vector<Group> groups;
    for (std::size_t i = 0; i < count;) {
      const std::size_t quiet = quiet_from(siblings + i, count - i);
      if (quiet == 0) {
        groups.push_back({i++, 1});
      } else {
        add_quiet(groups, siblings, i, i + quiet);
        i += quiet;
      }
    }
    return groups;
  }

  // How many siblings from here on may share lines.
  [[nodiscard]] std::size_t quiet_from(const std::size_t* siblings, std::size_t count) const {
    std::size_t quiet = 0;
    if (collapse_ == Collapse::no) return quiet;
    while (quiet < count && !nodes_[siblings[quiet]].error &&
           nodes_[siblings[quiet]].root == nodes_[siblings[0]].root) {
      ++quiet;
    }
    return quiet;
  }

  // Groups the siblings from `begin` up to `end`.
  void add_quiet(std::vector<Group>& groups, const std::size_t* siblings, std::size_t begin,
                 std::size_t end) const {
    const std::size_t before = groups.size();
    std::size_t lines = 0;
    std::size_t kept = 0;  // groups that stay if there are too many lines
    for (std::size_t i = begin; i < end;) {
      const std::size_t same = alike_from(siblings + i, end - i);
      const std::size_t size = same > k_most_alike ? same : 1;
      groups.push_back({i, size});
      lines += size > 1 ? 1 : nodes_[siblings[i]].lines;
      if (kept == 0 || lines <= k_lines_kept) ++kept;
      i += size;
    }
    if (lines <= k_most_lines || before + kept >= groups.size()) return;
    groups.resize(before + kept + 1);
    groups.back().size = end - groups.back().first;
  }

  // How many siblings from here on have no children, and the name and type of the first.
  [[nodiscard]] std::size_t alike_from(const std::size_t* siblings, std::size_t count) const {
    const run::Facts& first = runs_[siblings[0]];
    std::size_t alike = 0;
    while (alike < count && nodes_[siblings[alike]].children == 0 &&
           runs_[siblings[alike]].name == first.name && runs_[siblings[alike]].run_type == first.run_type) {
      ++alike;
    }
    return alike;
  }

  [[nodiscard]] TreeLine line_of(const std::size_t* siblings, std::size_t count, std::size_t depth) const {
    TreeLine line;
    line.run = siblings[0];
    line.siblings = count;
    line.depth = depth;
    line.root = nodes_[line.run].root;
    if (count == 1) {
      line.start = runs_[line.run].start;
      line.end = runs_[line.run].end;
      return line;
    }
    line.runs = 0;
    std::set<std::string_view> names;
    for (std::size_t i = 0; i < count; ++i) {
      const Node& node = nodes_[siblings[i]];
      line.runs += node.size;
      names.insert(runs_[siblings[i]].name);
      widen(line.start, line.end, node.start, node.end);
    }
    line.names = names.size();
    return line;
  }

  const std::vector<run::Facts>& runs_;
  Collapse collapse_;
  std::vector<Node> nodes_;
  std::vector<std::size_t> order_;     // all runs, by start
  std::vector<std::size_t> roots_;     // by start
  std::vector<std::size_t> children_;  // those of one parent together, by start
  TraceTree tree_;
};

}  // namespace

TraceTree arrange(const std::vector<run::Facts>& runs, Collapse collapse) {
  return Arranger(runs, collapse).arrange();
}

}  // namespace runctl::cmd
