// Runs an exported TorchScript file with libtorch alone, as a C++ server would.
//
//     main MODEL OUT BATCH LENGTH INPUT...
//
// Each INPUT is a file of BATCH x LENGTH raw int64 numbers, in the order of the graph's inputs. The
// graph's first output goes to OUT as raw float32 numbers. Whatever goes wrong is told on standard
// error, with exit code 1.

#include <torch/script.h>

#include <cstdint>
#include <exception>
#include <fstream>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

torch::Tensor read_numbers(const std::string& path, std::int64_t batch, std::int64_t length) {
  torch::Tensor numbers = torch::empty({batch, length}, torch::kInt64);
  std::ifstream file(path, std::ios::binary);
  if (!file.read(static_cast<char*>(numbers.data_ptr()), static_cast<std::streamsize>(numbers.nbytes()))) {
    throw std::runtime_error("cannot read enough numbers from " + path);
  }
  return numbers;
}

void write_numbers(const std::string& path, const torch::Tensor& numbers) {
  const torch::Tensor plain = numbers.to(torch::kFloat32).contiguous();
  std::ofstream file(path, std::ios::binary);
  file.write(static_cast<const char*>(plain.data_ptr()), static_cast<std::streamsize>(plain.nbytes()));
  if (!file.flush()) {
    throw std::runtime_error("cannot write " + path);
  }
}

void run(const std::vector<std::string>& words) {
  const std::int64_t batch = std::stoll(words.at(2));
  const std::int64_t length = std::stoll(words.at(3));
  std::vector<torch::jit::IValue> inputs;
  for (std::size_t index = 4; index < words.size(); ++index) {
    inputs.emplace_back(read_numbers(words[index], batch, length));
  }

  const torch::NoGradGuard no_grad;
  torch::jit::Module model = torch::jit::load(words.at(0));
  model.eval();
  const torch::jit::IValue outputs = model.forward(inputs);

  write_numbers(words.at(1), outputs.toTuple()->elements().at(0).toTensor());
}

}  // namespace

int main(int argc, char** argv) {
  try {
    run(std::vector<std::string>(argv + 1, argv + argc));
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
  return 0;
}
