#include "rle_arguments.h"

#include <stdexcept>

namespace nb = nanobind;

namespace d2_ops {
namespace {

constexpr int64_t kMostPixels = int64_t{1} << 53;
constexpr int64_t kCharactersPerThread = 1 << 16;

struct Place {
  const char* name;
  size_t index;

  std::string text() const { return name + ("[" + std::to_string(index) + "]"); }
};

std::string name_of_type(nb::handle object) { return nb::str(object.type().attr("__name__")).c_str(); }

bool is_mapping(nb::handle object) {
  return PyMapping_Check(object.ptr()) && !PyList_Check(object.ptr()) && !PyTuple_Check(object.ptr());
}

nb::object item(nb::handle rle, const nb::str& key, const Place& place) {
  if (PyDict_CheckExact(rle.ptr())) {
    PyObject* found = PyDict_GetItemWithError(rle.ptr(), key.ptr());
    if (found) return nb::borrow(found);
  } else if (is_mapping(rle)) {
    PyObject* found = PyObject_GetItem(rle.ptr(), key.ptr());
    if (found) return nb::steal(found);
  } else {
    throw nb::type_error((place.text() + " must be an RLE dict {'size': [height, width], 'counts': ...}, got " +
                          name_of_type(rle))
                             .c_str());
  }
  if (PyErr_Occurred() && !PyErr_ExceptionMatches(PyExc_KeyError)) throw nb::python_error();
  PyErr_Clear();
  throw nb::key_error((place.text() + " lacks '" + key.c_str() + "': an RLE is a dict {'size': [height, width], " +
                       "'counts': ...}, this one has the keys " + nb::repr(nb::list(rle)).c_str())
                          .c_str());
}

// False, and no Python error, for what is no integer of 64 bits.
bool read_integer(nb::handle number, int64_t* value) {
  const nb::object index = nb::steal(PyNumber_Index(number.ptr()));
  if (index) *value = PyLong_AsLongLong(index.ptr());
  if (index && !PyErr_Occurred()) return true;
  PyErr_Clear();
  return false;
}

void read_size(nb::handle rle, const nb::str& key, const Place& place, EncodedMask* mask) {
  const nb::object size = item(rle, key, place);
  int64_t sides[2];
  bool good = PySequence_Check(size.ptr()) && PySequence_Size(size.ptr()) == 2;
  for (int i = 0; i < 2 && good; ++i) {
    const nb::object side = nb::steal(PySequence_GetItem(size.ptr(), i));
    good = side.is_valid() && read_integer(side, &sides[i]);
  }
  PyErr_Clear();
  const auto got = [&] { return place.text() + "['size'] is " + nb::repr(size).c_str(); };
  if (!good) throw nb::type_error((got() + ", wanted two integers [height, width]").c_str());
  if (sides[0] < 0 || sides[1] < 0) throw nb::value_error((got() + ": image size must not be negative").c_str());
  if (sides[0] > 0 && sides[1] > kMostPixels / sides[0])
    throw nb::value_error((got() + ": an image has at most 2**53 pixels").c_str());
  mask->height = sides[0];
  mask->width = sides[1];
}

void read_plain_lengths(nb::handle counts, const Place& place, EncodedMask* mask) {
  const std::string where = place.text() + "['counts']";
  const nb::object list = nb::steal(PySequence_Check(counts.ptr()) ? PySequence_List(counts.ptr()) : nullptr);
  PyErr_Clear();
  if (!list.is_valid())
    throw nb::type_error((where + " must be bytes, text or a list of lengths, got " + name_of_type(counts)).c_str());
  std::vector<int64_t> lengths;
  for (nb::handle length : nb::borrow<nb::list>(list)) {
    int64_t value;
    if (!read_integer(length, &value))
      throw nb::type_error((where + " holds " + nb::repr(length).c_str() + ", wanted integers").c_str());
    lengths.push_back(value);
  }
  try {
    check_lengths(lengths, mask->pixels());
  } catch (const std::invalid_argument& error) {
    throw nb::value_error((place.text() + ": " + error.what()).c_str());
  }
  mask->made = text_of_lengths(lengths);
}

void read_counts(nb::handle rle, const nb::str& key, const Place& place, EncodedMask* mask) {
  mask->owner = item(rle, key, place);
  PyObject* counts = mask->owner.ptr();
  if (PyBytes_Check(counts)) {
    mask->text = {PyBytes_AsString(counts), static_cast<size_t>(PyBytes_Size(counts))};
  } else if (PyUnicode_Check(counts)) {
    Py_ssize_t size = 0;
    const char* text = PyUnicode_AsUTF8AndSize(counts, &size);
    if (!text) throw nb::python_error();
    mask->text = {text, static_cast<size_t>(size)};
  } else {
    read_plain_lengths(counts, place, mask);
  }
}

std::string size_text(int64_t height, int64_t width) {
  return std::to_string(height) + " x " + std::to_string(width);
}

}  // namespace

void EncodedMask::require_size(int64_t wanted_height, int64_t wanted_width) const {
  if (height == wanted_height && width == wanted_width) return;
  throw std::invalid_argument("masks must have one size, got " + size_text(height, width) + " beside " +
                              size_text(wanted_height, wanted_width));
}

std::vector<EncodedMask> read_rles(const nb::list& rles, const char* name) {
  const nb::str size("size"), counts("counts");
  std::vector<EncodedMask> masks;
  masks.reserve(rles.size());
  for (size_t i = 0; i < rles.size(); ++i) {
    const nb::object rle = rles[i];
    masks.emplace_back();
    read_size(rle, size, {name, i}, &masks.back());
    read_counts(rle, counts, {name, i}, &masks.back());
  }
  return masks;
}

EncodedMask read_size(nb::handle rle, const char* name) {
  EncodedMask mask;
  read_size(rle, nb::str("size"), {name, 0}, &mask);
  return mask;
}

int64_t masks_per_thread(const std::vector<EncodedMask>& masks) {
  size_t characters = 0;
  for (const EncodedMask& mask : masks) characters += mask.counts().size();
  return 1 + kCharactersPerThread * static_cast<int64_t>(masks.size()) / (static_cast<int64_t>(characters) + 1);
}

}  // namespace d2_ops
