// space_reasoning_tree: a tree of named nodes is described by children, grandchildren and siblings; asked is a relation
// of one node: its parent, children, grandchildren, siblings or cousins.
#include <algorithm>

#include "shared/task/kinds/kinds.h"
#include "shared/task/words.h"

namespace fulmen::task {
namespace {

struct Tree {
  std::vector<std::string> names;
  std::vector<int> parent;  // of node i > 0: a node before it

  std::vector<int> children(int node) const {
    std::vector<int> out;
    for (size_t i = 1; i < parent.size(); ++i)
      if (parent[i] == node) out.push_back(static_cast<int>(i));
    return out;
  }
  std::vector<int> grandchildren(int node) const {
    std::vector<int> out;
    for (const int c : children(node))
      for (const int g : children(c)) out.push_back(g);
    return out;
  }
  std::vector<int> siblings(int node) const {
    std::vector<int> out;
    if (node == 0) return out;
    for (const int c : children(parent[static_cast<size_t>(node)]))
      if (c != node) out.push_back(c);
    return out;
  }
  std::vector<int> cousins(int node) const {  // children of the parent's siblings
    std::vector<int> out;
    if (node == 0) return out;
    for (const int aunt : siblings(parent[static_cast<size_t>(node)]))
      for (const int c : children(aunt)) out.push_back(c);
    return out;
  }
  std::string list(const std::vector<int>& nodes) const {
    std::vector<std::string> words;
    for (const int i : nodes) words.push_back(names[static_cast<size_t>(i)]);
    std::sort(words.begin(), words.end());
    return join(words, ", ");
  }
};

std::string facts_of(Random& random, const Tree& tree) {
  std::vector<std::string> facts;
  for (int node = 0; node < static_cast<int>(tree.names.size()); ++node) {
    const std::string& name = tree.names[static_cast<size_t>(node)];
    const auto children = tree.children(node), grandchildren = tree.grandchildren(node), siblings = tree.siblings(node);
    if (!children.empty()) facts.push_back(fmt::format("The children of {} are: {}.", name, tree.list(children)));
    if (children.empty() && random.chance(30)) facts.push_back(fmt::format("{} has no children.", name));
    if (!grandchildren.empty() && random.chance(30))
      facts.push_back(
          fmt::format("{} has {} grandchildren: {}.", name, grandchildren.size(), tree.list(grandchildren)));
    if (!siblings.empty() && random.chance(20))
      facts.push_back(fmt::format("The siblings of {} are: {}.", name, tree.list(siblings)));
  }
  random.shuffle(facts);
  return join(facts, " ");
}

Problem generate(Random& random, int difficulty) {
  const size_t nodes = static_cast<size_t>(6 + 5 * difficulty);
  static constexpr const char* kRelations[] = {"children", "siblings", "grandchildren", "cousins"};
  for (;;) {
    Tree tree{random.sample(english_words(), nodes), {-1}};
    for (size_t i = 1; i < nodes; ++i) {  // towards a tree of several levels: parents lie close before their children
      const int reach = std::max(1, static_cast<int>(i) / 2);
      tree.parent.push_back(random.between(std::max(0, static_cast<int>(i) - 1 - reach), static_cast<int>(i) - 1));
    }
    const int node = random.below(nodes), relation = difficulty <= 2 ? random.between(1, 2) : random.between(1, 3);
    const std::vector<int> related = relation == 1   ? tree.siblings(node)
                                     : relation == 2 ? tree.grandchildren(node)
                                                     : tree.cousins(node);
    if (related.empty() && !random.chance(5)) continue;
    Problem p;
    p.size = static_cast<int>(nodes);
    const std::string facts = facts_of(random, tree);
    p.puzzle = {{"facts", facts}};
    p.answer = related.empty() ? "none" : tree.list(related);
    p.prompt =
        fmt::format(
            "A tree has {} nodes. {}\nWhat are the {} of {}? (Siblings have the same parent; cousins are the children "
            "of a parent's siblings.)\n",
            nodes, facts, kRelations[relation], tree.names[static_cast<size_t>(node)]) +
        answer_request("their names separated by commas, in any order, or none");
    return p;
  }
}

}  // namespace

const Task kSpaceReasoningTree{.id = 30,
                               .name = "space_reasoning_tree",
                               .sentence = "relatives of a node in a described tree",
                               .size_means = "nodes",
                               .generate = generate,
                               .verify = check_set};

}  // namespace fulmen::task
