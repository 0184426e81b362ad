// Noise that loops, on the CPU: the elements of a tile whose attempt was rejected move up and try again together.
//
// noise.h goes before this. laws/rejection/noise.py says which block an attempt takes; the functions next to it are the
// specification.

#include <utility>

namespace rsample {

constexpr uint32_t ONCE = 0xFFFFFFFFu;  // the attempt whose words are for what is drawn once per element

// Some elements of a tile, at most TILE<T>, and where they stand in it.
template <class T>
struct Pending {
  int count;  // the first ones, to begin with
  int index[TILE<T>];
  uint64_t block[TILE<T>];

  Pending(const uint64_t* blocks, int count) : count(count) {
    for (int i = 0; i < TILE<T>; ++i) index[i] = i;
    copy_n(blocks, TILE<T>, block);
  }

  // Keeps the elements of a mask.
  void keep(const int32_t* mask) {
    int kept = 0;
    for (int i = 0; i < count; ++i) {
      index[kept] = index[i];
      block[kept] = block[i];
      kept += mask[i] != 0;
    }
    count = kept;
  }
};

// The words of an attempt, word k of element i at words[4 * i + k], for `count` elements and up to a whole tile.
template <class T>
inline void attempt_words(uint64_t seed, const uint64_t* blocks, int count, uint32_t attempt, uint32_t stream,
                          uint32_t* words) {
  for (int i = 0; i < count; i += TILE_BLOCKS) {
    philox4x32_10(seed, blocks + i, attempt, stream, *reinterpret_cast<uint32_t(*)[TILE_WORDS]>(words + 4 * i));
  }
}

// The numbers, in order, of those among n for which `again` is not 0; returns how many.
inline int survivors(const int32_t* again, int n, int* from) {
  int kept = 0;
  for (int i = 0; i < n; ++i) {
    from[kept] = i;
    kept += again[i] != 0;
  }
  return kept;
}

template <class T>
inline void move_up(const int* from, int kept, T* numbers) {
  for (int i = 0; i < kept; ++i) numbers[i] = numbers[from[i]];
}

template <class T>
inline void move_up(const int* from, int kept, Pending<T>& pending) {
  move_up(from, kept, pending.index);
  move_up(from, kept, pending.block);
  pending.count = kept;
}

// The exponentials that elements take once.
template <class T>
inline void exponential_once(uint64_t seed, const uint64_t* blocks, uint32_t stream, int n, T* out) {
  const Pending<T> all(blocks, n);
  uint32_t words[4 * TILE<T>], own[TILE_WORDS] = {};
  attempt_words<T>(seed, all.block, n, ONCE, stream, words);
  constexpr int WORDS = sizeof(T) / 4;  // of an element, as `exponential` takes them
  for (int i = 0; i < n; ++i) copy_n(words + 4 * i, WORDS, own + WORDS * i);
  exponential::fill(own, 0, out);
}

// -------------------------------------------------------------------------------------------------------- candidates

// Candidates (x, u) of an attempt, COUNT<T> of an element: number j of element i at [j][i].
struct normal_candidates {
  template <class T>
  static constexpr int COUNT = 2;

  static void fill(uint64_t seed, const Pending<float>& pending, uint32_t attempt, uint32_t stream,
                   float (*x)[TILE<float>], float (*u)[TILE<float>]) {
    uint32_t words[4 * TILE<float>];
    attempt_words<float>(seed, pending.block, pending.count, attempt, stream, words);
    for (int i = 0; i < pending.count; ++i) {
      normal_pair(words[4 * i], words[4 * i + 1], x[0][i], x[1][i]);
      u[0][i] = open_unit(words[4 * i + 2]);
      u[1][i] = open_unit(words[4 * i + 3]);
    }
  }

  static void fill(uint64_t seed, const Pending<double>& pending, uint32_t attempt, uint32_t stream,
                   double (*x)[TILE<double>], double (*u)[TILE<double>]) {
    using V = Vector<double>;
    uint32_t words[4 * TILE<double>], more[4 * TILE<double>];
    attempt_words<double>(seed, pending.block, pending.count, attempt, stream, words);
    attempt_words<double>(seed, pending.block, pending.count, attempt, stream + 1, more);
    for (int i = 0; i < pending.count; ++i) {
      for (int j = 0; j < 2; ++j) {
        x[j][i] = open_unit(words[4 * i + 2 * j], words[4 * i + 2 * j + 1]);
        u[j][i] = open_unit(more[4 * i + 2 * j], more[4 * i + 2 * j + 1]);
      }
    }
    for (int i = 0; i < pending.count; i += V::size()) {
      const V radius = (V(-2.0) * V::loadu(x[0] + i).log()).sqrt();
      const V angle = V::loadu(x[1] + i) * V(6.283185307179586);
      (radius * angle.cos()).store(x[0] + i);
      (radius * angle.sin()).store(x[1] + i);
    }
  }
};

struct centered_candidates {
  template <class T>
  static constexpr int COUNT = sizeof(T) == 4 ? 2 : 1;

