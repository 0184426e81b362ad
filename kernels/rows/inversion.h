// Several draws from each row of weights on the CPU: running sums once a row, then a search for each draw.
//
// compiled.py puts elementary.h, noise.h and race.h before this. inversion.py is the specification: all bits are the same.

#include <memory>

namespace rsample {

// ------------------------------------------------------------------------------------------------------ running sums

constexpr int UNITS = 256;  // weights that become units together

template <class T>
struct Exponential;

template <>
struct Exponential<float> {
  static constexpr int TERMS = 7;
  static constexpr float HIGH = 0.693359375f, LOW = -2.12194440e-4f, ROUND = 0x1.8p23f;
  static float power_of_2(float n) {
    return as_float(static_cast<uint32_t>(static_cast<int32_t>(n) + 127) << 23);
  }
};

template <>
struct Exponential<double> {
  static constexpr int TERMS = 13;
  static constexpr double HIGH = 0.693147180369123816, LOW = 1.90821492927058770e-10, ROUND = 0x1.8p52;
  static double power_of_2(double n) {
    const uint64_t bits = static_cast<uint64_t>(static_cast<int64_t>(static_cast<int32_t>(n)) + 1023) << 52;
    double value;
    std::memcpy(&value, &bits, 8);
    return value;
  }
};

constexpr double factorial(int n) { return n > 1 ? n * factorial(n - 1) : 1; }

// e**r by its series from term N on, over r**N; recursive, because gcc vectorises no loop around a loop.
template <int N, class T>
inline T series(T r) {
  constexpr T coefficient = static_cast<T>(1 / factorial(N));
  if constexpr (N == Exponential<T>::TERMS) {
    return coefficient;
  } else {
    return series<N + 1>(r) * r + coefficient;
  }
}

// 2**bits e**x, x <= 0; less than 1 for NaN.
template <class T>
inline T exponential_in_units(T x, T bits) {
  using E = Exponential<T>;
  x = x > T(-64) ? x : T(-64);
  const T power = (x * T(1.4426950408889634) + E::ROUND) - E::ROUND;
  const T r = (x - power * E::HIGH) - power * E::LOW;
  return series<0>(r) * E::power_of_2(power + bits);
}

// The integer part of x in [0, 2**63).
inline int64_t integer_part(float x) {
#if defined(CPU_CAPABILITY_AVX512)
  return static_cast<int64_t>(x);
#else
  // Without an instruction for it. Shifts of 64 bits that are too wide are those of numbers below 1.
  const uint32_t bits = as_bits(x);
  const int64_t shift = static_cast<int64_t>(bits >> 23) - 150, significand = (bits & 0x7FFFFF) | 0x800000;
  const int64_t right = std::min<int64_t>(std::max<int64_t>(-shift, 0), 63), left = std::max<int64_t>(shift, 0);
  return (significand << left) >> right;
#endif
}

inline int64_t integer_part(double x) {
#if defined(CPU_CAPABILITY_AVX512)
  return static_cast<int64_t>(x);
#else
  uint64_t bits;
  std::memcpy(&bits, &x, 8);
  const int64_t shift = static_cast<int64_t>(bits >> 52) - 1075;
  const int64_t significand = (bits & 0xFFFFFFFFFFFFF) | 0x10000000000000;
  const int64_t right = std::min<int64_t>(std::max<int64_t>(-shift, 0), 63), left = std::max<int64_t>(shift, 0);
  return (significand << left) >> right;
#endif
}

template <class W, class T, bool FROM_PROBS>
struct Units {
  T top, bits, scale;

  Units(const W* weights, int64_t k) {
    using V = at::vec::Vectorized<T>;
    T buffer[TILE<T>];
    const V nothing(-std::numeric_limits<T>::infinity());
    V most[4] = {nothing, nothing, nothing, nothing};
    for (int64_t begin = 0; begin < k; begin += TILE<T>) {
      const int64_t n = std::min<int64_t>(k - begin, TILE<T>);
      const T* w = widened(weights + begin, n, buffer);
      int64_t j = 0;
      for (; j + 4 * V::size() <= n; j += 4 * V::size()) {
        for (int i = 0; i < 4; ++i) most[i] = larger(most[i], V::loadu(w + j + i * V::size()));
      }
      for (; j < n; j += V::size()) {
        const int64_t count = std::min<int64_t>(n - j, V::size());
        most[0] = larger(most[0], V::set(nothing, V::loadu(w + j, count), count));
      }
    }
    const auto of_two = [](const V& a, const V& b) { return larger(a, b); };
    top = at::vec::vec_reduce_all<T>(of_two, of_two(of_two(most[0], most[1]), of_two(most[2], most[3])));
    int digits = 0;
    while ((int64_t{1} << digits) < k) ++digits;
    bits = static_cast<T>(62 - digits);
    scale = static_cast<T>(int64_t{1} << (62 - digits));
  }

