// Runs a TorchScript file, or a package of AOTInductor (whose name ends in .pt2), with libtorch.

#include <dlfcn.h>
#include <torch/csrc/inductor/aoti_package/model_package_loader.h>
#include <torch/script.h>

#include "detect.h"

namespace {

// Operators of d2-ops (NMS, ROIAlign, ...) register themselves as their library is loaded.
void load_operators(const std::string& path) {
  if (!path.empty() && dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL) == nullptr) {
    throw std::runtime_error(dlerror());
  }
}

std::vector<at::Tensor> inputs_of(const Picture& picture, bool inside) {
  const std::vector<int64_t> shape = {1, 3, picture.height, picture.width};
  const auto bytes = torch::tensor(c10::ArrayRef<uint8_t>(picture.planes), torch::kUInt8);
  if (inside) {
    return {bytes.view(shape)};
  }
  const auto sizes = torch::tensor({picture.height, picture.width}, torch::kInt64).view({1, 2});
  return {bytes.to(torch::kFloat32).view(shape), sizes};
}

std::vector<at::Tensor> run_script(const std::string& path, const std::vector<at::Tensor>& inputs) {
  torch::jit::Module module = torch::jit::load(path);
  const std::vector<c10::IValue> values(inputs.begin(), inputs.end());
  const c10::IValue result = module.forward(values);
  std::vector<at::Tensor> outputs;
  for (const c10::IValue& output : result.toTupleRef().elements()) {
    outputs.push_back(output.toTensor());
  }
  return outputs;
}

std::vector<at::Tensor> run_package(const std::string& path,
                                    const std::vector<at::Tensor>& inputs) {
  torch::inductor::AOTIModelPackageLoader loader(path);
  return loader.run(inputs);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const Arguments arguments = parsed(argc, argv);
    load_operators(arguments.operators);
    const c10::InferenceMode no_gradients;
    const auto inputs = inputs_of(read_ppm(arguments.picture, arguments.rgb), arguments.inside);
    const bool is_package = arguments.model.ends_with(".pt2");
    const auto outputs =
        is_package ? run_package(arguments.model, inputs) : run_script(arguments.model, inputs);
    const at::Tensor boxes = outputs.at(0).contiguous();
    const at::Tensor scores = outputs.at(1).contiguous();
    const at::Tensor classes = outputs.at(2).contiguous();
    print_detections(boxes.const_data_ptr<float>(), scores.const_data_ptr<float>(),
                     classes.const_data_ptr<int64_t>(), scores.size(0), boxes.size(1),
                     arguments.threshold);
  } catch (const c10::Error& error) {
    std::fprintf(stderr, "%s\n", error.what_without_backtrace());
    return 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
