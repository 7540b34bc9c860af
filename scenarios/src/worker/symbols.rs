//! From a raw stack to named frames. Only a supervisor does this: it takes tens of megabytes.
//!
//! The worker hands over its registers, the top of its stack and its memory map. Unwinding uses
//! the modules' call frame information (no frame pointers are needed), and names come from the
//! debug information, functions that were inlined included.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;

use addr2line::Loader;
use dismantle_sim::{Fault, source_path};
use framehop::x86_64::{CacheX86_64, UnwindRegsX86_64, UnwinderX86_64};
use framehop::{ExplicitModuleSectionInfo, FrameAddress, Module, Unwinder};
use object::{Object, ObjectKind, ObjectSection, ReadCache};

use super::cpp;
use crate::check::Place;

/// More frames than 256 MiB of stack can hold, at 32 B each. (A stack that is not kept whole ends
/// sooner.)
const FRAMES_MAX: usize = 1 << 23;

/// The longest cycle that is looked for. One of a debug build was seen to have 72 frames.
const CYCLE_MAX: usize = 1 << 12;

/// The libraries whose functions a place is looked for in, as it begins there: capnp-rpc, from a
/// registry or from its repository, and Cap'n Proto for C++.
const UPSTREAM: [&str; 3] = ["capnp-rpc", "capnproto-", "capnproto/"];

/// A frame of a stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Walked {
    /// An address within the instruction that it is at.
    pub(crate) address: u64,
    /// Where the frame ends: what tells one call of a function from another. 0 for the last frame
    /// that was found.
    pub(crate) end: u64,
}

/// A function as the debug information has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Named {
    /// Its name: `<a::B<T> as c::D>::e` of a frame's own function, `e<x::T>` of one that was inlined
    /// by a release build. Of a C++ function it is a path such as `a::B<T>::e`.
    pub(crate) name: String,
    /// What the other source of names calls it, if there is one: with types where `name` has
    /// parameters.
    pub(crate) other: String,
    /// `capnp-rpc-0.27.3/src/rpc.rs` and the line that it is at.
    pub(crate) place: Option<(String, u32)>,
    /// Whether it was inlined into the next one.
    pub(crate) inlined: bool,
}

/// A function that a frame is in: its own, or one that was inlined into it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Function {
    /// With its type or module where that is known: of a function that was inlined, a release
    /// build keeps the bare name.
    name: String,
    /// `capnp-rpc-0.27.3/src/rpc.rs` and the line. Of a function of the C++ library, which has no
    /// lines, its folder and 0.
    place: Option<(String, u32)>,
    end: u64,
}

/// What names a worker's addresses.
pub(crate) struct Symbols {
    unwinder: UnwinderX86_64<Vec<u8>>,
    program: Option<(Range<u64>, u64, Loader)>,
}

impl Symbols {
    /// For a process with these `/proc/self/maps`.
    pub(crate) fn new(maps: &str) -> Option<Self> {
        let modules = modules(maps);
        let program = std::env::current_exe().ok()?;
        let program = program.to_str()?;
        let mut unwinder = UnwinderX86_64::new();
        let mut names = None;
        for (path, (range, start)) in modules {
            let Some((sections, is_fixed)) = sections(path) else {
                continue;
            };
            let base = if is_fixed { 0 } else { start };
            unwinder.add_module(Module::new(path.to_owned(), range.clone(), base, sections));
            if path == program {
                names = Loader::new(path).ok().map(|loader| (range, base, loader));
            }
        }
        Some(Self {
            unwinder,
            program: names,
        })
    }

    /// The frames of a stack, innermost first, as far as it was kept.
    pub(crate) fn walk(&self, fault: &Fault) -> Vec<Walked> {
        let mut registers =
            UnwindRegsX86_64::new(fault.instruction, fault.stack_pointer, fault.frame_pointer);
        let mut cache = CacheX86_64::<_>::new();
        let mut address = FrameAddress::from_instruction_pointer(fault.instruction);
        let mut read = |address| fault.word(address).ok_or(());
        let mut walked = Vec::new();
        while walked.len() < FRAMES_MAX {
            let next = self
                .unwinder
                .unwind_frame(address, &mut registers, &mut cache, &mut read);
            let next = next
                .ok()
                .flatten()
                .and_then(FrameAddress::from_return_address);
            walked.push(Walked {
                address: address.address_for_lookup(),
                end: next.map_or(0, |_| registers.sp()),
            });
            match next {
                Some(next) => address = next,
                None => break,
            }
        }
        walked
    }

