// Several draws from each row of weights on the CPU: running sums once per row, then a search for each draw.
//
// rows.py puts elementary.h, noise.h and race.h before this. inversion.py is the specification: all bits are the same.

namespace rsample {

// ------------------------------------------------------------------------------------------------------ running sums

constexpr int UNITS = 256;  // weights that become units together

// gcc halves vectors of 64 bytes unless told otherwise.
#if defined(CPU_CAPABILITY_AVX512) && !defined(__clang__)
#define WIDE_VECTORS __attribute__((noinline, target("prefer-vector-width=512")))
#else
#define WIDE_VECTORS
#endif

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
  const int64_t right = min<int64_t>(max<int64_t>(-shift, 0), 63), left = max<int64_t>(shift, 0);
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
  const int64_t right = min<int64_t>(max<int64_t>(-shift, 0), 63), left = max<int64_t>(shift, 0);
  return (significand << left) >> right;
#endif
}

// Of what follows, functions that go over a block or a row are not inlined: all of it is one loop's body otherwise, which
// takes a compiler twice as long, and runs no faster.

// What n weights are in units, from the largest weights of their rows: w - top of logits, w / top of probabilities.
template <class T, bool FROM_PROBS>
WIDE_VECTORS void units(const T* w, int n, T bits, int64_t* result) {
  const T scale = Exponential<T>::power_of_2(bits);
  for (int j = 0; j < n; ++j) {
    if constexpr (FROM_PROBS) {
      result[j] = integer_part(w[j] > T(0) ? w[j] * scale : T(0));
    } else {
      result[j] = integer_part(exponential_in_units(w[j], bits));
    }
  }
}

template <class T, bool FROM_PROBS>
__attribute__((noinline)) void relative(const T* w, int64_t n, T top, T* result) {
  constexpr T NOTHING = FROM_PROBS ? T(0) : -std::numeric_limits<T>::infinity();
  const bool exists = top > NOTHING;
  for (int64_t j = 0; j < n; ++j) {
    if constexpr (FROM_PROBS) {
      const T ratio = w[j] == top ? T(1) : w[j] / top;
      result[j] = exists ? ratio : NOTHING;
    } else {
      const T difference = w[j] == top ? T(0) : w[j] - top;
      result[j] = exists ? difference : NOTHING;
    }
  }
}

template <class W, class T>
__attribute__((noinline)) T largest(const W* weights, int64_t k) {
  using V = Vector<T>;
  T buffer[UNITS];
  T top = -std::numeric_limits<T>::infinity();
  if (k < 2 * V::size()) {
    const T* w = widened(weights, k, buffer);
    for (int64_t j = 0; j < k; ++j) top = w[j] > top ? w[j] : top;
    return top;
  }
  V most[4] = {V(top), V(top), V(top), V(top)};
  for (int64_t begin = 0; begin < k; begin += UNITS) {
    const int64_t n = min<int64_t>(k - begin, UNITS);
    const T* w = widened(weights + begin, n, buffer);
    int64_t j = 0;
    for (; j + 4 * V::size() <= n; j += 4 * V::size()) {
      for (int i = 0; i < 4; ++i) most[i] = larger(most[i], V::loadu(w + j + i * V::size()));
    }
    for (; j + V::size() <= n; j += V::size()) most[0] = larger(most[0], V::loadu(w + j));
    for (; j < n; ++j) top = w[j] > top ? w[j] : top;
  }
  const auto of_two = [](const V& a, const V& b) { return larger(a, b); };
  return max(top, reduced(of_two, of_two(of_two(most[0], most[1]), of_two(most[2], most[3]))));
}

// Makes tables of running sums, of which each has `stride` numbers. Short rows become units together.
template <class W, class T>
class Tables {
 public:
  Tables(int64_t k, int64_t stride, bool from_probs) : k(k), stride(stride), from_probs(from_probs) {
    int digits = 0;
    while ((int64_t{1} << digits) < k) ++digits;
    bits = static_cast<T>(62 - digits);
  }

  void add(const W* weights, int64_t* sums) {
    const T top = largest<W, T>(weights, k);
    if (k > UNITS / 2) return make_long(weights, top, sums);
    make_relative(widened(weights, k, buffer), k, top, pending + count);
    if (count == 0) first = sums;
    count += static_cast<int>(k);
    if (count + k > UNITS) flush();
  }

