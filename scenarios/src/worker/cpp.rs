//! Names of C++ functions, as paths that read like Rust's.
//!
//! `kj::_::AttachmentPromiseNode<kj::Own<T, std::nullptr_t> >::destroy()` becomes
//! `kj::AttachmentPromiseNode<kj::Own<T>>::destroy`: without parameters, qualifiers, inner namespaces
//! and what says nothing. A name that cannot be read stays as it is.

use cpp_demangle::{DemangleOptions, Symbol};

/// The namespaces of the library under test, and where its functions are if nobody has their lines.
const UPSTREAM: [(&str, &str); 2] = [
    ("capnp::", "capnproto/src/capnp"),
    ("kj::", "capnproto/src/kj"),
];

/// What ends a name: a copy that the compiler made.
const COPY: &str = " [clone";

/// Whether it is mangled as C++ does it: Rust's older names, which look the same, end with a hash.
pub(super) fn is_mangled(name: &str) -> bool {
    let is_hash = |word: &str| {
        let hash = word.get(..17).and_then(|hash| hash.strip_suffix('E'));
        hash.is_some_and(|hash| hash.chars().all(|c| c.is_ascii_hexdigit()))
    };
    name.starts_with("_Z")
        && !name
            .rsplit_once("17h")
            .is_some_and(|(_, word)| is_hash(word))
}

/// The path of a mangled name.
pub(super) fn demangled(name: &str) -> Option<String> {
    let options = DemangleOptions::default().no_params().no_return_type();
    let symbol = Symbol::new(name).ok()?;
    Some(plain(&symbol.demangle_with_options(&options).ok()?))
}

/// The folder of a function of the library under test, by its path.
pub(super) fn folder(path: &str) -> Option<&'static str> {
    let is_in = |(space, _): &&(&str, &str)| path.starts_with(space);
    UPSTREAM.iter().find(is_in).map(|(_, folder)| *folder)
}

/// A demangled name as a path.
fn plain(name: &str) -> String {
    // What adjusts the object first is as good as what it goes on with.
    let thunk = name.strip_prefix("{virtual override thunk(");
    let thunk = thunk.and_then(|thunk| thunk.strip_suffix(")}")?.split_once("}, "));
    let name = thunk.map_or(name, |(_, name)| name);
    let mut rest = name.split(COPY).next().unwrap_or(name);
    let mut path = String::new();
    while let Some(c) = rest.chars().next() {
        let begins = !path.ends_with(is_of_name);
        let dull = DULL.iter().find(|dull| rest.starts_with(**dull));
        let taken = if let Some(dull) = dull {
            dull.len()
        } else if begins && rest.starts_with("_::") {
            "_::".len()
        } else if begins && rest.starts_with(OPERATOR) {
            operator(rest, &mut path)
        } else {
            match c {
                '(' => group(rest),
                '#' => rest.find('}').unwrap_or(rest.len()),
                '&' | '*' => 1,
                ' ' if rest[1..].starts_with(['>', '&', '*']) => 1,
                c => {
                    path.push(c);
                    c.len_utf8()
                }
            }
        };
        rest = &rest[taken..];
    }
    // A lambda has one function.
    path.replace("{lambda}::operator", "{lambda}")
}

/// What says nothing: where nobody else can name it, that a type is constant, the usual owner.
const DULL: [&str; 3] = ["(anonymous namespace)::", " const", ", std::nullptr_t"];

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

const OPERATOR: &str = "operator";

/// The operators, the longest first of those that begin alike.
const OPERATORS: [&str; 32] = [
    "<=>", "<<=", ">>=", "->*", "()", "[]", "->", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||",
    "++", "--", "+=", "-=", "*=", "/=", "%=", "<", ">", "=", "+", "-", "*", "/", "%", "&", "|",
];

/// Takes an operator without its sign, of which a bracket would be taken for one; how long it is.
fn operator(rest: &str, path: &mut String) -> usize {
    path.push_str(OPERATOR);
    let after = &rest[OPERATOR.len()..];
    let sign = OPERATORS.iter().find(|sign| after.starts_with(**sign));
    OPERATOR.len() + sign.map_or(0, |sign| sign.len())
}

/// How long a group in parentheses is.
fn group(rest: &str) -> usize {
    let mut depth = 0_u32;
    for (at, c) in rest.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_path() {
        let cases = [
            (
                "_ZN2kj1_21AttachmentPromiseNodeINS_3OwnIN5capnp10ClientHookEDnEEE7destroyEv",
                "kj::AttachmentPromiseNode<kj::Own<capnp::ClientHook>>::destroy",
            ),
            (
                "_ZNK2kj1_12HeapDisposerINS0_21AttachmentPromiseNodeINS0_5TupleIJNS_3OwnIN5capnp18\
                 TwoPartyVatNetwork19OutgoingMessageImplEEENS0_8DeferredIZNS7_4sendEvEUlvE_EEEEEEEE\
                 11disposeImplEPv",
                "kj::HeapDisposer<kj::AttachmentPromiseNode<kj::Tuple<\
                 kj::Own<capnp::TwoPartyVatNetwork::OutgoingMessageImpl>, \
                 kj::Deferred<capnp::TwoPartyVatNetwork::OutgoingMessageImpl::send::{lambda}>>>>\
                 ::disposeImpl",
            ),
            (
                "_ZThn8_N5capnp18TwoPartyVatNetwork19OutgoingMessageImplD0Ev",
                "capnp::TwoPartyVatNetwork::OutgoingMessageImpl::~OutgoingMessageImpl",
            ),
            (
                "_ZZN5capnp1_12_GLOBAL__N_118RpcConnectionState11messageLoopEvENKUlON2kj5MaybeINS3_3Own\
                 INS_18IncomingRpcMessageEDnEEEEE_clES9_",
                "capnp::RpcConnectionState::messageLoop::{lambda}",
            ),
            ("_ZN2kj10StringTree6concatEv.cold", "kj::StringTree::concat"),
            ("_Znwm", "operator new"),
        ];
        for (mangled, expected) in cases {
            assert!(is_mangled(mangled));
            assert_eq!(demangled(mangled).as_deref(), Some(expected));
        }
        assert_eq!(
            plain("a::operator<< <b::C const&>"),
            "a::operator <b::C>",
            "no bracket is left open"
        );
        assert_eq!(demangled("_ZN2kj1_6MapperI"), None);
    }

    #[test]
    fn a_name_of_rusts_is_none() {
        let rust = "_ZN9capnp_rpc3rpc3run17h0123456789abcdefE";
        assert!(!is_mangled(rust) && !is_mangled("main") && !is_mangled("_RNvC1a4main"));
        assert!(!is_mangled(&format!("{rust}.llvm.99")));
        assert_eq!(folder("kj::TaskSet::clear"), Some("capnproto/src/kj"));
        assert_eq!(folder("kjx::clear"), None);
    }
}