    /// The functions of a stack, innermost first.
    pub(super) fn frames(&self, fault: &Fault) -> Vec<Function> {
        let walked = self.walk(fault);
        walked
            .iter()
            .flat_map(|frame| self.functions(frame))
            .collect()
    }

    /// The functions that an address is in, innermost first.
    pub(super) fn places(&self, address: u64) -> Vec<Place> {
        let functions = self.functions(&Walked { address, end: 0 }).into_iter();
        let place = |function: Function| {
            let (path, line) = function.place.unwrap_or_default();
            Place {
                path,
                line,
                function: function.name,
            }
        };
        functions.map(place).collect()
    }

    /// The functions that a frame is in, innermost first.
    pub(super) fn functions(&self, frame: &Walked) -> Vec<Function> {
        let named = self.named(frame.address).into_iter();
        let function = |named: Named| {
            let folder = cpp::folder(&named.name).map(|folder| (folder.to_owned(), 0));
            Function {
                name: short(&named.name),
                place: named.place.or(folder),
                end: frame.end,
            }
        };
        named.map(function).collect()
    }

    /// The same with their full names, demangled.
    pub(crate) fn named(&self, address: u64) -> Vec<Named> {
        let Some((range, base, loader)) = &self.program else {
            return Vec::new();
        };
        if !range.contains(&address) {
            return Vec::new();
        }
        let address = address - base;
        let mut functions = Vec::new();
        if let Ok(mut frames) = loader.find_frames(address) {
            while let Ok(Some(found)) = frames.next() {
                let name = found.function.as_ref();
                let name = name.and_then(|name| name.raw_name().ok());
                let place = found.location.and_then(|location| {
                    Some((source_path(location.file?).to_owned(), location.line?))
                });
                functions.push(Named {
                    name: demangled(&name.unwrap_or_default()),
                    other: String::new(),
                    place,
                    inlined: true,
                });
            }
        }
        // The symbol is that of the function into which the others were inlined.
        if let Some(symbol) = loader.find_symbol(address) {
            let last = functions.pop();
            let (other, place) = last.map_or_else(Default::default, |last| (last.name, last.place));
            functions.push(Named {
                name: demangled(symbol),
                other,
                place,
                inlined: false,
            });
        }
        functions
    }
}

fn demangled(name: &str) -> String {
    let cpp = cpp::is_mangled(name).then(|| cpp::demangled(name));
    let rust = || format!("{:#}", rustc_demangle::demangle(name));
    cpp.flatten().unwrap_or_else(rust)
}

/// The modules in `/proc/self/maps`: where each is mapped, and where it starts.
fn modules(maps: &str) -> BTreeMap<&str, (Range<u64>, u64)> {
    let mut modules: BTreeMap<&str, (Range<u64>, u64)> = BTreeMap::new();
    for line in maps.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(range), Some(offset)) = (words.next(), words.nth(1)) else {
            continue;
        };
        let path = line.find('/').map(|start| &line[start..]);
        let hex = |text| u64::from_str_radix(text, 16).ok();
        let bounds = range
            .split_once('-')
            .and_then(|(a, b)| Some((hex(a)?, hex(b)?)));
        let (Some(path), Some((start, end)), Some(offset)) = (path, bounds, hex(offset)) else {
            continue;
        };
        let module = modules
            .entry(path)
            .or_insert((start..end, start.saturating_sub(offset)));
        module.0 = module.0.start.min(start)..module.0.end.max(end);
    }
    modules
}

/// What unwinding needs of a module, and whether it is linked to fixed addresses.
fn sections(path: &str) -> Option<(ExplicitModuleSectionInfo<Vec<u8>>, bool)> {
    let cache = ReadCache::new(File::open(path).ok()?);
    let file = object::File::parse(&cache).ok()?;
    let section = |name: &str| {
        let section = file.section_by_name(name)?;
        let start = section.address();
        let data = section.uncompressed_data().ok()?.into_owned();
        Some((start..start + section.size(), data))
    };
    let (text_svma, text) = section(".text").unzip();
    let (eh_frame_svma, eh_frame) = section(".eh_frame").unzip();
    let (eh_frame_hdr_svma, eh_frame_hdr) = section(".eh_frame_hdr").unzip();
    let sections = ExplicitModuleSectionInfo {
        text_svma,
        text,
        eh_frame_svma,
        eh_frame,
        eh_frame_hdr_svma,
        eh_frame_hdr,
        ..Default::default()
    };
    Some((sections, file.kind() == ObjectKind::Executable))
}

