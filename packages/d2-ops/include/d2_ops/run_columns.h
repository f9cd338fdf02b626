// Where in an image the runs of a mask lie: columns of pixels, and the box around all of them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "runs.h"

namespace d2_ops {

// Follows ascending pixel numbers through the columns of an image. Most steps are short: divisions
// are kept for long ones.
class ColumnCursor {
 public:
  explicit ColumnCursor(int64_t height) : height_(height) {}

  void move_to(int64_t pixel) {
    if (pixel - first_ >= 4 * height_) {
      column_ = pixel / height_;
      first_ = column_ * height_;
    }
    for (; pixel - first_ >= height_; ++column_) first_ += height_;
    row_ = pixel - first_;
  }

  int64_t column() const { return column_; }
  int64_t row() const { return row_; }

 private:
  int64_t height_, first_ = 0, column_ = 0, row_ = 0;
};

// Half-open ranges of pixels; all zero for a mask without any.
struct PixelBox {
  int64_t left = 0, top = 0, right = 0, bottom = 0;

  bool empty() const { return left == right; }
};

// Finds the box around runs that are given to it one after the other.
class BoxFinder {
 public:
  explicit BoxFinder(int64_t height) : height_(height), cursor_(height), box_{0, height, 0, 0} {}

  void add(int64_t begin, int64_t end) {
    cursor_.move_to(begin);
    const int64_t first_column = cursor_.column(), first_row = cursor_.row();
    if (box_.empty()) box_.left = first_column;
    cursor_.move_to(end - 1);
    box_.right = cursor_.column() + 1;
    if (cursor_.column() == first_column) {
      box_.top = std::min(box_.top, first_row);
      box_.bottom = std::max(box_.bottom, cursor_.row() + 1);
    } else {  // through the foot of one column and the head of the next
      box_.top = 0;
      box_.bottom = height_;
    }
  }

  PixelBox box() const { return box_.right == 0 ? PixelBox{} : box_; }

 private:
  int64_t height_;
  ColumnCursor cursor_;
  PixelBox box_;
};

inline PixelBox box_of_runs(const Runs& runs, int64_t height) {
  BoxFinder finder(height);
  for (const Run& run : runs) finder.add(run.begin, run.end);
  return finder.box();
}

// Calls visit(column, first row, end row) for the parts of runs that lie in one column each.
template <class Visit>
void for_each_column_part(const Runs& runs, int64_t height, const Visit& visit) {
  ColumnCursor cursor(height);
  for (const Run& run : runs)
    for (int64_t begin = run.begin; begin < run.end;) {
      cursor.move_to(begin);
      const int64_t length = std::min(run.end - begin, height - cursor.row());
      visit(cursor.column(), cursor.row(), cursor.row() + length);
      begin += length;
    }
}

}  // namespace d2_ops
