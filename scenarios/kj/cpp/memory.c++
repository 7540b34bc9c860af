// Blocks of C++ are the program's own, so that the heap ledger has them. What the library takes
// with `calloc`, the segments of messages, is not in it: the builders that own them are.

#include <new>

#include "host.h"

void* operator new(std::size_t bytes) {
  if (void* block = dk_host_allocate(bytes)) return block;
  throw std::bad_alloc();
}

void* operator new[](std::size_t bytes) { return operator new(bytes); }

void operator delete(void* block) noexcept {
  if (block != nullptr) dk_host_free(block);
}

void operator delete[](void* block) noexcept { operator delete(block); }
void operator delete(void* block, std::size_t) noexcept { operator delete(block); }
void operator delete[](void* block, std::size_t) noexcept { operator delete(block); }
