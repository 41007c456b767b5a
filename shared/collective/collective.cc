#include "shared/collective/collective.h"

#include "kernels/error.h"

namespace fulmen::collective {
namespace {

class Self : public Collective {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  void allreduce_sum(std::span<float>) override {}
  void allreduce_sum(std::span<double>) override {}
  std::vector<std::string> allgather(std::string_view bytes) override { return {std::string(bytes)}; }
  void broadcast(std::string&, int root) override {
    FULMEN_CHECK(root == 0, "collective: broadcast: got root " + std::to_string(root) + ", want 0 (one rank)");
  }
  void barrier() override {}
};

}  // namespace

std::unique_ptr<Collective> make_self() { return std::make_unique<Self>(); }

}  // namespace fulmen::collective
