//! Names for people: what a function or a type is called without its paths, and whose it is.

use serde::Serialize;

use super::paths::{segments, split, within};
use crate::worker::symbols::{Named, disposed};

/// Whose code something is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Whose {
    /// The library under test: `capnp-rpc`, `capnp`, `capnp-futures`; or Cap'n Proto for C++.
    Upstream,
    /// The scenario's, or the simulation's.
    Own,
    /// The standard library's.
    Std,
    /// Another crate's: `futures`, mostly.
    Other,
}

impl Whose {
    /// As in JSON.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Own => "own",
            Self::Std => "std",
            Self::Other => "other",
        }
    }

    /// Of a crate or a namespace of C++ by its name in paths of types: `capnp_rpc`.
    fn of_name(name: &str) -> Self {
        match name {
            "kj" => Self::Upstream,
            "__gnu_cxx" | "__cxxabiv1" => Self::Std,
            name => Self::of_crate(name),
        }
    }

    /// Of a crate by its name: `capnp_rpc`.
    fn of_crate(name: &str) -> Self {
        match name {
            "core" | "alloc" | "std" | "hashbrown" => Self::Std,
            "capnp" | "capnp_rpc" | "capnp_futures" | "capnproto" => Self::Upstream,
            name if name.starts_with("futures") => Self::Other,
            "corosensei" | "libc" | "memchr" | "pin_project_lite" | "slab" | "tokio" => Self::Other,
            _ => Self::Own,
        }
    }

    /// Of a file: `capnp-rpc-0.27.3/src/rpc.rs`.
    fn of_path(path: &str) -> Self {
        let package = path.split('/').next().unwrap_or("");
        let version = package.rsplit_once('-').filter(|(_, version)| {
            version.contains('.') && version.starts_with(|c: char| c.is_ascii_digit())
        });
        match (package, version) {
            // From a registry: nobody's own, but for what is around a run.
            (_, Some((name, _))) if !name.starts_with("dismantle") => {
                match Self::of_crate(&name.replace('-', "_")) {
                    Self::Own => Self::Other,
                    whose => whose,
                }
            }
            ("core" | "alloc" | "std" | "library" | "", None) => Self::Std,
            _ => Self::of_crate(&package.replace('-', "_")),
        }
    }
}

/// What a function destroys, if that is what it is for: `T` of `drop_in_place<T>`, or what is to C++
/// what that is to Rust.
pub fn destroyed_by(function: &Named) -> Option<&str> {
    [&function.other, &function.name]
        .into_iter()
        .find_map(|name| {
            let plain = name.strip_prefix("core::ptr::").unwrap_or(name);
            let dropped = plain.strip_prefix("drop_in_place<");
            dropped.map_or_else(|| disposed(name), |dropped| dropped.strip_suffix('>'))
        })
}

/// A function's short name, and whose it is.
pub fn function(function: &Named) -> (String, Whose) {
    if let Some(destroyed) = destroyed_by(function) {
        let whose = Type::read(inner(destroyed)).whose();
        return (format!("drop of {}", short(destroyed)), whose);
    }
    let path = function
        .place
        .as_ref()
        .map_or("", |(path, _)| in_crate(path));
    let mut name = of_kj(&function.name).unwrap_or_else(|| path_of(&function.name));
    // Of a method with a type's parameters, as `Shared::poll`, the other name has the types.
    if let Some(arguments) = arguments_of(&function.other).filter(|_| !function.inlined) {
        name += &arguments;
    }
    let whose = match path {
        "" if !function.name.contains("::") => Whose::Std,
        "" => Whose::of_name(
            function
                .name
                .trim_start_matches('<')
                .split("::")
                .next()
                .unwrap_or(""),
        ),
        path => Whose::of_path(path),
    };
    (name, whose)
}

/// The last two parts of a function's path, closures and their like not counted; of upstream's the
/// module, too.
fn path_of(name: &str) -> String {
    let parts = segments(name);
    let parts = parts.iter().map(|(part, _)| plain_part(part));
    let parts: Vec<&str> = parts.filter(|part| !part.starts_with("{impl#")).collect();
    let named = parts.iter().rposition(|part| !part.starts_with('{'));
    let is_upstream = parts
        .first()
        .is_some_and(|it| Whose::of_name(it) == Whose::Upstream);
    let from = named
        .unwrap_or(0)
        .saturating_sub(if is_upstream { 2 } else { 1 });
    without_kj(&parts[from..]).join("::")
}

