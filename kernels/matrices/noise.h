// Standard normal noise from blocks with a counter word 3 of their own, on the CPU.
//
// noise.py puts elementary.h and noise.h before this. philox.py and noise.py are the specification.

namespace rsample {

// Elements 0 .. n of a stream. Work is cut by element number only.
template <class T>
void stream_normal(T* out, int64_t n, uint64_t seed, uint64_t offset, uint32_t stream) {
  constexpr int SIZE = TILE<T>;
  const int64_t tiles = (n + SIZE - 1) / SIZE;
  at::parallel_for(0, tiles, GROUP_TILES, [&](int64_t begin, int64_t end) {
    alignas(64) uint32_t words[TILE_WORDS];
    alignas(64) T noise[SIZE];
    for (int64_t tile = begin; tile < end; ++tile) {
      philox4x32_10(seed, offset + static_cast<uint64_t>(tile) * TILE_BLOCKS, words, stream);
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
