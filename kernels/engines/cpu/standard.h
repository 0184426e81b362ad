// What draws need of C++'s standard library.
//
// A compiler reads <cmath> and <vector> for a third of a second, as long as it takes to compile the rest of a short
// library, and a program's first draw waits for it. These headers are short.

#include <cstdint>
#include <cstring>
#include <limits>
#include <type_traits>

namespace rsample {

using std::int32_t;
using std::int64_t;
using std::uint32_t;
using std::uint64_t;

// As those of <algorithm> are: the first where neither is less.
template <class T>
constexpr T min(T a, T b) {
  return b < a ? b : a;
}

template <class T>
constexpr T max(T a, T b) {
  return a < b ? b : a;
}

template <class T>
inline void fill(T* begin, T* end, T value) {
  for (; begin < end; ++begin) *begin = value;
}

template <class T>
inline void fill_n(T* begin, int64_t n, T value) {
  for (int64_t i = 0; i < n; ++i) begin[i] = value;
}

template <class T>
inline void copy_n(const T* from, int64_t n, T* to) {
  std::memcpy(to, from, n * sizeof(T));
}

// The mathematical library's functions of one number.
namespace libm {

#define RSAMPLE_FUNCTION(name)                                      \
  inline float name(float x) { return __builtin_##name##f(x); }     \
  inline double name(double x) { return __builtin_##name(x); }

RSAMPLE_FUNCTION(exp)
RSAMPLE_FUNCTION(fabs)
RSAMPLE_FUNCTION(log)
RSAMPLE_FUNCTION(log1p)
RSAMPLE_FUNCTION(nearbyint)
RSAMPLE_FUNCTION(sqrt)
RSAMPLE_FUNCTION(tan)
#undef RSAMPLE_FUNCTION

}  // namespace libm

// Numbers that live as long as it does; zeros to begin with, or what T's constructor makes.
template <class T>
class Array {
 public:
  Array() = default;
  explicit Array(int64_t n) : Array(n, n > 0 ? new T[n]() : nullptr) {}
  Array(const Array&) = delete;
  ~Array() { delete[] numbers_; }

  Array& operator=(Array&& other) {
    T* const numbers = numbers_;
    numbers_ = other.numbers_, size_ = other.size_;
    other.numbers_ = numbers;  // which go with it
    return *this;
  }

  // Not set yet.
  static Array unset(int64_t n) { return Array(n, new T[n]); }

  T* data() const { return numbers_; }
  int64_t size() const { return size_; }
  T* begin() const { return numbers_; }
  T* end() const { return numbers_ + size_; }
  T& operator[](int64_t i) const { return numbers_[i]; }

 private:
  Array(int64_t size, T* numbers) : size_(size), numbers_(numbers) {}

  int64_t size_ = 0;
  T* numbers_ = nullptr;
};

}  // namespace rsample
