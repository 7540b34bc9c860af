//! Bytes on their way: put in at the back, taken from the front, always in one piece.

use dismantle_sim::heap::uncounted;

/// A queue of bytes. What was taken is let go of when the queue is empty or half of it is taken.
#[derive(Default)]
pub(crate) struct Bytes {
    bytes: Vec<u8>,
    taken: usize,
}

impl Bytes {
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - self.taken
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.taken = 0;
    }

    /// The memory is the world's, not the run's.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        let pause = uncounted();
        self.bytes.extend_from_slice(bytes);
        drop(pause);
    }

    /// Takes as many as there is room for; they must be there.
    pub(crate) fn take_into(&mut self, room: &mut [u8]) {
        room.copy_from_slice(self.front(room.len()));
        self.drop_front(room.len());
    }

    /// Moves the first `count` to the back of `other`; they must be there.
    pub(crate) fn move_to(&mut self, other: &mut Self, count: usize) {
        other.put(self.front(count));
        self.drop_front(count);
    }

    fn front(&self, count: usize) -> &[u8] {
        &self.bytes[self.taken..][..count]
    }

    fn drop_front(&mut self, count: usize) {
        self.taken += count;
        if self.is_empty() {
            self.clear();
        } else if self.taken > self.len() {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_out_in_the_order_in_which_they_went_in() {
        let (mut first, mut second) = (Bytes::default(), Bytes::default());
        let mut out = Vec::new();
        let all: Vec<u8> = (0..=255).cycle().take(10_000).collect();
        for (index, piece) in all.chunks(70).enumerate() {
            first.put(piece);
            first.move_to(&mut second, first.len().min(index % 100));
            let mut room = vec![0; second.len().min(index % 83)];
            second.take_into(&mut room);
            out.extend(room);
        }
        for mut rest in [second, first] {
            let mut room = vec![0; rest.len()];
            rest.take_into(&mut room);
            assert!(rest.is_empty());
            out.extend(room);
        }
        assert_eq!(out, all);
    }
}
