// Suppresses overlapping boxes and prints those that stay with their mask as COCO run lengths.
//
//   keep_boxes IOU_THRESHOLD HEIGHT WIDTH < boxes.txt
//
// boxes.txt: a line per box, x1 y1 x2 y2 score. Output: index, area and counts of each kept box, by
// decreasing score.
#include <d2_ops/nms.h>
#include <d2_ops/parallel.h>
#include <d2_ops/polygon.h>
#include <d2_ops/rle.h>

#include <cstdint>
#include <cstdlib>
#include <exception>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

struct Boxes {
  std::vector<float> corners, scores;
};

Boxes read_boxes(std::istream& in) {
  Boxes boxes;
  for (std::string line; std::getline(in, line);) {
    std::istringstream row(line);
    float x1, y1, x2, y2, score;
    if (!(row >> x1 >> y1 >> x2 >> y2 >> score))
      throw std::invalid_argument("box " + std::to_string(boxes.scores.size()) + " is not five numbers");
    boxes.corners.insert(boxes.corners.end(), {x1, y1, x2, y2});
    boxes.scores.push_back(score);
  }
  return boxes;
}

d2_ops::Runs draw_box(const float* box, int64_t height, int64_t width) {
  const double corners[] = {box[0], box[1], box[2], box[1], box[2], box[3], box[0], box[3]};
  for (const double corner : corners)
    if (!d2_ops::within_polygon_limit(corner)) throw std::invalid_argument("a box has a coordinate beyond 2**28");
  d2_ops::Runs runs;
  d2_ops::append_polygon(corners, 4, height, width, &runs);
  d2_ops::normalise(&runs);
  return runs;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) {
    std::cerr << "usage: keep_boxes IOU_THRESHOLD HEIGHT WIDTH < boxes.txt\n";
    return 2;
  }
  try {
    const double iou_threshold = std::atof(argv[1]);
    const int64_t height = std::atoll(argv[2]), width = std::atoll(argv[3]);
    const Boxes boxes = read_boxes(std::cin);
    const std::vector<int64_t> kept =
        d2_ops::nms(boxes.corners.data(), boxes.scores.data(), static_cast<const int64_t*>(nullptr),
                    static_cast<int64_t>(boxes.scores.size()), iou_threshold, d2_ops::SerialFor{});
    for (const int64_t i : kept) {
      const d2_ops::Runs mask = draw_box(boxes.corners.data() + 4 * i, height, width);
      const std::vector<int64_t> lengths = d2_ops::lengths_of_runs(mask, height * width);
      std::cout << i << ' ' << d2_ops::area(mask) << ' ' << d2_ops::text_of_lengths(lengths) << '\n';
    }
  } catch (const std::exception& error) {
    std::cerr << "keep_boxes: " << error.what() << '\n';
    return 1;
  }
}