/// Without the namespace that nearly all of the C++ library is in.
fn without_kj<T: AsRef<str>>(parts: &[T]) -> &[T] {
    match parts {
        [first, rest @ ..] if first.as_ref() == "kj" && !rest.is_empty() => rest,
        parts => parts,
    }
}

/// `AttachmentPromiseNode<Tuple<…>>::destroy`: nearly all of kj's functions are their types', and
/// these differ in their arguments.
fn of_kj(name: &str) -> Option<String> {
    let (of, function) = name.strip_prefix("kj::")?.rsplit_once(">::")?;
    Some(format!("{}::{function}", limited(&format!("kj::{of}>"), 1)))
}

/// A source file from its crate's folder on: the same on every machine.
pub fn in_crate(path: &str) -> &str {
    let source = path.rfind("/src/").unwrap_or(0);
    path[..source]
        .rfind('/')
        .map_or(path, |slash| &path[slash + 1..])
}

/// `<Promise>` of `poll<capnp::capability::Promise<(), capnp::Error>>`.
fn arguments_of(name: &str) -> Option<String> {
    let (_, arguments) = segments(name).pop()?;
    let shown: Vec<String> = arguments
        .iter()
        .filter(|argument| !is_dull(argument))
        .map(|argument| limited(argument, 1))
        .collect();
    (!shown.is_empty()).then(|| format!("<{}>", shown.join(", ")))
}

/// A type without paths; of arguments within arguments within arguments only that there are some.
pub fn short(name: &str) -> String {
    limited(name, 2)
}

fn limited(name: &str, depth: u32) -> String {
    let name = name.trim();
    if let Some(inner) = within(name, '[', ']') {
        let inner = split(inner, ';').swap_remove(0);
        return format!("[{}]", limited(inner, depth));
    }
    if let Some(inner) = within(name, '(', ')') {
        let parts = split(inner, ',').into_iter();
        let parts: Vec<String> = parts.map(|part| limited(part, depth)).collect();
        return format!("({})", parts.join(", "));
    }
    if name.starts_with("fn(") {
        return "fn(…)".to_owned();
    }
    if let Some(inner) = name.strip_prefix("dyn ") {
        return format!("dyn {}", limited(split(inner, '+').swap_remove(0), 0));
    }
    let mut parts = segments(name);
    parts.retain(|(part, _)| !part.starts_with("{impl#"));
    let Some(last) = parts.iter().rposition(|(part, _)| !part.starts_with('{')) else {
        return name.to_owned();
    };
    // An upstream type is told by its module, as `rpc::Client` and `queued::Client`.
    let is_upstream = Whose::of_name(&parts[0].0) == Whose::Upstream;
    let from = match last + 1 < parts.len() || is_upstream {
        true => last.saturating_sub(1),
        false => last,
    };
    let parts = &parts[from..];
    let named: Vec<&str> = parts.iter().map(|(part, _)| plain_part(part)).collect();
    let mut text = without_kj(&named).join("::");
    let (_, arguments) = parts.last().expect("the last named one is in it");
    let arguments: Vec<&&str> = arguments.iter().filter(|it| !is_dull(it)).collect();
    if !arguments.is_empty() && !text.ends_with('}') {
        let shown = match depth {
            0 => "…".to_owned(),
            _ => {
                let shown = arguments.iter().map(|it| limited(it, depth - 1));
                shown.collect::<Vec<_>>().join(", ")
            }
        };
        text += &format!("<{shown}>");
    }
    text
}

/// `{closure}` of what the two sources of names call one.
fn plain_part(part: &str) -> &str {
    match part {
        part if part.starts_with("{closure") || part.starts_with("{{closure") => "{closure}",
        part if part.starts_with("{async") => "{async}",
        part => part,
    }
}