  // Those of n weights, at most UNITS.
  void operator()(const W* weights, int64_t n, int64_t* units) const {
    T buffer[UNITS];
    const T* w = widened(weights, n, buffer);
    for (int64_t j = 0; j < n; ++j) {
      T value;
      if constexpr (FROM_PROBS) {
        value = w[j] == top ? scale : w[j] / top * scale;
        value = (w[j] > T(0)) & (top > T(0)) ? value : T(0);
      } else {
        value = exponential_in_units(w[j] == top ? T(0) : w[j] - top, bits);
        value = w[j] > -std::numeric_limits<T>::infinity() ? value : T(0);
      }
      units[j] = integer_part(value);
    }
  }
};

template <class W, class T, bool FROM_PROBS>
void running_sums(const W* weights, int64_t k, int64_t* sums) {
  const Units<W, T, FROM_PROBS> units_of(weights, k);
  alignas(64) int64_t units[UNITS];
  int64_t total = 0;
  for (int64_t begin = 0; begin < k; begin += UNITS) {
    const int64_t n = std::min<int64_t>(k - begin, UNITS);
    units_of(weights + begin, n, units);
    for (int64_t j = 0; j < n; ++j) sums[begin + j] = total += units[j];
  }
  if (total == 0) std::fill_n(sums, k, int64_t{1});
}

// ------------------------------------------------------------------------------------------------------------- draws

// Draws at hand: each searches the sums from `first` on, and leaves its category at `out`.
struct Draws {
  static constexpr int SIZE = 2 * TILE_BLOCKS;
  uint64_t seed, offset;
  const int64_t* sums;
  int64_t k;
  int64_t* index;
  int count = 0, blocks = 0;
  alignas(64) uint64_t block[SIZE], word[SIZE];  // of a block, and which half of which block a draw takes
  alignas(64) int64_t first[SIZE], out[SIZE], x[SIZE], at[SIZE];

  // Neighbouring draws share a block.
  void add(int64_t table, int64_t where, uint64_t number) {
    const uint64_t own = offset + (number >> 1);
    if (blocks == 0 || block[blocks - 1] != own) block[blocks++] = own;
    word[count] = 2 * (blocks - 1) + (number & 1);
    first[count] = table;
    out[count++] = where;
    if (count == SIZE) flush();
  }

  void flush() {
    if (count == 0) return;
    alignas(64) uint32_t words[2][TILE_WORDS];
    std::fill(block + blocks, block + SIZE, block[0]);
    std::fill(first + count, first + SIZE, first[0]);
    for (int tile = 0; tile * TILE_BLOCKS < blocks; ++tile) {
      philox4x32_10(seed, block + tile * TILE_BLOCKS, 0, 0, words[tile]);
    }
    for (int i = 0; i < count; ++i) {
      const uint64_t total = sums[first[i] + k - 1], u = join_words(&words[0][0] + 2 * word[i]);
      x[i] = static_cast<int64_t>(static_cast<unsigned __int128>(u) * total >> 64);
    }
    std::fill(x + count, x + SIZE, int64_t{0});
    std::copy_n(first, SIZE, at);
    for (int64_t length = k; length > 1;) {
      const int64_t half = length / 2;
      for (int i = 0; i < SIZE; ++i) at[i] += sums[at[i] + half - 1] <= x[i] ? half : 0;
      length -= half;
    }
    for (int i = 0; i < count; ++i) index[out[i]] = at[i] - first[i];
    count = blocks = 0;
  }
};

// The dimensions of a batch, outermost first: some run over rows of weights, others over draws from one row.
struct Dimensions {
  int64_t rank = 0;
  const int64_t *sizes, *weights, *out, *number;  // and the steps along them

