// Standard normal noise from blocks with a counter word 3 of their own, on the CPU.
//
// noise.py puts elementary.h and noise.h before this. philox.py and noise.py are the specification.

namespace rsample {

// The words of blocks block .. block + TILE_BLOCKS whose counter word 3 is `stream`, in order.
inline void stream_words(uint64_t seed, uint64_t block, uint32_t stream, uint32_t (&words)[TILE_WORDS]) {
  uint32_t c0[TILE_BLOCKS], c1[TILE_BLOCKS], c2[TILE_BLOCKS], c3[TILE_BLOCKS];
  for (int i = 0; i < TILE_BLOCKS; ++i) {
    c0[i] = static_cast<uint32_t>(block + i);
    c1[i] = static_cast<uint32_t>((block + i) >> 32);
    c2[i] = 0;
    c3[i] = stream;
  }
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < TILE_BLOCKS; ++i) {
      const uint64_t a = static_cast<uint64_t>(c0[i]) * 0xD2511F53u, b = static_cast<uint64_t>(c2[i]) * 0xCD9E8D57u;
      c0[i] = static_cast<uint32_t>(b >> 32) ^ c1[i] ^ k0;
      c1[i] = static_cast<uint32_t>(b);
      c2[i] = static_cast<uint32_t>(a >> 32) ^ c3[i] ^ k1;
      c3[i] = static_cast<uint32_t>(a);
    }
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  for (int i = 0; i < TILE_BLOCKS; ++i) {
    words[4 * i] = c0[i];
    words[4 * i + 1] = c1[i];
    words[4 * i + 2] = c2[i];
    words[4 * i + 3] = c3[i];
  }
}

// Elements 0 .. n of a stream. Work is cut by element number only.
template <class T>
void stream_normal(T* out, int64_t n, uint64_t seed, uint64_t offset, uint32_t stream) {
  constexpr int SIZE = TILE<T>;
  const int64_t tiles = (n + SIZE - 1) / SIZE;
  at::parallel_for(0, tiles, GROUP_TILES, [&](int64_t begin, int64_t end) {
    alignas(64) uint32_t words[TILE_WORDS];
    alignas(64) T noise[SIZE];
    for (int64_t tile = begin; tile < end; ++tile) {
      stream_words(seed, offset + static_cast<uint64_t>(tile) * TILE_BLOCKS, stream, words);
      normal::fill(words, 0, noise);
      std::copy_n(noise, std::min<int64_t>(n - tile * SIZE, SIZE), out + tile * SIZE);
    }
  });
}

}  // namespace rsample

extern "C" void stream_normal_float(float* out, int64_t n, uint64_t seed, uint64_t offset, uint32_t stream) {
  rsample::stream_normal(out, n, seed, offset, stream);
}

extern "C" void stream_normal_double(double* out, int64_t n, uint64_t seed, uint64_t offset, uint32_t stream) {
  rsample::stream_normal(out, n, seed, offset, stream);
}