/// Arguments that say nothing: an allocator, the only kind of vat, an error that all have.
fn is_dull(argument: &&str) -> bool {
    let argument = argument.trim();
    argument.starts_with('\'')
        || [
            "alloc::alloc::Global",
            "capnp_rpc::rpc_twoparty_capnp::Side",
            "capnp::Error",
            "std::hash::random::RandomState",
            "VatId",
        ]
        .contains(&argument)
}

/// A type as far as its owner matters.
pub struct Type<'a> {
    path: &'a str,
}

impl<'a> Type<'a> {
    /// Reads a full name.
    pub fn read(name: &'a str) -> Self {
        Self { path: name.trim() }
    }

    /// The crate that it comes from.
    fn package(&self) -> &'a str {
        let path = self.path.trim_start_matches(['<', '&', '[', '(']);
        let end = path.find(|c: char| !(c.is_alphanumeric() || c == '_'));
        end.map_or("", |end| match path[end..].starts_with("::") {
            true => &path[..end],
            false => "",
        })
    }

    /// Whose it is. A primitive, a reference or a trait object is the standard library's.
    pub fn whose(&self) -> Whose {
        match self.package() {
            "" => Whose::Std,
            package => Whose::of_name(package),
        }
    }

    /// Whether a reader wants to see its destruction: it is upstream's or the scenario's, and no
    /// mere wrapper. (What the simulation destroys has a name of its own.)
    pub fn is_shown(&self) -> bool {
        let hidden = ["dismantle_sim", "dismantle_transport"];
        let wrapper = ["Promise", "PromiseInner", "Own", "Maybe"];
        matches!(self.whose(), Whose::Upstream | Whose::Own)
            && !hidden.contains(&self.package())
            && !segments(self.path)
                .last()
                .is_some_and(|(part, _)| wrapper.contains(&part.as_str()))
    }
}

