// Noise that loops, on the CPU: the elements of a tile whose attempt was rejected move up and try again together.
//
// noise.h goes before this. loops/noise.py says which block an attempt takes; the functions next to it are the
// specification.

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

  // Keeps the elements for which `rejected` is not 0.
  void keep(const int32_t* rejected) {
    int kept = 0;
    for (int i = 0; i < count; ++i) {
      index[kept] = index[i];
      block[kept] = block[i];
      kept += rejected[i] != 0;
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

// ----------------------------------------------------------------------------------------------------------- gamma

template <class T>
struct Candidates {
  T first[TILE<T>], second[TILE<T>], u[TILE<T>], v[TILE<T>];
};

inline void candidates(uint64_t seed, const Pending<float>& pending, uint32_t attempt, uint32_t stream,
                       Candidates<float>& out) {
  uint32_t words[4 * TILE<float>];
  attempt_words<float>(seed, pending.block, pending.count, attempt, stream, words);
  for (int i = 0; i < pending.count; ++i) {
    normal_pair(words[4 * i], words[4 * i + 1], out.first[i], out.second[i]);
    out.u[i] = open_unit(words[4 * i + 2]);
    out.v[i] = open_unit(words[4 * i + 3]);
  }
}

inline void candidates(uint64_t seed, const Pending<double>& pending, uint32_t attempt, uint32_t stream,
                       Candidates<double>& out) {
  using V = Vector<double>;
  uint32_t words[4 * TILE<double>], more[4 * TILE<double>];
  attempt_words<double>(seed, pending.block, pending.count, attempt, stream, words);
  attempt_words<double>(seed, pending.block, pending.count, attempt, stream + 1, more);
  const auto unit = [](const uint32_t* w) { return open_unit(w[0], w[1]); };
  for (int i = 0; i < pending.count; ++i) {
    out.first[i] = unit(words + 4 * i);
    out.second[i] = unit(words + 4 * i + 2);
    out.u[i] = unit(more + 4 * i);
    out.v[i] = unit(more + 4 * i + 2);
  }
  for (int i = 0; i < pending.count; i += V::size()) {
    const V radius = (V(-2.0) * V::loadu(out.first + i).log()).sqrt();
    const V angle = V::loadu(out.second + i) * V(6.283185307179586);
    (radius * angle.cos()).store(out.first + i);
    (radius * angle.sin()).store(out.second + i);
  }
}

// Whether the candidate y is rejected.
inline bool rejected(float y, float u, float d) {
  float series = 0.13363388f;
  series = multiply_add(series, y, -0.15201389f);
  series = multiply_add(series, y, 0.16651181f);
  series = multiply_add(series, y, -0.19985479f);
  series = multiply_add(series, y, 0.25000019f);
  const float square = y * y;
  const float far = y - square * (0.5f - y * (1.0f / 3)) - log1p(select(y > -1.0f, y, 0.0f));
  const float r = select(std::fabs(y) < 0.25f, square * square * series, far);
  return (y <= -1.0f) | (u > exp(-3.0f * d * r));
}

inline bool rejected(double y, double u, double d) {
  if (y <= -1) return true;
  return u > exp(-3 * d * (y - y * y * (0.5 - y / 3) - log1p(y)));
}

// As in loops/gamma.py.
template <class T>
inline T floored(T concentration) {
  constexpr T LEAST = sizeof(T) == 8 ? T(0x1p-900) : T(0x1p-100);
  return select(std::fabs(concentration) < LEAST, LEAST, concentration);
}

// The concentrations a of the first `n` elements of a tile make ratios and powers of which g is a * ratio * exp(power).
template <class T>
inline void gamma_noise(uint64_t seed, const uint64_t* blocks, const T* given, uint32_t stream, int n, T* ratio,
                        T* power) {
  constexpr int SIZE = TILE<T>;
  T a[SIZE];
  for (int i = 0; i < n; ++i) a[i] = floored(given[i]);
  T d[SIZE], width[SIZE], y[SIZE];
  for (int i = 0; i < n; ++i) {
    d[i] = a[i] + (static_cast<T>(a[i] < T(1)) - T(1) / 3);
    width[i] = T(1) / std::sqrt(9 * d[i]);
  }
  Candidates<T> c;
  int32_t again[SIZE];
  T d_of[SIZE], width_of[SIZE], chosen[SIZE];
  Pending<T> pending(blocks, n);
  for (uint32_t attempt = 0; pending.count > 0; ++attempt) {
    candidates(seed, pending, attempt, stream, c);
    for (int i = 0; i < pending.count; ++i) {
      d_of[i] = d[pending.index[i]];
      width_of[i] = width[pending.index[i]];
    }
    for (int i = 0; i < pending.count; ++i) {
      const T first = c.first[i] * width_of[i], second = c.second[i] * width_of[i];
      const bool first_rejected = rejected(first, c.u[i], d_of[i]);
      chosen[i] = first_rejected ? second : first;
      again[i] = first_rejected & rejected(second, c.v[i], d_of[i]);
    }
    for (int i = 0; i < pending.count; ++i) y[pending.index[i]] = chosen[i];
    pending.keep(again);
  }
  for (int i = 0; i < n; ++i) {
    const T root = T(1) + y[i];
    ratio[i] = d[i] / a[i] * (root * root * root);
  }
  std::fill_n(power, n, T(0));
  bool any_below_one = false;
  for (int i = 0; i < n; ++i) any_below_one |= a[i] < T(1);
  if (any_below_one) {
    const Pending<T> all(blocks, n);
    uint32_t words[4 * SIZE], own[TILE_WORDS] = {};
    attempt_words<T>(seed, all.block, n, ONCE, stream, words);
    constexpr int WORDS = sizeof(T) / 4;  // of an element, as `exponential` takes them
    for (int i = 0; i < n; ++i) copy_n(words + 4 * i, WORDS, own + WORDS * i);
    exponential::fill(own, 0, power);
    for (int i = 0; i < n; ++i) power[i] = a[i] < T(1) ? -power[i] / a[i] : T(0);
  }
}

struct two_gammas {
  static constexpr int VALUES = 4;
  template <class T>
  static void fill(uint64_t seed, const uint64_t* blocks, const T* const* parameters, int n, T* noise) {
    for (int i = 0; i < 2; ++i) {
      gamma_noise(seed, blocks, parameters[i], 2 * i, n, noise + 2 * i * TILE<T>, noise + (2 * i + 1) * TILE<T>);
    }
  }
};

// Of half the parameters, which are degrees of freedom.
struct two_half_gammas {
  static constexpr int VALUES = 4;
  template <class T>
  static void fill(uint64_t seed, const uint64_t* blocks, const T* const* parameters, int n, T* noise) {
    T half[2][TILE<T>];
    for (int i = 0; i < 2; ++i) {
      for (int j = 0; j < n; ++j) half[i][j] = parameters[i][j] / 2;
    }
    const T* const halves[] = {half[0], half[1]};
    two_gammas::fill(seed, blocks, halves, n, noise);
  }
};

// For a map whose gradient is a function of its parameters alone.
struct nothing {
  static constexpr int VALUES = 1;
  template <class T>
  static void fill(uint64_t, const uint64_t*, const T* const*, int n, T* noise) {
    std::fill_n(noise, n, T(0));
  }
};

// -------------------------------------------------------------------------------------------------------- von Mises

inline float cotangent(float t) {  // of pi t, as in maps/cauchy.py
  const float square = t * t;
  float q = 1.4707199f;
  q = multiply_add(q, square, 0.36165732f);
  q = multiply_add(q, square, 0.67794497f);
  q = multiply_add(q, square, 0.64527685f);
  q = multiply_add(q, square, 0.68908119f);
  q = multiply_add(q, square, 1.0471974f);
  return multiply_add(-square, q, 0.318309886f) / t;
}

inline double cotangent(double t) { return 1 / std::tan(3.141592653589793 * t); }

template <class T>
inline bool angle_rejected(T q, T u, T base, T twice) {
  const T c = base + twice / (1 + 1 / (q * q));
  return u > c * exp(1 - c);
}

// The tangent of half an angle.
struct von_mises {
  static constexpr int VALUES = 1;

  template <class T>
  static void fill(uint64_t seed, const uint64_t* blocks, const T* const* parameters, int n, T* q) {
    constexpr int SIZE = TILE<T>;
    T s[SIZE], base[SIZE], twice[SIZE], proposed[SIZE];
    for (int i = 0; i < n; ++i) {
      twice[i] = 2 * std::min(parameters[1][i], T(1e36));
      const T root = select(twice[i] > T(2e15), twice[i], std::sqrt(1 + twice[i] * twice[i]));
      const T further = std::sqrt(2 * (1 + root));
      const T total = 1 + root + further;
      s[i] = (1 + further + 1 / (root + twice[i])) / (total + twice[i]);
      const T distance = s[i] * (1 + twice[i] / total);
      base[i] = distance * distance * total / 4;
    }
    int32_t again[SIZE];
    uint32_t words[4 * SIZE];
    Pending<T> pending(blocks, n);
    for (uint32_t attempt = 0; pending.count > 0; ++attempt) {
      attempt_words<T>(seed, pending.block, pending.count, attempt, 0, words);
      for (int i = 0; i < pending.count; ++i) {
        const uint32_t* w = words + 4 * i;
        const int at = pending.index[i];
        if constexpr (sizeof(T) == 8) {
          const T t = centered_from_words(w);
          proposed[i] = s[at] * cotangent(t);
          const T u = open_unit(w[2], w[3]);
          again[i] = angle_rejected(proposed[i], u, base[at], twice[at]);
        } else {
          const T first = s[at] * cotangent(centered_from_word(w[0]));
          const T second = s[at] * cotangent(centered_from_word(w[2]));
          const bool rejected = angle_rejected<T>(first, open_unit(w[1]), base[at], twice[at]);
          proposed[i] = select(rejected, second, first);
          again[i] = rejected & angle_rejected<T>(second, open_unit(w[3]), base[at], twice[at]);
        }
      }
      for (int i = 0; i < pending.count; ++i) q[pending.index[i]] = proposed[i];
      pending.keep(again);
    }
  }
};

struct gamma {
  static constexpr int VALUES = 2;
  template <class T>
  static void fill(uint64_t seed, const uint64_t* blocks, const T* const* parameters, int n, T* noise) {
    gamma_noise(seed, blocks, parameters[0], 0, n, noise, noise + TILE<T>);
  }
};

}  // namespace rsample