  template <class T>
  static void fill(uint64_t seed, const Pending<T>& pending, uint32_t attempt, uint32_t stream, T (*x)[TILE<T>],
                   T (*u)[TILE<T>]) {
    uint32_t words[4 * TILE<T>];
    attempt_words<T>(seed, pending.block, pending.count, attempt, stream, words);
    for (int i = 0; i < pending.count; ++i) {
      const uint32_t* w = words + 4 * i;
      if constexpr (sizeof(T) == 8) {
        x[0][i] = centered_from_words(w);
        u[0][i] = open_unit(w[2], w[3]);
      } else {
        x[0][i] = centered_from_word(w[0]);
        u[0][i] = open_unit(w[1]);
        x[1][i] = centered_from_word(w[2]);
        u[1][i] = open_unit(w[3]);
      }
    }
  }
};

// -------------------------------------------------------------------------------------------------- functions of laws

// std::floor, which may raise a floating-point exception, keeps a loop from being vectorised.
template <class T>
inline T floor(T x) {
  const T nearest = libm::nearbyint(x);
  return nearest - select(nearest > x, T(1), T(0));
}

template <class T>
inline T clamped(T x, T least, T most) {
  return select(x > most, most, select(x < least, least, x));
}

inline float cotangent(float t) {  // of pi t
  const float square = t * t;
  float q = 1.4707199f;
  q = multiply_add(q, square, 0.36165732f);
  q = multiply_add(q, square, 0.67794497f);
  q = multiply_add(q, square, 0.64527685f);
  q = multiply_add(q, square, 0.68908119f);
  q = multiply_add(q, square, 1.0471974f);
  return multiply_add(-square, q, 0.318309886f) / t;
}

inline double cotangent(double t) { return 1 / libm::tan(3.141592653589793 * t); }

// -------------------------------------------------------------------------------------------------------------- loops

// Calls a function that rejection/cpp_code.py has made: of arrays `first`, then the first ones of `others`, into those of `out`.
template <class Function, class Others, class Outs, class... First>
inline void call(int n, const Others& others, Outs&& out, int32_t* mask, First... first) {
  [&]<int... I, int... K>(std::integer_sequence<int, I...>, std::integer_sequence<int, K...>) {
    Function::apply(first..., others[I]..., n, out[K]..., mask);
  }(std::make_integer_sequence<int, Function::INPUTS - static_cast<int>(sizeof...(First))>{},
    std::make_integer_sequence<int, Function::OUTPUTS>{});
}

// Its results for the elements of a tile, and where they are.
template <class Function, class T>
struct Results {
  T own[Function::OUTPUTS][TILE<T>];
  const T* at[Function::OUTPUTS];

  template <class... First>
  Results(int n, const T* const* others, First... first) {
    call<Function>(n, others, own, nullptr, first...);
    for (int k = 0; k < Function::OUTPUTS; ++k) at[k] = Function::passed(k) < 0 ? own[k] : others[Function::passed(k)];
  }
};

// What a function reads of the results of a setup, for elements of a tile; its inputs from FIRST on.
template <class Function, int FIRST, class T>
struct Gathered {
  T own[Function::INPUTS - FIRST][TILE<T>];
  const T* at[Function::INPUTS - FIRST];

