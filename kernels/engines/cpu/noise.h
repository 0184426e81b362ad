// Philox and words to noise on the CPU, a tile at a time in the first-level cache; elementary.h goes before this.
//
// philox.py and noise.py are the specification: words and uniforms have the same bits here, normal and exponential noise
// differs by a few units in the last place.

namespace rsample {

constexpr int TILE_BLOCKS = 32;  // Philox blocks in a tile
constexpr int TILE_WORDS = 4 * TILE_BLOCKS;
template <class T>
constexpr int TILE = TILE_WORDS * 4 / sizeof(T);  // elements in a tile
constexpr int GROUP_TILES = 32;  // tiles in the unit of work, and of a partial sum

// A thread's least work, in elements: some 100 us, as a second thread that has to wait for a core of its own costs
// milliseconds. Nor less than ATen's own, from which on a program knows that there may be threads.
constexpr int64_t GRAIN = 1 << 15;
constexpr int64_t GRAIN_OF_LOOPS = 1 << 13;  // of noise that loops

// How many units of work a thread takes at least, of which each is so much.
inline int64_t units(int64_t grain, int64_t unit) {
  unit = max<int64_t>(unit, 1);
  return (grain + unit - 1) / unit;
}

// ---------------------------------------------------------------------------------------------------------- Philox

// 64-bit lanes whose low halves hold 32-bit words. The high halves may hold anything: products read only the low ones,
// so nothing needs to be masked between rounds.
constexpr int WIDTH = sizeof(Vector<float>) / sizeof(uint64_t);
typedef uint64_t Lanes __attribute__((vector_size(WIDTH * sizeof(uint64_t))));
constexpr int BATCH = WIDTH == 8 ? 4 : 2;  // vectors of blocks in flight: they hide latency while registers last
static_assert(TILE_BLOCKS % (WIDTH * BATCH) == 0);

inline Lanes multiply_low_halves(Lanes a, uint64_t m) {
#if defined(RSAMPLE_OWN_VECTORS)
  return (Lanes)native::product_of_low_halves((Integers)a, (Integers)(Lanes{} + m));
#elif defined(CPU_CAPABILITY_AVX512)
  return (Lanes)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(m));
#elif defined(CPU_CAPABILITY_AVX2)
  return (Lanes)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(m));
#else
  return (a & 0xFFFFFFFFu) * m;
#endif
}

// The words of TILE_BLOCKS blocks, in order: of block number(i) and so on, WIDTH numbers at a time, with counter words c2
// and c3.
template <class Number>
__attribute__((noinline)) void philox_tile(uint64_t seed, const Number& number, uint32_t c2_of_all, uint32_t c3_of_all,
                        uint32_t (&words)[TILE_WORDS]) {
  uint64_t low[TILE_BLOCKS], high[TILE_BLOCKS], stream[2 * TILE_BLOCKS];  // words 0 and 1, words 2 and 3, all
  for (int done = 0; done < TILE_BLOCKS; done += BATCH * WIDTH) {
    Lanes c0[BATCH], c1[BATCH], c2[BATCH], c3[BATCH];
    for (int i = 0; i < BATCH; ++i) {
      c0[i] = number(done + WIDTH * i);
      c1[i] = c0[i] >> 32;
      c2[i] = Lanes{} + c2_of_all;
      c3[i] = Lanes{} + c3_of_all;
    }
    uint32_t k0 = seed, k1 = seed >> 32;
#pragma GCC unroll 10
    for (int round = 0; round < 10; ++round) {
      for (int i = 0; i < BATCH; ++i) {
        const Lanes a = multiply_low_halves(c0[i], 0xD2511F53u), b = multiply_low_halves(c2[i], 0xCD9E8D57u);
        c0[i] = (b >> 32) ^ c1[i] ^ k0;
        c1[i] = b;
        c2[i] = (a >> 32) ^ c3[i] ^ k1;
        c3[i] = a;
      }
      k0 += 0x9E3779B9u;
      k1 += 0xBB67AE85u;
    }
    for (int i = 0; i < BATCH; ++i) {
      const Lanes words01 = (c0[i] & 0xFFFFFFFFu) | (c1[i] << 32), words23 = (c2[i] & 0xFFFFFFFFu) | (c3[i] << 32);
      std::memcpy(low + done + WIDTH * i, &words01, sizeof words01);
      std::memcpy(high + done + WIDTH * i, &words23, sizeof words23);
    }
  }
  for (int i = 0; i < TILE_BLOCKS; ++i) {
    stream[2 * i] = low[i];
    stream[2 * i + 1] = high[i];
  }
  std::memcpy(words, stream, sizeof stream);
}