/// Frames that repeat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Cycle {
    /// The first frame of the first round.
    pub(crate) start: usize,
    /// Frames of one round.
    pub(crate) length: usize,
    /// Their stack.
    pub(crate) bytes: u64,
    /// Rounds.
    pub(crate) count: usize,
}

impl Cycle {
    /// The frames of one round.
    pub(crate) fn frames(&self) -> Range<usize> {
        self.start..self.start + self.length
    }
}

/// The shortest cycle that most of the stack is made of, three rounds at least.
pub(crate) fn fold(walked: &[Walked]) -> Option<Cycle> {
    let address = |index: usize| walked[index].address;
    (1..=CYCLE_MAX.min(walked.len() / 3)).find_map(|length| {
        // Above the cycle there may be other frames: what the last round called.
        let repeats = |index: &usize| address(*index) == address(index + length);
        let start = (0..walked.len() - length).find(repeats)?;
        let repeated = (start..walked.len() - length).take_while(repeats).count();
        let most = repeated + length > walked.len() / 4 * 3;
        (most && repeated >= 2 * length).then(|| Cycle {
            start,
            length,
            bytes: walked[start + length].end.saturating_sub(walked[start].end),
            count: repeated / length + 1,
        })
    })
}

/// The calls that all samples are in, innermost first: what they call differs, or is left out
/// because it never ends. One in fifty may have been taken where a stack cannot be unwound.
pub(super) fn common(samples: &[Vec<Function>]) -> Vec<Function> {
    let in_all = |function: &&Function| {
        let in_sample = |sample: &&Vec<Function>| sample.iter().any(|other| function.is(other));
        let missing = samples.len() - samples.iter().filter(in_sample).count();
        function.end != 0 && missing * 50 <= samples.len()
    };
    let most = |sample: &&Vec<Function>| sample.iter().filter(in_all).count();
    let Some(fullest) = samples.iter().max_by_key(most) else {
        return Vec::new();
    };
    let lowest = |function: &Function| {
        // Its line differs from sample to sample: the first one stands for all.
        let same = samples.iter().flatten().filter(|other| function.is(other));
        let place = same.filter_map(|other| other.place.clone()).min();
        Function {
            place,
            ..function.clone()
        }
    };
    fullest.iter().filter(in_all).map(lowest).collect()
}

impl Function {
    /// Whether it is the same call, wherever it has come to.
    fn is(&self, other: &Self) -> bool {
        (&self.name, self.end) == (&other.name, other.end)
    }

    /// Its name, and its place if the name is a bare one.
    pub(super) fn shown(&self) -> String {
        match &self.place {
            Some((path, line)) if *line > 0 && !self.name.contains("::") => {
                format!("{} ({path}:{line})", self.name)
            }
            _ => self.name.clone(),
        }
    }

    /// Its place, if it is a function of upstream's that has a name of its own: a closure's, and
    /// what stands before a name, differ from build to build.
    pub(super) fn upstream(&self) -> Option<Place> {
        let (path, line) = self.place.as_ref()?;
        let function = self.name.rsplit("::").next()?;
        let is_upstream = UPSTREAM.iter().any(|part| path.contains(part));
        (is_upstream && !function.contains('{')).then(|| Place {
            path: path.clone(),
            line: *line,
            function: function.to_owned(),
        })
    }
}

/// `ConnectionState::handle_message` of a mangled name: the last two of its parts, without hash
/// and generic arguments, a closure with the function that it is in.
fn short(name: &str) -> String {
    let name = demangled(name);
    if let Some(dropped) = name.strip_prefix("core::ptr::drop_in_place<") {
        let dropped = dropped.strip_suffix('>').unwrap_or(dropped);
        return format!("drop_in_place<{}>", short(dropped));
    }
    if let Some(disposed) = disposed(&name) {
        return format!("dispose<{}>", short(disposed).trim_start_matches("kj::"));
    }
    let plain = plain(&name);
    let parts: Vec<&str> = plain.split("::").filter(|part| !part.is_empty()).collect();
    let named = parts.iter().rposition(|part| !part.starts_with('{'));
    let from = named.unwrap_or(0).saturating_sub(1);
    parts[from..].join("::")
}

/// `T` of `kj::HeapDisposer<T>::disposeImpl`, which is to C++ what `drop_in_place<T>` is to Rust.
pub(crate) fn disposed(name: &str) -> Option<&str> {
    name.strip_prefix("kj::HeapDisposer<")?
        .strip_suffix(">::disposeImpl")
}

