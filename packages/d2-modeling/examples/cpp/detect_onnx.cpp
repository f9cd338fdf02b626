// Runs an ONNX file with ONNX Runtime. No torch, no d2.

#include <onnxruntime_cxx_api.h>

#include <array>

#include "detect.h"

namespace {

constexpr std::array<const char*, 2> input_names = {"images", "image_sizes"};
constexpr std::array<const char*, 3> output_names = {"boxes", "scores", "classes"};

}  // namespace

int main(int argc, char** argv) {
  try {
    const Arguments arguments = parsed(argc, argv);
    Picture picture = read_ppm(arguments.picture, arguments.rgb);
    std::vector<float> numbers(picture.planes.begin(), picture.planes.end());
    std::array<int64_t, 2> size = {picture.height, picture.width};
    const std::array<int64_t, 4> shape = {1, 3, picture.height, picture.width};
    const std::array<int64_t, 2> size_shape = {1, 2};

    const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    std::vector<Ort::Value> inputs;
    if (arguments.inside) {
      inputs.push_back(Ort::Value::CreateTensor<uint8_t>(
          memory, picture.planes.data(), picture.planes.size(), shape.data(), shape.size()));
    } else {
      inputs.push_back(Ort::Value::CreateTensor<float>(memory, numbers.data(), numbers.size(),
                                                       shape.data(), shape.size()));
      inputs.push_back(Ort::Value::CreateTensor<int64_t>(memory, size.data(), size.size(),
                                                         size_shape.data(), size_shape.size()));
    }

    Ort::Env environment(ORT_LOGGING_LEVEL_WARNING, "detect");
    Ort::SessionOptions options;
    if (!arguments.operators.empty()) {
      options.RegisterCustomOpsLibrary(arguments.operators.c_str());
    }
    Ort::Session session(environment, arguments.model.c_str(), options);
    const auto outputs = session.Run(Ort::RunOptions{nullptr}, input_names.data(), inputs.data(),
                                     inputs.size(), output_names.data(), output_names.size());
    const auto box_shape = outputs[0].GetTensorTypeAndShapeInfo().GetShape();
    print_detections(outputs[0].GetTensorData<float>(), outputs[1].GetTensorData<float>(),
                     outputs[2].GetTensorData<int64_t>(), box_shape[0], box_shape[1],
                     arguments.threshold);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