  // Of those among n elements that are pending.
  void gather(const T* const* given, const Pending<T>& pending, int n) {
    for (int k = 0; k < Function::INPUTS - FIRST; ++k) {
      at[k] = given[k];
      if (!Function::reads(FIRST + k) || pending.count == n) continue;
      for (int i = 0; i < pending.count; ++i) own[k][i] = given[k][pending.index[i]];
      at[k] = own[k];
    }
  }
};

// So many elements, in float with those beyond that a loop over vectors takes with them at no cost.
template <class T>
inline int whole_vectors(int n) {
  constexpr int SIZE = sizeof(T) == 4 ? Vector<T>::size() : 1;
  return (n + SIZE - 1) / SIZE * SIZE;
}

// Writes the values of the elements that are pending among n.
template <class RejectionLaw, class T>
inline void reject(uint64_t seed, Pending<T>& pending, const T* const* given, uint32_t stream, int n, T* out) {
  constexpr int SIZE = TILE<T>, COUNT = RejectionLaw::candidates::template COUNT<T>;
  T x[COUNT][SIZE], u[COUNT][SIZE], value[1][SIZE];
  Gathered<typename RejectionLaw::attempt, 2, T> own;
  int32_t rejected[SIZE];
  int from[SIZE];
  for (uint32_t attempt = 0; pending.count > 0; ++attempt) {
    RejectionLaw::candidates::fill(seed, pending, attempt, stream, x, u);
    for (int j = 0; j < COUNT; ++j) {
      own.gather(given, pending, n);
      call<typename RejectionLaw::attempt>(whole_vectors<T>(pending.count), own.at, value, rejected, x[j], u[j]);
      for (int i = 0; i < pending.count; ++i) out[pending.index[i]] = value[0][i];
      if (j + 1 == COUNT) {
        pending.keep(rejected);
      } else {
        // Few are left for the next candidate.
        const int kept = survivors(rejected, pending.count, from);
        move_up(from, kept, pending);
        move_up(from, kept, x[j + 1]);
        move_up(from, kept, u[j + 1]);
      }
    }
  }
}

// Writes the counts of the elements that are pending among n, of which few arrive.
template <class Step, class T>
inline void count(uint64_t seed, Pending<T>& pending, const T* const* given, uint32_t stream, int n, T* out) {
  constexpr int NUMBERS = TILE_WORDS * sizeof(uint32_t) / sizeof(T);  // of a tile of words
  T e[4 * TILE<T>], state[2][TILE<T>] = {};  // time, and what has arrived by then
  Gathered<Step, 3, T> own;
  uint32_t words[4 * TILE<T>];
  int32_t again[TILE<T>];
  int from[TILE<T>];
  for (uint32_t attempt = 0; pending.count > 0; ++attempt) {
    attempt_words<T>(seed, pending.block, pending.count, attempt, stream, words);
    for (int i = 0; i < (4 * pending.count + TILE_WORDS - 1) / TILE_WORDS; ++i) {
      exponential::fill(words + TILE_WORDS * i, 0, e + NUMBERS * i);
    }
    own.gather(given, pending, n);
    call<Step>(pending.count, own.at, state, again, e, state[0], state[1]);
    for (int i = 0; i < pending.count; ++i) out[pending.index[i]] = state[1][i];
    const int kept = survivors(again, pending.count, from);
    move_up(from, kept, pending);
    move_up(from, kept, state[0]);
    move_up(from, kept, state[1]);
  }
}

// Leaves in `few` the elements of the mask, and in `others` the others.
template <class T>
inline void split(const int32_t* mask, Pending<T>& few, Pending<T>& others) {
  int32_t rest[TILE<T>], number = 0;
  for (int i = 0; i < few.count; ++i) {
    rest[i] = !mask[i];
    number += mask[i];
  }
  if (number == few.count) {
    others.count = 0;
  } else if (number == 0) {
    few.count = 0;
  } else {
    few.keep(mask);
    others.keep(rest);
  }
}

// The results of a law for the first `n` elements of a tile. Not inlined, as noises share laws.
template <class RejectionLaw, class T>
__attribute__((noinline)) void drawn(uint64_t seed, const uint64_t* blocks, const T* const* parameters, uint32_t stream,
                                     int n, T* const* out) {
  const Results<typename RejectionLaw::setup, T> setup(n, parameters);
  T values[TILE<T>];
  T* value = out[0];
  if constexpr (requires { typename RejectionLaw::finish; }) value = values;
  Pending<T> pending(blocks, n);
  if constexpr (requires { typename RejectionLaw::few; }) {
    int32_t few[TILE<T>];
    call<typename RejectionLaw::few>(n, setup.at, out, few);
    Pending<T> counted(blocks, n);
    split(few, counted, pending);
    count<typename RejectionLaw::step>(seed, counted, setup.at, stream, n, value);
  }
  reject<RejectionLaw>(seed, pending, setup.at, stream, n, value);
  if constexpr (requires { typename RejectionLaw::finish; }) {
    call<typename RejectionLaw::finish>(n, setup.at, out, nullptr, value);
  }
  if constexpr (requires { typename RejectionLaw::once; }) {
    int32_t some[TILE<T>], any = 0;
    call<typename RejectionLaw::some>(n, setup.at, out, some);
    for (int i = 0; i < n; ++i) any |= some[i];
    if (any) {
      T e[TILE<T>];
      exponential_once(seed, blocks, stream, n, e);
      const Results<typename RejectionLaw::once, T> others(n, setup.at, e, value);
      for (int k = 0; k < RejectionLaw::once::OUTPUTS; ++k) {
        for (int i = 0; i < n; ++i) out[k][i] = select(some[i], others.at[k][i], out[k][i]);
      }
    }
  }
}

// The results of a law whose parameters are a function of a draw's, and of the results of laws before.
template <class RejectionLaw, class Parameters, class T>
inline void part(uint64_t seed, const uint64_t* blocks, const T* const* in, uint32_t stream, int n, T* const* out) {
  drawn<RejectionLaw>(seed, blocks, Results<Parameters, T>(n, in).at, stream, n, out);
}

// For a law whose gradient is a function of its parameters alone.
struct nothing {
  static constexpr int VALUES = 1;
  template <class T>
  static void fill(uint64_t, const uint64_t*, const T* const*, int n, T* noise) {
    fill_n(noise, n, T(0));
  }
};

}  // namespace rsample
