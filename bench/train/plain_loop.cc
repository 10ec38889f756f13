// The plain libtorch training loop that the runner is measured against: what the PyTorch C++
// tutorial teaches, written by hand and without tricks: torch::nn::Sequential, one float tensor of
// all images, a permutation an epoch, torch::optim::Adam.
//
//   plain_loop mlp|cnn [--epochs N] [--batch N] [--threads N] [--samples N] [--data FOLDER]
//
//   plain_loop sgemm [--threads N]
//
// Prints one line of JSON: samples_per_second (the median of the epochs' rates),
// samples_per_cpu_second (by processor time, which other programs disturb less), seconds,
// train_loss. sgemm: gigaflops that float32 products of matrices reach, which training is set
// against, and gigaflops_per_cpu_second.
#include <torch/torch.h>
#include <zlib.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

// Content of an IDX file, gzip or not, after a header of `header_bytes`.
std::vector<uint8_t> ReadIdx(const std::string& path, size_t header_bytes) {
  gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) throw std::runtime_error("cannot open " + path);
  std::vector<uint8_t> content;
  std::vector<uint8_t> buffer(1 << 20);
  for (int n; (n = gzread(file, buffer.data(), static_cast<unsigned>(buffer.size()))) > 0;) {
    content.insert(content.end(), buffer.begin(), buffer.begin() + n);
  }
  gzclose(file);
  if (content.size() <= header_bytes) throw std::runtime_error(path + " is too short");
  content.erase(content.begin(), content.begin() + static_cast<ptrdiff_t>(header_bytes));
  return content;
}

torch::nn::Sequential Mlp() {
  return torch::nn::Sequential(torch::nn::Flatten(), torch::nn::Linear(784, 128), torch::nn::ReLU(),
                               torch::nn::Linear(128, 10));
}

torch::nn::Sequential Cnn() {
  return torch::nn::Sequential(torch::nn::Conv2d(torch::nn::Conv2dOptions(1, 32, 3)),
                               torch::nn::ReLU(), torch::nn::MaxPool2d(2),
                               torch::nn::Conv2d(torch::nn::Conv2dOptions(32, 64, 3)),
                               torch::nn::ReLU(), torch::nn::MaxPool2d(2), torch::nn::Flatten(),
                               torch::nn::Dropout(0.25), torch::nn::Linear(64 * 5 * 5, 10));
}

double Seconds(std::clock_t ticks) { return static_cast<double>(ticks) / CLOCKS_PER_SEC; }

// The best of several rounds: others on the machine can only take from it.
void MeasureSgemm() {
  constexpr int64_t kSize = 1024, kProducts = 8, kRounds = 12;
  constexpr double kGigaflops = 2e-9 * kProducts * kSize * kSize * kSize;
  at::NoGradGuard no_grad;
  auto a = torch::rand({kSize, kSize}), b = torch::rand({kSize, kSize}), c = torch::mm(a, b);
  double seconds = 1e9, cpu_seconds = 1e9;
  for (int64_t round = 0; round < kRounds; ++round) {
    auto begin = std::chrono::steady_clock::now();
    std::clock_t cpu_begin = std::clock();
    for (int64_t i = 0; i < kProducts; ++i) at::mm_out(c, a, b);
    cpu_seconds = std::min(cpu_seconds, Seconds(std::clock() - cpu_begin));
    seconds = std::min(
        seconds, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  std::printf("{\"gigaflops\": %.1f, \"gigaflops_per_cpu_second\": %.1f}\n", kGigaflops / seconds,
              kGigaflops / cpu_seconds);
}

}  // namespace

int main(int argc, char** argv) try {
  std::string which = argc > 1 ? argv[1] : "";
  if (which != "mlp" && which != "cnn" && which != "sgemm") {
    std::fprintf(
        stderr,
        "usage: plain_loop mlp|cnn|sgemm [--epochs N] [--batch N] [--threads N] [--samples N] "
        "[--data FOLDER]\n");
    return 2;
  }
  int64_t epochs = 3, batch = which == "mlp" ? 32 : 64, threads = which == "mlp" ? 1 : 2,
          samples = 60000;
  std::string folder = "/usr/share/datasets/fashion-mnist";
  for (int i = 2; i + 1 < argc; i += 2) {
    std::string flag = argv[i];
    if (flag == "--epochs") epochs = std::atoll(argv[i + 1]);
    if (flag == "--batch") batch = std::atoll(argv[i + 1]);
    if (flag == "--threads") threads = std::atoll(argv[i + 1]);
    if (flag == "--samples") samples = std::atoll(argv[i + 1]);
    if (flag == "--data") folder = argv[i + 1];
  }
  at::set_num_threads(static_cast<int>(threads));
  torch::manual_seed(0);
  if (which == "sgemm") {
    MeasureSgemm();
    return 0;
  }

  std::vector<uint8_t> pixels = ReadIdx(folder + "/train-images-idx3-ubyte.gz", 16);
  std::vector<uint8_t> classes = ReadIdx(folder + "/train-labels-idx1-ubyte.gz", 8);
  samples = std::min<int64_t>(samples, static_cast<int64_t>(classes.size()));
  auto images = torch::from_blob(pixels.data(), {samples, 1, 28, 28}, torch::kUInt8)
                    .to(torch::kFloat32)
                    .div_(255);
  auto labels = torch::from_blob(classes.data(), {samples}, torch::kUInt8).to(torch::kInt64);

  torch::nn::Sequential model = which == "mlp" ? Mlp() : Cnn();
  torch::optim::Adam optimizer(model->parameters(), torch::optim::AdamOptions(1e-3));
  std::vector<double> rates;
  double all_seconds = 0, epoch_loss = 0;
  std::clock_t cpu_begin = std::clock();
  for (int64_t epoch = 0; epoch < epochs; ++epoch) {
    auto begin = std::chrono::steady_clock::now();
    auto order = torch::randperm(samples, torch::kInt64);
    auto loss_sum = torch::zeros({});
    int64_t steps = 0;
    for (int64_t first = 0; first < samples; first += batch, ++steps) {
      auto index = order.slice(0, first, std::min(first + batch, samples));
      auto x = images.index_select(0, index);
      auto y = labels.index_select(0, index);
      optimizer.zero_grad();
      auto loss = torch::nn::functional::cross_entropy(model->forward(x), y);
      loss.backward();
      optimizer.step();
      loss_sum += loss.detach();
    }
    epoch_loss = loss_sum.item<double>() / static_cast<double>(steps);
    double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    all_seconds += seconds;
    rates.push_back(static_cast<double>(samples) / seconds);
  }
  double cpu_seconds = Seconds(std::clock() - cpu_begin);
  std::sort(rates.begin(), rates.end());
  std::printf(
      "{\"loop\": \"%s\", \"samples_per_second\": %.0f, \"samples_per_cpu_second\": %.0f, "
      "\"seconds\": %.3f, \"train_loss\": %.4f}\n",
      which.c_str(), rates[rates.size() / 2], static_cast<double>(samples * epochs) / cpu_seconds,
      all_seconds, epoch_loss);
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "plain_loop: %s\n", error.what());
  return 1;
}