  int64_t count() const {
    int64_t product = 1;
    for (int64_t d = 0; d < rank; ++d) product *= sizes[d];
    return product;
  }
};

struct Place {
  int64_t weights = 0, out = 0, number = 0;
};

inline Place place_of(const Dimensions& dims, int64_t at) {
  Place place;
  for (int64_t d = dims.rank - 1; d >= 0; --d) {
    const int64_t i = at % dims.sizes[d];
    at /= dims.sizes[d];
    place.weights += i * dims.weights[d];
    place.out += i * dims.out[d];
    place.number += i * dims.number[d];
  }
  return place;
}

constexpr int64_t TABLE = 1 << 15;     // sums that stay in the cache while draws look them up
constexpr int64_t ROWS_TASK = 1 << 17; // weights, and
constexpr int64_t DRAWS_TASK = 1 << 14; // draws, that are worth a thread

// The category of each draw.
template <class W, class T, bool FROM_PROBS>
void inversion(const W* weights, int64_t k, const Dimensions& rows_of, const Dimensions& draws_of, uint64_t seed,
               uint64_t offset, uint64_t lead, int64_t* index) {
  const int64_t rows = rows_of.count(), draws = draws_of.count();
  const int64_t group = std::min(rows, std::max<int64_t>(TABLE / k, 1));
  const int64_t groups = (rows + group - 1) / group;
  // Rows vary faster than their draws, in the sample, or slower.
  const bool rows_inside = rows_of.rank > 0 && draws_of.rank > 0 &&
                           rows_of.out[rows_of.rank - 1] < draws_of.out[draws_of.rank - 1];
  const auto fill = [&](int64_t begin, int64_t end, int64_t* sums, Place* places) {
    for (int64_t row = begin; row < end; ++row, sums += k, ++places) {
      *places = place_of(rows_of, row);
      running_sums<W, T, FROM_PROBS>(weights + places->weights, k, sums);
    }
  };
  const auto draw = [&](int64_t count, const int64_t* sums, const Place* places, int64_t begin, int64_t end) {
    Draws at_hand{seed, offset, sums, k, index};
    const int64_t last = draws_of.rank - 1;
    const auto each_draw = [&](const auto& body) {
      for (int64_t draw = begin; draw < end;) {
        Place place = place_of(draws_of, draw);
        const int64_t run = last < 0 ? 1 : std::min(end - draw, draws_of.sizes[last] - draw % draws_of.sizes[last]);
        for (int64_t i = 0; i < run; ++i, ++draw) {
          body(place);
          if (last >= 0) {
            place.out += draws_of.out[last];
            place.number += draws_of.number[last];
          }
        }
      }
    };
    if (rows_inside) {
      each_draw([&](const Place& place) {
        for (int64_t row = 0; row < count; ++row) {
          at_hand.add(row * k, place.out + places[row].out, lead + place.number + places[row].number);
        }
      });
    } else {
      for (int64_t row = 0; row < count; ++row) {
        const Place own = places[row];
        each_draw([&](const Place& place) {
          at_hand.add(row * k, place.out + own.out, lead + place.number + own.number);
        });
      }
    }
    at_hand.flush();
  };
  if (groups == 1) {
    const std::unique_ptr<int64_t[]> sums(new int64_t[rows * k]);
    const std::unique_ptr<Place[]> places(new Place[rows]);
    at::parallel_for(0, rows, std::max<int64_t>(ROWS_TASK / k, 1), [&](int64_t begin, int64_t end) {
      fill(begin, end, sums.get() + begin * k, places.get() + begin);
    });
    at::parallel_for(0, draws, std::max<int64_t>(DRAWS_TASK / rows, 1), [&](int64_t begin, int64_t end) {
      draw(rows, sums.get(), places.get(), begin, end);
    });
    return;
  }
  const int64_t grain = std::max<int64_t>(std::min(ROWS_TASK / (group * k), DRAWS_TASK / (group * draws)), 1);
  at::parallel_for(0, groups, grain, [&](int64_t begin, int64_t end) {
    const std::unique_ptr<int64_t[]> sums(new int64_t[group * k]);
    const std::unique_ptr<Place[]> places(new Place[group]);
    for (int64_t number = begin; number < end; ++number) {
      const int64_t first = number * group, count = std::min(group, rows - first);
      fill(first, first + count, sums.get(), places.get());
      draw(count, sums.get(), places.get(), 0, draws);
    }
  });
}

}  // namespace rsample
