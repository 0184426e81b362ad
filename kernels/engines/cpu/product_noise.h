// Standard normal noise of any stretch of a stream, on the CPU.
//
// product_library.py puts elementary.h and noise.h before this. philox.py and noise.py are the specification.

namespace rsample {

// A buffer for the noise at hand.
template <class T>
class Normals {
 public:
  // Elements first .. first + n of a stream, valid until the next call, and a vector beyond that may be read.
  __attribute__((noinline)) const T* of(uint64_t seed, uint64_t offset, uint64_t stream, int64_t first, int64_t n) {
    constexpr int64_t PER_BLOCK = 16 / sizeof(T), SIZE = TILE<T>;
    const int64_t lead = first % PER_BLOCK, tiles = (lead + n + SIZE - 1) / SIZE;
    if (buffer.size() < (tiles + 1) * SIZE) buffer = Array<T>((tiles + 1) * SIZE);
    alignas(64) uint32_t words[TILE_WORDS];
    for (int64_t tile = 0; tile < tiles; ++tile) {
      philox4x32_10(seed, offset + static_cast<uint64_t>(first / PER_BLOCK + tile * TILE_BLOCKS), words,
                    static_cast<uint32_t>(stream));
      normal::fill(words, 0, buffer.data() + tile * SIZE);
    }
    return buffer.data() + lead;
  }

 private:
  Array<T> buffer;
};

// Elements 0 .. n of a stream. Work is cut by element number only.
template <class T>
void stream_normal(T* out, int64_t n, uint64_t seed, uint64_t offset, uint32_t stream) {
  constexpr int64_t SIZE = TILE<T>;
  const int64_t tiles = (n + SIZE - 1) / SIZE;
  parallel_for(0, tiles, units(GRAIN, SIZE), [&](int64_t begin, int64_t end) {
    alignas(64) uint32_t words[TILE_WORDS];
    alignas(64) T noise[SIZE];
    for (int64_t tile = begin; tile < end; ++tile) {
      philox4x32_10(seed, offset + static_cast<uint64_t>(tile) * TILE_BLOCKS, words, stream);
      normal::fill(words, 0, noise);
      copy_n(noise, min<int64_t>(n - tile * SIZE, SIZE), out + tile * SIZE);
    }
  });
}

}  // namespace rsample