/// A name without what stands in angle brackets; of `<Type as Trait>::f`, `Type::f`.
fn plain(name: &str) -> String {
    if let Some(inner) = name.strip_prefix('<') {
        let end = closing(inner);
        let this = inner[..end].split(" as ").next().unwrap_or("");
        let rest = inner.get(end + 1..).unwrap_or("");
        return format!("{}{}", plain(this), plain(rest));
    }
    let mut plain = String::new();
    let mut depth = 0_u32;
    let mut before = ' ';
    for c in name.chars() {
        match c {
            '<' => depth += 1,
            // Not the arrow of a function's type.
            '>' if before != '-' => depth = depth.saturating_sub(1),
            c if depth == 0 => plain.push(c),
            _ => {}
        }
        before = c;
    }
    plain
}

/// Where the bracket closes that was opened before `text`.
fn closing(text: &str) -> usize {
    let mut depth = 1;
    let mut before = ' ';
    for (index, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' if before != '-' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return index;
        }
        before = c;
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_the_same_in_every_build() {
        let cases = [
            (
                "_ZN9capnp_rpc3rpc28ConnectionState$LT$VatId$GT$14handle_message17h0123456789abcdefE",
                "ConnectionState::handle_message",
            ),
            (
                "_ZN103_$LT$capnp_rpc..flow_control..Reaper$u20$as$u20$capnp_rpc..task_set..TaskReaper\
                 $LT$capnp..Error$GT$$GT$11task_failed17h190ad728e1437ec0E",
                "Reaper::task_failed",
            ),
            (
                "core::ptr::drop_in_place<alloc::rc::Rc<a::Node>>",
                "drop_in_place<rc::Rc>",
            ),
            ("b::a::run::{{closure}}", "a::run::{{closure}}"),
            ("{closure#0}", "{closure#0}"),
            ("memcpy", "memcpy"),
            (
                "_ZN2kj1_21AttachmentPromiseNodeINS_3OwnIN5capnp10ClientHookEDnEEE7destroyEv",
                "AttachmentPromiseNode::destroy",
            ),
            (
                "_ZNK2kj1_12HeapDisposerINS0_16EagerPromiseNodeINS0_4VoidEEEE11disposeImplEPv",
                "dispose<EagerPromiseNode>",
            ),
            (
                "_ZZN5capnp18TwoPartyVatNetwork19OutgoingMessageImpl4sendEvENKUlvE_clEv",
                "OutgoingMessageImpl::send::{lambda}",
            ),
        ];
        for (mangled, expected) in cases {
            assert_eq!(short(mangled), expected);
        }
    }

    fn walked(addresses: &[u64]) -> Vec<Walked> {
        let frames = addresses.iter().zip(1..);
        frames
            .map(|(address, number)| Walked {
                address: *address,
                end: 16 * number,
            })
            .collect()
    }

    #[test]
    fn a_cycle_is_folded_and_what_it_called_last_is_left_out() {
        let mut addresses = vec![100, 101];
        for _ in 0..40 {
            addresses.extend([1, 2, 2, 3]);
        }
        let cycle = fold(&walked(&addresses)).expect("a cycle");
        assert_eq!((cycle.length, cycle.bytes, cycle.count), (4, 64, 40));
        assert!(cycle.start >= 2);
        assert_eq!(fold(&walked(&[1, 2, 3, 4, 5, 6, 7, 8])), None);
    }

    #[test]
    fn a_spin_is_in_the_innermost_call_that_all_samples_share() {
        let function = |name: &str, end, path: &str, line| Function {
            name: name.to_owned(),
            place: Some((path.to_owned(), line)),
            end,
        };
        let rpc = "capnp-rpc-0.27.3/src/rpc.rs";
        let outer = || function("outer", 300, rpc, 1);
        let samples = [
            vec![
                function("leaf", 100, rpc, 9),
                function("spins", 200, rpc, 7),
                outer(),
            ],
            vec![
                function("other", 90, "core/src/x.rs", 9),
                function("spins", 200, rpc, 5),
                outer(),
            ],
        ];
        let common = common(&samples);
        let names: Vec<&str> = common
            .iter()
            .map(|function| function.name.as_str())
            .collect();
        assert_eq!(names, ["spins", "outer"]);
        assert_eq!(common[0].upstream().map(|place| place.line), Some(5));
        assert_eq!(super::common(&[]), []);
    }
}
