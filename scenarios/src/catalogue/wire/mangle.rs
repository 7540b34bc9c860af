//! Damage to the bytes of one message.

/// What is done to the bytes.
pub const MANGLES: [&str; 9] = [
    "nothing", "flip", "word", "truncate", "count", "length", "tag", "noise", "empty",
];

const WORD_BYTES: usize = 8;

/// Words that a pointer may not be, or may only be with care.
const POINTERS: [u64; 20] = [
    0,
    u64::MAX,
    // A struct of no size, the one pointer that points at itself.
    0xffff_fffc,
    // Structs: out of bounds in front and behind, the largest one, a cycle of one pointer.
    0x0001_0001_8000_0000,
    0x0001_0001_7fff_fffc,
    0xffff_ffff_0000_0000,
    0x0001_0000_ffff_fffc,
    0x0001_0000_ffff_fff8,
    // Lists: of void, bits, bytes, words, pointers and structs, each as long as can be.
    0xffff_fff8_0000_0001,
    0xffff_fff9_0000_0001,
    0xffff_fffa_0000_0001,
    0xffff_fffd_0000_0001,
    0xffff_fffe_0000_0001,
    0xffff_ffff_0000_0001,
    // A list of structs whose tag is the next word, and a list of itself.
    0x0000_000f_0000_0001,
    0x0000_000e_ffff_fffd,
    // Far pointers: to the own segment, to itself twice over, to a segment that is not there.
    0x0000_0000_0000_0002,
    0x0000_0000_0000_000e,
    0x0000_0007_0000_0002,
    // A capability that is not in the table.
    0xffff_ffff_0000_0003,
];

/// Numbers that a segment table may not hold.
const COUNTS: [u32; 8] = [1, 2, 3, 510, 511, 512, u32::MAX - 1, u32::MAX];
const LENGTHS: [u32; 8] = [
    0,
    1,
    1 << 10,
    (8 << 20) - 1,
    8 << 20,
    (8 << 20) + 1,
    1 << 31,
    u32::MAX,
];

/// Damages the frame `bytes` as `mangle` says; `at` says where, `with` by what.
pub fn mangle(bytes: &mut Vec<u8>, mangle: &str, at: usize, with: usize) {
    match mangle {
        "nothing" => {}
        "flip" => {
            let bit = at % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        "word" => {
            let words = bytes.len() / WORD_BYTES;
            // The segment table is not among them.
            let start = (1 + at % (words - 1).max(1)) * WORD_BYTES;
            put(bytes, start, &POINTERS[with % POINTERS.len()].to_le_bytes());
        }
        "truncate" => bytes.truncate(at % bytes.len()),
        "count" => put(bytes, 0, &COUNTS[with % COUNTS.len()].to_le_bytes()),
        "length" => put(bytes, 4, &LENGTHS[with % LENGTHS.len()].to_le_bytes()),
        "tag" => put(bytes, 2 * WORD_BYTES, &(with as u16 + 14).to_le_bytes()),
        "noise" => {
            for (index, byte) in bytes.iter_mut().enumerate().skip(at % 17) {
                let seed = [(index as u64).to_le_bytes(), (with as u64).to_le_bytes()];
                *byte = dismantle_sim::hash(seed.as_flattened()) as u8;
            }
        }
        "empty" => *bytes = vec![0; WORD_BYTES],
        other => unreachable!("{other} is no damage"),
    }
}

fn put(bytes: &mut [u8], start: usize, what: &[u8]) {
    if let Some(place) = bytes.get_mut(start..start + what.len()) {
        place.copy_from_slice(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_damage_changes_a_frame_and_nothing_leaves_it_alone() {
        let frame: Vec<u8> = (0..10 * WORD_BYTES as u8).collect();
        for what in MANGLES {
            for at in 0..100 {
                let mut damaged = frame.clone();
                mangle(&mut damaged, what, at, at + 1);
                assert_eq!(damaged == frame, what == "nothing", "{what} at {at}");
            }
        }
    }
}
