// cuBLASLt behind ProductLibrary. It is opened at run time: a machine may have the driver and not the toolkit.

#include <dlfcn.h>

#include <cstring>

#include "kernels/cuda/product_library.h"

#if __has_include(<cublasLt.h>)
#include <cublasLt.h>

namespace fulmen::kernels::cuda {
namespace {

constexpr int kCandidates = 32;
constexpr uint32_t kAlignment = 16;  // bytes, of every matrix

struct Functions {
#define FULMEN_CUBLASLT(f)                                                                                        \
  f(Create) f(Destroy) f(GetVersion) f(Matmul) f(MatmulDescCreate) f(MatmulDescDestroy) f(MatmulDescSetAttribute) \
      f(MatrixLayoutCreate) f(MatrixLayoutDestroy) f(MatmulPreferenceCreate) f(MatmulPreferenceDestroy)           \
          f(MatmulPreferenceSetAttribute) f(MatmulAlgoGetHeuristic) f(MatmulAlgoCheck) f(MatmulAlgoConfigGetAttribute)
#define FULMEN_MEMBER(name) decltype(&cublasLt##name) name = nullptr;
  FULMEN_CUBLASLT(FULMEN_MEMBER)
#undef FULMEN_MEMBER

  // Name of the function that is missing, or null.
  const char* load(void* library) {
#define FULMEN_LOAD(name)                                                      \
  name = reinterpret_cast<decltype(name)>(::dlsym(library, "cublasLt" #name)); \
  if (name == nullptr) return "cublasLt" #name;
    FULMEN_CUBLASLT(FULMEN_LOAD)
#undef FULMEN_LOAD
    return nullptr;
  }
};

void must(cublasStatus_t status, const char* what) {
  FULMEN_CHECK(status == CUBLAS_STATUS_SUCCESS,
               std::string("cuda: ") + what + ": status " + std::to_string(static_cast<int>(status)));
}

// The library counts in columns: the rows of y are the columns of its result, the weight its left operand.
class Call {
 public:
  Call(const Functions& f, const LibraryProduct& p) : f_(f) {
    const LibraryShape& s = p.shape;
    must(f.MatmulDescCreate(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
    set(CUBLASLT_MATMUL_DESC_TRANSA, s.across ? CUBLAS_OP_N : CUBLAS_OP_T);
    set(CUBLASLT_MATMUL_DESC_TRANSB, CUBLAS_OP_N);
    layout(&weight, CUDA_R_16BF, s.across ? s.N : s.K, s.across ? s.K : s.N, p.weight_line);
    layout(&x, CUDA_R_16BF, s.K, p.M, p.x_row);
    layout(&y, CUDA_R_32F, s.N, p.M, p.y_row);
  }
  ~Call() {
    for (const cublasLtMatrixLayout_t l : {weight, x, y})
      if (l != nullptr) f_.MatrixLayoutDestroy(l);
    if (operation != nullptr) f_.MatmulDescDestroy(operation);
  }
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;

  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t weight = nullptr, x = nullptr, y = nullptr;

 private:
  void set(cublasLtMatmulDescAttributes_t attribute, cublasOperation_t value) {
    must(f_.MatmulDescSetAttribute(operation, attribute, &value, sizeof value), "cublasLtMatmulDescSetAttribute");
  }
  void layout(cublasLtMatrixLayout_t* to, cudaDataType_t type, int64_t rows, int64_t columns, int64_t ld) {
    must(f_.MatrixLayoutCreate(to, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), ld),
         "cublasLtMatrixLayoutCreate");
  }

  const Functions& f_;
};

class CublasLt : public ProductLibrary {
 public:
  CublasLt(const Functions& functions, cublasLtHandle_t handle) : f_(functions), handle_(handle) {}
  ~CublasLt() override { f_.Destroy(handle_); }

  std::string name() const override {
    const size_t v = f_.GetVersion();
    return "cuBLASLt " + std::to_string(v / 10000) + "." + std::to_string(v / 100 % 100) + "." +
           std::to_string(v % 100);
  }

  std::vector<LibraryAlgorithm> algorithms(const LibraryProduct& p, size_t workspace) override {
    const Call call(f_, p);
    cublasLtMatmulPreference_t preference = nullptr;
    must(f_.MatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
    const uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_NONE;
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, const auto& value) {
      return f_.MatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value);
    };
    cublasLtMatmulHeuristicResult_t results[kCandidates];
    int found = 0;
    cublasStatus_t status = prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(workspace));
    if (status == CUBLAS_STATUS_SUCCESS) status = prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, schemes);
    for (const auto attribute :
         {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
          CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      if (status == CUBLAS_STATUS_SUCCESS) status = prefer(attribute, kAlignment);
    if (status == CUBLAS_STATUS_SUCCESS)
      status = f_.MatmulAlgoGetHeuristic(handle_, call.operation, call.weight, call.x, call.y, call.y, preference,
                                         kCandidates, results, &found);
    f_.MatmulPreferenceDestroy(preference);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED) return {};
    must(status, "cublasLtMatmulAlgoGetHeuristic");
    std::vector<LibraryAlgorithm> list;
    for (int i = 0; i < found; ++i) {
      if (results[i].state != CUBLAS_STATUS_SUCCESS || config(results[i].algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM) > 1)
        continue;
      list.push_back({{}, name_of(results[i].algo)});
      static_assert(sizeof results[i].algo == sizeof list.back().code);
      std::memcpy(list.back().code, &results[i].algo, sizeof results[i].algo);
    }
    return list;
  }

  std::optional<size_t> workspace(const LibraryAlgorithm& algorithm, const LibraryProduct& p) override {
    const Call call(f_, p);
    const cublasLtMatmulAlgo_t algo = algorithm_of(algorithm);
    cublasLtMatmulHeuristicResult_t result{};
    const cublasStatus_t status =
        f_.MatmulAlgoCheck(handle_, call.operation, call.weight, call.x, call.y, call.y, &algo, &result);
    if (status != CUBLAS_STATUS_SUCCESS) return std::nullopt;
    return result.workspaceSize;
  }

  void multiply(const LibraryAlgorithm& algorithm, const LibraryProduct& p, void* workspace, size_t bytes,
                State& state) override {
    const Call call(f_, p);
    const cublasLtMatmulAlgo_t algo = algorithm_of(algorithm);
    const float one = 1, added = p.accumulate ? 1 : 0;
    must(f_.Matmul(handle_, call.operation, &one, p.weight, call.weight, p.x, call.x, &added, p.y, call.y, p.y, call.y,
                   &algo, workspace, bytes, state.stream()),
         "cublasLtMatmul");
  }

 private:
  static cublasLtMatmulAlgo_t algorithm_of(const LibraryAlgorithm& a) {
    cublasLtMatmulAlgo_t algo;
    std::memcpy(&algo, a.code, sizeof algo);
    return algo;
  }
  // An attribute that an algorithm does not have is 0.
  int config(const cublasLtMatmulAlgo_t& algo, cublasLtMatmulAlgoConfigAttributes_t attribute) const {
    int32_t value = 0;
    size_t written = 0;
    const bool narrow =
        attribute == CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID || attribute == CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID;
    f_.MatmulAlgoConfigGetAttribute(&algo, attribute, &value, narrow ? 2 : 4, &written);
    return value;
  }
  std::string name_of(const cublasLtMatmulAlgo_t& algo) const {
    std::string text = "algorithm " + std::to_string(config(algo, CUBLASLT_ALGO_CONFIG_ID));
    const auto add = [&](const char* what, cublasLtMatmulAlgoConfigAttributes_t attribute) {
      text += std::string(" ") + what + " " + std::to_string(config(algo, attribute));
    };
    add("tile", CUBLASLT_ALGO_CONFIG_TILE_ID), add("stages", CUBLASLT_ALGO_CONFIG_STAGES_ID);
    add("option", CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION), add("inner", CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID);
    add("cluster", CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID);
    return text;
  }

  Functions f_;
  cublasLtHandle_t handle_;
};

}  // namespace

std::unique_ptr<ProductLibrary> open_cublaslt(std::string& why) {
  const std::string file = "libcublasLt.so." + std::to_string(CUDART_VERSION / 1000);
  void* library = ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);  // stays: kernels of it may be running at any time
  if (library == nullptr) return why = file + " cannot be opened", nullptr;
  Functions functions;
  if (const char* missing = functions.load(library)) return why = file + " has no " + missing, nullptr;
  cublasLtHandle_t handle = nullptr;
  const cublasStatus_t status = functions.Create(&handle);
  if (status != CUBLAS_STATUS_SUCCESS)
    return why = "cublasLtCreate: status " + std::to_string(static_cast<int>(status)), nullptr;
  return std::make_unique<CublasLt>(functions, handle);
}

}  // namespace fulmen::kernels::cuda

#else
namespace fulmen::kernels::cuda {

std::unique_ptr<ProductLibrary> open_cublaslt(std::string& why) {
  return why = "built without the headers of cuBLASLt", nullptr;
}

}  // namespace fulmen::kernels::cuda
#endif