/// What hides in a wrapper: `T` of `Option<Rc<RefCell<T>>>` and of `(u32, T)`.
pub fn inner(name: &str) -> &str {
    const WRAPPERS: [&str; 13] = [
        "Option",
        "Box",
        "Rc",
        "Arc",
        "RcInner",
        "ArcInner",
        "RefCell",
        "UnsafeCell",
        "Cell",
        "Pin",
        "ManuallyDrop",
        "MaybeUninit",
        "Mutex",
    ];
    let name = name.trim();
    if let Some(parts) = within(name, '(', ')') {
        let parts = split(parts, ',').into_iter().map(inner);
        return parts
            .clone()
            .find(|part| Type::read(part).is_shown())
            .unwrap_or(name);
    }
    let Some(open) = name
        .find('<')
        .filter(|open| *open > 0 && name.ends_with('>'))
    else {
        return name;
    };
    let head = name[..open].rsplit("::").next().unwrap_or("");
    let is_std = Type::read(name).whose() == Whose::Std;
    match is_std && WRAPPERS.contains(&head) {
        true => inner(split(&name[open + 1..name.len() - 1], ',').swap_remove(0)),
        false => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIDE: &str = "capnp_rpc::rpc_twoparty_capnp::Side";

    fn named(name: &str, other: &str, path: &str) -> Named {
        Named {
            name: name.to_owned(),
            other: other.to_owned(),
            place: (!path.is_empty()).then(|| (path.to_owned(), 7)),
            inlined: false,
        }
    }

    #[test]
    fn a_type_is_short_and_without_what_says_nothing() {
        let cases = [
            (
                format!("capnp_rpc::rpc::ConnectionState<{SIDE}>"),
                "rpc::ConnectionState",
            ),
            (
                format!(
                    "alloc::rc::Rc<core::cell::RefCell<capnp_rpc::rpc::QuestionRef<{SIDE}>>, alloc::alloc::Global>"
                ),
                "Rc<RefCell<rpc::QuestionRef>>",
            ),
            (
                format!("capnp_rpc::rpc::ConnectionState<{SIDE}>::message_loop::{{{{closure}}}}"),
                "ConnectionState::message_loop::{closure}",
            ),
            (
                "capnp_rpc::rpc::{impl#12}::message_loop::{async_fn_env#0}<capnp_rpc::Side>"
                    .to_owned(),
                "rpc::message_loop::{async}",
            ),
            (
                "dyn core::future::future::Future<Output = ()> + Send".to_owned(),
                "dyn Future<…>",
            ),
            (
                "[core::option::Option<a::b::C>; 3]".to_owned(),
                "[Option<C>]",
            ),
            ("fn(a::B) -> c::D".to_owned(), "fn(…)"),
        ];
        for (name, expected) in cases {
            assert_eq!(short(&name), expected, "{name}");
        }
    }

    #[test]
    fn a_function_has_its_type_and_an_owner() {
        let shared = "<futures_util::future::future::shared::Shared<Fut> as core::future::future::Future>::poll";
        let node =
            "kj::AttachmentPromiseNode<kj::Tuple<kj::Own<capnp::TwoPartyVatNetwork::Outgoing>>>";
        let disposer = format!("kj::HeapDisposer<{node}>::disposeImpl");
        let cases = [
            (
                named(&disposer, "", ""),
                (
                    "drop of AttachmentPromiseNode<Tuple<Own<…>>>",
                    Whose::Upstream,
                ),
            ),
            (
                named(&format!("{node}::destroy"), "", ""),
                ("AttachmentPromiseNode<Tuple<…>>::destroy", Whose::Upstream),
            ),
            (
                named("kj::TaskSet::clear", "", ""),
                ("TaskSet::clear", Whose::Upstream),
            ),
            (
                named("std::_Hashtable<capnp::ClientHook>::_M_rehash", "", ""),
                ("_Hashtable::_M_rehash", Whose::Std),
            ),
            (
                named("kj_loop::turn", "", "kj/cpp/loop.c++"),
                ("kj_loop::turn", Whose::Own),
            ),
            (
                named(
                    shared,
                    "poll<capnp::capability::Promise<(), capnp::Error>>",
                    "futures-util-0.3.31/src/a.rs",
                ),
                ("Shared::poll<capability::Promise<()>>", Whose::Other),
            ),
            (
                named(
                    "<capnp_rpc::queued::Client as capnp::private::capability::ClientHook>::call::{{closure}}",
                    "",
                    "capnp-rpc-0.27.3/src/queued.rs",
                ),
                ("queued::Client::call::{closure}", Whose::Upstream),
            ),
            (
                named(
                    "core::ptr::drop_in_place<alloc::rc::Rc<capnp_rpc::rpc::A>>",
                    "",
                    "core/src/ptr/mod.rs",
                ),
                ("drop of Rc<rpc::A>", Whose::Upstream),
            ),
            (
                named(
                    "dismantle::catalogue::pipeline::chain",
                    "",
                    "/home/me/dismantle/scenarios/src/catalogue/pipeline.rs",
                ),
                ("pipeline::chain", Whose::Own),
            ),
        ];
        for (named, (name, whose)) in cases {
            assert_eq!(function(&named), (name.to_owned(), whose), "{}", named.name);
        }
    }

    #[test]
    fn a_file_is_upstreams_from_a_registry_and_from_its_repository() {
        assert_eq!(
            Whose::of_path("capnp-rpc-0.27.3/src/rpc.rs"),
            Whose::Upstream
        );
        assert_eq!(Whose::of_path("capnp-rpc/src/rpc.rs"), Whose::Upstream);
        assert_eq!(
            Whose::of_path("capnproto-0.9.2/src/kj/memory.h"),
            Whose::Upstream
        );
        assert_eq!(Whose::of_path("slab-0.4.9/src/lib.rs"), Whose::Other);
        assert_eq!(Whose::of_path("my/src/lib.rs"), Whose::Own);
    }

    #[test]
    fn a_wrapper_is_taken_off_and_a_container_is_not() {
        let answer = format!("capnp_rpc::rpc::Answer<{SIDE}>");
        assert_eq!(inner(&format!("(u32, {answer})")), answer);
        assert_eq!(
            inner(&format!(
                "core::option::Option<alloc::boxed::Box<{answer}>>"
            )),
            answer
        );
        let vector = format!("alloc::vec::Vec<{answer}>");
        assert_eq!(inner(&vector), vector);
        assert!(Type::read(&answer).is_shown() && !Type::read(&vector).is_shown());
        assert!(!Type::read("dyn capnp::Hook").is_shown());
        assert!(!Type::read("u32").is_shown());
    }
}
