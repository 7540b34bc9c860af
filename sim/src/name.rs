//! Names of everything that a report speaks of: `owner/kind/index`.
//!
//! A name is made of words that are known at compile time and of a number, so it is `Copy`,
//! allocates nothing and is the same in every process. It never holds an address or an
//! order of creation that a schedule could change.

use std::fmt;

use serde::{Serialize, Serializer};

/// Names one task, object, pipe or call: `client/call/3`, `server/system`.
///
/// `owner` says whose it is, `kind` what it is; `index` tells apart several of one kind and
/// is left out where there is only one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    owner: &'static str,
    kind: &'static str,
    index: Option<u32>,
    /// Hashed once, where it is made: a name is mentioned in many events.
    id: u64,
}

impl Name {
    /// A name without a number: `client/system`.
    pub const fn new(owner: &'static str, kind: &'static str) -> Self {
        let hash = fnv(FNV_START, owner.as_bytes());
        let hash = fnv(hash, b"/");
        Self {
            owner,
            kind,
            index: None,
            id: fnv(hash, kind.as_bytes()),
        }
    }

    /// A name with a number: `client/call/3`.
    pub const fn numbered(owner: &'static str, kind: &'static str, index: u32) -> Self {
        Self::new(owner, kind).with_index(index)
    }

    /// The same owner and kind with this number. Cheaper than [`Name::numbered`] where many
    /// names differ in their numbers alone.
    pub const fn with_index(self, index: u32) -> Self {
        let unnumbered = match self.index {
            Some(_) => Self::new(self.owner, self.kind),
            None => self,
        };
        let mut id = fnv(unnumbered.id, b"/");
        let mut divisor = 1;
        while index / divisor >= 10 {
            divisor *= 10;
        }
        while divisor > 0 {
            id = fnv(id, &[b'0' + (index / divisor % 10) as u8]);
            divisor /= 10;
        }
        Self {
            index: Some(index),
            id,
            ..unnumbered
        }
    }

    /// The same owner and number with this kind.
    pub const fn with_kind(self, kind: &'static str) -> Self {
        let name = Self::new(self.owner, kind);
        match self.index {
            Some(index) => name.with_index(index),
            None => name,
        }
    }

    /// Whose it is: `client`.
    pub const fn owner(&self) -> &'static str {
        self.owner
    }

    /// What it is: `call`. Signatures are made of kinds, never of numbers.
    pub const fn kind(&self) -> &'static str {
        self.kind
    }

    /// The number within its kind, if it has one.
    pub const fn index(&self) -> Option<u32> {
        self.index
    }

    /// A hash of the printed form: the same in every process and every build.
    #[inline]
    pub const fn id(&self) -> u64 {
        self.id
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.owner, self.kind)?;
        match self.index {
            Some(index) => write!(f, "/{index}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Name {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Start value of the 64-bit FNV-1a hash (its specification's offset basis).
pub(crate) const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a over `bytes`: short, and `const`, which is why names use it.
pub(crate) const fn fnv(mut hash: u64, bytes: &[u8]) -> u64 {
    let mut index = 0;
    while index < bytes.len() {
        hash ^= bytes[index] as u64;
        hash = hash.wrapping_mul(0x0000_0100_0000_01b3);
        index += 1;
    }
    hash
}

/// A 64-bit hash (FNV-1a) that is the same in every process and every build.
pub const fn hash(bytes: &[u8]) -> u64 {
    fnv(FNV_START, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_is_the_hash_of_the_printed_form() {
        for name in [
            Name::new("client", "system"),
            Name::numbered("client", "call", 0),
            Name::numbered("server", "object", 4_294_967_295),
            Name::numbered("server", "object", 10),
            Name::new("server", "object").with_index(7),
            Name::numbered("server", "object", 10).with_index(7),
        ] {
            assert_eq!(name.id(), fnv(FNV_START, name.to_string().as_bytes()));
        }
    }
}