  // The running sums of whole blocks of UNITS weights, of which the last may be short; returns the row's largest weight.
  __attribute__((noinline)) T add_blocks(const W* weights, int64_t* sums) {
    const T top = largest<W, T>(weights, k);
    int64_t total = 0, blocks = 0;
    for (int64_t begin = 0; begin < k; begin += UNITS) {
      const int n = block(weights, top, begin);
      for (int j = 0; j < n; ++j) total += in_units[j];
      sums[blocks++] = total;
    }
    if (total == 0) fill_n(sums, blocks, int64_t{1});
    return top;
  }

  // The category of a block from `begin` on at which the running sum from `total` on comes to exceed x.
  __attribute__((noinline)) int64_t find(const W* weights, T top, int64_t begin, int64_t total, int64_t x) {
    const int n = block(weights, top, begin);
    for (int j = 0; j < n; ++j) {
      total += in_units[j];
      if (total > x) return begin + j;
    }
    return 0;  // of a row without any weight
  }

  __attribute__((noinline)) void flush() {
    make_units(count);
    for (int done = 0; done < count; done += static_cast<int>(k), first += stride) {
      int64_t total = 0;
      for (int64_t j = 0; j < k; ++j) first[j] = total += in_units[done + j];
      if (total == 0) fill_n(first, k, int64_t{1});
    }
    count = 0;
  }

 private:
  int64_t k, stride;
  bool from_probs;
  T bits;
  int count = 0;
  int64_t* first = nullptr;
  alignas(64) T buffer[UNITS], pending[UNITS];
  alignas(64) int64_t in_units[UNITS];

  void make_relative(const T* w, int64_t n, T top, T* result) const {
    from_probs ? relative<T, true>(w, n, top, result) : relative<T, false>(w, n, top, result);
  }

  void make_units(int n) { from_probs ? units<T, true>(pending, n, bits, in_units) : units<T, false>(pending, n, bits, in_units); }

  __attribute__((noinline)) int block(const W* weights, T top, int64_t begin) {
    const int n = static_cast<int>(min<int64_t>(k - begin, UNITS));
    make_relative(widened(weights + begin, n, buffer), n, top, pending);
    make_units(n);
    return n;
  }

  __attribute__((noinline)) void make_long(const W* weights, T top, int64_t* sums) {
    int64_t total = 0;
    for (int64_t begin = 0; begin < k; begin += UNITS) {
      const int n = block(weights, top, begin);
      for (int j = 0; j < n; ++j) sums[begin + j] = total += in_units[j];
    }
    if (total == 0) fill_n(sums, k, int64_t{1});
  }
};

// ------------------------------------------------------------------------------------------------------------- draws

// Draws at hand: each searches the `length` sums from `first` on, and leaves what the first one beyond it stands for, by
// category(first, its number, x), at `out`.
template <class Category>
struct Draws {
  static constexpr int SIZE = 2 * TILE_BLOCKS;
  uint64_t seed, offset;
  const int64_t* sums;
  int64_t length;
  int64_t* index;
  const Category& category;
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
    fill(block + blocks, block + SIZE, block[0]);
    fill(first + count, first + SIZE, first[0]);
    for (int tile = 0; tile * TILE_BLOCKS < blocks; ++tile) {
      philox4x32_10(seed, block + tile * TILE_BLOCKS, 0, 0, words[tile]);
    }
    for (int i = 0; i < count; ++i) {
      const uint64_t total = sums[first[i] + length - 1], u = join_words(&words[0][0] + 2 * word[i]);
      x[i] = static_cast<int64_t>(static_cast<unsigned __int128>(u) * total >> 64);
    }
    fill(x + count, x + SIZE, int64_t{0});
    copy_n(first, SIZE, at);
    for (int64_t left = length; left > 1;) {
      const int64_t half = left / 2;
      // A mask: gcc makes of a choice here a jump, which half of the time is mispredicted.
      for (int i = 0; i < SIZE; ++i) at[i] += half & -static_cast<int64_t>(sums[at[i] + half - 1] <= x[i]);
      left -= half;
    }
    for (int i = 0; i < count; ++i) index[out[i]] = category(first[i], at[i] - first[i], x[i]);
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
    const int64_t outer = d > 0 ? at / dims.sizes[d] : 0, i = at - outer * dims.sizes[d];
    at = outer;
    place.weights += i * dims.weights[d];
    place.out += i * dims.out[d];
    place.number += i * dims.number[d];
  }
  return place;
}