// Blocks block .. block + TILE_BLOCKS of a stream.
inline void philox4x32_10(uint64_t seed, uint64_t block, uint32_t (&words)[TILE_WORDS], uint32_t stream = 0) {
  Lanes lane;
  for (int i = 0; i < WIDTH; ++i) lane[i] = i;
  philox_tile(seed, [&](int i) { return lane + (block + i); }, 0, stream, words);
}

// The blocks whose numbers are given.
inline void philox4x32_10(uint64_t seed, const uint64_t* blocks, uint32_t c2, uint32_t c3,
                          uint32_t (&words)[TILE_WORDS]) {
  const auto number = [&](int i) {
    Lanes lanes;
    std::memcpy(&lanes, blocks + i, sizeof lanes);
    return lanes;
  };
  philox_tile(seed, number, c2, c3, words);
}

// ----------------------------------------------------------------------------------------------------------- noise

// word * 2**-32, rounded once. Only AVX-512 converts unsigned integers; the halves convert exactly everywhere.
inline float unit_interval(uint32_t word) {
#if defined(CPU_CAPABILITY_AVX512)
  return static_cast<float>(word) * 0x1p-32f;
#else
  return static_cast<float>(static_cast<int32_t>(word >> 16)) * 0x1p-16f +
         static_cast<float>(static_cast<int32_t>(word & 0xFFFFu)) * 0x1p-32f;
#endif
}

// A uniform number in (0, 1), the middle of its cell: of one word, and in double precision of two.
inline float open_unit(uint32_t word) { return unit_interval(word) + 0x1p-33f; }
inline double open_unit(uint32_t high, uint32_t low) { return (high * 0x1p-32 + low * 0x1p-64) + 0x1p-65; }

// Cosine and sine of the angle of a word.
inline void unit_circle(uint32_t angle_word, float& cosine, float& sine) {
  // Turns to the nearest quarter turn, exact, and what is left of them, within an eighth.
  const float turns = open_unit(angle_word);
  const int32_t quarter = static_cast<int32_t>(turns * 4.0f + 0.5f);
  const float x = (turns - static_cast<float>(quarter) * 0.25f) * 6.2831853071795864f;
  const float square = x * x;
  // Minimax on an eighth of a turn: relative errors 3.8e-9 (sine) and 1.2e-10 (cosine) before rounding.
  float s = multiply_add(-1.9515284e-04f, square, 8.33216e-03f);
  s = multiply_add(s, square, -1.6666655e-01f);
  s = multiply_add(s * square, x, x);
  float c = multiply_add(2.4433157e-05f, square, -1.3887316e-03f);
  c = multiply_add(c, square, 4.1666646e-02f);
  c = multiply_add(c * square, square, multiply_add(-0.5f, square, 1.0f));
  // An odd quarter swaps sine and cosine; the next bit is their sign.
  const uint32_t swap = (as_bits(s) ^ as_bits(c)) & -static_cast<uint32_t>(quarter & 1);
  cosine = as_float(as_bits(c) ^ swap ^ (static_cast<uint32_t>((quarter + 1) & 2) << 30));
  sine = as_float(as_bits(s) ^ swap ^ (static_cast<uint32_t>(quarter & 2) << 30));
}

// Box and Muller's pair from a radius word and an angle word.
inline void normal_pair(uint32_t radius_word, uint32_t angle_word, float& first, float& second) {
  const float u = open_unit(radius_word);
  const float radius = libm::sqrt(-2.0f * log_unit(u));
  float cosine, sine;
  unit_circle(angle_word, cosine, sine);
  first = radius * cosine;
  second = radius * sine;
}

inline uint64_t join_words(const uint32_t* words) { return (static_cast<uint64_t>(words[0]) << 32) | words[1]; }

inline void uniform_from_words(const uint32_t* words, int bits, float* u) {
  const uint32_t mask = (uint32_t{1} << bits) - 1;
  const float scale = __builtin_ldexpf(1.0f, -bits);
  for (int i = 0; i < TILE<float>; ++i) u[i] = static_cast<float>(static_cast<int32_t>(words[i] & mask)) * scale;
}

