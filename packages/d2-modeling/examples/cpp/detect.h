// What both programs share: the command line, the picture, and printing.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

struct Arguments {
  std::string model;
  std::string picture;
  std::string operators;   // the library of d2-ops' operators, for models that call them
  bool rgb = false;        // the order of the channels; the sidecar's preprocessing.channels
  bool inside = false;     // the file holds the preprocessing; the sidecar's preprocessing.inside
  float threshold = 0.5F;  // scores below are not printed
};

inline Arguments parsed(int count, char** words) {
  Arguments arguments;
  std::vector<std::string> files;
  for (int i = 1; i < count; ++i) {
    const std::string word = words[i];
    const bool has_value = i + 1 < count;
    if (word == "--rgb") {
      arguments.rgb = true;
    } else if (word == "--inside") {
      arguments.inside = true;
    } else if (word == "--operators" && has_value) {
      arguments.operators = words[++i];
    } else if (word == "--threshold" && has_value) {
      arguments.threshold = std::strtof(words[++i], nullptr);
    } else if (word.rfind("--", 0) == 0) {
      throw std::invalid_argument("unknown option, or one without its value: " + word);
    } else {
      files.push_back(word);
    }
  }
  if (files.size() != 2) {
    throw std::invalid_argument(
        "usage: [--rgb] [--inside] [--threshold 0.5] [--operators LIBRARY] MODEL PICTURE.ppm");
  }
  arguments.model = files[0];
  arguments.picture = files[1];
  return arguments;
}

// Pixels as the model takes them: one plane of each colour after the other.
struct Picture {
  int64_t height = 0;
  int64_t width = 0;
  std::vector<uint8_t> planes;
};

// Reads a binary PPM file (P6, 8 bits), which every picture tool writes:
// `magick photo.jpg photo.ppm`.
inline Picture read_ppm(const std::string& path, bool rgb) {
  std::ifstream file(path, std::ios::binary);
  std::string kind;
  Picture picture;
  int64_t largest = 0;
  const bool has_header =
      static_cast<bool>(file >> kind >> picture.width >> picture.height >> largest);
  if (!has_header || kind != "P6" || largest != 255 || picture.width < 1 || picture.height < 1) {
    throw std::runtime_error(path + " is no PPM file of kind P6 with 8 bits, without comments");
  }
  file.get();  // the one space behind the header
  const int64_t area = picture.height * picture.width;
  std::vector<uint8_t> pixels(3 * area);
  if (!file.read(reinterpret_cast<char*>(pixels.data()), static_cast<std::streamsize>(3 * area))) {
    throw std::runtime_error(path + " ends before its last pixel");
  }
  picture.planes.resize(3 * area);
  for (int64_t channel = 0; channel < 3; ++channel) {
    const int64_t from = rgb ? channel : 2 - channel;
    for (int64_t i = 0; i < area; ++i) {
      picture.planes[channel * area + i] = pixels[3 * i + from];
    }
  }
  return picture;
}

// One line for each detection: class, score, and its box in pixels: the corners or, in 5 columns,
// centre x, centre y, width, height and degrees counter-clockwise.
inline void print_detections(const float* boxes, const float* scores, const int64_t* classes,
                             int64_t count, int64_t columns, float threshold) {
  for (int64_t i = 0; i < count; ++i) {
    if (scores[i] >= threshold) {
      std::printf("%lld %.6f", static_cast<long long>(classes[i]), scores[i]);
      for (int64_t column = 0; column < columns; ++column) {
        std::printf(" %.4f", boxes[columns * i + column]);
      }
      std::printf("\n");
    }
  }
}