// Calls body(place) for elements begin .. end.
template <class Body>
inline void each(const Dimensions& dims, int64_t begin, int64_t end, const Body& body) {
  const int64_t last = dims.rank - 1;
  while (begin < end) {
    Place place = place_of(dims, begin);
    const int64_t run = last < 0 ? 1 : min(end - begin, dims.sizes[last] - begin % dims.sizes[last]);
    const int64_t out = last < 0 ? 0 : dims.out[last], number = last < 0 ? 0 : dims.number[last];
    for (int64_t i = 0; i < run; ++i) {
      body(place);
      place.out += out;
      place.number += number;
    }
    begin += run;
  }
}

// The sums that draws look up lie in the first-level cache, unless a row has more, and the draws of neighbouring rows,
// at least so many, are written together.
constexpr int64_t TABLE = 1 << 12, NEIGHBOURS = 8;
constexpr int64_t TASK_NANOSECONDS = 200000;  // that are worth a thread

// The category of each draw.
template <class W, class T>
void inversion(const W* weights, int64_t k, const Dimensions& rows_of, const Dimensions& draws_of, uint64_t seed,
               uint64_t offset, int64_t lead, bool from_probs, int64_t* index) {
  const int64_t rows = rows_of.count(), draws = draws_of.count();
  // Rows vary faster than their draws, in the sample, or slower.
  const bool rows_inside = rows_of.rank > 0 && draws_of.rank > 0 &&
                           rows_of.out[rows_of.rank - 1] < draws_of.out[draws_of.rank - 1];
  const int64_t group = min(rows, max<int64_t>(TABLE / k, rows_inside && k < TABLE ? NEIGHBOURS : 1));
  const int64_t groups = (rows + group - 1) / group;
  // Many draws are cut, too, where making the table again for each part is a small part of the work.
  const int64_t chunk = max<int64_t>(4 * k, TASK_NANOSECONDS / (8 * group)), chunks = (draws + chunk - 1) / chunk;
  // Where draws are few, sums of blocks are enough: each draw makes those within one block again.
  const bool blocks = draws * (2 * UNITS) <= k;
  const int64_t length = blocks ? (k + UNITS - 1) / UNITS : k;
  const int64_t stride = length % 16 == 0 ? length + 8 : length;  // or rows would share a few sets of the cache
  const int64_t grain = max<int64_t>(TASK_NANOSECONDS / (group * (2 * k + 8 * min(draws, chunk))), 1);
  parallel_for(0, groups * chunks, grain, [&](int64_t begin, int64_t end) {
    const auto sums = Array<int64_t>::unset(group * stride);
    const auto places = Array<Place>::unset(group);
    const auto tops = Array<T>::unset(group);
    Tables<W, T> tables(k, stride, from_probs);
    const auto category = [&](int64_t table, int64_t found, int64_t x) {
      if (!blocks) return found;
      const int64_t row = table / stride, before = found > 0 ? sums[table + found - 1] : 0;
      return tables.find(weights + places[row].weights, tops[row], found * UNITS, before, x);
    };
    Draws<decltype(category)> at_hand{seed, offset, &sums[0], length, index, category};
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first_row = task / chunks * group, count = min(group, rows - first_row);
      for (int64_t row = 0; row < count; ++row) {
        places[row] = place_of(rows_of, first_row + row);
        if (blocks) {
          tops[row] = tables.add_blocks(weights + places[row].weights, &sums[row * stride]);
        } else {
          tables.add(weights + places[row].weights, &sums[row * stride]);
        }
      }
      if (!blocks) tables.flush();
      const int64_t first = task % chunks * chunk, last = min(first + chunk, draws);
      if (rows_inside) {
        each(draws_of, first, last, [&](const Place& place) {
          for (int64_t row = 0; row < count; ++row) {
            at_hand.add(row * stride, place.out + places[row].out, lead + place.number + places[row].number);
          }
        });
      } else {
        for (int64_t row = 0; row < count; ++row) {
          const Place own = places[row];
          each(draws_of, first, last, [&](const Place& place) {
            at_hand.add(row * stride, place.out + own.out, lead + place.number + own.number);
          });
        }
      }
      at_hand.flush();
    }
  });
}

}  // namespace rsample