inline void uniform_from_words(const uint32_t* words, int bits, double* u) {
  const uint64_t mask = (uint64_t{1} << bits) - 1;
  const double scale = __builtin_ldexp(1.0, -bits);
  for (int i = 0; i < TILE<double>; ++i) {
    u[i] = static_cast<double>(static_cast<int64_t>(join_words(words + 2 * i) & mask)) * scale;
  }
}

// A noise fills a tile from its words; one that loops makes words of its own, see loops.h.
template <class Noise>
concept Looping = requires { Noise::VALUES; };

// How many numbers an element has.
template <class Noise>
constexpr int values_of() {
  if constexpr (Looping<Noise>) {
    return Noise::VALUES;
  } else if constexpr (requires { Noise::NOISES; }) {
    return Noise::NOISES;
  } else {
    return 1;
  }
}

// `bits` is the significand of the sample's own dtype, the hidden bit included.
struct native_uniform {
  template <class T>
  static void fill(const uint32_t* words, int bits, T* u) {
    uniform_from_words(words, bits, u);
  }
};

struct uniform {
  template <class T>
  static void fill(const uint32_t* words, int, T* u) {
    uniform_from_words(words, std::numeric_limits<T>::digits, u);
  }
};

inline float centered_from_word(uint32_t word) {
  return static_cast<float>(static_cast<int32_t>(word)) * 0x1p-32f + 0x1p-33f;
}

inline double centered_from_words(const uint32_t* words) {
  return static_cast<double>(static_cast<int64_t>(join_words(words))) * 0x1p-64 + 0x1p-65;
}

struct centered {
  static void fill(const uint32_t* words, int, float* t) {
    for (int i = 0; i < TILE<float>; ++i) t[i] = centered_from_word(words[i]);
  }

  static void fill(const uint32_t* words, int, double* t) {
    for (int i = 0; i < TILE<double>; ++i) {
      t[i] = centered_from_words(words + 2 * i);
    }
  }
};

struct exponential {
  static void fill(const uint32_t* words, int, float* x) {
    for (int i = 0; i < TILE<float>; ++i) {
      // u is t or 1 + t, and u / 2**e - 1 is taken from t without the rounding of that sum: e is 0 or -1 where t < 0.
      const float t = centered_from_word(words[i]);
      const float u = select(t > 0.0f, t, 1.0f + t);
      const int32_t e = exponent(u);
      const float near = select(e == 0, t, 2.0f * t + 1.0f);
      const float far = mantissa(u, e) - 1.0f;
      x[i] = -log_split(e, select(t > 0.0f, far, near));
    }
  }

  static void fill(const uint32_t* words, int bits, double* x) {
    using V = Vector<double>;
    centered::fill(words, bits, x);
    for (int i = 0; i < TILE<double>; i += V::size()) {
      const V t = V::loadu(x + i), positive = t > V(0.0);
      const V u = V::blendv(V(1.0), t, positive), v = V::blendv(t, V(0.0), positive);
      V::blendv(v.log1p(), u.log(), positive).neg().store(x + i);
    }
  }
};

struct normal {
  static void fill(const uint32_t* words, int, float* z) {
    for (int i = 0; i < TILE<float>; i += 2) normal_pair(words[i], words[i + 1], z[i], z[i + 1]);
  }

  static void fill(const uint32_t* words, int, double* z) {
    using V = Vector<double>;
    constexpr int PAIRS = TILE<double> / 2;
    double even[PAIRS], odd[PAIRS];
    for (int i = 0; i < PAIRS; ++i) {
      const uint32_t* w = words + 4 * i;
      even[i] = open_unit(w[0], w[1]);
      odd[i] = open_unit(w[2], w[3]);
    }
    for (int i = 0; i < PAIRS; i += V::size()) {
      const V radius = (V(-2.0) * V::loadu(even + i).log()).sqrt();
      const V angle = V::loadu(odd + i) * V(6.283185307179586);
      (radius * angle.cos()).store(even + i);
      (radius * angle.sin()).store(odd + i);
    }
    for (int i = 0; i < PAIRS; ++i) {
      z[2 * i] = even[i];
      z[2 * i + 1] = odd[i];
    }
  }
};

// Two noises of an element, the second of the blocks of stream 1.
template <class First, class Second>
struct Two {
  static constexpr int NOISES = 2;
  static constexpr bool has_second() { return true; }

  template <class T>
  static void fill(const uint32_t* words, int bits, T* noise) {
    First::fill(words, bits, noise);
  }

  template <class T>
  static void fill_second(const uint32_t* words, int bits, T* noise) {
    Second::fill(words, bits, noise);
  }
};

}  // namespace rsample
