// A file in COCO's result format as columns, without an object per detection.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "json_cursor.h"

namespace d2_ops {

// Columns of N results. A field that no result has is empty; `box` and `points` are how many
// numbers a result has of each.
struct CocoResultColumns {
  std::vector<int64_t> images, categories;
  std::vector<double> scores, boxes, keypoints;
  int64_t box = 0, points = 0;
  std::string counts;
  std::vector<int64_t> ends, sizes;

  bool has_masks() const { return !ends.empty(); }
};

namespace coco_results_detail {

constexpr int64_t kBytesPerPiece = 1 << 22;

enum Field : unsigned { kImage = 1, kCategory = 2, kScore = 4, kBox = 8, kMask = 16, kKeypoints = 32 };

inline unsigned field_of(std::string_view name) {
  if (name == "image_id") return kImage;
  if (name == "category_id") return kCategory;
  if (name == "score") return kScore;
  if (name == "bbox") return kBox;
  if (name == "segmentation") return kMask;
  if (name == "keypoints") return kKeypoints;
  return 0;
}

// Reads a list of numbers, as long as the first result's.
inline bool read_numbers(JsonCursor* json, bool first, int64_t* width, std::vector<double>* out) {
  const size_t before = out->size();
  double value;
  if (!json->take('[') || json->comes(']')) return false;
  do {
    if (!json->number(&value)) return false;
    out->push_back(value);
  } while (json->take(','));
  const int64_t count = static_cast<int64_t>(out->size() - before);
  if (first) *width = count;
  return json->take(']') && count == *width;
}

inline bool read_mask(JsonCursor* json, CocoResultColumns* out) {
  bool has_size = false, has_counts = false;
  std::string_view name;
  if (!json->take('{')) return false;
  do {
    if (!json->key(&name)) return false;
    if (name == "size" && !has_size) {
      int64_t height, width;
      if (!json->take('[') || !json->integer(&height) || !json->take(',') || !json->integer(&width) || !json->take(']'))
        return false;
      out->sizes.insert(out->sizes.end(), {height, width});
      has_size = true;
    } else if (name == "counts" && !has_counts) {
      if (!json->text(&out->counts)) return false;
      out->ends.push_back(static_cast<int64_t>(out->counts.size()));
      has_counts = true;
    } else {
      return false;
    }
  } while (json->take(','));
  return json->take('}') && has_size && has_counts;
}

inline bool read_field(JsonCursor* json, unsigned field, bool first, CocoResultColumns* out) {
  int64_t number;
  double score;
  switch (field) {
    case kImage:
    case kCategory:
      if (!json->integer(&number)) return false;
      (field == kImage ? out->images : out->categories).push_back(number);
      return true;
    case kScore:
      if (!json->number(&score)) return false;
      out->scores.push_back(score);
      return true;
    case kBox:
      return read_numbers(json, first, &out->box, &out->boxes);
    case kMask:
      return read_mask(json, out);
    case kKeypoints:
      return read_numbers(json, first, &out->points, &out->keypoints);
    default:
      return json->skip();
  }
}

// The fields of one result; 0 where it is not plain.
inline unsigned read_result(JsonCursor* json, bool first, CocoResultColumns* out) {
  unsigned seen = 0;
  std::string_view name;
  if (!json->take('{')) return 0;
  do {
    if (!json->key(&name)) return 0;
    const unsigned field = field_of(name);
    if ((seen & field) || !read_field(json, field, first, out)) return 0;
    seen |= field;
  } while (json->take(','));
  const unsigned needed = kImage | kCategory | kScore;
  return json->take('}') && (seen & needed) == needed ? seen : 0;
}

struct Piece {
  const char *begin, *end;
  CocoResultColumns columns;
  unsigned fields = 0;
};

// Reads results with commas between them, all with the same fields.
inline bool read_piece(Piece* piece) {
  JsonCursor json(piece->begin, piece->end);
  bool first = true;
  do {
    const unsigned fields = read_result(&json, first, &piece->columns);
    if (fields == 0 || (!first && fields != piece->fields)) return false;
    piece->fields = fields;
    first = false;
  } while (json.take(','));
  return json.at_end();
}

inline bool blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

// Cuts after the commas of "}, {" near equal parts. Such a comma may belong to something else: the
// piece before it then ends in the middle, and is not read.
inline std::vector<Piece> cut(const char* begin, const char* end, int64_t count) {
  std::vector<Piece> pieces;
  const int64_t size = end - begin;
  for (int64_t i = 1; i < count; ++i) {
    for (const char* at = std::max(begin + size * i / count, pieces.empty() ? begin : pieces.back().end); at < end;
         ++at) {
      if (*at != '}') continue;
      const char* comma = at + 1;
      while (comma < end && blank(*comma)) ++comma;
      const char* next = comma + 1;
      while (next < end && blank(*next)) ++next;
      if (comma >= end || *comma != ',' || next >= end || *next != '{') continue;
      pieces.push_back({pieces.empty() ? begin : pieces.back().end + 1, comma, {}, 0});
      break;
    }
  }
  pieces.push_back({pieces.empty() ? begin : pieces.back().end + 1, end, {}, 0});
  return pieces;
}

template <class T>
void append(std::vector<T>* all, std::vector<T>* part) {
  all->insert(all->end(), part->begin(), part->end());
  std::vector<T>().swap(*part);
}

inline std::optional<CocoResultColumns> joined(std::vector<Piece>* pieces) {
  CocoResultColumns all = std::move(pieces->front().columns);
  for (size_t i = 1; i < pieces->size(); ++i) {
    CocoResultColumns& part = (*pieces)[i].columns;
    if ((*pieces)[i].fields != pieces->front().fields || part.box != all.box || part.points != all.points)
      return std::nullopt;
    for (int64_t& end : part.ends) end += static_cast<int64_t>(all.counts.size());
    all.counts += part.counts;
    std::string().swap(part.counts);
    append(&all.images, &part.images);
    append(&all.categories, &part.categories);
    append(&all.scores, &part.scores);
    append(&all.boxes, &part.boxes);
    append(&all.keypoints, &part.keypoints);
    append(&all.ends, &part.ends);
    append(&all.sizes, &part.sizes);
  }
  return all;
}

template <class ParallelFor>
std::optional<CocoResultColumns> read_pieces(std::vector<Piece> pieces, const ParallelFor& parallel_for) {
  std::vector<char> good(pieces.size());
  parallel_for(0, static_cast<int64_t>(pieces.size()), 1, [&](int64_t from, int64_t to) {
    for (int64_t i = from; i < to; ++i) good[i] = read_piece(&pieces[i]);
  });
  if (std::find(good.begin(), good.end(), 0) != good.end()) return std::nullopt;
  return joined(&pieces);
}

}  // namespace coco_results_detail

// Nothing where the text is no plain list of results: ids that are no integers, fields that only
// some results have, numbers that are not finite, text that is no JSON.
template <class ParallelFor>
std::optional<CocoResultColumns> read_coco_results(std::string_view text, int64_t threads,
                                                   const ParallelFor& parallel_for) {
  using namespace coco_results_detail;
  const char *begin = text.data(), *end = begin + text.size();
  while (begin < end && blank(*begin)) ++begin;
  while (begin < end && blank(end[-1])) --end;
  if (end - begin < 2 || *begin != '[' || end[-1] != ']') return std::nullopt;
  JsonCursor inside(++begin, --end);
  if (inside.at_end()) return CocoResultColumns{};
  const int64_t count = std::min<int64_t>(threads, (end - begin) / kBytesPerPiece);
  if (count > 1)
    if (auto columns = read_pieces(cut(begin, end, count), parallel_for)) return columns;
  return read_pieces({Piece{begin, end, {}, 0}}, parallel_for);
}

}  // namespace d2_ops
